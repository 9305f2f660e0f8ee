//! Counters of one endpoint that outlive every snapshot and picker.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Instant;

use crate::feedback::Done;
use crate::load::LoadReport;

/// What happened at one endpoint, kept as long as the resolver lists it.
///
/// All counters are relaxed atomics: each is exact, two read together may be a moment apart. The struct fills two cache lines of
/// its own (128 bytes, because adjacent lines are fetched in pairs), so that endpoints do not slow each other down.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct EndpointStats {
    in_flight: AtomicU32,
    /// An `f32` as bits; 0 is not said.
    utilization: AtomicU32,
    succeeded: AtomicU64,
    failed: AtomicU64,
    cancelled: AtomicU64,
}

impl EndpointStats {
    /// Counts a call as begun. Every `begin` must be followed by exactly one [`end`](Self::end).
    #[inline]
    pub fn begin(&self) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a call as ended, whatever way it ended. Cancelled calls count as neither succeeded nor failed.
    #[inline]
    pub fn end(&self, outcome: Outcome) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
        match outcome {
            Outcome::Success => self.succeeded.fetch_add(1, Ordering::Relaxed),
            Outcome::Failure => self.failed.fetch_add(1, Ordering::Relaxed),
            Outcome::Cancelled => self.cancelled.fetch_add(1, Ordering::Relaxed),
        };
    }

    /// Counts a call as ended and learns from how it ended.
    #[inline]
    pub fn finish(&self, done: &Done<'_>) {
        self.end(done.outcome);
        if let Some(load) = done.load {
            self.report(done.now, load);
        }
    }

    /// Remembers what the server said of its load.
    pub fn report(&self, _now: Instant, load: &LoadReport) {
        if let Some(utilization) = load.utilization() {
            self.utilization.store((utilization as f32).to_bits(), Ordering::Relaxed);
        }
    }

    /// How busy the server last said it is, from 0, above 1 while overloaded; `None` if it never said.
    pub fn utilization(&self) -> Option<f64> {
        let share = f32::from_bits(self.utilization.load(Ordering::Relaxed));
        (share > 0.0).then_some(f64::from(share))
    }

    /// Calls begun and not ended, streams included until their trailers.
    #[inline]
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Calls that ended with status OK.
    pub fn succeeded(&self) -> u64 {
        self.succeeded.load(Ordering::Relaxed)
    }

    /// Calls the caller gave up before they ended.
    pub fn cancelled(&self) -> u64 {
        self.cancelled.load(Ordering::Relaxed)
    }

    /// Calls that ended with any other status, or none.
    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }
}

/// How an attempt ended, as far as statistics care.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Status OK.
    Success,
    /// Any other status, or the connection was lost.
    Failure,
    /// The caller went away first.
    Cancelled,
}
