//! How a channel learns its endpoints.
//!
//! A resolver turns a [`Target`] into a stream of *full* snapshots. The contract:
//!
//! - `Ok(update)` replaces everything known before. An update without endpoints means the service has none, and its
//!   connections are dropped.
//! - `Err(error)` means "could not ask": keep what you had. Failing discovery never empties a working set.
//! - The resolver owns its own backoff and pacing. It looks again soon after [`ResolveNow`] fires, but may coalesce or delay.
//! - Dropping the stream stops it at once, in the middle of a request too.
//! - The stream may end when there is nothing to watch; the last snapshot then stands.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use futures_core::Stream;

use crate::endpoint::Endpoint;
use crate::target::Target;
use crate::trigger::Triggered;

/// Tells a resolver to look again; a hint that may be coalesced.
pub type ResolveNow = Triggered;

/// What [`Resolver::resolve`] returns.
pub type ResolverStream = Pin<Box<dyn Stream<Item = Result<ResolverUpdate, ResolveError>> + Send>>;

/// A source of endpoints for one or more URI schemes.
pub trait Resolver: fmt::Debug + Send + Sync + 'static {
    /// The schemes it serves, lower case, such as `["kubernetes", "k8s"]`.
    fn schemes(&self) -> &[&'static str];

    /// Checks a target without asking anybody, so that a bad one is an error when the channel is built.
    fn validate(&self, target: &Target) -> Result<(), ResolveError>;

    /// Starts resolving. `again` fires when the channel wants a fresh look.
    fn resolve(&self, target: &Target, again: ResolveNow) -> ResolverStream;

    /// The `:authority` and the name in the server's certificate, where the scheme prescribes one (`localhost` for `unix:`).
    /// `None` means the target's path.
    fn authority(&self, target: &Target) -> Option<String> {
        let _ = target;
        None
    }
}

/// A full snapshot of what a target resolves to.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct ResolverUpdate {
    /// Every endpoint there is. Repetitions collapse, the first one counts.
    pub endpoints: Vec<Endpoint>,
    /// The service config that came along.
    pub service_config: ServiceConfigUpdate,
    /// A word for people, appended to the error of failing picks.
    pub note: Option<Arc<str>>,
}

impl ResolverUpdate {
    /// A snapshot of these endpoints, with no service config and no note.
    pub fn new(endpoints: Vec<Endpoint>) -> Self {
        Self { endpoints, ..Self::default() }
    }

    /// The same snapshot with a service config.
    #[must_use]
    pub fn with_service_config(mut self, service_config: ServiceConfigUpdate) -> Self {
        self.service_config = service_config;
        self
    }

    /// The same snapshot with a note for people.
    #[must_use]
    pub fn with_note(mut self, note: impl Into<Arc<str>>) -> Self {
        self.note = Some(note.into());
        self
    }
}

/// Absent, present and broken are three different things (gRFC A21).
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub enum ServiceConfigUpdate {
    /// The resolver has none to offer.
    #[default]
    Absent,
    /// A service config as JSON, not yet validated.
    Json(serde_json::Value),
    /// There is one and it cannot be read; the endpoints of the update still count.
    Broken(Arc<str>),
}

impl From<serde_json::Value> for ServiceConfigUpdate {
    fn from(config: serde_json::Value) -> Self {
        Self::Json(config)
    }
}

impl From<&str> for ServiceConfigUpdate {
    /// From the text of a config. What is not JSON is broken; only nothing at all is absent.
    fn from(text: &str) -> Self {
        if text.trim().is_empty() {
            return Self::Absent;
        }
        match serde_json::from_str(text) {
            Ok(config) => Self::Json(config),
            Err(error) => Self::Broken(format!("the service config is not JSON: {error}").into()),
        }
    }
}

/// Why a resolver could not answer. The channel keeps what it had.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{kind}: {message}")]
pub struct ResolveError {
    kind: ResolveErrorKind,
    message: Arc<str>,
    #[source]
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

/// What kind of failure it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ResolveErrorKind {
    /// The target makes no sense to this resolver; asking again will not help.
    InvalidTarget,
    /// The registry answered with authority that the service does not exist.
    NotFound,
    /// The registry refused: missing or wrong credentials or rights.
    Refused,
    /// The registry answered with something that cannot be read.
    Malformed,
    /// The registry could not be asked, or did not answer in time.
    Unavailable,
}

impl fmt::Display for ResolveErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::InvalidTarget => "invalid target",
            Self::NotFound => "service not found",
            Self::Refused => "registry refused",
            Self::Malformed => "unreadable answer",
            Self::Unavailable => "could not resolve",
        })
    }
}

impl ResolveError {
    /// An error of this kind with a message for people.
    pub fn new(kind: ResolveErrorKind, message: impl Into<Arc<str>>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    /// The same error with its cause.
    #[must_use]
    pub fn with_source(mut self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.source = Some(Arc::new(source));
        self
    }

    /// The kind of failure.
    pub fn kind(&self) -> ResolveErrorKind {
        self.kind
    }

    /// The message without the kind.
    pub fn message(&self) -> &str {
        &self.message
    }
}
