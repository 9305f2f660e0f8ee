//! What a call's head knows of its observers.

use std::sync::Arc;

use http::HeaderMap;
use tokio::time::Instant;

use crate::call::Guard;
use crate::call::request_body::RequestBody;
use crate::error::CallError;
use crate::observe::AttemptKind;

use super::{AttemptGuard, AttemptWatch, CallGuard, CallWatch};

/// Nothing, or the call and its next attempt as its observers see them.
#[derive(Default)]
pub(crate) struct Follow {
    call: Option<Arc<CallWatch>>,
    /// The attempt that an endpoint is sought for.
    seeking: Option<AttemptGuard>,
    /// What the next attempt is, and how many count before it.
    next: (AttemptKind, u32),
    /// Whether the call has waited for the resolver.
    unresolved: bool,
}

impl Follow {
    pub(crate) fn new(call: Option<&CallGuard>) -> Self {
        Self { call: call.and_then(CallGuard::watch).cloned(), ..Self::default() }
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
            && self.seeking.is_none()
        {
            let (call, now) = (Arc::clone(call), Instant::now());
            if !resolved() {
                self.unresolved = true;
                return;
            }
            if std::mem::take(&mut self.unresolved) {
                let waited = now.saturating_duration_since(call.started);
                call.traces.iter().for_each(|trace| trace.resolved(waited));
            }
            self.seeking = Some(AttemptWatch::begin(&call, self.next.0, self.next.1, now));
        }
    }

    /// There is no endpoint for the attempt.
    pub(crate) fn not_placed(&mut self, error: &CallError) {
        let Some(mut attempt) = self.seeking.take() else { return };
        if let Some(watch) = attempt.watch() {
            watch.ends(error.code());
            watch.explain(error.to_string().into());
        }
    }

    /// The attempt goes to the endpoint of `guard`, with these headers and this body. `policy` is the call's own, if it has one.
    #[inline]
    pub(crate) fn placed(&mut self, headers: &mut HeaderMap, body: &mut RequestBody, guard: &mut Guard, policy: Option<&str>) {
        if let Some(call) = &self.call {
            let waited = self.seeking.as_ref().map(|_| Instant::now());
            let begin = || AttemptWatch::begin(call, self.next.0, self.next.1, guard.started());
            let mut attempt = self.seeking.take().unwrap_or_else(begin);
            if let Some(watch) = attempt.watch() {
                watch.placed(&guard.connected, waited, policy, headers);
                watch.sends(body);
            }
            guard.watch = Some(attempt);
        }
    }
}

impl std::fmt::Debug for Follow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Follow").field("observed", &self.call.is_some()).field("next", &self.next).finish_non_exhaustive()
    }
}
