//! The endpoints of all services, read when somebody looks.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use lb_core::ConnectivityState;
use lb_tonic::EndpointInfo;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{GaugeVec, Opts};

use super::Inner;

/// Gauges that are set anew for each reading.
pub(super) struct Instances {
    view: Weak<Inner>,
    /// Readings are one after the other.
    gauges: Mutex<[GaugeVec; 5]>,
    descriptions: Vec<Desc>,
}

/// Name and help of each, in the order of [`values`].
const GAUGES: [(&str, &str); 5] = [
    ("gateway_instance_active_connections", "Calls in progress at an instance."),
    ("gateway_instance_total_requests", "Requests that have ended at an instance."),
    ("gateway_instance_success_rate", "The share of its requests that succeeded."),
    ("gateway_instance_average_response_time", "How long an instance takes to respond lately, in seconds."),
    ("gateway_instance_health_score", "How much an instance can be relied on, 0 to 1."),
];

fn values(endpoint: &EndpointInfo) -> [f64; 5] {
    let answered = endpoint.succeeded + endpoint.failed;
    let success_rate = if answered == 0 { 1.0 } else { endpoint.succeeded as f64 / answered as f64 };
    let takes_calls = endpoint.state == ConnectivityState::Ready && endpoint.excluded.is_none();
    let health_score = if takes_calls { endpoint.share * (1.0 - endpoint.error_rate.unwrap_or(0.0)) } else { 0.0 };
    let latency = endpoint.latency.map_or(0.0, |latency| latency.as_secs_f64());
    [f64::from(endpoint.in_flight), (answered + endpoint.cancelled) as f64, success_rate, latency, health_score]
}

impl Instances {
    pub(super) fn new(view: &Arc<Inner>) -> Result<Self, prometheus::Error> {
        let gauge = |(name, help)| GaugeVec::new(Opts::new(name, help), &["service", "instance"]);
        let [one, two, three, four, five] = GAUGES.map(gauge);
        let gauges = [one?, two?, three?, four?, five?];
        let descriptions = gauges.iter().flat_map(Collector::desc).cloned().collect();
        Ok(Self { view: Arc::downgrade(view), gauges: Mutex::new(gauges), descriptions })
    }
}

impl Collector for Instances {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let Some(view) = self.view.upgrade() else { return Vec::new() };
        let gauges = self.gauges.lock().unwrap_or_else(PoisonError::into_inner);
        gauges.iter().for_each(GaugeVec::reset);
        for service in view.services() {
            for endpoint in service.endpoints() {
                let labels = [&*service.name, endpoint.key.as_str()];
                let set = |(gauge, value): (&GaugeVec, f64)| gauge.with_label_values(&labels).set(value);
                gauges.iter().zip(values(&endpoint)).for_each(set);
            }
        }
        gauges.iter().flat_map(Collector::collect).collect()
    }
}
