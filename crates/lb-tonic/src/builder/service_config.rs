//! What a channel is told of service configs when it is made.

use std::sync::Arc;

use lb_core::service_config::ServiceConfig;
use lb_core::{ConcurrencyLimit, ConfigError, ServiceConfigUpdate};
use lb_health::GrpcHealthCheck;

use crate::driver::ConfigSettings;
use crate::request_limit::RequestLimit;

use super::LbChannelBuilder;

impl LbChannelBuilder {
    /// The service config that counts while the resolver brings none, as JSON or its text: gRPC's, see
    /// [`ServiceConfig`](lb_core::service_config::ServiceConfig). One that is wrong is an error when the channel is built.
    ///
    /// What it does not say stays as it is set here. Its policy counts before [`policy`](Self::policy); its timeout and its
    /// limits of size only where they are less, its wait-for-ready before [`wait_for_ready`](Self::wait_for_ready); what a call says itself
    /// counts before both.
    ///
    /// ```
    /// # use lb_tonic::LbChannel;
    /// # use serde_json::json;
    /// let builder = LbChannel::builder("dns:///orders.internal:50051").service_config(json!({
    ///     "loadBalancingConfig": [{"least_request": {}}],
    ///     "methodConfig": [{"name": [{"service": "orders.v1.Orders"}], "timeout": "2s"}]
    /// }));
    /// ```
    pub fn service_config(mut self, config: impl Into<ServiceConfigUpdate>) -> Self {
        self.service_config = config.into();
        self
    }

    /// Whether service configs that the resolver brings count; default yes. With `false` they are not even read.
    pub fn resolver_service_config(mut self, follow: bool) -> Self {
        self.follow_resolver = follow;
        self
    }

    /// Watches health (grpc.health.v1) while the service config in use names a service in `healthCheckConfig`, as gRPC's own
    /// clients do (gRFC A17). A config that loses the name ends the watches, and every endpoint that is connected serves.
    pub fn health_check_by_service_config(self) -> Self {
        let mut checked = self.health(GrpcHealthCheck::default());
        checked.health_by_config = true;
        checked
    }

    pub(super) fn config_settings(&self) -> Result<ConfigSettings, ConfigError> {
        let read = |config| ServiceConfig::from_json(config, &self.policies).map(|config| Some(Arc::new(config)));
        let default = match &self.service_config {
            ServiceConfigUpdate::Json(config) => read(config)?,
            ServiceConfigUpdate::Broken(reason) => return Err(ConfigError::new("service config", reason, "a JSON object")),
            _ => None,
        };
        let mut limits = self.limits.clone();
        limits.max_requests = self.max_requests.as_ref().map(RequestLimit::max);
        limits.max_requests_per_endpoint = self.per_endpoint.as_ref().map(ConcurrencyLimit::max);
        if self.remote_breaker.is_some() {
            limits.breaker.get_or_insert_default();
        }
        let gates = limits.gates().and(limits.under(default.as_deref()).gates());
        Ok(ConfigSettings {
            registry: self.policies.clone(),
            policy: self.policy.config(&self.policies)?,
            default,
            follow_resolver: self.follow_resolver,
            health_by_config: self.health_by_config,
            limits,
            gates,
        })
    }
}
