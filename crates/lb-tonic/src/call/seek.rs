//! Finding an endpoint: at once, or by waiting for one.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use lb_core::{Choice, ConnectivityState, PickArgs, PickHints, Scratch, Unfit};
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::error::{CallError, WaitingFor};
use crate::queue::{Queued, QueuedAt, Turn};
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

/// How often a call looks again at once because an endpoint fits by the time the reasons are counted why none did. A policy may have
/// reasons of its own not to choose it.
const MOST_OVERTAKEN: u32 = 8;

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
    /// As many attempts as the channel may have are in flight, or the free places are for calls that wait already: join the queue.
    Full,
}

/// The first look of a call: one that is free to go where others do not wait already.
#[inline]
pub(crate) fn pick_first<'a>(handle: &Handle, snapshot: &'a ChannelSnapshot, head: &Head, scratch: &mut Scratch) -> Picked<'a> {
    match handle.queue() {
        Some(queue) if queue.must_join() => Picked::Full,
        _ => pick(handle, snapshot, head, scratch),
    }
}

/// Looks where the call's session is, or asks a snapshot for an endpoint.
#[inline]
pub(crate) fn pick<'a>(handle: &Handle, snapshot: &'a ChannelSnapshot, head: &Head, scratch: &mut Scratch) -> Picked<'a> {
    let slot = match handle.max_requests().map(|limit| (limit, limit.begin())) {
        Some((_, None)) if handle.queue().is_some() => return Picked::Full,
        Some((limit, None)) => return Picked::Never(CallError::TooManyRequests { max: limit.max() }),
        Some((_, slot)) => slot,
        None => None,
    };
    let mut picked = match handle.sessions() {
        Some(sessions) => sessions.pick(handle.shared(), snapshot, head, scratch),
        None => pick_by_policy(snapshot, head, scratch),
    };
    if let (Picked::Connected(placement), Some(hints)) = (&mut picked, &head.hints) {
        placement.extra = hints.cost.saturating_sub(1);
    }
    if let Picked::Connected(placement) = &mut picked {
        // With neither there is nothing that others could wait for.
        if slot.is_some() || placement.permit.is_some() {
            placement.queue = handle.queue().cloned();
        }
        placement.slot = slot;
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
                let (tie, extra, slot, queue) = (None, 0, None, None);
                Picked::Connected(Placement {
                    connected,
                    at,
                    token,
                    feedback,
                    connect,
                    tie,
                    reads_load,
                    extra,
                    permit,
                    slot,
                    queue,
                })
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

/// Why a seek takes long, for the error of a call whose deadline passes meanwhile.
#[derive(Debug, Clone, Default)]
pub(crate) struct LastFailure(Arc<Mutex<Reason>>);

#[derive(Debug, Clone, Default)]
enum Reason {
    #[default]
    Unknown,
    Failure(Arc<str>),
    Queued(QueuedAt),
}

impl LastFailure {
    fn set(&self, reason: Arc<str>) {
        self.put(Reason::Failure(reason));
    }

    fn put(&self, reason: Reason) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = reason;
    }

    fn waiting_for(&self) -> WaitingFor {
        let reason = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match reason {
            Reason::Unknown => WaitingFor::Endpoint(None),
            Reason::Failure(failure) => WaitingFor::Endpoint(Some(failure)),
            Reason::Queued(at) => match at.place() {
                Some((place, of)) => WaitingFor::Queue { place, of },
                None => WaitingFor::Endpoint(None),
            },
        }
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
            _ => self.last_failure.waiting_for(),
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
    let mut queued: Option<Queued> = None;
    let mut overtaken = 0;
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
                return Err(CallError::DeadlineExceeded { waiting_for: last_failure.waiting_for() });
            }
        }
        let waits = head.wait_for_ready(handle.config().wait_for_ready);
        let mut look_again = None;
        let picked = match queued {
            Some(_) => pick(handle, &snapshot, head, &mut scratch),
            None => pick_first(handle, &snapshot, head, &mut scratch),
        };
        if let Picked::Unfit(unfit) = &picked
            && unfit.is_over()
            && overtaken < MOST_OVERTAKEN
        {
            overtaken += 1;
            continue;
        }
        if let Some(until) = waits_its_turn(handle, &picked) {
            queued = Some(wait_its_turn(handle, head, (queued, until), last_failure).await?);
            continue;
        }
        // Whatever comes now is nothing the queue could help with.
        let queued = queued.take();
        match picked {
            // The driver has yet to hear that this connection is gone.
            Picked::Connected(placement) if head.is_unusable(placement.connected) => {}
            Picked::Connected(placement) => {
                placement.connect.into_iter().for_each(|slot| shared.inbox.connect(slot));
                let guard = Guard::new(placement);
                if let Some(queued) = queued {
                    queued.served(guard.place());
                }
                return Ok(guard);
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
            Picked::Never(error) => {
                if let (CallError::TooManyRequests { .. }, Some(limit)) = (&error, handle.max_requests()) {
                    limit.count_dropped();
                }
                return Err(error);
            }
            // Look again at once: another config has come while the call was waiting.
            Picked::MissingPolicy(name) if head.give_up_policy(&name) => continue,
            Picked::MissingPolicy(name) => handle.add_policy(&name, &snapshot)?,
            // The queue has just been taken away; there is no such way.
            Picked::Full => {}
        }
        let look_again = [look_again, head.configured.until()].into_iter().flatten().min();
        drop(queued);
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

/// Whether a call that got this answer waits in the channel's queue, if it has one; and when the answer may change by itself.
fn waits_its_turn(handle: &Handle, picked: &Picked<'_>) -> Option<Option<Instant>> {
    handle.queue()?;
    match picked {
        Picked::Full => Some(None),
        Picked::Unfit(unfit) if unfit.is_full() => Some(unfit.earliest_end().and_then(|end| Instant::now().checked_add(end))),
        _ => None,
    }
}

/// Waits until a call shall look again: it has its turn.
async fn wait_its_turn(
    handle: &Handle,
    head: &Head,
    (queued, until): (Option<Queued>, Option<Instant>),
    last_failure: &LastFailure,
) -> Result<Queued, CallError> {
    let (mut queued, next) = match (queued, handle.queue()) {
        (Some(queued), _) => {
            let next = queued.found_nothing(until);
            (queued, next)
        }
        (None, Some(queue)) => {
            let hints = head.wishes();
            let bound = handle.sessions().is_some() && hints.is_some_and(|hints| hints.session.is_some());
            let queued = queue.join(hints, bound || head.session_home.is_some())?;
            let next = queued.first();
            (queued, next)
        }
        (None, None) => return Err(CallError::Closed),
    };
    if next == Turn::Wait {
        last_failure.put(Reason::Queued(queued.at()));
        queued.turn(head.configured.until()).await?;
    }
    Ok(queued)
}
