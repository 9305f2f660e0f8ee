//! What a channel did in the last hour, in coarse steps.
//!
//! Somebody looks at the counters of all endpoints every [`STEP`] and writes down by how much they have grown: calls pay nothing. Steps of
//! 10 s are kept for 5 minutes and those of a minute for an hour, with how long successful calls took, so that quantiles can be read
//! over any window between. An endpoint that goes is counted until the first look after that.
//!
//! **Bound.** At most 91 steps per channel, of at most 0.5 KiB each (112 buckets): 48 KiB, and a third of that where the slowest call takes
//! some hundred times as long as the fastest. A step without calls takes nothing. Endpoints add nothing but a pointer each. A look is linear in the
//! endpoints, a few hundred nanoseconds for each that has answered.
//!
//! **When not.** For graphs over days, or by method and endpoint: that is what exported metrics are for.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Serialize, Serializer};

use super::histogram::{PERIOD, Quantiles};
use super::latencies::{LatencyCounts, Packed};
use super::{EndpointStats, ticks};

/// How often somebody is to look: a window of 30 s, the shortest people ask for, then is three of them.
const STEP: Duration = Duration::from_secs(10);

/// Fine steps: 5 minutes, and the one that has begun.
const FINE: Ring = Ring { step: 10_000_000_000, keep: 31 };

/// Coarse steps: an hour.
const COARSE: Ring = Ring { step: 60_000_000_000, keep: 60 };

/// The growth of the counters of all endpoints of a channel over the last hour.
#[derive(Debug)]
pub struct History {
    began: i64,
    looked: i64,
    fine: VecDeque<Step>,
    coarse: VecDeque<Step>,
    /// The endpoints of the last look, so that one that goes is counted to its end.
    seen: Vec<Arc<EndpointStats>>,
    before: Reading,
}

#[derive(Debug, Clone, Copy)]
struct Ring {
    /// In ticks.
    step: i64,
    keep: i64,
}

#[derive(Debug)]
struct Step {
    /// Its begin, in steps.
    at: i64,
    grown: Counts,
    latencies: Packed,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Counts {
    succeeded: u64,
    failed: u64,
    cancelled: u64,
}

/// The counters of all endpoints together at one moment, and the latencies of two minutes.
#[derive(Debug, Default)]
struct Reading {
    counts: Counts,
    minute: i64,
    last_minute: LatencyCounts,
    this_minute: LatencyCounts,
}

/// What became of the attempts that ended in a window. As data, names are in camel case and times are seconds with decimals.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Performance {
    /// How far back it reaches: what was asked for, rounded up to steps of 10 s, or of a minute above 5 minutes, and no more than an hour
    /// or the age of the channel.
    #[serde(serialize_with = "seconds")]
    pub window: Duration,
    /// Attempts that ended with status OK.
    pub succeeded: u64,
    /// Attempts that ended with another status or none.
    pub failed: u64,
    /// Attempts the caller gave up.
    pub cancelled: u64,
    /// Attempts that ended, a second.
    pub rate: f64,
    /// The share of failures among the answered attempts, 0 to 1; `None` without any.
    pub error_rate: Option<f64>,
    /// How long those took that succeeded; `None` without any.
    pub latency: Option<Quantiles>,
}

fn seconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64())
}

impl History {
    /// Nothing has happened yet.
    pub fn new(now: Instant) -> Self {
        let (began, before) = (ticks(now), Reading::default());
        Self { began, looked: began, fine: VecDeque::new(), coarse: VecDeque::new(), seen: Vec::new(), before }
    }

    /// When to look again: at the end of the present step.
    pub fn next_look(now: Instant) -> Instant {
        let into = Duration::from_nanos(ticks(now).rem_euclid(FINE.step) as u64);
        now + (STEP - into)
    }

