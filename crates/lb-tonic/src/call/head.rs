//! What a call is, apart from its body and where it goes.

use std::sync::Arc;

use http::{Extensions, HeaderMap, Method, Request, Uri, Version};
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
#[derive(Debug, Default)]
pub(crate) struct Head {
    pub(crate) uri: Uri,
    /// The caller's, until the first attempt takes them; restored for a later one.
    pub(crate) headers: HeaderMap,
    retained: Retained,
    /// The request's own, kept for the memory they have.
    pub(crate) extensions: Extensions,
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

impl Head {
    pub(crate) fn new<B>(request: Request<B>) -> (Self, B) {
        let (mut parts, body) = request.into_parts();
        let extended = !parts.extensions.is_empty();
        let hints = parts.extensions.remove::<PickOptions>().map(|options| Box::new(options.hints));
        let head = Self {
            uri: parts.uri,
            headers: parts.headers,
            retained: Retained::default(),
            extensions: parts.extensions,
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

    /// The request of the attempt of `guard`, which takes the headers.
    pub(super) fn request(&mut self, mut body: RequestBody, guard: &mut Guard) -> (Request<()>, RequestBody) {
        if self.retained.is_empty() {
            self.retained = Retained::new(&self.headers);
        }
        let previous = self.attempts.previous();
        if previous > 0 {
            self.headers.insert(&header::PREVIOUS_ATTEMPTS, previous.into());
        }
        let policy = self.hints.as_deref().or_else(|| self.configured.hints()).and_then(|hints| hints.policy.as_deref());
        self.follow.placed(&mut self.headers, &mut body, guard, policy);
        let mut head = Request::new(());
        *head.method_mut() = Method::POST;
        *head.uri_mut() = self.uri.clone();
        *head.version_mut() = Version::HTTP_2;
        *head.headers_mut() = std::mem::take(&mut self.headers);
        (head, body)
    }

    /// Makes ready for another attempt.
    pub(crate) fn restore(&mut self) {
        self.spared = false;
        // An attempt that found no endpoint has not taken them.
        if !self.retained.is_empty() {
            self.headers = self.retained.restore();
        }
    }

    /// The same call for an attempt of its own beside others, the latest of `attempts`.
    pub(super) fn fork(&self, attempts: Attempts) -> Self {
        Self {
            uri: self.uri.clone(),
            headers: self.headers.clone(),
            retained: Retained::default(),
            extensions: Extensions::new(),
            extended: false,
            hints: self.hints.clone(),
            configured: self.configured.clone(),
            tried: self.tried.clone(),
            unusable: self.unusable.clone(),
            attempts,
            spared: false,
            history: History::default(),
            session_home: self.session_home.clone(),
            session_until: self.session_until,
            follow: self.follow.fork(),
        }
    }

    pub(crate) fn is_unusable(&self, connected: &Arc<Connected>) -> bool {
        self.unusable.as_ref().is_some_and(|unusable| Arc::ptr_eq(unusable, connected))
    }

    /// Looks up what the service config says of the call, if that is not known yet.
    #[inline]
    pub(crate) fn configure(&mut self, rules: &Rules) {
        self.configured.look_up(rules, self.uri.path(), &mut self.hints);
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
