//! Ejects endpoints whose calls go wrong while they go well elsewhere.
//!
//! Health checks ask an endpoint how it is; this looks at what becomes of calls. Every `interval` each endpoint's calls of that interval
//! are judged against the others' by up to three measures, and by two more at once, each off unless asked for:
//!
//! - **success rate**: below the mean of all by `stdevFactor` standard deviations. Finds the one that is worse than its peers, whatever
//!   their level; with one bad endpoint among good ones it needs five of them at the default factor (the deviation of one among `n` is
//!   at most `√(n − 1)`).
//! - **failure percentage**: above a fixed threshold.
//! - **latency** (ours, not gRPC's): a mean latency above a multiple of the median of all. For the endpoint that answers everything, and
//!   too late.
//! - **failures in a row** (Envoy's, not gRPC's): so many answers one after the other that are failures of the server, whatever the others
//!   do. Judged when the last of them ends, not at the end of the interval. Codes that blame the caller, such as NOT_FOUND, are answers
//!   and end the row; a lost connection continues it. **Gateway failures in a row** are those that say that the server cannot be reached or is
//!   too late: UNAVAILABLE, DEADLINE_EXCEEDED, a lost connection. Envoy's third kind, of local origin, is contained in both, as it is there
//!   unless told apart.
//!
//! An ejected endpoint is shown to policies as failing; its connection and its calls stay. It comes back by itself after
//! `baseEjectionTime`, and after a multiple of it each time it is ejected again; a clean interval takes one off the multiple. As
//! other stages and policies see a failing endpoint, a group of which all are ejected fails over to the next.
//!
//! **Bound.** At most `maxEjectionPercent` of the endpoints are ejected, rounded up so that one always can be; beyond that bad endpoints
//! keep their calls, for a bad answer may be better than an overload of the rest. A sweep is linear in the endpoints, once per
//! interval; one that finds nobody publishes nothing. A call pays nothing but the counting that is done anyway.
//!
//! **When not.** With a handful of calls per interval nothing is judged (`requestVolume`). Where all endpoints share the dependency that
//! fails, ejecting some of them helps nobody: leave `maxEjectionPercent` low.
//!
//! A call its caller gave up counts as neither success nor failure, unlike in grpc-go and grpc-java: clients that cancel much, as
//! hedging ones do, must not eject healthy endpoints. One whose deadline passed counts as a failure.
//!
//! ```
//! use lb_core::stages::{OutlierConfig, OutlierStage};
//! use serde_json::json;
//!
//! let config = OutlierConfig::from_json(&json!({"interval": "5s", "failurePercentageEjection": {"threshold": 50}}))?;
//! let stage = OutlierStage::new(config);
//! # Ok::<(), lb_core::ConfigError>(())
//! ```
//!
//! A row counts on its own for each endpoint and goes on over intervals. Every call in flight on a connection that is lost makes a row
//! longer: a server that restarts with five calls in flight is ejected for them, although it may be back in a second.
//!
//! Source: gRFC A50, A61; Envoy's outlier detection for failures in a row.

mod config;
mod ejection;
mod row;
mod sweep;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

pub use config::{ConsecutiveEjection, FailurePercentageEjection, LatencyEjection, OutlierConfig, SuccessRateEjection};
pub use ejection::{Ejection, EjectionCounts, EjectionMeasure, MeasureCounts};

use crate::connectivity::ConnectivityState;
use crate::endpoint::EndpointKey;
use crate::entropy::Entropy;
use crate::event::LbEvent;
use crate::policy::{Plan, Stage, SubchannelView};
use row::Rows;

/// Shows endpoints as failing whose calls go wrong while they go well elsewhere.
#[derive(Debug)]
pub struct OutlierStage {
    config: OutlierConfig,
    /// When the interval began that is being counted.
    began: Option<Instant>,
    /// Whether rows of failures are counted from the next look at them on.
    rows_begin: bool,
    records: BTreeMap<EndpointKey, Record>,
    counts: EjectionCounts,
    /// What observers have not been told yet.
    news: Vec<LbEvent>,
}

