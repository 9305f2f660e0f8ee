//! What is exported.

use std::sync::Arc;

use crate::calls::Labels;

/// Endpoints of one channel that get series of their own, if any do: enough for most targets, and a bound on what one channel can ask of
/// a monitoring system (ten series each).
const MAX_ENDPOINTS: usize = 1_000;

/// What is exported beside the metrics of channels.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct MetricsConfig {
    pub(crate) labels: Labels,
    security_level: bool,
    disconnect_error: bool,
    pub(crate) per_endpoint: bool,
    pub(crate) max_endpoints: usize,
}

/// Which labels the series of connections and schedules have.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct ChannelLabels {
    pub(crate) locality: bool,
    pub(crate) backend_service: bool,
    pub(crate) security_level: bool,
    pub(crate) disconnect_error: bool,
}

impl Default for MetricsConfig {
    fn default() -> Self {
        Self {
            labels: Labels::default(),
            security_level: false,
            disconnect_error: false,
            per_endpoint: false,
            max_endpoints: MAX_ENDPOINTS,
        }
    }
}

impl MetricsConfig {
    /// Channels only.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether every endpoint has series of its own; default no.
    #[must_use]
    pub fn per_endpoint(mut self, wanted: bool) -> Self {
        self.per_endpoint = wanted;
        self
    }

    /// Methods that no generated client has and that keep their names in the metrics of calls; all others are `other`. Default none:
    /// whoever calls by hand may be passing on a stranger's words.
    #[must_use]
    pub fn methods(mut self, named: impl Fn(&str) -> bool + Send + Sync + 'static) -> Self {
        self.labels.methods = Some(Arc::new(named));
        self
    }

    /// Whether attempts have `grpc.lb.locality`; default no. Connections and schedules then have it too, empty.
    #[must_use]
    pub fn locality_label(mut self, wanted: bool) -> Self {
        self.labels.locality = wanted;
        self
    }

    /// Whether attempts, connections and schedules have `grpc.lb.backend_service`, which is empty without xDS; default no.
    #[must_use]
    pub fn backend_service_label(mut self, wanted: bool) -> Self {
        self.labels.backend_service = wanted;
        self
    }

    /// Whether open connections have `grpc.security_level`: `none`, `privacy_and_integrity` with TLS, empty with a connector of the program's
    /// own. Default no.
    #[must_use]
    pub fn security_level_label(mut self, wanted: bool) -> Self {
        self.security_level = wanted;
        self
    }

    /// Whether disconnections have `grpc.disconnect_error`: `GOAWAY` and the name of its code, `subchannel shutdown`, `connection reset`,
    /// `connection timed out`, `connection aborted`, `socket error` or `unknown`. Default no.
    #[must_use]
    pub fn disconnect_error_label(mut self, wanted: bool) -> Self {
        self.disconnect_error = wanted;
        self
    }

    pub(crate) fn channel_labels(&self) -> ChannelLabels {
        let Self { security_level, disconnect_error, ref labels, .. } = *self;
        ChannelLabels { locality: labels.locality, backend_service: labels.backend_service, security_level, disconnect_error }
    }

    /// Whether the metrics of calls have `grpc.client.call.custom`, which says what the call's [`CallLabel`](crate::CallLabel) does; default no.
    #[must_use]
    pub fn custom_label(mut self, wanted: bool) -> Self {
        self.labels.custom = wanted;
        self
    }

    /// How many endpoints of one channel have series of their own at most, the first in the resolver's order; default 1 000.
    #[must_use]
    pub fn max_endpoints(mut self, endpoints: usize) -> Self {
        self.max_endpoints = endpoints;
        self
    }
}
