//! Finding an endpoint: at once, or by waiting for one.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use lb_core::{ConnectivityState, PickArgs, PickHints, PickResult, Picker, Scratch};
use tokio::time::Instant;

use crate::error::CallError;
use crate::shared::Handle;
use crate::snapshot::ChannelSnapshot;

use super::guard::{Guard, Placement};
use super::head::Head;
use super::request_body::Content;

/// A call that has no endpoint yet.
#[derive(Debug)]
pub(crate) struct Seek {
    pub(crate) head: Head,
    pub(crate) content: Content,
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
    /// The call cannot succeed.
    Never(CallError),
    /// The channel does not have the policy the call asks for, yet.
    MissingPolicy(Arc<str>),
}

/// Looks where the call's session is, or asks a snapshot's picker.
#[inline]
pub(crate) fn pick<'a>(handle: &Handle, snapshot: &'a ChannelSnapshot, head: &Head, scratch: &mut Scratch) -> Picked<'a> {
    match handle.sessions() {
        Some(sessions) => sessions.pick(handle.shared(), snapshot, head, scratch),
        None => pick_by_policy(snapshot, head, scratch),
    }
}

/// Asks a snapshot's picker.
#[inline]
pub(crate) fn pick_by_policy<'a>(snapshot: &'a ChannelSnapshot, head: &Head, scratch: &mut Scratch) -> Picked<'a> {
    let Some(hints) = &head.hints else {
        return match snapshot.core.picker(None) {
            Some(picker) => pick_from(snapshot, &**picker, head, &PickHints::default(), scratch),
            None => Picked::Wait,
        };
    };
    let policy = hints.policy.as_deref();
    let picked = if hints.restricts() {
        snapshot.restricted(hints).map(|picker| pick_from(snapshot, &*picker, head, hints, scratch))
    } else {
        snapshot.core.picker(policy).map(|picker| pick_from(snapshot, &**picker, head, hints, scratch))
    };
    picked.unwrap_or_else(|| Picked::MissingPolicy(hints.policy.clone().unwrap_or_default()))
}

#[inline]
fn pick_from<'a>(
    snapshot: &'a ChannelSnapshot,
    picker: &dyn Picker,
    head: &Head,
    hints: &PickHints,
    scratch: &mut Scratch,
) -> Picked<'a> {
    let at = Instant::now();
    let mut args = PickArgs::new(at.into_std(), head.uri.path(), &head.headers, hints, scratch).with_tried(&head.tried);
    let result = picker.pick(&mut args);
    let (token, probe, connect) = (args.token, args.probe, args.connect);
    if let Some(slot) = probe {
        snapshot.probe(slot);
    }
    match result {
        PickResult::Pick(slot) => {
            let (feedback, reads_load) = (|| picker.feedback().cloned(), snapshot.core.load_reports.per_call);
            let place = |connected| {
                Picked::Connected(Placement { connected, at, token, feedback: feedback(), connect, tie: None, reads_load })
            };
            snapshot.connected(slot).map_or(Picked::Wait, place)
        }
        PickResult::Connect(slot) => Picked::Connect(slot),
        PickResult::Queue => Picked::Wait,
        PickResult::Fail(error) => Picked::Fail(error.message),
        PickResult::Drop(error) => Picked::Never(CallError::Dropped { reason: error.message }),
    }
}

type Found = Result<(Box<Seek>, Guard), CallError>;

/// A seek on its way, and the last reason there was for its taking long.
pub(crate) struct Seeking {
    future: Pin<Box<dyn Future<Output = Found> + Send>>,
    last_failure: LastFailure,
}

#[derive(Debug, Clone, Default)]
struct LastFailure(Arc<Mutex<Option<Arc<str>>>>);

impl LastFailure {
    fn set(&self, reason: Arc<str>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason);
    }

    fn get(&self) -> Option<Arc<str>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Seeking {
    pub(crate) fn new(handle: Arc<Handle>, seek: Seek) -> Self {
        let last_failure = LastFailure::default();
        Self { future: Box::pin(find(handle, Box::new(seek), last_failure.clone())), last_failure }
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Found> {
        self.future.as_mut().poll(cx)
    }

    pub(crate) fn last_failure(&self) -> Option<Arc<str>> {
        self.last_failure.get()
    }
}

/// Picks, and picks again with every new generation, until there is an endpoint or none to be expected.
async fn find(handle: Arc<Handle>, mut seek: Box<Seek>, last_failure: LastFailure) -> Found {
    let shared = handle.shared();
    let _waiting = shared.waiting();
    let mut generations = shared.generations();
    let mut scratch = handle.scratch();
    loop {
        // A caller that repeats failing calls without a pause must not keep the driver from ever running.
        tokio::task::coop::consume_budget().await;
        let snapshot = shared.snapshot.load_full();
        let generation = snapshot.core.generation;
        if snapshot.core.state == ConnectivityState::Shutdown {
            return Err(CallError::Closed);
        }
        let mut give_up = None;
        match pick(&handle, &snapshot, &seek.head, &mut scratch) {
            // The driver has yet to hear that this connection is gone.
            Picked::Connected(placement) if seek.head.is_unusable(placement.connected) => {}
            Picked::Connected(placement) => {
                placement.connect.into_iter().for_each(|slot| shared.inbox.connect(slot));
                return Ok((seek, Guard::new(placement)));
            }
            Picked::Connect(slot) => shared.inbox.connect(slot),
            Picked::Wait if snapshot.core.state == ConnectivityState::Idle => shared.inbox.exit_idle(),
            Picked::Wait => {}
            Picked::Await { connect, until } => {
                connect.into_iter().for_each(|slot| shared.inbox.connect(slot));
                give_up = Some(*seek.head.session_until.get_or_insert(until));
            }
            Picked::Fail(reason) if seek.head.wait_for_ready(handle.config().wait_for_ready) => last_failure.set(reason),
            Picked::Fail(reason) => return Err(CallError::NoEndpoint { target: handle.config().target.clone(), reason }),
            Picked::Never(error) => return Err(error),
            Picked::MissingPolicy(name) => handle.add_policy(&name, &snapshot)?,
        }
        let next = generations.wait_for(|newest| *newest > generation);
        let next = match give_up {
            Some(until) => tokio::time::timeout_at(until, next).await,
            None => Ok(next.await),
        };
        if let Ok(Err(_)) = next {
            return Err(CallError::Closed);
        }
    }
}
