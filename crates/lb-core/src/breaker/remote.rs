//! A circuit breaker kept elsewhere, for many clients together.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_core::future::BoxFuture;
use futures_core::stream::BoxStream;
use serde::{Deserialize, Serialize};

use crate::endpoint::EndpointKey;

/// What a remote breaker says of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RemoteState {
    /// Calls may go. Closes what a remote OPEN or HALF_OPEN has opened, and what opened here meanwhile.
    Closed,
    /// No calls.
    Open,
    /// Trial calls only.
    HalfOpen,
}

/// News from a remote breaker.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RemoteUpdate {
    /// Of which endpoint. Remembered while the channel does not list it.
    pub endpoint: EndpointKey,
    /// For which [group](super::MethodGroups) of methods; `None` for all, those that are called later included.
    pub group: Option<Arc<str>>,
    /// What it says.
    pub state: RemoteState,
    /// How long OPEN holds if nothing more is heard; `None` is the [`open_time`](super::BreakerConfig::open_time). After it come
    /// trial calls, so that a remote that is gone does not keep an endpoint from its calls for ever. Say OPEN again to prolong it.
    pub open_for: Option<Duration>,
}

impl RemoteUpdate {
    /// News of the breaker for all methods of an endpoint.
    pub fn new(endpoint: impl Into<EndpointKey>, state: RemoteState) -> Self {
        Self { endpoint: endpoint.into(), group: None, state, open_for: None }
    }

    /// The same of the breaker of one group.
    #[must_use]
    pub fn for_group(mut self, group: impl Into<Arc<str>>) -> Self {
        self.group = Some(group.into());
        self
    }

    /// The same with how long OPEN holds.
    #[must_use]
    pub fn open_for(mut self, time: Duration) -> Self {
        self.open_for = Some(time);
        self
    }
}

/// What became of calls, for a remote breaker to count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RemoteReport {
    /// At which endpoint.
    pub endpoint: EndpointKey,
    /// Of which group of methods; `*` is all.
    pub group: Arc<str>,
    /// How many succeeded since the report before.
    pub succeeded: u64,
    /// How many failed.
    pub failed: u64,
    /// The breaker's own state here.
    pub state: super::BreakerState,
}

/// A remote breaker cannot be reached, or refused a report.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct RemoteError {
    /// For people.
    pub message: Arc<str>,
}

impl RemoteError {
    /// An error with a message for people.
    pub fn new(message: impl Into<Arc<str>>) -> Self {
        Self { message: message.into() }
    }
}

/// A circuit breaker kept elsewhere. Its methods are called on a task of the channel's own, never where calls wait.
///
/// An example over HTTP is `examples/remote_breaker.rs`.
pub trait RemoteBreaker: fmt::Debug + Send + Sync + 'static {
    /// What it says, as it says it: what is true now first, then every change. An implementation that asks now and then may repeat
    /// itself; repeated CLOSED and HALF_OPEN are ignored. It reconnects by itself, with its own backoff; a stream that ends is not
    /// begun again, and what was said last holds. Dropping the stream stops it.
    fn states(&self) -> BoxStream<'static, RemoteUpdate>;

    /// Delivers what became of calls since the last report: one entry per breaker with calls, so never more than there are
    /// endpoints times groups. The next report waits for this one. After an error, and after 10 s without an answer, when the future is
    /// dropped, the counts are in the next one.
    fn report(&self, reports: Vec<RemoteReport>) -> BoxFuture<'static, Result<(), RemoteError>>;

    /// How often there are reports, if there is something to report; default 1 s, at least 10 ms.
    fn report_every(&self) -> Duration {
        Duration::from_secs(1)
    }
}
