//! What can go wrong, as types.
//!
//! A failing call gets a [`tonic::Status`] with the right code; its `source()` is a [`CallError`] that says which endpoint and why,
//! so that programs need not read messages:
//!
//! ```
//! # use std::error::Error;
//! # use lb_tonic::CallError;
//! fn culprit(status: &tonic::Status) -> Option<String> {
//!     match status.source()?.downcast_ref::<CallError>()? {
//!         CallError::Lost { endpoint, .. } => Some(endpoint.to_string()),
//!         _ => None,
//!     }
//! }
//! ```

use std::sync::Arc;
use std::time::Duration;

use lb_core::drops::DropOverload;
use lb_core::limits::ShedBy;
use lb_core::retry::Surfaced;
use lb_core::{ConfigError, EndpointKey, Misfit, ResolveError, TargetError, Unfit};
use tonic::{Code, Status};

use crate::limits;

/// Why a call failed before the server had answered it.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// No endpoint can be reached, and the call does not wait for one. UNAVAILABLE.
    #[error("no endpoint of {target} can take the call: {reason}")]
    NoEndpoint {
        /// The channel's target.
        target: Arc<str>,
        /// What the policy says: the error of an endpoint, or why there is none.
        reason: Arc<str>,
    },
    /// No endpoint meets the call's conditions, and the call does not wait for one. UNAVAILABLE.
    #[error("no endpoint of {target} fits the call: {unfit}")]
    NothingFits {
        /// The channel's target.
        target: Arc<str>,
        /// How many endpoints each condition removed.
        unfit: Arc<Unfit>,
    },
    /// The circuit breakers of all endpoints that could take the call are open, and the call does not wait for one. UNAVAILABLE.
    #[error("every circuit breaker of {target} is open for the call: {unfit}")]
    BreakersOpen {
        /// The channel's target.
        target: Arc<str>,
        /// How many endpoints could take the call if their breakers let it through.
        open: usize,
        /// How long until the first of them tries again; `None` if all are forced open.
        next_trial: Option<Duration>,
        /// How many endpoints each condition removed, the breakers included.
        unfit: Arc<Unfit>,
    },
    /// The call is beyond a limit: of its rate, or of all endpoints that could take it. RESOURCE_EXHAUSTED, with the hint
    /// `grpc-retry-pushback-ms` in the status' metadata; never retried by the channel.
    #[error("shed by {limit}; again in {:?}", limits::whole_millis(*retry_after))]
    Shed {
        /// Which limit, what it is set to, and for whom.
        limit: ShedBy,
        /// When the limit would let the call pass if no other came; not a promise.
        retry_after: Duration,
    },
    /// The policy refused the call, even if it waits for ready. UNAVAILABLE.
    #[error("the policy dropped the call: {reason}")]
    Dropped {
        /// What the policy says.
        reason: Arc<str>,
    },
    /// The call is of the share that a [category](crate::LbChannelBuilder::drop_overloads) drops, even if it waits for ready. UNAVAILABLE;
    /// never retried.
    #[error("dropped by the category {drop}")]
    DroppedByCategory {
        /// Which one, and which share of the calls it drops.
        drop: DropOverload,
    },
    /// The deadline passed. DEADLINE_EXCEEDED.
    #[error("deadline passed while waiting for {waiting_for}")]
    DeadlineExceeded {
        /// What the call was waiting for when its time was up.
        waiting_for: WaitingFor,
    },
    /// The connection was lost in the middle of the call; the server may have done it. UNAVAILABLE.
    #[error("{endpoint}: {reason}")]
    Lost {
        /// The endpoint the call went to.
        endpoint: EndpointKey,
        /// What happened to the connection.
        reason: Arc<str>,
    },
    /// The channel ended the call: its endpoint was removed or drained, and the time for calls in progress was over. The server may have
    /// done it. UNAVAILABLE.
    #[error("{endpoint}: the call was ended: {reason}")]
    Ended {
        /// The endpoint the call went to.
        endpoint: EndpointKey,
        /// Why its calls were ended.
        reason: Arc<str>,
    },
    /// The server reset the call, or it failed in another way; the code is gRPC's for that reset.
    #[error("{endpoint}: {reason}")]
    Failed {
        /// The endpoint the call went to.
        endpoint: EndpointKey,
        /// gRPC's code for it.
        code: i32,
        /// What happened.
        reason: Arc<str>,
    },
    /// An attempt took longer than the retry policy lets it, and no other one followed. DEADLINE_EXCEEDED.
    #[error("{endpoint}: no response within the {timeout:?} an attempt may take")]
    AttemptTimedOut {
        /// The endpoint the attempt went to.
        endpoint: EndpointKey,
        /// How long it was given.
        timeout: Duration,
    },
    /// The call was sent more than once, and failed. The status that has this as its source is the last attempt's own: its code,
    /// message, details and metadata.
    #[error("{} attempts failed{}", attempts.len(), listed(attempts))]
    RetriesExhausted {
        /// Every attempt that failed, in order; those that no server worked on are not among them.
        attempts: Arc<[FailedAttempt]>,
        /// Why there was no other one.
        why: Surfaced,
    },
    /// The call asked for a policy the channel does not have. INTERNAL, because retrying cannot help.
    #[error("the call asks for the policy {asked:?}, the channel has {available}")]
    UnknownPolicy {
        /// What the call asked for.
        asked: Arc<str>,
        /// What it could ask for.
        available: String,
    },
    /// A message is larger than the channel allows. RESOURCE_EXHAUSTED.
    #[error("{direction} message of {size} bytes, allowed are {limit}")]
    MessageTooLarge {
        /// `request` or `response`.
        direction: &'static str,
        /// Its size on the wire, without the five bytes of the prefix.
        size: u64,
        /// The limit.
        limit: usize,
    },
    /// As many attempts are in flight as the channel may have, and it has no queue. UNAVAILABLE; never retried (gRFC A32).
    #[error("the channel has {max} attempts in flight, and may not have more")]
    TooManyRequests {
        /// The limit.
        max: u32,
    },
    /// Every endpoint the call could go to is at its limit, and the queue is full. RESOURCE_EXHAUSTED, with the hint
    /// `grpc-retry-pushback-ms` in the status' metadata.
    #[error("every endpoint is at its limit, and {waiting} calls {} already", if *displaced { "that matter more wait" } else { "wait" })]
    QueueFull {
        /// How many wait.
        waiting: usize,
        /// Whether the call was in the queue and had to go for one of higher priority.
        displaced: bool,
        /// When to come again: those who wait now do so no longer than this.
        retry_after: Duration,
    },
    /// The call has waited in the queue as long as it may. RESOURCE_EXHAUSTED, with the hint `grpc-retry-pushback-ms`.
    #[error("no endpoint had a place within {waited:?} (place {place} of {of} in the queue)")]
    QueueTimeout {
        /// How long it waited.
        waited: Duration,
        /// Its place in the order of priority in the end, from 1.
        place: usize,
        /// How many waited then.
        of: usize,
    },
    /// The channel was closed, or its runtime shut down. UNAVAILABLE.
    #[error("the channel is closed")]
    Closed,
}

