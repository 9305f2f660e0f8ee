//! Counts a call at its endpoint for exactly as long as it lives, and tells those who learn from calls how it ended.

use std::sync::Arc;

use http::HeaderMap;
use lb_core::gate::Permit;
use lb_core::{Done, Endpoint, Feedback, LoadReport, Outcome, Slot};
use tokio::time::Instant;
use tonic::Code;

use crate::inspect::Tally;
use crate::load;
use crate::queue::CallQueue;
use crate::request_limit::RequestSlot;
use crate::sessions::Tie;
use crate::snapshot::Connected;

use super::trace::{AttemptWatch, Watched};

/// Where a picker placed an attempt.
#[derive(Debug)]
pub(crate) struct Placement<'a> {
    pub(crate) connected: &'a Arc<Connected>,
    pub(crate) at: Instant,
    /// The picker's own mark, told back to `feedback`.
    pub(crate) token: u64,
    pub(crate) feedback: Option<Arc<dyn Feedback>>,
    /// Another one the picker would like connected for later calls.
    pub(crate) connect: Option<Slot>,
    /// What binds the attempt to a session.
    pub(crate) tie: Option<Tie>,
    /// Whether a policy wants the report that comes with the call.
    pub(crate) reads_load: bool,
    /// What the call takes of the endpoint's capacity beyond one.
    pub(crate) extra: u32,
    /// The leave of the endpoint's gates, if it has any.
    pub(crate) permit: Option<Permit>,
    /// The channel's own count of attempts, if it has a limit.
    pub(crate) slot: Option<RequestSlot>,
    /// Those who wait for the place this attempt takes.
    pub(crate) queue: Option<Arc<CallQueue>>,
}

/// One attempt at one endpoint. Moves from the call's future into the response's body, so that dropping either ends it.
#[derive(Debug)]
pub(crate) struct Guard {
    pub(crate) connected: Arc<Connected>,
    /// How the attempt ends if it is dropped now.
    pub(crate) outcome: Outcome,
    code: Option<Code>,
    started: Instant,
    token: u64,
    feedback: Option<Arc<dyn Feedback>>,
    /// Ends with the attempt.
    pub(crate) tie: Option<Tie>,
    reads_load: bool,
    load: Option<Box<LoadReport>>,
    extra: u32,
    /// Tells who observes the attempt how it ends.
    pub(super) watch: Option<Watched>,
    /// Counts the call, if the attempt's end is the call's and its channel counts.
    pub(super) tally: Option<Tally>,
    /// What is given back when the attempt has ended.
    place: Place,
}

/// What limits have let the attempt have; empty without limits.
#[derive(Debug)]
struct Place {
    permit: Option<Permit>,
    slot: Option<RequestSlot>,
    queue: Option<Arc<CallQueue>>,
}

impl Place {
    /// Gives it back, to who waits for it.
    #[inline]
    fn leave(&mut self, connected: &Connected, done: &Done<'_>) {
        let Self { permit, slot, queue } = self;
        let (permit, slot, queue) = (permit.take(), slot.take(), queue.take());
        let endpoint = at(slot.as_ref(), connected);
        let give_back = || {
            if let Some(permit) = permit {
                permit.leave(done);
            }
            drop(slot);
        };
        match queue {
            Some(queue) => queue.free(endpoint, give_back),
            None => give_back(),
        }
    }
}

/// Where a place is: under the channel's own limit at any endpoint.
fn at<'a>(slot: Option<&RequestSlot>, connected: &'a Connected) -> Option<&'a Arc<Endpoint>> {
    slot.is_none().then_some(&connected.endpoint)
}

impl Guard {
    /// The endpoint of the place that the attempt takes; `None` if that is any.
    pub(crate) fn place(&self) -> Option<&Arc<Endpoint>> {
        at(self.place.slot.as_ref(), &self.connected)
    }

    #[inline]
    pub(crate) fn new(placement: Placement<'_>) -> Self {
        let Placement { connected, at, token, feedback, connect: _, tie, reads_load, extra, permit, slot, queue } = placement;
        connected.stats.begin();
        connected.stats.hold(extra);
        let (connected, outcome) = (Arc::clone(connected), Outcome::Cancelled);
        let place = Place { permit, slot, queue };
        Self {
            connected,
            outcome,
            code: None,
            started: at,
            token,
            feedback,
            tie,
            reads_load,
            load: None,
            extra,
            watch: None,
            tally: None,
            place,
        }
    }

    /// When it was picked.
    pub(super) fn started(&self) -> Instant {
        self.started
    }

    /// Who is told of the attempt, if anybody.
    #[inline]
    pub(super) fn watch(&mut self) -> Option<&mut AttemptWatch> {
        self.watch.as_mut()?.attempt()
    }

    /// What there is to say about the end of an attempt that failed, if anybody is told.
    #[inline]
    pub(super) fn explain<T: Into<Arc<str>>>(&mut self, message: impl FnOnce() -> T) {
        if let Some(watch) = self.watch() {
            watch.explain(message().into());
        }
    }

    /// The attempt ends with this code, if nothing else is said.
    #[inline]
    pub(crate) fn ends(&mut self, code: Code) {
        self.outcome = if code == Code::Ok { Outcome::Success } else { Outcome::Failure };
        self.code = Some(code);
        if let Some(watch) = self.watch() {
            watch.ends(code);
        }
    }

    /// The attempt ends as if it had been given up: nothing was learnt about the endpoint.
    pub(super) fn forget(&mut self) {
        self.outcome = Outcome::Cancelled;
        self.code = None;
    }

    /// Whether it has been said how it ends.
    pub(crate) fn has_ended(&self) -> bool {
        self.code.is_some()
    }

    /// Takes the report out of trailers, or headers that are trailers, if anybody wants it.
    #[inline]
    pub(crate) fn read_load(&mut self, trailers: &HeaderMap) {
        if self.reads_load {
            self.load = load::of_call(trailers, &self.connected.endpoint);
        }
    }
}

impl Drop for Guard {
    #[inline]
    fn drop(&mut self) {
        let now = Instant::now();
        let latency = now.saturating_duration_since(self.started);
        let done = Done::new(self.connected.slot, now.into_std(), latency, self.outcome);
        let done = done.with_token(self.token).with_code(self.code.map(i32::from)).with_load(self.load.as_deref());
        self.connected.stats.finish(&done);
        self.connected.stats.let_go(self.extra);
        if let Some(feedback) = &self.feedback {
            feedback.finished(&done);
        }
        self.place.leave(&self.connected, &done);
        if let Some(tally) = self.tally.take() {
            tally.end(self.code == Some(Code::Ok));
        }
        if let Some(watch) = self.watch.take() {
            watch.end(now, self.started, latency, &self.connected);
        }
    }
}
