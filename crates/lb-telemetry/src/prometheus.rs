//! Prometheus' text form, for those who are scraped.

use std::fmt;
use std::sync::OnceLock;

use opentelemetry::metrics::MeterProvider;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use prometheus::{Registry, TextEncoder};

use crate::config::MetricsConfig;
use crate::gateway::GatewayMetrics;
use crate::metrics::Metrics;

/// What the instruments belong to, by gRPC's convention: the library.
const SCOPE: &str = "evenkeel";

/// A meter whose instruments are read as text. Serve [`text`](Self::text) at `/metrics`.
///
/// Names become Prometheus': dots are underscores, units and `_total` are suffixes, so `evenkeel.resolver.stale_time` is
/// `evenkeel_resolver_stale_time_seconds`.
pub struct Prometheus {
    registry: Registry,
    metrics: Metrics,
    gateway: OnceLock<GatewayMetrics>,
    max_endpoints: usize,
    /// Its reader is what the registry asks.
    _provider: SdkMeterProvider,
}

/// Why there is no exposition.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExpositionError {
    /// The exporter could not be set up.
    #[error("the exporter cannot be built: {0}")]
    Exporter(String),
    /// The metrics could not be written as text.
    #[error("the metrics cannot be written: {0}")]
    Encoding(String),
}

impl Prometheus {
    /// A registry of its own with the instruments of [`Metrics`].
    ///
    /// # Errors
    /// [`ExpositionError::Exporter`], which a registry of its own does not give.
    pub fn new(config: MetricsConfig) -> Result<Self, ExpositionError> {
        let registry = Registry::new();
        let exporter = opentelemetry_prometheus::exporter().with_registry(registry.clone()).without_target_info().build();
        let exporter = exporter.map_err(|error| ExpositionError::Exporter(error.to_string()))?;
        let provider = SdkMeterProvider::builder().with_reader(exporter).build();
        let metrics = Metrics::new(&provider.meter(SCOPE), &config);
        Ok(Self { registry, metrics, gateway: OnceLock::new(), max_endpoints: config.max_endpoints, _provider: provider })
    }

    /// The instruments, for channels to feed.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// The names that dashboards of earlier gateways read, beside all others; see [`gateway`](crate::gateway). The first call turns them on.
    ///
    /// # Errors
    /// [`ExpositionError::Exporter`] if two threads make the first call at once.
    pub fn gateway(&self) -> Result<GatewayMetrics, ExpositionError> {
        if let Some(gateway) = self.gateway.get() {
            return Ok(gateway.clone());
        }
        let gateway = GatewayMetrics::new(&self.registry, self.max_endpoints);
        let gateway = gateway.map_err(|error| ExpositionError::Exporter(error.to_string()))?;
        Ok(self.gateway.get_or_init(|| gateway).clone())
    }

    /// Everything as it is now. Linear in the channels, and in their endpoints.
    ///
    /// # Errors
    /// [`ExpositionError::Encoding`] if an attribute cannot be written.
    pub fn text(&self) -> Result<String, ExpositionError> {
        let text = TextEncoder::new().encode_to_string(&self.registry.gather());
        text.map_err(|error| ExpositionError::Encoding(error.to_string()))
    }
}

impl fmt::Debug for Prometheus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prometheus").field("metrics", &self.metrics).finish_non_exhaustive()
    }
}
