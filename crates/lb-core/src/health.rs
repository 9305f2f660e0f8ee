//! What watching an endpoint's health yields.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use futures_core::Stream;
use serde::Serialize;

use crate::address::Address;
use crate::endpoint::Endpoint;
use crate::stats::EndpointStats;
use crate::trigger::Triggered;

/// What is known of an endpoint's health, from all there is: its connection, its health check, the registry, and what becomes of its
/// calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Health {
    /// Nothing yet: it is not connected, or has not answered its first check.
    Unknown,
    /// It is connected and, if its health is checked, serves.
    Healthy,
    /// It cannot be connected, says that it does not serve, is ejected, or fails the registry's checks.
    Unhealthy,
}

impl Health {
    /// In one word, as in its data form.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        }
    }
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whether an endpoint serves, as watched by ourselves.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ServingStatus {
    /// Nothing heard yet on this connection; the subchannel stays CONNECTING.
    Unknown,
    /// It serves; the subchannel is READY.
    Serving,
    /// It serves, with reservations: the subchannel is READY and gets a [reduced share](crate::recovery::DegradedConfig) of calls. Only
    /// checks that were asked to tell say so.
    Degraded(Arc<str>),
    /// It does not; the subchannel is TRANSIENT_FAILURE with this reason, and its connection is kept.
    NotServing(Arc<str>),
}

impl fmt::Display for ServingStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("UNKNOWN"),
            Self::Serving => f.write_str("SERVING"),
            Self::Degraded(reason) => write!(f, "SERVING, degraded ({reason})"),
            Self::NotServing(reason) => write!(f, "NOT_SERVING ({reason})"),
        }
    }
}

/// What a health check looks at: one connection of one endpoint.
#[derive(Debug)]
#[non_exhaustive]
pub struct HealthSubject<T> {
    /// Carries calls to exactly this connection; not picked, not retried, not counted.
    pub transport: T,
    /// The endpoint it belongs to.
    pub endpoint: Arc<Endpoint>,
    /// The address that is connected.
    pub address: Address,
    /// Fires when someone asks for a check right now.
    pub check_now: Triggered,
    /// Which service the service config says to ask for (gRFC A17); empty is the server as a whole. For checks that ask by name.
    pub service: Option<Arc<str>>,
    /// Where the check notes what it did, by [`EndpointStats::checked`]; what no check notes is in no statistics.
    pub stats: Option<Arc<EndpointStats>>,
}

impl<T> HealthSubject<T> {
    /// A subject from its parts.
    pub fn new(transport: T, endpoint: Arc<Endpoint>, address: Address, check_now: Triggered) -> Self {
        Self { transport, endpoint, address, check_now, service: None, stats: None }
    }

    /// The same subject with the counters of its endpoint.
    #[must_use]
    pub fn with_stats(self, stats: Arc<EndpointStats>) -> Self {
        Self { stats: Some(stats), ..self }
    }

    /// The same subject with the service that the service config names.
    #[must_use]
    pub fn with_service(self, service: Option<Arc<str>>) -> Self {
        Self { service, ..self }
    }
}

/// Statuses as they change; dropping it ends the watch. The channel starts one per connection and drops it with the connection.
pub type HealthStream = Pin<Box<dyn Stream<Item = ServingStatus> + Send>>;

/// A way to watch the health of an endpoint over a connection of type `T`.
pub trait HealthCheck<T>: fmt::Debug + Send + Sync + 'static {
    /// Watches until dropped. Owns its retries and their backoff; ends only when there is nothing more to say, and then the last
    /// status stands for the life of the connection.
    fn watch(&self, subject: HealthSubject<T>) -> HealthStream;
}
