//! Finding an endpoint: at once, or by waiting for one.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use lb_core::{Choice, ConnectivityState, PickArgs, PickHints, Scratch, Unfit};
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::error::{CallError, WaitingFor};
use crate::shared::Handle;
use crate::snapshot::ChannelSnapshot;

use super::guard::{Guard, Placement};
use super::head::Head;
use super::request_body::Content;

/// When a call that waits because every endpoint is too busy looks again: no generation tells it that a call has ended somewhere. Then
/// after twice as long, and so on.
const FIRST_LOOK: Duration = Duration::from_millis(5);

/// The longest it waits between looks. Each may be linear in the endpoints, and many calls may wait.
const LAST_LOOK: Duration = Duration::from_millis(320);

/// A call that has no endpoint yet.
#[derive(Debug)]
pub(crate) struct Seek {
    pub(crate) head: Head,
    pub(crate) content: Content,
    /// Whether the call began to look before it could know its config.
    pub(super) was_unsettled: bool,
}

impl Seek {
    pub(super) fn new(head: Head, content: Content) -> Self {
        let was_unsettled = !head.configured.is_settled();
        Self { head, content, was_unsettled }
    }
}

/// What one look at a snapshot yields.
pub(crate) enum Picked<'a> {
    /// Send the call there.
    Connected(Placement<'a>),
    /// Connect this one first.
    Connect(lb_core::Slot),
    /// Wait for the next generation.
    Wait,
    /// Wait for the next generation or until this time, for the endpoint of the call's session, which has to be connected first.
    Await { connect: Option<lb_core::Slot>, until: Instant },
    /// Wait if the call waits for ready, else fail.
    Fail(Arc<str>),
    /// Wait if the call waits for ready, else fail: no endpoint meets its conditions.
    Unfit(Box<Unfit>),
    /// The call cannot succeed.
    Never(CallError),
    /// The channel does not have the policy the call asks for, yet.
    MissingPolicy(Arc<str>),
}

/// Looks where the call's session is, or asks a snapshot for an endpoint.
#[inline]
pub(crate) fn pick<'a>(handle: &Handle, snapshot: &'a ChannelSnapshot, head: &Head, scratch: &mut Scratch) -> Picked<'a> {
    let mut picked = match handle.sessions() {
        Some(sessions) => sessions.pick(handle.shared(), snapshot, head, scratch),
        None => pick_by_policy(snapshot, head, scratch),
    };
    if let (Picked::Connected(placement), Some(hints)) = (&mut picked, &head.hints) {
        placement.extra = hints.cost.saturating_sub(1);
    }
    picked
}

/// Asks a snapshot for an endpoint that meets the call's wishes.
#[inline]
pub(crate) fn pick_by_policy<'a>(snapshot: &'a ChannelSnapshot, head: &Head, scratch: &mut Scratch) -> Picked<'a> {
    let none = PickHints::default();
    let hints = head.wishes().unwrap_or(&none);
    let at = Instant::now();
    let mut args = PickArgs::new(at.into_std(), head.uri.path(), &head.headers, hints, scratch).with_tried(&head.tried);
    let choice = snapshot.core.choose(&mut args);
    let (token, probe, connect) = (args.token, args.probe, args.connect);
    if let Some(slot) = probe {
        snapshot.probe(slot);
    }
    match choice {
        Choice::Pick { slot, feedback, permit } => {
            let reads_load = snapshot.core.load_reports.per_call;
            let place = |connected| {
                let feedback = feedback.cloned();
                Picked::Connected(Placement { connected, at, token, feedback, connect, tie: None, reads_load, extra: 0, permit })
            };
            snapshot.connected(slot).map_or(Picked::Wait, place)
        }
        Choice::Connect(slot) => Picked::Connect(slot),
        Choice::Queue => Picked::Wait,
        Choice::Fail(error) => Picked::Fail(error.message),
        Choice::Drop(error) => Picked::Never(CallError::Dropped { reason: error.message }),
        Choice::Unfit(unfit) => Picked::Unfit(unfit),
        Choice::UnknownPolicy => Picked::MissingPolicy(hints.policy.clone().unwrap_or_default()),
        // The core may learn to answer more than this channel knows.
        _ => Picked::Wait,
    }
}

type Found = Result<(Box<Seek>, Guard), (Box<Seek>, CallError)>;

/// A wait before another attempt.
#[derive(Debug)]
pub(crate) struct Backoff {
    pub(crate) until: Instant,
    /// Which attempt it comes before.
    pub(crate) attempt: u32,
    /// Why there has to be one.
    pub(crate) last: Arc<str>,
}