/// An attempt of a call that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FailedAttempt {
    /// The endpoint it went to; `None` if there was none for it.
    pub endpoint: Option<EndpointKey>,
    /// gRPC's code for its failure.
    pub code: Code,
    /// What the server says, or what happened.
    pub message: Arc<str>,
}

impl FailedAttempt {
    pub(crate) fn new(endpoint: Option<EndpointKey>, code: Code, message: impl Into<Arc<str>>) -> Self {
        Self { endpoint, code, message: message.into() }
    }
}

impl std::fmt::Display for FailedAttempt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.endpoint {
            Some(endpoint) => write!(f, "{endpoint}: ")?,
            None => f.write_str("no endpoint: ")?,
        }
        write!(f, "{:?}", self.code)?;
        if self.message.is_empty() { Ok(()) } else { write!(f, " ({})", self.message) }
    }
}

/// The attempts, for people.
fn listed(attempts: &[FailedAttempt]) -> String {
    let mut text = String::new();
    for attempt in attempts {
        text.push_str(if text.is_empty() { ": " } else { "; " });
        text.push_str(&attempt.to_string());
    }
    text
}

/// What a call was waiting for when its deadline passed.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum WaitingFor {
    /// The first answer of the resolver, a connection, or an endpoint that is allowed; with the last pick failure if any.
    Endpoint(Option<Arc<str>>),
    /// A place at an endpoint, in the queue.
    Queue {
        /// The call's place in it, from 1.
        place: usize,
        /// How many waited.
        of: usize,
    },
    /// A response from this endpoint.
    Response(EndpointKey),
    /// The time to make this attempt, after the one before failed like this.
    Backoff {
        /// Which attempt, from 2.
        attempt: u32,
        /// The failure before.
        last: Arc<str>,
    },
    /// The rest of a response from this endpoint.
    Body(EndpointKey),
}

