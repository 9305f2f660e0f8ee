//! Picking: the question a call asks and the answers it can get.
//!
//! A [`Picker`] is an immutable value built from one view of the subchannels. It runs on the caller's task for every attempt, so
//! it takes no lock and allocates nothing.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use http::HeaderMap;
use serde::Serialize;

use crate::feedback::Feedback;
use crate::hints::PickHints;
use crate::scratch::Scratch;
use crate::slot::Slot;

/// Chooses a subchannel for an attempt.
pub trait Picker: fmt::Debug + Send + Sync + 'static {
    /// Chooses. Must not block, lock or allocate (but for the error of a failed pick).
    fn pick(&self, args: &mut PickArgs<'_>) -> PickResult;

    /// The same choice among fewer endpoints: those whose slot `keep` accepts. Called off the fast path, once per generation and
    /// constraint, and remembered. With nothing left the answer must be a picker that fails.
    fn restrict(&self, keep: &dyn Fn(Slot) -> bool) -> Arc<dyn Picker>;

    /// Why: one row per endpoint it chooses among.
    fn explain(&self, args: &mut PickArgs<'_>) -> Vec<Score>;

    /// Who wants to hear how the calls end that this picker places; a restriction of the picker answers the same. Costs a shared
    /// count per call, so only a policy that learns what [`EndpointStats`](crate::EndpointStats) does not know has one.
    fn feedback(&self) -> Option<&Arc<dyn Feedback>> {
        None
    }
}

/// What a picker may look at, and what it may change.
#[derive(Debug)]
#[non_exhaustive]
pub struct PickArgs<'a> {
    /// The time of the pick.
    pub now: Instant,
    /// The call's path, such as `/orders.v1.Orders/Place`.
    pub method: &'a str,
    /// The call's metadata.
    pub headers: &'a HeaderMap,
    /// The call's wishes.
    pub hints: &'a PickHints,
    /// Where earlier attempts of this call went; a picker avoids them while it has others.
    pub tried: &'a [Slot],
    /// The channel clone's own generator and turn counters.
    pub scratch: &'a mut Scratch,
    /// For the picker to set: comes back in [`Done::token`](crate::Done::token) when the call has ended.
    pub token: u64,
    /// For the picker to set, if it chose by a hash of the call's key: that hash. Calls of one key then meet the same fate at an endpoint
    /// with a lesser [share](crate::SubchannelView::share).
    pub key: Option<u64>,
    /// Drawn once for a call whose own wishes choose, and whose fate at endpoints of lesser share hangs on it.
    pub(crate) lot: Option<u64>,
    /// For the picker to set: an endpoint whose load it would like to know soon. The channel asks the server, if that can answer,
    /// and tells the policy's [`Feedback`]; the call does not wait for it.
    pub probe: Option<Slot>,
    /// For the picker to set: an endpoint to be connected for calls to come. Unlike for [`PickResult::Connect`], this call does not
    /// wait for it.
    pub connect: Option<Slot>,
}

impl<'a> PickArgs<'a> {
    /// Arguments for a first attempt.
    pub fn new(now: Instant, method: &'a str, headers: &'a HeaderMap, hints: &'a PickHints, scratch: &'a mut Scratch) -> Self {
        Self { now, method, headers, hints, tried: &[], scratch, token: 0, key: None, lot: None, probe: None, connect: None }
    }

    /// The same arguments for a later attempt.
    #[must_use]
    pub fn with_tried(mut self, tried: &'a [Slot]) -> Self {
        self.tried = tried;
        self
    }

    /// Whether an earlier attempt went to this slot. One comparison on a first attempt.
    #[inline]
    pub fn was_tried(&self, slot: Slot) -> bool {
        !self.tried.is_empty() && self.tried.contains(&slot)
    }
}

/// What a picker answers. Beside gRPC's four kinds (complete, queue, fail, drop) a lazy policy can ask for a connection.
#[derive(Debug, Clone)]
pub enum PickResult {
    /// Send the attempt there. If its transport has gone meanwhile the call asks again with the next generation.
    Pick(Slot),
    /// Connect that subchannel first; the call waits for the next generation.
    Connect(Slot),
    /// No decision yet: wait for the next generation.
    Queue,
    /// Nothing is reachable now: the call fails with UNAVAILABLE unless it waits for ready; a retry policy may retry it.
    Fail(PickError),
    /// The policy refuses the call: it fails even if it waits for ready, and is never retried.
    Drop(PickError),
}

/// Why a pick failed or was dropped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct PickError {
    /// For people: what is wrong with which endpoint.
    pub message: Arc<str>,
}

impl PickError {
    /// An error with a message for people.
    pub fn new(message: impl Into<Arc<str>>) -> Self {
        Self { message: message.into() }
    }
}

/// Why an endpoint is more or less likely to be picked.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Score {
    /// Which subchannel.
    #[serde(skip)]
    pub slot: Slot,
    /// The policy's own measure; more is better. For policies without one, the share of calls from 0 to 1.
    pub total: f64,
    /// What the total is made of.
    pub parts: Vec<(&'static str, f64)>,
    /// In words.
    pub reason: String,
}

impl Score {
    /// A score without parts.
    pub fn new(slot: Slot, total: f64, reason: impl Into<String>) -> Self {
        Self { slot, total, parts: Vec::new(), reason: reason.into() }
    }
}

/// A picker with one answer for everybody.
#[derive(Debug, Clone)]
pub struct Always(pub PickResult);

impl Always {
    /// Waits.
    pub fn queue() -> Arc<dyn Picker> {
        Arc::new(Self(PickResult::Queue))
    }

    /// Fails with this message.
    pub fn fail(message: impl Into<Arc<str>>) -> Arc<dyn Picker> {
        Arc::new(Self(PickResult::Fail(PickError::new(message))))
    }
}

impl Picker for Always {
    fn pick(&self, _args: &mut PickArgs<'_>) -> PickResult {
        self.0.clone()
    }

    fn restrict(&self, keep: &dyn Fn(Slot) -> bool) -> Arc<dyn Picker> {
        match self.0 {
            PickResult::Pick(slot) | PickResult::Connect(slot) if !keep(slot) => {
                Self::fail("no endpoint passes the call's restrictions")
            }
            _ => Arc::new(self.clone()),
        }
    }

    fn explain(&self, _args: &mut PickArgs<'_>) -> Vec<Score> {
        match &self.0 {
            PickResult::Pick(slot) => vec![Score::new(*slot, 1.0, "the only choice")],
            _ => Vec::new(),
        }
    }
}
