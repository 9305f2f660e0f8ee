//! The check by grpc.health.v1.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream;
use http_body::Body;
use lb_core::{Endpoint, HealthCheck, HealthStream, HealthSubject};
use tonic::client::GrpcService;
use tonic_health::pb::health_client::HealthClient;

use crate::config::HealthConfig;
use crate::entropy::Seeds;
use crate::watcher::Watcher;

type ServiceOf = dyn Fn(&Endpoint) -> Option<Arc<str>> + Send + Sync;

/// Asks the health service of an endpoint, by Watch or by Check, over the connection that is to be judged.
///
/// What the answers mean (gRFC A17): SERVING is [`Serving`](lb_core::ServingStatus::Serving); any other status is
/// [`NotServing`](lb_core::ServingStatus::NotServing); UNIMPLEMENTED is `Serving` for the life of the connection, with one
/// error in the log; a Watch that ends in any other way, closed cleanly included, is `NotServing` until a new one says otherwise. A ring of
/// [`check_now`](HealthSubject::check_now) opens a new Watch, or checks, at once.
///
/// ```
/// use lb_health::{GrpcHealthCheck, HealthConfig};
///
/// let check = GrpcHealthCheck::new(HealthConfig::watch("orders.v1.Orders").with_poll_fallback())
///     .with_service_from_metadata("health-service");
/// # let _ = check;
/// ```
pub struct GrpcHealthCheck {
    config: HealthConfig,
    service_of: Option<Box<ServiceOf>>,
    seeds: Seeds,
}

impl GrpcHealthCheck {
    /// A check as configured.
    pub fn new(config: HealthConfig) -> Self {
        Self { config, service_of: None, seeds: Seeds::random() }
    }

    /// Asks some endpoints for another service: the one this answers, or the configured one where it answers `None`.
    #[must_use]
    pub fn with_service_of(self, service_of: impl Fn(&Endpoint) -> Option<Arc<str>> + Send + Sync + 'static) -> Self {
        Self { service_of: Some(Box::new(service_of)), ..self }
    }

    /// Asks an endpoint for the service named in its metadata under this key, where there is one.
    #[must_use]
    pub fn with_service_from_metadata(self, key: &'static str) -> Self {
        self.with_service_of(move |endpoint| endpoint.attributes.metadata.get(key).cloned())
    }

    /// Makes the spread of retries and polls repeatable.
    #[must_use]
    pub fn with_seed(self, seed: u64) -> Self {
        Self { seeds: Seeds::from(seed), ..self }
    }

    /// How it is configured.
    pub fn config(&self) -> &HealthConfig {
        &self.config
    }

    /// What an endpoint says of itself counts before what its service config says, and that before what was set here.
    fn config_for(&self, endpoint: &Endpoint, service: Option<Arc<str>>) -> HealthConfig {
        let mut config = self.config.clone();
        if let Some(service) = self.service_of.as_ref().and_then(|service_of| service_of(endpoint)).or(service) {
            config.service = service;
        }
        config
    }
}

impl Default for GrpcHealthCheck {
    /// Watches the whole server.
    fn default() -> Self {
        Self::new(HealthConfig::default())
    }
}

impl fmt::Debug for GrpcHealthCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GrpcHealthCheck").field("config", &self.config).finish_non_exhaustive()
    }
}

impl<T> HealthCheck<T> for GrpcHealthCheck
where
    T: GrpcService<tonic::body::Body> + Send + 'static,
    T::Future: Send,
    T::Error: Into<Box<dyn Error + Send + Sync>>,
    T::ResponseBody: Body<Data = Bytes> + Send + 'static,
    <T::ResponseBody as Body>::Error: Into<Box<dyn Error + Send + Sync>> + Send,
{
    fn watch(&self, subject: HealthSubject<T>) -> HealthStream {
        let HealthSubject { transport, endpoint, check_now, service, stats, .. } = subject;
        let config = self.config_for(&endpoint, service);
        let ask = Box::new(HealthClient::new(transport));
        let watcher = Watcher::new(ask, endpoint, check_now, stats, config, self.seeds.entropy());
        Box::pin(stream::unfold(watcher, Watcher::next))
    }
}
