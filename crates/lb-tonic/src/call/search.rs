//! Looking for an endpoint until there is one, or none to be expected.

use std::sync::Arc;
use std::time::Duration;

use lb_core::{ConnectivityState, Scratch, Unfit};
use tokio::time::{Instant, timeout_at};

use crate::error::CallError;
use crate::queue::{Queued, Turn};
use crate::shared::Handle;
use crate::snapshot::ChannelSnapshot;

use super::guard::{Guard, Placement};
use super::head::Head;
use super::seek::{LastFailure, Picked, pick, pick_first};

/// When a call that waits because every endpoint is too busy looks again: no generation tells it that a call has ended somewhere. Then
/// after twice as long, and so on.
const FIRST_LOOK: Duration = Duration::from_millis(5);

/// The longest it waits between looks. Each may be linear in the endpoints, and many calls may wait.
const LAST_LOOK: Duration = Duration::from_millis(320);

/// How often a call looks again at once because an endpoint fits by the time the reasons are counted why none did. A policy may have
/// reasons of its own not to choose it.
const MOST_OVERTAKEN: u32 = 8;

/// Picks, and picks again with every new generation, until there is an endpoint or none to be expected. Cancel safe.
pub(crate) async fn find_endpoint(handle: &Handle, head: &mut Head, last_failure: &LastFailure) -> Result<Guard, CallError> {
    let found = search(handle, head, last_failure).await;
    match &found {
        Ok(_) => handle.shared().selection.picked(),
        Err(error) => {
            head.follow.not_placed(error);
            handle.shared().pick_failed(error);
        }
    }
    found
}

async fn search(handle: &Handle, head: &mut Head, last_failure: &LastFailure) -> Result<Guard, CallError> {
    let shared = handle.shared();
    let _waiting = shared.waiting();
    let mut generations = shared.generations();
    let mut search = Search::new(handle, head, last_failure);
    loop {
        // A caller that repeats failing calls without a pause must not keep the driver from ever running.
        tokio::task::coop::consume_budget().await;
        let snapshot = shared.snapshot.load_full();
        let generation = snapshot.core.generation;
        let next = search.look(&snapshot)?;
        // A call that waits must not keep alive what a newer generation lets go.
        drop(snapshot);
        let look_again = match next {
            Next::Found(guard) => return Ok(guard),
            Next::Look => continue,
            Next::Queue(until) => {
                search.wait_its_turn(until).await?;
                continue;
            }
            Next::Generation(look_again) => look_again,
        };
        let next = generations.wait_for(|newest| *newest > generation);
        let next = match look_again {
            Some(at) => timeout_at(at, next).await,
            None => Ok(next.await),
        };
        // No time left is no end.
        if let Ok(Err(_)) = next {
            return Err(CallError::Closed);
        }
    }
}

/// What a call does after a look.
enum Next {
    /// Goes there.
    Found(Guard),
    /// Looks again at once.
    Look,
    /// Waits in the channel's queue. Then, if known, it may be let through though nobody has left.
    Queue(Option<Instant>),
    /// Waits for the next generation, or until this time.
    Generation(Option<Instant>),
}

/// One call that looks for an endpoint.
struct Search<'a> {
    handle: &'a Handle,
    head: &'a mut Head,
    last_failure: &'a LastFailure,
    scratch: Scratch,
    /// Since when, for a call that does not know its config yet: only it has to look for it.
    unsettled_since: Option<Instant>,
    /// Until the next look of a call that nothing tells when to look.
    pause: Duration,
    queued: Option<Queued>,
    overtaken: u32,
}

impl<'a> Search<'a> {
    fn new(handle: &'a Handle, head: &'a mut Head, last_failure: &'a LastFailure) -> Self {
        let unsettled_since = (!head.configured.is_settled()).then(Instant::now);
        let (scratch, pause) = (handle.scratch(), FIRST_LOOK);
        Self { handle, head, last_failure, scratch, unsettled_since, pause, queued: None, overtaken: 0 }
    }

    /// Looks at a snapshot once.
    fn look(&mut self, snapshot: &ChannelSnapshot) -> Result<Next, CallError> {
        if snapshot.core.state == ConnectivityState::Shutdown {
            return Err(CallError::Closed);
        }
        self.settle(snapshot)?;
        self.head.follow.seeks(|| snapshot.core.is_resolved());
        self.head.survive(snapshot, &mut self.scratch)?;
        let picked = match self.queued {
            Some(_) => pick(self.handle, snapshot, self.head, &mut self.scratch),
            None => pick_first(self.handle, snapshot, self.head, &mut self.scratch),
        };
        if self.is_overtaken(&picked) {
            return Ok(Next::Look);
        }
        if let Some(until) = self.queues(&picked) {
            return Ok(Next::Queue(until));
        }
        // Whatever comes now is nothing the queue could help with.
        let queued = self.queued.take();
        if let Picked::Connected(placement) = picked {
            return Ok(self.take(placement, queued));
        }
        self.follow(picked, snapshot)
    }

    /// Learns what the service config says, if the call has not yet.
    fn settle(&mut self, snapshot: &ChannelSnapshot) -> Result<(), CallError> {
        let Some(since) = self.unsettled_since else { return Ok(()) };
        self.head.configure(&snapshot.rules);
        if self.head.configured.is_too_late(since) {
            return Err(CallError::DeadlineExceeded { waiting_for: self.last_failure.waiting_for() });
        }
        Ok(())
    }

