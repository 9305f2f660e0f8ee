//! Prometheus' text form, for those who are scraped.

use std::fmt;

use opentelemetry::metrics::MeterProvider;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use prometheus::{Registry, TextEncoder};

use crate::config::MetricsConfig;
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
        Ok(Self { registry, metrics, _provider: provider })
    }

    /// The instruments, for channels to feed.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
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
