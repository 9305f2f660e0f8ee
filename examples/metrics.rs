//! Metrics in Prometheus' text form: a channel over two servers, one of which goes away, read as a scraper would.
//! Run it with `cargo run --example metrics --features prometheus`.

#[path = "support/mod.rs"]
mod support;

use evenkeel::LbChannel;
use evenkeel::telemetry::{MetricsConfig, Prometheus};
use lb_testkit::pb::EchoRequest;
use lb_testkit::pb::echo_client::EchoClient;

use support::{Failure, key, servers, serves, target, until};

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let mut servers = servers(2).await?;
    let target = target(&servers);

    // One of these serves any number of channels. Series per endpoint are off unless asked for.
    let prometheus = Prometheus::new(MetricsConfig::new().per_endpoint(true))?;
    let metrics = prometheus.metrics();
    let builder = LbChannel::builder(target.clone()).observer(metrics.observer(target.clone()));
    let channel = builder.call_observer(metrics.calls(target)).build()?;
    metrics.watch(&channel);

    channel.exit_idle();
    let (s0, s1) = (key(&servers[0]), key(&servers[1]));
    until(&channel, "both serve", |endpoints| serves(endpoints, &s0) && serves(endpoints, &s1)).await?;
    let mut client = EchoClient::new(channel.clone());
    for _ in 0..10 {
        client.unary(EchoRequest::default()).await?;
    }
    servers[1].kill().await;
    until(&channel, "s1 is out", |endpoints| !serves(endpoints, &s1)).await?;

    // What an HTTP handler would answer to `GET /metrics`.
    let text = prometheus.text()?;
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        println!("{line}");
    }
    assert!(text.contains("grpc_subchannel_disconnections_total"));
    assert!(text.contains("evenkeel_channel_endpoints_taking_calls"));
    assert!(text.contains("grpc_client_call_duration_seconds_count"));
    Ok(())
}
