//! What a policy can learn from the calls it placed.
//!
//! Most policies look at [`EndpointStats`](crate::EndpointStats), which every call feeds whatever policy placed it. One that learns
//! something of its own, such as how well each of its experts chose, gives its pickers a [`Feedback`]; the channel keeps it with the
//! call and tells it how the call ended. It outlives the picker, and is called from many tasks at once.

use std::fmt;
use std::time::{Duration, Instant};

use crate::load::LoadReport;
use crate::slot::Slot;
use crate::stats::Outcome;

/// How an attempt ended.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Done<'a> {
    /// Where it went.
    pub slot: Slot,
    /// What the picker left in [`PickArgs::token`](crate::PickArgs::token).
    pub token: u64,
    /// When it ended.
    pub now: Instant,
    /// How long it took, from the pick to the trailers.
    pub latency: Duration,
    /// How it ended.
    pub outcome: Outcome,
    /// The gRPC code it ended with, if it ended with one: the server's, or the channel's own word for what went wrong.
    pub code: Option<i32>,
    /// The report that came with its trailers, if a policy asked for [reports](crate::LoadReports) and there was one.
    pub load: Option<&'a LoadReport>,
}

impl<'a> Done<'a> {
    /// An end without token, code or report.
    pub fn new(slot: Slot, now: Instant, latency: Duration, outcome: Outcome) -> Self {
        Self { slot, token: 0, now, latency, outcome, code: None, load: None }
    }

    /// The same with the picker's token.
    #[must_use]
    pub fn with_token(mut self, token: u64) -> Self {
        self.token = token;
        self
    }

    /// The same with the code it ended with.
    #[must_use]
    pub fn with_code(mut self, code: impl Into<Option<i32>>) -> Self {
        self.code = code.into();
        self
    }

    /// The same with the report of its trailers.
    #[must_use]
    pub fn with_load(mut self, load: Option<&'a LoadReport>) -> Self {
        self.load = load;
        self
    }
}

/// A report that came without a call.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Reported<'a> {
    /// Which endpoint.
    pub slot: Slot,
    /// When it came.
    pub now: Instant,
    /// What it says.
    pub load: &'a LoadReport,
    /// Whether it answers a probe the picker asked for by [`PickArgs::probe`](crate::PickArgs::probe).
    pub probed: bool,
}

impl<'a> Reported<'a> {
    /// A report out of band.
    pub fn out_of_band(slot: Slot, now: Instant, load: &'a LoadReport) -> Self {
        Self { slot, now, load, probed: false }
    }

    /// The answer to a probe.
    pub fn probe(slot: Slot, now: Instant, load: &'a LoadReport) -> Self {
        Self { slot, now, load, probed: true }
    }
}

/// Learns from calls and reports. Must not block, and takes no lock: it runs where calls end.
pub trait Feedback: fmt::Debug + Send + Sync + 'static {
    /// An attempt that one of the policy's pickers placed has ended.
    fn finished(&self, done: &Done<'_>);

    /// An endpoint reported its load without a call.
    fn reported(&self, _report: &Reported<'_>) {}
}
