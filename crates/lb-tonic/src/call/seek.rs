//! Finding an endpoint: at a look, or by [searching](super::search) for one.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::task::{Context, Poll};

use lb_core::{Choice, PickArgs, PickHints, Scratch, Unfit};
use tokio::time::{Instant, sleep_until};

use crate::error::{CallError, WaitingFor};
use crate::queue::QueuedAt;
use crate::request_limit::RequestSlot;
use crate::shared::Handle;
use crate::snapshot::ChannelSnapshot;

use super::guard::{Guard, Placement};
use super::head::Head;
use super::request_body::Content;
use super::search::find_endpoint;

/// Made once: to make and drop one for every call shows in a profile.
static NO_WISHES: LazyLock<PickHints> = LazyLock::new(PickHints::default);

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
    /// Join the queue; without one as for `Fail`. The endpoint that the call's session may not leave has enough to do, until then if known.
    HomeFull { reason: Arc<str>, until: Option<Instant> },
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
    take(handle, head, slot, &mut picked);
    picked
}

/// Takes what the attempt takes of limits and capacity.
fn take(handle: &Handle, head: &Head, slot: Option<RequestSlot>, picked: &mut Picked<'_>) {
    let Picked::Connected(placement) = picked else { return };
    if let Some(hints) = &head.hints {
        placement.extra = hints.cost.saturating_sub(1);
    }
    // With neither there is nothing that others could wait for.
    if slot.is_some() || placement.permit.is_some() {
        placement.queue = handle.queue().cloned();
    }
    placement.slot = slot;
}

/// Asks a snapshot for an endpoint that meets the call's wishes.
pub(crate) fn pick_by_policy<'a>(snapshot: &'a ChannelSnapshot, head: &Head, scratch: &mut Scratch) -> Picked<'a> {
    ask(snapshot, head, scratch, Picked::Connected, |other| other)
}

/// The same, for who goes on with the answer where it is made: `placed` with an endpoint, `other` with anything else.
#[inline]
pub(crate) fn ask<'a, T>(
    snapshot: &'a ChannelSnapshot,
    head: &Head,
    scratch: &mut Scratch,
    placed: impl FnOnce(Placement<'a>) -> T,
    other: impl FnOnce(Picked<'a>) -> T,
) -> T {
    let hints = head.wishes().unwrap_or_else(|| &NO_WISHES);
    let at = Instant::now();
    let (path, headers) = (head.request.uri.path(), &head.request.headers);
    let mut args = PickArgs::new(at.into_std(), path, headers, hints, scratch).with_tried(&head.tried);
    let choice = snapshot.core.choose(&mut args);
    let (token, probe, connect) = (args.token, args.probe, args.connect);
    if let Some(slot) = probe {
        snapshot.probe(slot);
    }
    other(match choice {
        Choice::Pick { slot, feedback, permit } => match snapshot.connected(slot) {
            Some(connected) => {
                let (reads_load, feedback) = (snapshot.core.load_reports.per_call, feedback.cloned());
                let (tie, extra, slot, queue) = (None, 0, None, None);
                return placed(Placement { connected, at, token, feedback, connect, tie, reads_load, extra, permit, slot, queue });
            }
            None => Picked::Wait,
        },
        Choice::Connect(slot) => Picked::Connect(slot),
        Choice::Queue => Picked::Wait,
        Choice::Fail(error) => Picked::Fail(error.message),
        Choice::Drop(error) => Picked::Never(CallError::Dropped { reason: error.message }),
        Choice::Unfit(unfit) => Picked::Unfit(unfit),
        Choice::UnknownPolicy => Picked::MissingPolicy(hints.policy.clone().unwrap_or_default()),
        // The core may learn to answer more than this channel knows.
        _ => Picked::Wait,
    })
}

/// Whether a call goes where a policy says without further ado: sessions, limits, queues and costs, which most calls do not have, have no say.
#[inline]
pub(crate) fn is_plain(handle: &Handle, head: &Head) -> bool {
    handle.max_requests().is_none() && head.hints.is_none() && handle.queue().is_none() && handle.sessions().is_none()
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
    pub(super) fn set(&self, reason: Arc<str>) {
        self.put(Reason::Failure(reason));
    }

    pub(super) fn queued(&self, at: QueuedAt) {
        self.put(Reason::Queued(at));
    }

    fn put(&self, reason: Reason) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = reason;
    }

    pub(super) fn waiting_for(&self) -> WaitingFor {
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
