//! What a call's head knows of its observers.

use std::sync::Arc;

use http::HeaderMap;
use tokio::time::Instant;

use crate::call::Guard;
use crate::call::request_body::RequestBody;
use crate::error::CallError;
use crate::observe::AttemptKind;

use super::{CallGuard, SharedCall, Watched};

/// Nothing, or the call and its next attempt as its observers see them.
#[derive(Default)]
pub(crate) struct Follow {
    /// The call, once it is shared.
    call: Option<Arc<SharedCall>>,
    /// Of a shared call, the attempt that an endpoint is sought for. Of another, the call until it has its attempt.
    watch: Option<Watched>,
    /// What the next attempt of a shared call is, and how many count before it.
    next: (AttemptKind, u32),
    /// Whether the call has waited for the resolver.
    unresolved: bool,
}

impl Follow {
    /// A call is observed that began then.
    pub(crate) fn observe(&mut self, mut begun: Watched, at: Instant) {
        begun.began(at);
        self.watch = Some(begun);
    }

    /// Lets others know of the call than the attempt it has, which is `placed` if it has an endpoint. Returns what ends the call; `None` if there is
    /// nobody to be told, or that was done before.
    pub(crate) fn share(&mut self, placed: Option<&mut Watched>) -> Option<CallGuard> {
        if self.call.is_some() {
            return None;
        }
        let call = match self.watch.take() {
            Some(mut alone) => alone.share()?,
            None => placed?.share()?,
        };
        self.call = Some(Arc::clone(&call));
        Some(CallGuard::new(call))
    }

    /// For an attempt beside others.
    pub(crate) fn fork(&self) -> Self {
        Self { call: self.call.clone(), ..Self::default() }
    }

    /// The next attempt is this, after so many that count.
    #[inline]
    pub(crate) fn next(&mut self, kind: AttemptKind, previous: u32) {
        self.next = (kind, previous);
    }

    /// An endpoint is being sought. The attempt begins when the names are known.
    #[inline]
    pub(crate) fn seeks(&mut self, resolved: impl FnOnce() -> bool) {
        if let Some(call) = &self.call
            && self.watch.is_none()
        {
            let (call, now) = (Arc::clone(call), Instant::now());
            if !resolved() {
                self.unresolved = true;
                return;
            }
            if std::mem::take(&mut self.unresolved) {
                let (call, waited) = (&call.call, call.call.waited(now));
                call.traces.for_each(|trace| trace.resolved(waited));
            }
            self.watch = Some(Watched::attempt_of(&call, self.next.0, self.next.1, now));
        }
    }

    /// There is no endpoint for the attempt.
    pub(crate) fn not_placed(&mut self, error: &CallError) {
        let Some(mut watched) = self.watch.take() else { return };
        if let Some(watch) = watched.attempt() {
            watch.ends(error.code());
            watch.explain(error.to_string().into());
        }
    }

    /// The attempt goes to the endpoint of `guard`, with these headers and this body. `policy` is the call's own, if it has one.
    #[inline]
    pub(crate) fn placed(&mut self, headers: &mut HeaderMap, body: &mut RequestBody, guard: &mut Guard, policy: Option<&str>) {
        let (watched, waited) = match (self.watch.take(), &self.call) {
            (None, None) => return,
            (Some(mut alone), None) => {
                alone.begin_attempt(guard.started());
                (alone, None)
            }
            (Some(seeking), Some(_)) => (seeking, Some(Instant::now())),
            (None, Some(call)) => (Watched::attempt_of(call, self.next.0, self.next.1, guard.started()), None),
        };
        let watched = guard.watch.insert(watched);
        if let Some((call, attempt)) = watched.parts() {
            attempt.placed(call, &guard.connected, waited, policy, headers);
            attempt.sends(body);
        }
    }
}

impl std::fmt::Debug for Follow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Follow")
            .field("observed", &(self.call.is_some() || self.watch.is_some()))
            .field("next", &self.next)
            .finish_non_exhaustive()
    }
}
