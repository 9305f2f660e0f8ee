//! Metrics of evenkeel channels by OpenTelemetry, and in Prometheus' text form; [traces and logs](trace) of their calls.
//!
//! [`Metrics`] makes the instruments of a meter once. A channel takes part by [`Metrics::observer`], which counts what happens, and by
//! [`Metrics::watch`], which reads what is. Reading happens when the meter's reader collects, so a channel that nobody scrapes costs
//! nothing, and calls pay nothing in either case: what is read are the counters policies need anyway. Calls themselves are counted and
//! timed by [`Metrics::calls`], and pay for that.
//!
//! | instrument | kind | unit | attributes |
//! |---|---|---|---|
//! | `grpc.subchannel.connection_attempts_succeeded` | counter | `{attempt}` | `grpc.target` |
//! | `grpc.subchannel.connection_attempts_failed` | counter | `{attempt}` | `grpc.target` |
//! | `grpc.subchannel.disconnections` | counter | `{disconnection}` | `grpc.target` |
//! | `grpc.subchannel.open_connections` | up-down counter | `{connection}` | `grpc.target` |
//! | `grpc.lb.pick_first.connection_attempts_succeeded`, `.connection_attempts_failed`, `.disconnections` | counter | `{attempt}`, `{disconnection}` | `grpc.target` |
//! | `grpc.lb.wrr.rr_fallback` | counter | `{update}` | `grpc.target` |
//! | `grpc.lb.wrr.endpoint_weight_not_yet_usable`, `.endpoint_weight_stale` | counter | `{endpoint}` | `grpc.target` |
//! | `grpc.lb.wrr.endpoint_weights` | histogram | `{weight}` | `grpc.target` |
//! | `grpc.client.attempt.started` | counter | `{attempt}` | `grpc.method`, `grpc.target` |
//! | `grpc.client.attempt.duration` | histogram | `s` | `grpc.method`, `grpc.target`, `grpc.status` |
//! | `grpc.client.attempt.sent_total_compressed_message_size`, `.rcvd_…` | histogram | `By` | `grpc.method`, `grpc.target`, `grpc.status` |
//! | `grpc.client.call.duration` | histogram | `s` | `grpc.method`, `grpc.target`, `grpc.status` |
//! | `grpc.client.call.retries`, `.transparent_retries`, `.hedges` | histogram | `{retry}`, `{transparent_retry}`, `{hedge}` | `grpc.method`, `grpc.target` |
//! | `grpc.client.call.retry_delay` | histogram | `s` | `grpc.method`, `grpc.target` |
//! | `evenkeel.events` | counter | `{event}` | `grpc.target`, `evenkeel.event` |
//! | `evenkeel.channel.endpoints` | gauge | `{endpoint}` | `grpc.target`, `evenkeel.state` |
//! | `evenkeel.channel.endpoints_taking_calls` | gauge | `{endpoint}` | `grpc.target` |
//! | `evenkeel.channel.waiting_calls` | gauge | `{call}` | `grpc.target` |
//! | `evenkeel.pick.count` | counter | `{pick}` | `grpc.target` |
//! | `evenkeel.pick.failures` | counter | `{failure}` | `grpc.target`, `evenkeel.reason` |
//! | `evenkeel.pick.time` | gauge | `s` | `grpc.target`, `evenkeel.quantile` |
//! | `evenkeel.resolver.stale_time` | gauge | `s` | `grpc.target` |
//! | `evenkeel.resolver.updates`, `.failures` | counter | `{update}`, `{failure}` | `grpc.target` |
//! | `grpc.lb.outlier_detection.ejections_enforced` | counter | `{ejection}` | `grpc.target`, `grpc.lb.outlier_detection.detection_method` |
//! | `grpc.lb.outlier_detection.ejections_unenforced` | counter | `{ejection}` | and `grpc.lb.outlier_detection.unenforced_reason` |
//! | `evenkeel.channel.ejected` | gauge | `{endpoint}` | `grpc.target` |
//! | `evenkeel.channel.endpoints_by_health` | gauge | `{endpoint}` | `grpc.target`, `evenkeel.health` |
//! | `evenkeel.channel.breakers` | gauge | `{breaker}` | `grpc.target`, `evenkeel.breaker_state` |
//! | `evenkeel.channel.average_load` | gauge | `1` | `grpc.target` |
//! | `evenkeel.scaling.desired_endpoints` | gauge | `{endpoint}` | `grpc.target` |
//! | `evenkeel.health.checks` | gauge | `{check}` | `grpc.target`, `evenkeel.outcome` |
//! | `evenkeel.limits.turned_away` | counter | `{call}` | `grpc.target`, `evenkeel.reason` |
//! | `evenkeel.drops.calls` | counter | `{call}` | `grpc.target` |
//! | `evenkeel.drops.by_category` | counter | `{call}` | `grpc.target`, `evenkeel.category` |
//! | `evenkeel.queue.waiting` | gauge | `{call}` | `grpc.target` |
//! | `evenkeel.queue.calls` | counter | `{call}` | `grpc.target`, `evenkeel.outcome` |
//! | `evenkeel.retry.tokens` | gauge | `{token}` | `grpc.target` |
//! | `evenkeel.sessions.count` | gauge | `{session}` | `grpc.target` |
//! | `evenkeel.sessions.events` | counter | `{event}` | `grpc.target`, `evenkeel.outcome` |
//! | `evenkeel.endpoint.health` | gauge | `{endpoint}` | `grpc.target`, `evenkeel.endpoint`, `evenkeel.health` |
//! | `evenkeel.endpoint.in_flight` | gauge | `{call}` | `grpc.target`, `evenkeel.endpoint` |
//! | `evenkeel.endpoint.attempts` | counter | `{attempt}` | `grpc.target`, `evenkeel.endpoint`, `evenkeel.outcome` |
//! | `evenkeel.endpoint.latency` | gauge | `s` | `grpc.target`, `evenkeel.endpoint`, `evenkeel.quantile` |
//! | `evenkeel.endpoint.load`, `.weight` | gauge | `1` | `grpc.target`, `evenkeel.endpoint` |
//!
//! Names and units of the `grpc.` instruments are gRPC's (gRFC A94). Those per endpoint are off unless asked for by
//! [`MetricsConfig::per_endpoint`], since a large target would make as many series; with it [`MetricsConfig::max_endpoints`] bounds them.
//!
//! The number to alert on first is `evenkeel.resolver.stale_time`: it is 0 while the resolver answers, and grows from the first failure
//! on while the channel goes on with the last good set.
#![cfg_attr(
    feature = "prometheus",
    doc = r#"
