//! What a call is, apart from its body and where it goes.

use std::sync::Arc;
use std::time::Duration;

use http::{Request, request};
use lb_core::retry::Attempts;
use lb_core::{PickHints, Slot};
use smallvec::SmallVec;
use tokio::time::Instant;

use crate::options::PickOptions;
use crate::rules::Rules;
use crate::snapshot::Connected;

use crate::header;

use super::configured::Configured;
use super::guard::Guard;
use super::history::History;
use super::request_body::RequestBody;
use super::retained::Retained;
use super::trace::Follow;

/// Path, metadata, wishes and history of a call.
#[derive(Debug)]
pub(crate) struct Head {
    /// The headers are the caller's until the first attempt takes them, and restored for a later one. The extensions are kept for the memory
    /// they have.
    pub(crate) request: request::Parts,
    retained: Retained,
    /// How long the call may take, as its headers say.
    pub(super) timeout: Option<Duration>,
    /// Whether the request came with extensions, and its response gets some.
    pub(crate) extended: bool,
    /// `None` is the common case and costs nothing.
    pub(crate) hints: Option<Box<PickHints>>,
    /// What the service config says of it.
    pub(crate) configured: Configured,
    /// Where earlier attempts went.
    pub(crate) tried: SmallVec<[Slot; 2]>,
    /// The connection that took the last attempt no more; it is gone, whatever the newest snapshot says.
    pub(crate) unusable: Option<Arc<Connected>>,
    pub(crate) attempts: Attempts,
    /// Whether no category drops the attempt that an endpoint is sought for.
    pub(super) spared: bool,
    /// How attempts failed that others followed.
    pub(super) history: History,
    /// The endpoint that the call's session token names.
    pub(crate) session_home: Option<Arc<str>>,
    /// Until when the call waits for the endpoint of its session; `None` while it does not.
    pub(crate) session_until: Option<Instant>,
    /// Who observes it.
    pub(crate) follow: Follow,
}

impl Default for Head {
    fn default() -> Self {
        let (head, ()) = Self::new(Request::new(()), Read::default());
        head
    }
}

/// What is read in a request before it becomes a call.
#[derive(Default)]
pub(crate) struct Read {
    extended: bool,
    hints: Option<Box<PickHints>>,
    retained: Retained,
    timeout: Option<Duration>,
}

impl Read {
    /// Takes the wishes.
    #[inline]
    pub(crate) fn new<B>(request: &mut Request<B>) -> Self {
        let extended = !request.extensions().is_empty();
        let options = if extended { request.extensions_mut().remove::<PickOptions>() } else { None };
        let hints = options.map(|options| Box::new(options.hints));
        let (retained, timeout) = Retained::new(request.headers());
        Self { extended, hints, retained, timeout }
    }
}

impl Head {
    /// Moves alone, so that it can be made where it stays.
    #[inline]
    pub(crate) fn new<B>(request: Request<B>, read: Read) -> (Self, B) {
        let (request, body) = request.into_parts();
        let Read { extended, hints, retained, timeout } = read;
        let head = Self {
            request,
            retained,
            timeout,
            extended,
            hints,
            configured: Configured::default(),
            tried: SmallVec::new(),
            unusable: None,
            attempts: Attempts::default(),
            spared: false,
            history: History::default(),
            session_home: None,
            session_until: None,
            follow: Follow::default(),
        };
        (head, body)
    }

    /// Makes headers and body what the attempt of `guard` sends.
    #[inline]
    pub(super) fn place(&mut self, body: &mut RequestBody, guard: &mut Guard) {
        let previous = self.attempts.previous();
        if previous > 0 {
            self.request.headers.insert(&header::PREVIOUS_ATTEMPTS, previous.into());
        }
        let policy = self.hints.as_deref().or_else(|| self.configured.hints()).and_then(|hints| hints.policy.as_deref());
        self.follow.placed(&mut self.request.headers, body, guard, policy);
    }

    /// Makes ready for another attempt.
    pub(crate) fn restore(&mut self) {
        self.spared = false;
        self.request.headers = self.retained.restore();
    }

    /// The same call for an attempt of its own beside others, the latest of `attempts`.
    pub(super) fn fork(&self, attempts: Attempts) -> Self {
        let mut fork = Self {
            hints: self.hints.clone(),
            configured: self.configured.clone(),
            tried: self.tried.clone(),
            unusable: self.unusable.clone(),
            attempts,
            session_home: self.session_home.clone(),
            session_until: self.session_until,
            follow: self.follow.fork(),
            ..Self::default()
        };
        fork.request.uri = self.request.uri.clone();
        fork.request.headers = self.request.headers.clone();
        fork
    }

    pub(crate) fn is_unusable(&self, connected: &Arc<Connected>) -> bool {
        self.unusable.as_ref().is_some_and(|unusable| Arc::ptr_eq(unusable, connected))
    }

    /// Looks up what the service config says of the call, if that is not known yet.
    #[inline]
    pub(crate) fn configure(&mut self, rules: &Rules) {
        self.configured.look_up(rules, self.request.uri.path(), &mut self.hints);
    }

    /// What the call wishes, or its method for it.
    #[inline]
    pub(crate) fn wishes(&self) -> Option<&PickHints> {
        self.hints.as_deref().or_else(|| self.configured.hints())
    }

    /// Whether the policy of this name is only its method's wish; then it is no more.
    pub(crate) fn give_up_policy(&mut self, name: &Arc<str>) -> bool {
        self.configured.give_up_policy(name, &mut self.hints)
    }

    pub(crate) fn wait_for_ready(&self, default: bool) -> bool {
        let own = self.hints.as_ref().and_then(|hints| hints.wait_for_ready);
        own.or_else(|| self.configured.wait_for_ready()).unwrap_or(default)
    }
}
