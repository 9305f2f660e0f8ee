//! What an endpoint gets that serves with reservations.

use crate::policy::ConfigError;

/// What share of calls a degraded endpoint gets, and who may call it degraded.
///
/// Between healthy and not there is a state in which an endpoint serves, but should not be relied on: some of its health checks
/// fail, its registry warns, an operator distrusts it. It gets a reduced [share](crate::SubchannelView::share): enough for its calls to show whether it gets
/// better or worse, and half a loss if it gets worse.
///
/// Who says so: a [health check](crate::ServingStatus::Degraded) that was asked to tell; an operator, with a share of its own; the registry
/// by the metadata `lb_state` = `degraded` or `lb_share` = `0.3` (see [`RegistryState`](crate::RegistryState)); and, only with
/// [`with_registry_health`](Self::with_registry_health), a registry's own [`Degraded`](crate::RegistryHealth::Degraded).
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct DegradedConfig {
    /// The share, above 0 and at most 1; default 0.5.
    pub share: f64,
    /// Whether the registry's health `degraded` counts; default no, because Consul, which has such a health, brings a weight of its
    /// own for it, and a warning should not count twice.
    pub registry_health: bool,
}

impl Default for DegradedConfig {
    fn default() -> Self {
        Self { share: 0.5, registry_health: false }
    }
}

impl DegradedConfig {
    /// Sets the share, above 0 and at most 1.
    ///
    /// # Errors
    /// Another share.
    pub fn with_share(self, share: f64) -> Result<Self, ConfigError> {
        if share > 0.0 && share <= 1.0 {
            return Ok(Self { share, ..self });
        }
        Err(ConfigError::new("degraded.share", share, "a number above 0 and at most 1"))
    }

    /// Takes the registry's health `degraded` for such a word, too.
    #[must_use]
    pub fn with_registry_health(self) -> Self {
        Self { registry_health: true, ..self }
    }
}
