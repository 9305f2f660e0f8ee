//! What observers are told.

use std::cell::OnceCell;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::{Extensions, HeaderMap, Request};
use lb_core::{Address, Endpoint, EndpointStats};
use tonic::{Code, GrpcMethod};

use crate::call::Observers;
use crate::shared::Shared;
use crate::snapshot::{ChannelSnapshot, Connected};

/// A call that begins.
#[derive(Clone, Copy)]
pub struct CallStart<'a> {
    target: &'a Arc<str>,
    path: &'a str,
    headers: &'a HeaderMap,
    extensions: &'a Extensions,
}

impl<'a> CallStart<'a> {
    pub(crate) fn new<B>(target: &'a Arc<str>, request: &'a Request<B>) -> Self {
        Self { target, path: request.uri().path(), headers: request.headers(), extensions: request.extensions() }
    }

    /// The method without a leading slash, such as `shop.v1.Orders/Place`; what the caller wrote, which may be anything.
    #[inline]
    pub fn method(&self) -> &'a str {
        self.path.strip_prefix('/').unwrap_or(self.path)
    }

    /// Whether a generated client calls, so that there are only as many methods as the program has. Others can be named by strangers.
    #[inline]
    pub fn is_registered(&self) -> bool {
        self.extensions.get::<GrpcMethod<'static>>().is_some()
    }

    /// The channel's target.
    pub fn target(&self) -> &'a Arc<str> {
        self.target
    }

    /// The metadata that the caller sends.
    pub fn headers(&self) -> &'a HeaderMap {
        self.headers
    }

    /// What the caller or its interceptors have put into the request's extensions.
    pub fn extensions(&self) -> &'a Extensions {
        self.extensions
    }
}

impl fmt::Debug for CallStart<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Headers may be secret.
        f.debug_struct("CallStart").field("target", &self.target).field("method", &self.method()).finish_non_exhaustive()
    }
}

/// Why there is an attempt.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AttemptKind {
    /// It is the call's first.
    #[default]
    First,
    /// The one before failed, and a policy says to try again.
    Retry,
    /// No server had worked on the one before.
    Transparent,
    /// The one before has not been answered yet.
    Hedge,
}

impl AttemptKind {
    /// In small letters.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Retry => "retry",
            Self::Transparent => "transparent",
            Self::Hedge => "hedge",
        }
    }
}

/// An attempt that begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct AttemptStart {
    /// Why there is one.
    pub kind: AttemptKind,
    /// How many there were before it, transparent retries not counted: as `grpc-previous-rpc-attempts` tells the server.
    pub previous: u32,
    /// For how long before it the call had no attempt, since the one before ended; zero for a first one and for a transparent retry.
    pub delay: Duration,
}

impl AttemptStart {
    pub(crate) fn new(kind: AttemptKind, previous: u32, delay: Duration) -> Self {
        Self { kind, previous, delay }
    }
}

/// Where an attempt goes.
pub struct Placed<'a> {
    connected: &'a Connected,
    waited: Option<Duration>,
    policy: Option<&'a str>,
    shared: &'a Shared,
    snapshot: OnceCell<arc_swap::Guard<Arc<ChannelSnapshot>>>,
}

impl<'a> Placed<'a> {
    pub(crate) fn new(connected: &'a Connected, waited: Option<Duration>, policy: Option<&'a str>, shared: &'a Shared) -> Self {
        Self { connected, waited, policy, shared, snapshot: OnceCell::new() }
    }

    /// The endpoint, with its locality and all else the resolver says of it.
    pub fn endpoint(&self) -> &'a Endpoint {
        &self.connected.endpoint
    }

    /// Which of its addresses is connected.
    pub fn address(&self) -> &'a Address {
        &self.connected.address
    }

    /// What the channel knows of it from its calls.
    pub fn stats(&self) -> &'a Arc<EndpointStats> {
        &self.connected.stats
    }

    /// How long the attempt has waited for it; `None` if it was picked at once.
    pub fn waited(&self) -> Option<Duration> {
        self.waited
    }

    /// The policy that picked it: the call's own, or the channel's at this moment.
    pub fn policy(&self) -> &str {
        self.policy.unwrap_or_else(|| self.snapshot.get_or_init(|| self.shared.snapshot.load()).core.policy())
    }
}

impl fmt::Debug for Placed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Placed");
        debug.field("endpoint", self.endpoint().key()).field("address", self.address());
        debug.field("waited", &self.waited).field("policy", &self.policy()).finish_non_exhaustive()
    }
}

/// Which way a message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// To the server.
    Sent,
    /// From the server.
    Received,
}

/// A message that has passed by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Message {
    /// Which way it went.
    pub direction: Direction,
    /// Its number in this direction and this attempt, from 0.
    pub sequence: u64,
    /// Its bytes on the wire, compressed if it is, without the five of the prefix.
    pub size: u64,
    /// Whether it is compressed. How large it is otherwise only its codec knows.
    pub compressed: bool,
}

impl Message {
    pub(crate) fn new(direction: Direction, sequence: u64, size: u64, compressed: bool) -> Self {
        Self { direction, sequence, size, compressed }
    }
}

/// An attempt that has ended.
#[derive(Debug)]
#[non_exhaustive]
pub struct AttemptEnd<'a> {
    /// gRPC's code; CANCELLED if nobody wanted it any more.
    pub code: Code,
    /// What the server says, or what happened; often empty.
    pub message: &'a str,
    /// How long it took, waiting for an endpoint and the whole response included.
    pub duration: Duration,
    /// Bytes of messages sent, as in [`Message::size`]. A request in one piece counts as sent when the connection has it, unless it turns out that
    /// nothing was sent.
    pub sent: u64,
    /// Bytes of messages received.
    pub received: u64,
    /// Whether the server said when to try again, or not to.
    pub pushed_back: bool,
    pub(crate) connected: Option<&'a Arc<Connected>>,
    pub(crate) observers: &'a Observers,
}

impl<'a> AttemptEnd<'a> {
    /// The endpoint it went to, if there was one for it.
    pub fn endpoint(&self) -> Option<&'a Endpoint> {
        self.connected.map(|connected| &*connected.endpoint)
    }

    /// What the channel knows of the endpoint from its calls, this attempt included.
    pub fn stats(&self) -> Option<&'a Arc<EndpointStats>> {
        self.connected.map(|connected| &connected.stats)
    }

    /// What the channel's policy thought of the endpoint within the last second, as [`EndpointInfo::score`](crate::EndpointInfo::score) has
    /// it; `None` also for an endpoint that is newer than that. Linear in the endpoints once a second, and otherwise a search.
    pub fn score(&self) -> Option<f64> {
        self.observers.score(self.connected?)
    }
}

/// A call that has ended.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct CallEnd<'a> {
    /// gRPC's code; CANCELLED if the caller dropped the call.
    pub code: Code,
    /// What the server says, or what happened; often empty.
    pub message: &'a str,
    /// How long it took, all waiting and the whole response included.
    pub duration: Duration,
    /// How many attempts it had.
    pub attempts: u32,
    /// How many of them a retry policy made, after the first.
    pub retries: u32,
    /// How many of them were made because no server had worked on the one before.
    pub transparent_retries: u32,
    /// How many of them a hedging policy made, after the first.
    pub hedges: u32,
    /// For how long there was no attempt between the first and the last.
    pub retry_delay: Duration,
}