```
# #[tokio::main(flavor = "current_thread")]
# async fn main() -> Result<(), Box<dyn std::error::Error>> {
use lb_telemetry::{MetricsConfig, Prometheus};
use lb_tonic::LbChannel;

let prometheus = Prometheus::new(MetricsConfig::new().per_endpoint(true))?;
let metrics = prometheus.metrics();
let target = "static:///10.0.0.1:50051,10.0.0.2:50051";
let builder = LbChannel::builder(target).observer(metrics.observer(target)).call_observer(metrics.calls(target));
let channel = builder.build()?;
metrics.watch(&channel);
assert!(prometheus.text()?.contains("evenkeel_resolver_stale_time_seconds"));
# Ok(())
# }
```
"#
)]
#![forbid(unsafe_code)]

mod calls;
mod config;
mod counts;
mod disconnect;
#[cfg(feature = "prometheus")]
pub mod gateway;
mod gauges;
mod metrics;
#[cfg(feature = "prometheus")]
mod prometheus;
mod selection;
mod states;
pub mod trace;
mod watched;

pub use calls::{CallLabel, CallMetrics};
pub use config::MetricsConfig;
pub use counts::ChannelCounts;
pub use metrics::Metrics;

#[cfg(feature = "prometheus")]
pub use crate::prometheus::{ExpositionError, Prometheus};