/// A seek on its way, and the last reason there was for its taking long.
pub(crate) struct Seeking {
    future: Pin<Box<dyn Future<Output = Found> + Send>>,
    last_failure: LastFailure,
    backoff: Option<Box<Backoff>>,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct LastFailure(Arc<Mutex<Option<Arc<str>>>>);

impl LastFailure {
    fn set(&self, reason: Arc<str>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason);
    }

    fn get(&self) -> Option<Arc<str>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Seeking {
    /// Begins to seek, after this wait if any.
    pub(crate) fn new(handle: Arc<Handle>, seek: Seek, backoff: Option<Backoff>) -> Self {
        let last_failure = LastFailure::default();
        let begin = backoff.as_ref().map(|backoff| backoff.until);
        let future = Box::pin(find(handle, Box::new(seek), last_failure.clone(), begin));
        Self { future, last_failure, backoff: backoff.map(Box::new) }
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Found> {
        self.future.as_mut().poll(cx)
    }

    /// What the call waits for now.
    pub(crate) fn waiting_for(&self, now: Instant) -> WaitingFor {
        match &self.backoff {
            Some(backoff) if now < backoff.until => {
                WaitingFor::Backoff { attempt: backoff.attempt, last: Arc::clone(&backoff.last) }
            }
            _ => WaitingFor::Endpoint(self.last_failure.get()),
        }
    }
}

async fn find(handle: Arc<Handle>, mut seek: Box<Seek>, last_failure: LastFailure, begin: Option<Instant>) -> Found {
    if let Some(begin) = begin {
        sleep_until(begin).await;
    }
    match find_endpoint(&handle, &mut seek.head, &last_failure).await {
        Ok(guard) => Ok((seek, guard)),
        Err(error) => Err((seek, error)),
    }
}

/// Picks, and picks again with every new generation, until there is an endpoint or none to be expected. Cancel safe.
pub(crate) async fn find_endpoint(handle: &Handle, head: &mut Head, last_failure: &LastFailure) -> Result<Guard, CallError> {
    let shared = handle.shared();
    let _waiting = shared.waiting();
    let mut generations = shared.generations();
    let mut scratch = handle.scratch();
    // Only a call that does not know its config yet has to look for it.
    let started = (!head.configured.is_settled()).then(Instant::now);
    let target = || Arc::clone(&handle.config().target);
    let mut pause = FIRST_LOOK;
    loop {
        // A caller that repeats failing calls without a pause must not keep the driver from ever running.
        tokio::task::coop::consume_budget().await;
        let snapshot = shared.snapshot.load_full();
        let generation = snapshot.core.generation;
        if snapshot.core.state == ConnectivityState::Shutdown {
            return Err(CallError::Closed);
        }
        if let Some(started) = started {
            head.configure(&snapshot.rules);
            if head.configured.is_too_late(started) {
                return Err(CallError::DeadlineExceeded { waiting_for: WaitingFor::Endpoint(last_failure.get()) });
            }
        }
        let waits = head.wait_for_ready(handle.config().wait_for_ready);
        let mut look_again = None;
        match pick(handle, &snapshot, head, &mut scratch) {
            // The driver has yet to hear that this connection is gone.
            Picked::Connected(placement) if head.is_unusable(placement.connected) => {}
            Picked::Connected(placement) => {
                placement.connect.into_iter().for_each(|slot| shared.inbox.connect(slot));
                return Ok(Guard::new(placement));
            }
            Picked::Connect(slot) => shared.inbox.connect(slot),
            Picked::Wait if snapshot.core.state == ConnectivityState::Idle => shared.inbox.exit_idle(),
            Picked::Wait => {}
            Picked::Await { connect, until } => {
                connect.into_iter().for_each(|slot| shared.inbox.connect(slot));
                look_again = Some(*head.session_until.get_or_insert(until));
            }
            Picked::Fail(reason) if waits => last_failure.set(reason),
            Picked::Fail(reason) => return Err(CallError::NoEndpoint { target: target(), reason }),
            Picked::Unfit(unfit) if waits => {
                look_again = unfit.is_load().then(|| Instant::now() + pause);
                pause = (pause * 2).min(LAST_LOOK);
                last_failure.set(unfit.to_string().into());
            }
            Picked::Unfit(unfit) => return Err(handle.shared().limits.unplaced(target(), unfit)),
            Picked::Never(error) => return Err(error),
            // Look again at once: another config has come while the call was waiting.
            Picked::MissingPolicy(name) if head.give_up_policy(&name) => continue,
            Picked::MissingPolicy(name) => handle.add_policy(&name, &snapshot)?,
        }
        let look_again = [look_again, head.configured.until()].into_iter().flatten().min();
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
