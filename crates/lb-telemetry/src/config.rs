//! What is exported.

/// Endpoints of one channel that get series of their own, if any do: enough for most targets, and a bound on what one channel can ask of
/// a monitoring system (nine series each).
const MAX_ENDPOINTS: usize = 1_000;

/// What is exported beside the metrics of channels.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct MetricsConfig {
    pub(crate) per_endpoint: bool,
    pub(crate) max_endpoints: usize,
}

impl Default for MetricsConfig {
    fn default() -> Self {
        Self { per_endpoint: false, max_endpoints: MAX_ENDPOINTS }
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

    /// How many endpoints of one channel have series of their own at most, the first in the resolver's order; default 1 000.
    #[must_use]
    pub fn max_endpoints(mut self, endpoints: usize) -> Self {
        self.max_endpoints = endpoints;
        self
    }
}