    /// Whether the reasons why no endpoint fits were over before they were counted.
    fn is_overtaken(&mut self, picked: &Picked<'_>) -> bool {
        let over = matches!(picked, Picked::Unfit(unfit) if unfit.is_over()) && self.overtaken < MOST_OVERTAKEN;
        self.overtaken += u32::from(over);
        over
    }

    /// Whether a call that got this answer waits in the channel's queue, if it has one; and when the answer may change by itself.
    fn queues(&self, picked: &Picked<'_>) -> Option<Option<Instant>> {
        self.handle.queue()?;
        match picked {
            Picked::Full => Some(None),
            Picked::HomeFull { until, .. } => Some(*until),
            Picked::Unfit(unfit) if unfit.is_full() => Some(unfit.earliest_end().and_then(|end| Instant::now().checked_add(end))),
            _ => None,
        }
    }

    /// Goes to an endpoint, unless the driver has yet to hear that this connection is gone.
    fn take(&self, placement: Placement<'_>, queued: Option<Queued>) -> Next {
        if self.head.is_unusable(placement.connected) {
            return self.wait(None);
        }
        placement.connect.into_iter().for_each(|slot| self.handle.shared().inbox.connect(slot));
        let guard = Guard::new(placement);
        if let Some(queued) = queued {
            queued.served(guard.place());
        }
        Next::Found(guard)
    }

    /// Does what an answer asks for that is no endpoint.
    fn follow(&mut self, picked: Picked<'_>, snapshot: &ChannelSnapshot) -> Result<Next, CallError> {
        let inbox = &self.handle.shared().inbox;
        let waits = self.head.wait_for_ready(self.handle.config().wait_for_ready);
        let target = || Arc::clone(&self.handle.config().target);
        match picked {
            Picked::Connect(slot) => inbox.connect(slot),
            Picked::Wait if snapshot.core.state == ConnectivityState::Idle => inbox.exit_idle(),
            Picked::Await { connect, until } => {
                connect.into_iter().for_each(|slot| inbox.connect(slot));
                let until = *self.head.session_until.get_or_insert(until);
                return Ok(self.wait(Some(until)));
            }
            Picked::Fail(reason) if waits => self.last_failure.set(reason),
            // No generation tells that there is room again.
            Picked::HomeFull { reason, .. } if waits => {
                let look_again = self.next_look();
                self.last_failure.set(reason);
                return Ok(self.wait(Some(look_again)));
            }
            Picked::Fail(reason) | Picked::HomeFull { reason, .. } => {
                return Err(CallError::NoEndpoint { target: target(), reason });
            }
            Picked::Unfit(unfit) if waits => return Ok(self.wait_to_fit(&unfit)),
            Picked::Unfit(unfit) => return Err(self.handle.shared().limits.unplaced(target(), unfit)),
            Picked::Never(error) => return Err(self.never(error)),
            // Look again at once: another config has come while the call was waiting.
            Picked::MissingPolicy(name) if self.head.give_up_policy(&name) => return Ok(Next::Look),
            Picked::MissingPolicy(name) => self.handle.add_policy(&name, snapshot)?,
            // The endpoint has been taken, and the queue has just been taken away; there are no such ways.
            Picked::Wait | Picked::Connected(_) | Picked::Full => {}
        }
        Ok(self.wait(None))
    }

    /// Waits for the next generation, or until this time, or until the call knows how long it may wait for its config.
    fn wait(&self, until: Option<Instant>) -> Next {
        Next::Generation([until, self.head.configured.until()].into_iter().flatten().min())
    }

    /// Waits until an endpoint meets the call's conditions.
    fn wait_to_fit(&mut self, unfit: &Unfit) -> Next {
        let next_look = self.next_look();
        let look_again = unfit.is_load().then_some(next_look);
        self.last_failure.set(unfit.to_string().into());
        self.wait(look_again)
    }

    /// When a call looks again that nothing tells when to look.
    fn next_look(&mut self) -> Instant {
        let at = Instant::now() + self.pause;
        self.pause = (self.pause * 2).min(LAST_LOOK);
        at
    }

    fn never(&self, error: CallError) -> CallError {
        if let (CallError::TooManyRequests { .. }, Some(limit)) = (&error, self.handle.max_requests()) {
            limit.count_dropped();
        }
        error
    }

    /// Waits until the call shall look again: it has its turn.
    async fn wait_its_turn(&mut self, until: Option<Instant>) -> Result<(), CallError> {
        let (mut queued, next) = match (self.queued.take(), self.handle.queue()) {
            (Some(queued), _) => {
                let next = queued.found_nothing(until);
                (queued, next)
            }
            (None, Some(queue)) => {
                let hints = self.head.wishes();
                let bound = self.handle.sessions().is_some() && hints.is_some_and(|hints| hints.session.is_some());
                let queued = queue.join(hints, bound || self.head.session_home.is_some())?;
                let next = queued.first();
                (queued, next)
            }
            (None, None) => return Err(CallError::Closed),
        };
        if next == Turn::Wait {
            self.last_failure.queued(queued.at());
            queued.turn(self.head.configured.until()).await?;
        }
        self.queued = Some(queued);
        Ok(())
    }
}