/// What is remembered of an endpoint for as long as it is listed.
#[derive(Debug, Clone, Default)]
struct Record {
    /// The endpoint's counters when the interval began.
    before: Counts,
    ejected: Option<Arc<Ejection>>,
    /// How long its rows of failures were when they were judged last.
    rows_before: Rows,
    /// How many times the base time it is ejected for; sinks by one with every clean interval.
    multiplier: u32,
}

/// Calls that ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Counts {
    succeeded: u64,
    failed: u64,
}

impl Counts {
    fn of(row: &SubchannelView) -> Self {
        Self { succeeded: row.stats.succeeded(), failed: row.stats.failed() }
    }

    /// Counters of another life of the endpoint may have been higher.
    fn since(self, before: Self) -> Self {
        let Self { succeeded, failed } = self;
        Self { succeeded: succeeded.saturating_sub(before.succeeded), failed: failed.saturating_sub(before.failed) }
    }
}

impl OutlierStage {
    /// A stage that has seen nothing yet.
    pub fn new(config: OutlierConfig) -> Self {
        let (counts, news) = (EjectionCounts::default(), Vec::new());
        Self { config, began: None, rows_begin: false, records: BTreeMap::new(), counts, news }
    }

    /// Whether and why an endpoint is ejected.
    pub fn ejection(&self, endpoint: &EndpointKey) -> Option<&Arc<Ejection>> {
        self.records.get(endpoint)?.ejected.as_ref()
    }

    /// What it has found so far.
    pub fn counts(&self) -> EjectionCounts {
        self.counts
    }

    /// Goes on where another one is, by this configuration: who is ejected stays so, and the interval that is being counted began when it
    /// did. If either has no measure on, nothing is taken over but the counts: judging begins with the measures, and ends with them.
    pub(crate) fn inherit(&mut self, from: &Self) {
        self.counts = from.counts;
        if !self.config.is_on() {
            let ejected = from.records.iter().filter(|(_, record)| record.ejected.is_some());
            self.news.extend(ejected.map(|(key, _)| LbEvent::EjectionEnded { endpoint: key.clone() }));
        } else if from.config.is_on() {
            (self.began, self.records) = (from.began, from.records.clone());
            self.rows_begin = from.rows_begin || !from.config.counts_rows();
            for record in self.records.values_mut() {
                let Some(ejection) = record.ejected.take() else { continue };
                let until = ejection.at.checked_add(self.config.time(record.multiplier));
                record.ejected = Some(Arc::new(Ejection { until, ..(*ejection).clone() }));
            }
        }
    }

    /// Follows the list of endpoints: those that left are forgotten, and come back clean.
    fn follow(&mut self, view: &[SubchannelView]) {
        let known = view.iter().filter(|row| self.records.contains_key(row.endpoint.key())).count();
        if known < self.records.len() {
            let mut old = std::mem::take(&mut self.records);
            let kept = view.iter().filter_map(|row| old.remove_entry(row.endpoint.key()));
            self.records = kept.collect();
        }
        if known < view.len() {
            for row in view {
                self.records.entry(row.endpoint.key().clone()).or_insert_with(|| Record {
                    before: Counts::of(row),
                    rows_before: Rows::of(row),
                    ..Record::default()
                });
            }
        }
    }
}

impl Stage for OutlierStage {
    fn name(&self) -> &'static str {
        "ejected"
    }

    fn apply(&mut self, now: Instant, view: &mut Vec<SubchannelView>, plan: &mut Plan) {
        if !self.config.is_on() {
            plan.events.append(&mut self.news);
            return;
        }
        self.follow(view);
        let began = *self.began.get_or_insert(now);
        let mut entropy = Entropy::from_seed(plan.entropy);
        self.judge_rows(now, view, &mut entropy, &plan.signal);
        if now >= began + self.config.interval {
            self.sweep(now, view, &mut entropy);
            self.began = Some(now);
        }
        // An interval of 0 is one of the shortest time a policy can ask to be woken after.
        plan.wake_at(self.began.unwrap_or(now) + self.config.interval);
        for row in view {
            if let Some(ejection) = self.ejection(row.endpoint.key()) {
                // Kept connected, so that it takes calls the moment it is back.
                plan.connect.push(row.slot);
                row.state = ConnectivityState::TransientFailure;
                row.error = Some(Arc::clone(&ejection.reason));
                row.ejected = Some(Arc::clone(ejection));
            }
        }
        plan.events.append(&mut self.news);
    }
}
