//! Which limit a call met.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::flood::FloodLimit;
use super::rate::RateLimit;

/// A call that a limit does not let pass.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Shed {
    /// Which limit.
    pub by: ShedBy,
    /// When the limit would let it pass if no other call came: not a promise.
    pub retry_after: Duration,
}

impl Shed {
    /// From its two parts.
    pub fn new(by: ShedBy, retry_after: Duration) -> Self {
        Self { by, retry_after }
    }
}

/// A limit, with what it is set to.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum ShedBy {
    /// The flood guard.
    Flood(FloodLimit),
    /// The rate of all calls of the channel.
    Channel(RateLimit),
    /// The rate of a method, of a service, or of all other methods.
    Method {
        /// `/service/method`, `/service`, or `*` for all others.
        name: Arc<str>,
        /// What it is set to.
        limit: RateLimit,
    },
    /// The rate of the call's key.
    Key {
        /// The key; what is no UTF-8 in it is replaced.
        key: Arc<str>,
        /// What it is set to.
        limit: RateLimit,
    },
    /// The limits of the endpoints: none that could take the call may have one more.
    Endpoints {
        /// Endpoints that have all the calls a second they may have.
        rate_limited: usize,
        /// Endpoints that have all the calls at once they may have.
        at_limit: usize,
    },
}

impl ShedBy {
    /// One word for metrics and logs.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Flood(_) => "flood",
            Self::Channel(_) => "channel",
            Self::Method { .. } => "method",
            Self::Key { .. } => "key",
            Self::Endpoints { .. } => "endpoints",
        }
    }
}

impl fmt::Display for ShedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flood(limit) => write!(f, "the flood guard, {} calls a second", limit.threshold()),
            Self::Channel(limit) => write!(f, "the channel's limit, {limit}"),
            Self::Method { name, limit } if &**name == "*" => write!(f, "the limit of other methods, {limit}"),
            Self::Method { name, limit } => write!(f, "the limit of {name}, {limit}"),
            Self::Key { key, limit } => write!(f, "the limit of the key {key:?}, {limit}"),
            Self::Endpoints { rate_limited, at_limit } => {
                write!(f, "the endpoints' limits, {rate_limited} at their rate and {at_limit} at their concurrency")
            }
        }
    }
}