impl std::fmt::Display for WaitingFor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Endpoint(None) => f.write_str("an endpoint"),
            Self::Endpoint(Some(last)) => write!(f, "an endpoint (last failure: {last})"),
            Self::Queue { place, of } => write!(f, "its turn in the queue (place {place} of {of})"),
            Self::Response(endpoint) => write!(f, "a response from {endpoint}"),
            Self::Body(endpoint) => write!(f, "the rest of a response from {endpoint}"),
            Self::Backoff { attempt, last } => write!(f, "the backoff before attempt {attempt} (last failure: {last})"),
        }
    }
}

impl CallError {
    /// No endpoint takes the call now, for these reasons.
    pub(crate) fn unfit(target: Arc<str>, unfit: Box<Unfit>) -> Self {
        if let Some(shed) = limits::shed_by_endpoints(&unfit) {
            return shed.into();
        }
        let open = unfit.removed_by(&Misfit::BreakerOpen);
        let others = unfit.removed.iter().any(|(reason, _)| reason.is_load() && *reason != Misfit::BreakerOpen);
        let (next_trial, unfit) = (unfit.ends(&Misfit::BreakerOpen), Arc::from(unfit));
        if open > 0 && !others {
            Self::BreakersOpen { target, open, next_trial, unfit }
        } else {
            Self::NothingFits { target, unfit }
        }
    }

    /// gRPC's code for this failure.
    pub fn code(&self) -> Code {
        match self {
            Self::NoEndpoint { .. }
            | Self::NothingFits { .. }
            | Self::BreakersOpen { .. }
            | Self::Dropped { .. }
            | Self::DroppedByCategory { .. }
            | Self::Lost { .. }
            | Self::TooManyRequests { .. }
            | Self::Ended { .. }
            | Self::Closed => Code::Unavailable,
            Self::DeadlineExceeded { .. } | Self::AttemptTimedOut { .. } => Code::DeadlineExceeded,
            Self::RetriesExhausted { attempts, .. } => attempts.last().map_or(Code::Unknown, |attempt| attempt.code),
            Self::Failed { code, .. } => Code::from_i32(*code),
            Self::UnknownPolicy { .. } => Code::Internal,
            Self::Shed { .. } | Self::MessageTooLarge { .. } | Self::QueueFull { .. } | Self::QueueTimeout { .. } => {
                Code::ResourceExhausted
            }
        }
    }
}

impl CallError {
    /// Whether a pick that failed like this may succeed a moment later: a policy decides then whether it is tried again. To try again
    /// what was shed would be to work against the limit.
    pub(crate) fn is_of_the_moment(&self) -> bool {
        let full = matches!(self, Self::TooManyRequests { .. } | Self::QueueFull { .. } | Self::QueueTimeout { .. });
        let dropped = matches!(self, Self::Shed { .. } | Self::Dropped { .. } | Self::DroppedByCategory { .. });
        !full && !dropped && !matches!(self, Self::Closed | Self::UnknownPolicy { .. })
    }
}

impl From<CallError> for Status {
    fn from(error: CallError) -> Self {
        let mut status = Self::new(error.code(), error.to_string());
        match &error {
            CallError::Shed { retry_after, .. } | CallError::QueueFull { retry_after, .. } => {
                limits::hint(&mut status, *retry_after)
            }
            // What it has waited in vain it may well wait again.
            CallError::QueueTimeout { waited, .. } => limits::hint(&mut status, *waited),
            _ => {}
        }
        status.set_source(Arc::new(error));
        status
    }
}

/// Why a channel could not be built or connected.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The target is no target.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The resolver does not accept the target.
    #[error("target {target:?}: {error}")]
    Resolve {
        /// The target.
        target: String,
        /// What the resolver says.
        #[source]
        error: ResolveError,
    },
    /// No resolver serves the scheme; possibly its feature is off.
    #[error("target {target:?}: no resolver for the scheme {scheme:?}, there are {available}")]
    UnknownScheme {
        /// The target.
        target: String,
        /// Its scheme.
        scheme: String,
        /// The schemes there are resolvers for.
        available: String,
    },
    /// A setting holds something it may not.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// An option of the transport is out of range.
    #[error(transparent)]
    Transport(#[from] lb_transport::TransportConfigError),
    /// The TLS options cannot be used.
    #[cfg(any(feature = "tls-ring", feature = "tls-aws-lc"))]
    #[error(transparent)]
    Tls(#[from] lb_transport::TlsConfigError),
    /// Building needs a tokio runtime, because the channel's own task runs on it.
    #[error("a channel must be built within a tokio runtime")]
    NoRuntime,
    /// No endpoint was READY in time. Only [`connect`](crate::LbChannelBuilder::connect) says so.
    #[error("no endpoint of {target} was ready within {timeout:?}: {reason}")]
    NotReady {
        /// The channel's target.
        target: String,
        /// How long was waited.
        timeout: Duration,
        /// The last failure.
        reason: String,
    },
}
