//! One call in the queue.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use lb_core::queue::{Left, Passed, Ticket, Waiter};
use lb_core::{Endpoint, PickHints};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use crate::error::CallError;

use super::{CallQueue, LOOK_AGAIN, ring};

/// What the queue knows of a call, and how it is woken.
#[derive(Debug, Clone)]
pub(super) struct Bell(Arc<Known>);

#[derive(Debug)]
struct Known {
    hints: Option<Box<PickHints>>,
    any: bool,
    rung: Notify,
    displaced: AtomicBool,
}

impl Bell {
    pub(super) fn ring(&self) {
        self.0.rung.notify_one();
    }
}

/// A place at this endpoint; `None` is one at any.
#[derive(Debug, Clone)]
pub(super) struct Place(pub(super) Option<Arc<Endpoint>>);

impl PartialEq for Place {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_ref().map(|endpoint| endpoint.key()) == other.0.as_ref().map(|endpoint| endpoint.key())
    }
}

impl Waiter for Bell {
    type Place = Place;

    fn fits(&self, place: &Place) -> bool {
        match (&place.0, &self.0.hints) {
            (Some(endpoint), Some(hints)) => hints.allows(endpoint),
            _ => true,
        }
    }

    fn takes_any(&self) -> bool {
        self.0.any
    }
}

/// A call's place in the queue. Dropped without having been served, it leaves nothing, and its turn goes on.
#[derive(Debug)]
pub(crate) struct Queued {
    queue: Arc<CallQueue>,
    bell: Bell,
    ticket: Ticket,
    since: Instant,
    how: Left,
    /// Whether it joined with its turn.
    look: bool,
}

/// What a call does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Look for an endpoint.
    Look,
    /// Wait to be woken.
    Wait,
}

/// Where a call waits, to be read when it has waited too long.
#[derive(Debug, Clone)]
pub(crate) struct QueuedAt {
    queue: Arc<CallQueue>,
    ticket: Ticket,
}

impl QueuedAt {
    /// Its place from 1, and how many wait.
    pub(crate) fn place(&self) -> Option<(usize, usize)> {
        self.queue.line.read(|queue| queue.position(self.ticket))
    }
}

impl Queued {
    /// Joins. `bound` is a call that something else than its wishes ties to an endpoint.
    pub(super) fn join(queue: Arc<CallQueue>, hints: Option<&PickHints>, bound: bool) -> Result<Self, CallError> {
        let any = !bound && hints.is_none_or(|hints| !hints.constrains());
        let (rung, displaced) = (Notify::new(), AtomicBool::new(false));
        let hints_known = hints.filter(|_| !any).cloned().map(Box::new);
        let bell = Bell(Arc::new(Known { hints: hints_known, any, rung, displaced }));
        let since = Instant::now();
        let priority = hints.map_or(0, |hints| hints.priority);
        let joined = queue.line.join(since.into_std(), priority, bell.clone());
        let joined = joined.map_err(|full| queue.full(full.waiting, false))?;
        if let Some(displaced) = joined.displaced {
            displaced.0.displaced.store(true, Ordering::Release);
            displaced.ring();
        }
        Ok(Self { queue, bell, ticket: joined.ticket, since, how: Left::GaveUp, look: joined.look })
    }

    /// What it does after it has joined.
    pub(crate) fn first(&self) -> Turn {
        if self.look { Turn::Look } else { Turn::Wait }
    }

    /// It has looked and found nothing. `until` is when that may change by itself, where that is known.
    pub(crate) fn found_nothing(&self, until: Option<Instant>) -> Turn {
        let again = Instant::now() + LOOK_AGAIN;
        self.queue.look_at(until.map_or(again, |until| until.min(again)));
        match self.queue.line.pass(self.ticket) {
            Passed::LookAgain => Turn::Look,
            Passed::Wait(next) => {
                ring(next);
                Turn::Wait
            }
        }
    }

    /// Waits for its turn, or until the deadline that the call has learnt of while it waited. Cancel safe.
    pub(crate) async fn turn(&mut self, deadline: Option<Instant>) -> Result<(), CallError> {
        let longest = self.since.checked_add(self.queue.config.max_wait);
        let until = [longest, deadline].into_iter().flatten().min();
        let rung = self.bell.0.rung.notified();
        let in_time = match until {
            Some(until) => timeout_at(until, rung).await.is_ok(),
            None => {
                rung.await;
                true
            }
        };
        if self.bell.0.displaced.load(Ordering::Acquire) {
            return Err(self.queue.full(self.queue.line.waiting(), true));
        }
        if in_time || until < longest {
            return Ok(());
        }
        let (place, of) = self.at().place().unwrap_or_default();
        self.how = Left::TimedOut;
        Err(CallError::QueueTimeout { waited: self.since.elapsed(), place, of })
    }

    pub(crate) fn at(&self) -> QueuedAt {
        QueuedAt { queue: Arc::clone(&self.queue), ticket: self.ticket }
    }

    /// It has found a place, at this endpoint or anywhere.
    pub(crate) fn served(self, endpoint: Option<&Arc<Endpoint>>) {
        ring(self.queue.line.serve(self.ticket, Instant::now().into_std(), &Place(endpoint.cloned())));
    }
}

impl Drop for Queued {
    fn drop(&mut self) {
        ring(self.queue.line.leave(self.ticket, Instant::now().into_std(), self.how));
    }
}
