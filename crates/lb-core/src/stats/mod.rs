//! Counters and estimates of one endpoint that outlive every snapshot and picker.

mod aside;
mod checks;
mod estimates;
mod histogram;
mod history;
mod latencies;
mod row;
#[cfg(test)]
mod tests;
mod ticks;

use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use aside::Aside;
pub use checks::CheckCounts;
use estimates::{Estimates, faded};
use histogram::Histogram;
pub use histogram::Quantiles;
pub use history::{History, Performance};
use latencies::LatencyCounts;
use row::InARow;
use serde::{Deserialize, Serialize};
pub(crate) use ticks::ticks;

use crate::feedback::Done;
use crate::gate::GateSignal;
use crate::load::LoadReport;

/// What happened at one endpoint, kept as long as the resolver lists it.
///
/// All counters are relaxed atomics: each is exact, two read together may be a moment apart. Estimates are read, changed and
/// written without a lock: of two calls that end at the same moment one may not be learned from, which an average does not notice.
/// The struct is one cache line, which holds all that pickers read and what a success writes; the rest is behind a pointer. Kept in an
/// `Arc` it has the line of the reference counts beside it, so that two endpoints' lines are never neighbours, which some processors
/// fetch in pairs, and the lines of a large set spread over the whole of a cache rather than over every second or fourth of its rows.
///
/// An average of latency is weighted by time over about 10 s. Only calls that succeed can lower one; a call that failed or was
/// given up took at least as long as it did, and raises it if that was longer.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub struct EndpointStats {
    in_flight: AtomicU32,
    /// `f32`s as bits, seconds; 0 is not known.
    latency: AtomicU32,
    peak: AtomicU32,
    /// An `f32` as bits: the share of failures, 0 to 1.
    failing: AtomicU32,
    /// When one of those three changed last, in ticks; 0 is never.
    learned_at: AtomicI64,
    /// An `f32` as bits; 0 is not said.
    utilization: AtomicU32,
    /// One more than reported; 0 is not said.
    reported_in_flight: AtomicU32,
    /// What calls in flight take of the capacity beyond one each.
    extra: AtomicU64,
    /// In ticks; 0 is never.
    reported_at: AtomicI64,
    succeeded: AtomicU64,
    seldom: Box<Seldom>,
}

/// What pickers do not look at.
#[derive(Debug, Default)]
struct Seldom {
    failed: AtomicU64,
    cancelled: AtomicU64,
    /// An `f32` as bits, seconds; 0 is not said.
    reported_latency: AtomicU32,
    /// Made with the first success: many endpoints of a large set never get a call.
    histogram: OnceLock<Box<Histogram>>,
    row: InARow,
    aside: Aside,
}