    /// Looks at the endpoints there are, and writes down what has happened since the last look. Linear in them.
    pub fn look<'a>(&mut self, now: Instant, endpoints: impl Iterator<Item = &'a Arc<EndpointStats>>) {
        let (at, endpoints) = (ticks(now), endpoints.cloned().collect::<Vec<_>>());
        let minute = at.div_euclid(PERIOD);
        let stays = Reading::of(minute, &endpoints);
        let leaving = self.leaving(&endpoints);
        let (grown, latencies) = Reading::of(minute, &leaving).and(&stays).since(&self.before);
        if grown != Counts::default() {
            // A look at the end of a step, or a little late, is about that step and not about the next.
            let middle = self.looked + (at - self.looked) / 2;
            FINE.add(&mut self.fine, middle, grown, &latencies);
            COARSE.add(&mut self.coarse, middle, grown, &latencies);
        }
        FINE.forget(&mut self.fine, at);
        COARSE.forget(&mut self.coarse, at);
        (self.before, self.seen, self.looked) = (stays, endpoints, at.max(self.looked));
    }

    /// Those of the last look that are there no more.
    fn leaving(&self, endpoints: &[Arc<EndpointStats>]) -> Vec<Arc<EndpointStats>> {
        let same =
            self.seen.len() <= endpoints.len() && self.seen.iter().zip(endpoints).all(|(one, other)| Arc::ptr_eq(one, other));
        if same {
            return Vec::new();
        }
        let there: HashSet<*const EndpointStats> = endpoints.iter().map(Arc::as_ptr).collect();
        self.seen.iter().filter(|stats| !there.contains(&Arc::as_ptr(stats))).cloned().collect()
    }

    /// What happened in the window that ends now. [Look](Self::look) first.
    pub fn performance(&self, now: Instant, window: Duration) -> Performance {
        let now = ticks(now);
        let (ring, steps) = if window <= FINE.reach() { (FINE, &self.fine) } else { (COARSE, &self.coarse) };
        let window = i64::try_from(window.as_nanos()).unwrap_or(i64::MAX);
        let newest = now.div_euclid(ring.step);
        let first = now.saturating_sub(window).div_euclid(ring.step).max(newest - ring.keep + 1);
        let (mut grown, mut latencies) = (Counts::default(), LatencyCounts::default());
        for step in steps.iter().filter(|step| step.at >= first) {
            grown = grown.and(step.grown);
            step.latencies.add_to(&mut latencies);
        }
        let covered = Duration::from_nanos((now - self.began.max(first * ring.step)).max(0) as u64);
        Performance::of(covered, grown, &latencies)
    }
}

impl Performance {
    fn of(window: Duration, grown: Counts, latencies: &LatencyCounts) -> Self {
        let Counts { succeeded, failed, cancelled } = grown;
        let (answered, ended) = (succeeded + failed, succeeded + failed + cancelled);
        let rate = if window.is_zero() { 0.0 } else { ended as f64 / window.as_secs_f64() };
        let error_rate = (answered > 0).then(|| failed as f64 / answered as f64);
        Self { window, succeeded, failed, cancelled, rate, error_rate, latency: latencies.quantiles() }
    }
}

impl Ring {
    /// The longest window it can answer for.
    fn reach(self) -> Duration {
        Duration::from_nanos((self.step * (self.keep - 1)) as u64)
    }

    fn add(self, steps: &mut VecDeque<Step>, at: i64, grown: Counts, latencies: &LatencyCounts) {
        let at = at.div_euclid(self.step);
        let mut sum = latencies.clone();
        match steps.back_mut() {
            // Time that goes backwards adds to the newest.
            Some(step) if step.at >= at => {
                step.latencies.add_to(&mut sum);
                (step.grown, step.latencies) = (step.grown.and(grown), sum.pack());
            }
            _ => steps.push_back(Step { at, grown, latencies: sum.pack() }),
        }
    }

    fn forget(self, steps: &mut VecDeque<Step>, at: i64) {
        let oldest = at.div_euclid(self.step) - self.keep + 1;
        while steps.front().is_some_and(|step| step.at < oldest) {
            steps.pop_front();
        }
    }
}

impl Counts {
    fn and(self, other: Self) -> Self {
        Self {
            succeeded: self.succeeded + other.succeeded,
            failed: self.failed + other.failed,
            cancelled: self.cancelled + other.cancelled,
        }
    }

    fn since(self, before: Self) -> Self {
        Self {
            succeeded: self.succeeded.saturating_sub(before.succeeded),
            failed: self.failed.saturating_sub(before.failed),
            cancelled: self.cancelled.saturating_sub(before.cancelled),
        }
    }
}

impl Reading {
    fn of(minute: i64, endpoints: &[Arc<EndpointStats>]) -> Self {
        let mut reading = Self { minute, ..Self::default() };
        for stats in endpoints {
            let Counts { succeeded, failed, cancelled } = reading.counts;
            reading.counts = Counts {
                succeeded: succeeded + stats.succeeded(),
                failed: failed + stats.failed(),
                cancelled: cancelled + stats.cancelled(),
            };
            stats.add_latencies(minute - 1, &mut reading.last_minute);
            stats.add_latencies(minute, &mut reading.this_minute);
        }
        reading
    }

    /// Of other endpoints at the same moment.
    fn and(mut self, other: &Self) -> Self {
        self.counts = self.counts.and(other.counts);
        self.last_minute.add(other.last_minute.iter());
        self.this_minute.add(other.this_minute.iter());
        self
    }

    /// What came on top of an earlier reading.
    fn since(&self, before: &Self) -> (Counts, LatencyCounts) {
        let nothing = LatencyCounts::default();
        let (last, this) = match self.minute - before.minute {
            0 => (&before.last_minute, &before.this_minute),
            1 => (&before.this_minute, &nothing),
            _ => (&nothing, &nothing),
        };
        let mut latencies = self.last_minute.since(last);
        latencies.add(self.this_minute.since(this).iter());
        (self.counts.since(before.counts), latencies)
    }
}

#[cfg(test)]
#[path = "history_tests.rs"]
mod tests;
