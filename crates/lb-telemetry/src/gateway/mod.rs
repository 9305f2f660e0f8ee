//! Metrics by the names that dashboards of earlier gateways read, for those who keep them.
//!
//! | metric | kind | labels | |
//! |---|---|---|---|
//! | `gateway_load_balancer_request_total` | counter | `service`, `algorithm`, `instance`, `success` | attempts that have ended; without an endpoint `algorithm` and `instance` are empty |
//! | `gateway_load_balancer_response_time_seconds` | histogram | `service`, `algorithm`, `instance` | how long they took |
//! | `gateway_instance_active_connections` | gauge | `service`, `instance` | calls in progress at an endpoint |
//! | `gateway_instance_total_requests` | gauge | the same | attempts at it that have ended, since it was first listed |
//! | `gateway_instance_success_rate` | gauge | the same | the share of those that succeeded, of those that were not given up; 1 before the first |
//! | `gateway_instance_average_response_time` | gauge | the same | seconds, an average over about 10 s; 0 before the first success |
//! | `gateway_instance_health_score` | gauge | the same | 0 while it gets no calls, else its share of calls of what its peers get, times the share of its latest answers that were no failures |
//!
//! New dashboards should read gRPC's names, which tell calls from attempts and know every status. This view is off unless
//! [`Prometheus::gateway`](crate::Prometheus::gateway) is called, and only in Prometheus' form, whose names and labels are exactly these.
//!
//! **Bound.** Endpoints beyond [`MetricsConfig::max_endpoints`](crate::MetricsConfig::max_endpoints) of a service are `other`, and so are policies
//! beyond sixteen at one endpoint. Series end with the endpoint, when the metrics are read for the first time after it is gone.
//!
//! **What it costs.** Two allocations and two looks into a map per attempt, beside what observing calls costs.

mod instances;
mod service;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry};

use instances::Instances;
pub use service::GatewayService;
use service::Service;

/// The view of one registry. Cloning is cheap, and clones are the same.
#[derive(Clone)]
pub struct GatewayMetrics(Arc<Inner>);

struct Inner {
    requests: IntCounterVec,
    times: HistogramVec,
    services: Mutex<BTreeMap<Arc<str>, Arc<Service>>>,
    /// Endpoints of a service that have series of their own.
    most: usize,
}

impl GatewayMetrics {
    pub(crate) fn new(registry: &Registry, most: usize) -> Result<Self, prometheus::Error> {
        let requests = Opts::new("gateway_load_balancer_request_total", "Requests sent to an instance.");
        let times = HistogramOpts::new("gateway_load_balancer_response_time_seconds", "How long instances took to respond.");
        let inner = Arc::new(Inner {
            requests: IntCounterVec::new(requests, &["service", "algorithm", "instance", "success"])?,
            times: HistogramVec::new(times, &["service", "algorithm", "instance"])?,
            services: Mutex::default(),
            most,
        });
        registry.register(Box::new(inner.requests.clone()))?;
        registry.register(Box::new(inner.times.clone()))?;
        registry.register(Box::new(Instances::new(&inner)?))?;
        Ok(Self(inner))
    }

    /// The service of this name: to be told of the calls of its channel or channels, and to watch their endpoints.
    pub fn service(&self, name: impl Into<Arc<str>>) -> GatewayService {
        let name = name.into();
        let mut services = self.0.services.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || Arc::new(Service::new(&self.0, Arc::clone(&name)));
        GatewayService(Arc::clone(services.entry(Arc::clone(&name)).or_insert_with(new)))
    }
}

impl Inner {
    fn services(&self) -> Vec<Arc<Service>> {
        self.services.lock().unwrap_or_else(PoisonError::into_inner).values().map(Arc::clone).collect()
    }
}

impl fmt::Debug for GatewayMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GatewayMetrics").field("max_endpoints", &self.0.most).finish_non_exhaustive()
    }
}