impl EndpointStats {
    /// Counts a call as begun. Every `begin` must be followed by exactly one [`end`](Self::end) or [`finish`](Self::finish).
    #[inline]
    pub fn begin(&self) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a call as ended, whatever way it ended, and learns nothing else. Cancelled calls count as neither succeeded nor
    /// failed.
    #[inline]
    pub fn end(&self, outcome: Outcome) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
        match outcome {
            Outcome::Success => self.succeeded.fetch_add(1, Ordering::Relaxed),
            Outcome::Failure => self.seldom.failed.fetch_add(1, Ordering::Relaxed),
            Outcome::Cancelled => self.seldom.cancelled.fetch_add(1, Ordering::Relaxed),
        };
    }

    /// Counts a call as ended and learns from how it ended.
    #[inline]
    pub fn finish(&self, done: &Done<'_>) {
        self.end(done.outcome);
        self.seldom.row.finished(done, &self.seldom.aside);
        let (known, at, took) = (self.known(), ticks(done.now), done.latency.as_secs_f32());
        self.learn(match done.outcome {
            Outcome::Success => {
                self.seldom.histogram.get_or_init(Box::default).record(at, took);
                known.succeeded(at, took, self.succeeded())
            }
            Outcome::Failure => known.failed(at, took),
            Outcome::Cancelled => known.cancelled(at, took),
        });
        if let Some(load) = done.load {
            self.report(done.now, load);
        }
    }

    /// Remembers what the server said of its load. What a report does not say stays as it was said last.
    pub fn report(&self, now: Instant, load: &LoadReport) {
        if let Some(utilization) = load.utilization() {
            self.utilization.store((utilization as f32).to_bits(), Ordering::Relaxed);
        }
        if let Some(in_flight) = load.in_flight {
            self.reported_in_flight.store(in_flight.saturating_add(1), Ordering::Relaxed);
        }
        if let Some(latency) = load.latency {
            self.seldom.reported_latency.store(latency.as_secs_f32().to_bits(), Ordering::Relaxed);
        }
        self.reported_at.store(ticks(now), Ordering::Relaxed);
    }

    /// How busy the server last said it is, from 0, above 1 while overloaded; `None` if it never said.
    #[inline]
    pub fn utilization(&self) -> Option<f64> {
        let share = f32::from_bits(self.utilization.load(Ordering::Relaxed));
        (share > 0.0).then_some(f64::from(share))
    }

    /// How many calls, from all its clients, the server last said it has in flight; `None` if it never said.
    #[inline]
    pub fn reported_in_flight(&self) -> Option<u32> {
        self.reported_in_flight.load(Ordering::Relaxed).checked_sub(1)
    }

    /// How long the server last said calls take there; `None` if it never said.
    pub fn reported_latency(&self) -> Option<Duration> {
        duration(load_f32(&self.seldom.reported_latency))
    }

    /// How long ago the last report came; `None` if none ever did.
    pub fn report_age(&self, now: Instant) -> Option<Duration> {
        let at = self.reported_at.load(Ordering::Relaxed);
        (at != 0).then(|| Duration::from_nanos(ticks(now).saturating_sub(at).max(0) as u64))
    }

    /// How long calls take here lately, from pick to trailers: a mean weighted by time, as it was when the last call ended. `None`
    /// until a first call has succeeded.
    pub fn latency(&self) -> Option<Duration> {
        duration(load_f32(&self.latency))
    }

    /// A cautious guess of how long a call would take: rises at once to the slowest call, sinks over about 10 s, and while no call
    /// ends here sinks towards 0, by half in 10 s. `None` until a first call has succeeded.
    pub fn peak_latency(&self, now: Instant) -> Option<Duration> {
        self.peak_seconds(ticks(now)).and_then(duration)
    }

    /// Quantiles of how long successful calls took in the last one to two minutes; `None` if none did.
    pub fn latency_quantiles(&self, now: Instant) -> Option<Quantiles> {
        self.seldom.histogram.get().and_then(|histogram| histogram.quantiles(ticks(now)))
    }

    /// The share of the latest answered calls that succeeded, 0 to 1: over about a second, and at least about four calls. `None`
    /// before the first answer; cancelled calls do not count.
    pub fn success_rate(&self) -> Option<f64> {
        (self.succeeded() > 0 || self.failed() > 0).then(|| f64::from(1.0 - load_f32(&self.failing)))
    }

    /// How many of the latest answers in a row were failures of the server: UNKNOWN, DEADLINE_EXCEEDED, UNIMPLEMENTED, INTERNAL,
    /// UNAVAILABLE or DATA_LOSS, or none because the connection was lost. Cancelled calls count as no answer.
    pub fn failures_in_a_row(&self) -> u32 {
        self.seldom.row.failures()
    }

    /// How many of the latest answers in a row were UNAVAILABLE or DEADLINE_EXCEEDED, or none because the connection was lost.
    pub fn gateway_failures_in_a_row(&self) -> u32 {
        self.seldom.row.gateway()
    }

    /// Wakes the channel when there are so many failures, or failures of that other kind, in a row; 0 is never.
    pub(crate) fn watch_rows(&self, failures: u32, gateway: u32, signal: &GateSignal) {
        self.seldom.aside.watch(failures, gateway, signal);
    }

    /// Notes that a health check of this endpoint has ended, how long it took if it was asked, and whether the endpoint serves. For health checks.
    pub fn checked(&self, now: Instant, took: Option<Duration>, passed: bool) {
        self.seldom.aside.checks().note(ticks(now), took, passed);
    }

    /// What health checks have found here so far; `None` before the first has ended, and if nothing checks.
    pub fn health_checks(&self, now: Instant) -> Option<CheckCounts> {
        self.seldom.aside.checks_so_far().and_then(|checks| checks.counts(ticks(now)))
    }

    /// Adds how long the successful calls took that ended in this minute, if it is this one or the last.
    fn add_latencies(&self, minute: i64, counts: &mut LatencyCounts) {
        self.seldom.histogram.get().into_iter().for_each(|histogram| histogram.add(minute, counts));
    }

    /// Calls begun and not ended, streams included until their trailers.
    #[inline]
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Says that a call in flight takes `extra` more of the capacity than one. Every `hold` must be followed by exactly one
    /// [`let_go`](Self::let_go) of as much.
    #[inline]
    pub fn hold(&self, extra: u32) {
        if extra > 0 {
            self.extra.fetch_add(u64::from(extra), Ordering::Relaxed);
        }
    }

    /// Says that it takes that no more.
    #[inline]
    pub fn let_go(&self, extra: u32) {
        if extra > 0 {
            self.extra.fetch_sub(u64::from(extra), Ordering::Relaxed);
        }
    }

    /// What the calls in flight take of the endpoint's [capacity](crate::Attributes::capacity): one each, and their
    /// [cost](crate::PickHints::cost) if that is more.
    #[inline]
    pub fn taken(&self) -> u64 {
        u64::from(self.in_flight()) + self.extra.load(Ordering::Relaxed)
    }

    /// Makes the number of calls in flight this one, which somebody has from elsewhere. Calls that have begun before must not be
    /// ended.
    pub(crate) fn set_in_flight(&self, calls: u32) {
        self.in_flight.store(calls, Ordering::Relaxed);
        self.extra.store(0, Ordering::Relaxed);
    }

    /// Takes a latency and a share of failures for measured which somebody has from elsewhere.
    pub(crate) fn set_estimates(&self, now: Instant, latency: Option<Duration>, failing: Option<f64>) {
        let mut known = self.known();
        known.at = ticks(now);
        if let Some(latency) = latency.map(|latency| latency.as_secs_f32()) {
            (known.latency, known.peak) = (latency, latency);
        }
        known.failing = failing.map_or(known.failing, |failing| failing as f32);
        self.learn(known);
    }

    /// Calls begun here, ever.
    pub(crate) fn begun(&self) -> u64 {
        u64::from(self.in_flight()) + self.succeeded() + self.failed() + self.cancelled()
    }

    /// Calls that ended with status OK.
    #[inline]
    pub fn succeeded(&self) -> u64 {
        self.succeeded.load(Ordering::Relaxed)
    }

    /// Calls the caller gave up before they ended.
    pub fn cancelled(&self) -> u64 {
        self.seldom.cancelled.load(Ordering::Relaxed)
    }

    /// Calls that ended with any other status, or none.
    pub fn failed(&self) -> u64 {
        self.seldom.failed.load(Ordering::Relaxed)
    }

    /// [`latency`](Self::latency) in seconds, sinking in silence as the peak does.
    #[inline]
    pub(crate) fn latency_seconds(&self, now: i64) -> Option<f32> {
        self.believed(&self.latency, now)
    }

    /// [`peak_latency`](Self::peak_latency) in seconds.
    #[inline]
    pub(crate) fn peak_seconds(&self, now: i64) -> Option<f32> {
        self.believed(&self.peak, now)
    }

    /// The share of failures among the latest answers, and forgotten in silence; 0 if nothing was answered.
    #[inline]
    pub(crate) fn failing(&self, now: i64) -> f32 {
        self.believed(&self.failing, now).unwrap_or(0.0)
    }

    /// The same without regard to silence: never less than [`failing`](Self::failing).
    #[inline]
    pub(crate) fn failing_at_last(&self) -> f32 {
        load_f32(&self.failing)
    }

    #[inline]
    fn believed(&self, estimate: &AtomicU32, now: i64) -> Option<f32> {
        let estimate = load_f32(estimate);
        (estimate > 0.0).then(|| faded(estimate, self.learned_at.load(Ordering::Relaxed), now))
    }

    #[inline]
    fn known(&self) -> Estimates {
        Estimates {
            latency: load_f32(&self.latency),
            peak: load_f32(&self.peak),
            failing: load_f32(&self.failing),
            at: self.learned_at.load(Ordering::Relaxed),
        }
    }

    #[inline]
    fn learn(&self, estimates: Estimates) {
        self.latency.store(estimates.latency.to_bits(), Ordering::Relaxed);
        self.peak.store(estimates.peak.to_bits(), Ordering::Relaxed);
        self.failing.store(estimates.failing.to_bits(), Ordering::Relaxed);
        self.learned_at.store(estimates.at, Ordering::Relaxed);
    }
}

#[inline]
fn load_f32(bits: &AtomicU32) -> f32 {
    f32::from_bits(bits.load(Ordering::Relaxed))
}

/// `None` for 0.
fn duration(seconds: f32) -> Option<Duration> {
    (seconds > 0.0).then(|| Duration::try_from_secs_f32(seconds).unwrap_or(Duration::MAX))
}

/// How an attempt ended, as far as statistics care.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Status OK.
    Success,
    /// Any other status, or the connection was lost.
    Failure,
    /// The caller went away first.
    Cancelled,
}
