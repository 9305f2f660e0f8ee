//! The series of one method.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use lb_core::Locality;
use lb_core::retry::CODE_NAMES;
use lb_tonic::observe::{AttemptEnd, AttemptStart, AttemptTrace, CallEnd, CallTrace};
use opentelemetry::KeyValue;
use opentelemetry::metrics::{BoundCounter, BoundHistogram, Histogram};

use super::instruments::Instruments;
use super::labels::{Labels, is_unknown, with_status, written};

/// Localities told apart.
const MAX_LOCALITIES: usize = 100;

/// What localities beyond that are called.
const OTHER: &str = "other";

/// One of a kind for each status.
type ByStatus<T> = [OnceLock<T>; CODE_NAMES.len()];

/// Hears of every call of one method; nothing in it belongs to a single call.
pub(super) struct Method {
    instruments: Arc<Instruments>,
    labels: Vec<KeyValue>,
    started: BoundCounter<u64>,
    attempts: Attempts,
    durations: ByStatus<BoundHistogram<f64>>,
    retries: OnceLock<BoundHistogram<u64>>,
    transparent_retries: OnceLock<BoundHistogram<u64>>,
    hedges: OnceLock<BoundHistogram<u64>>,
    retry_delay: OnceLock<BoundHistogram<f64>>,
}

impl Method {
    pub(super) fn new(instruments: &Arc<Instruments>, labels: &Labels, target: &Arc<str>, method: &str, custom: &str) -> Self {
        let of_method = labels.of_method(target, method, custom);
        Self {
            started: instruments.started.bind(&of_method),
            attempts: Attempts {
                instruments: Arc::clone(instruments),
                labels: labels.clone(),
                of_method: of_method.clone(),
                nowhere: ByStatus::default(),
                by_locality: RwLock::default(),
            },
            instruments: Arc::clone(instruments),
            labels: of_method,
            durations: ByStatus::default(),
            retries: OnceLock::new(),
            transparent_retries: OnceLock::new(),
            hedges: OnceLock::new(),
            retry_delay: OnceLock::new(),
        }
    }

    /// Records a number, unless it is zero.
    fn count(&self, series: &OnceLock<BoundHistogram<u64>>, instrument: &Histogram<u64>, count: u32) {
        if count > 0 {
            series.get_or_init(|| instrument.bind(&self.labels)).record(count.into());
        }
    }
}

impl CallTrace for Method {
    fn attempt(&self, _start: &AttemptStart) -> Option<Arc<dyn AttemptTrace>> {
        self.started.add(1);
        None
    }

    fn attempted(&self, end: &AttemptEnd<'_>) {
        self.attempts.end(end);
    }

    fn end(&self, end: &CallEnd<'_>) {
        let status = end.code as usize;
        let duration = || self.instruments.call_duration.bind(&with_status(&self.labels, status));
        if let Some(series) = self.durations.get(status) {
            series.get_or_init(duration).record(end.duration.as_secs_f64());
        }
        if end.attempts > 1 {
            let instruments = &self.instruments;
            self.count(&self.retries, &instruments.retries, end.retries);
            self.count(&self.transparent_retries, &instruments.transparent_retries, end.transparent_retries);
            self.count(&self.hedges, &instruments.hedges, end.hedges);
        }
        if !end.retry_delay.is_zero() {
            let delay = || self.instruments.retry_delay.bind(&self.labels);
            self.retry_delay.get_or_init(delay).record(end.retry_delay.as_secs_f64());
        }
    }
}

/// The attempts of one method.
struct Attempts {
    instruments: Arc<Instruments>,
    labels: Labels,
    of_method: Vec<KeyValue>,
    /// Those without a locality, and all if nobody wants it.
    nowhere: ByStatus<Series>,
    by_locality: RwLock<HashMap<Locality, Arc<Somewhere>>>,
}

struct Somewhere {
    locality: String,
    series: ByStatus<Series>,
}

/// Attempts with one status and locality.
struct Series {
    duration: BoundHistogram<f64>,
    sent: BoundHistogram<u64>,
    received: BoundHistogram<u64>,
}

impl Attempts {
    fn record(&self, series: &ByStatus<Series>, locality: &str, end: &AttemptEnd<'_>) {
        let status = end.code as usize;
        let new = || {
            let labels = self.labels.of_attempt(&self.of_method, status, locality);
            let Instruments { attempt_duration, sent, received, .. } = &*self.instruments;
            Series { duration: attempt_duration.bind(&labels), sent: sent.bind(&labels), received: received.bind(&labels) }
        };
        if let Some(series) = series.get(status) {
            let series = series.get_or_init(new);
            series.duration.record(end.duration.as_secs_f64());
            series.sent.record(end.sent);
            series.received.record(end.received);
        }
    }

    fn at(&self, locality: &Locality) -> Arc<Somewhere> {
        let known = self.by_locality.read().unwrap_or_else(PoisonError::into_inner).get(locality).map(Arc::clone);
        known.unwrap_or_else(|| {
            let mut all = self.by_locality.write().unwrap_or_else(PoisonError::into_inner);
            let full = all.len() >= MAX_LOCALITIES && !all.contains_key(locality);
            // One more than there may be is for all that are too many; no locality is written like this.
            let key = if full { Locality::new("", "", OTHER) } else { locality.clone() };
            let name = if full { OTHER.to_owned() } else { written(&key) };
            let new = || Arc::new(Somewhere { locality: name, series: ByStatus::default() });
            Arc::clone(all.entry(key).or_insert_with(new))
        })
    }

    fn end(&self, end: &AttemptEnd<'_>) {
        let locality = end.endpoint().map(|endpoint| &endpoint.attributes.locality).filter(|_| self.labels.locality);
        match locality.filter(|locality| !is_unknown(locality)) {
            Some(locality) => {
                let somewhere = self.at(locality);
                self.record(&somewhere.series, &somewhere.locality, end);
            }
            None => self.record(&self.nowhere, "", end),
        }
    }
}
