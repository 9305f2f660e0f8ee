//! Connections and schedules as a scraper reads them: names, labels and values, exactly.
#![cfg(feature = "prometheus")]
#![allow(clippy::unwrap_used, reason = "a failing helper fails the test")]

use std::time::Duration;

use lb_telemetry::{MetricsConfig, Prometheus};
use lb_testkit::{EchoServer, FakeResolver, FakeResolverHandle};
use lb_tonic::LbChannel;

const TARGET: &str = "fake:///orders";

struct Run {
    server: EchoServer,
    prometheus: Prometheus,
    channel: LbChannel,
    resolver: FakeResolverHandle,
}

/// A channel over one server, whose resolver has not answered.
async fn run(policy: &str, config: MetricsConfig) -> Run {
    let server = EchoServer::start("s0").await.unwrap();
    let prometheus = Prometheus::new(config).unwrap();
    let (resolver, handle) = FakeResolver::new("fake");
    let observer = prometheus.metrics().observer(TARGET);
    let channel = LbChannel::builder(TARGET).resolver(resolver).policy(policy).observer(observer).build().unwrap();
    channel.exit_idle();
    Run { server, prometheus, channel, resolver: handle }
}

impl Run {
    /// The series whose names begin so, without the labels that say which library counts, in order.
    fn series(&self, prefix: &str) -> Vec<String> {
        let text = self.prometheus.text().unwrap();
        let mut lines: Vec<String> = text.lines().filter(|line| line.starts_with(prefix)).map(stripped).collect();
        lines.sort();
        lines
    }

    async fn becomes(&self, prefix: &str, expected: &[&str]) {
        let limit = tokio::time::Instant::now() + Duration::from_secs(40);
        while self.series(prefix) != expected {
            assert!(tokio::time::Instant::now() < limit, "{:#?} is not {expected:#?}", self.series(prefix));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

fn stripped(line: &str) -> String {
    let (name, rest) = line.split_once('{').unwrap();
    let (labels, value) = rest.rsplit_once("} ").unwrap();
    let labels: Vec<&str> = labels.split(',').filter(|label| !label.starts_with("otel_")).collect();
    format!("{name}{{{}}} {value}", labels.join(","))
}

#[tokio::test]
async fn a_goaway_and_what_follows_it() {
    let labels = MetricsConfig::new().disconnect_error_label(true).security_level_label(true);
    let run = run("round_robin", labels).await;
    run.resolver.endpoints([run.server.endpoint()]);
    let open = [r#"grpc_subchannel_open_connections{grpc_security_level="none",grpc_target="fake:///orders"} 1"#];
    run.becomes("grpc_subchannel_open", &open).await;
    run.server.goaway();
    let all = [
        r#"grpc_subchannel_connection_attempts_succeeded_total{grpc_target="fake:///orders"} 2"#,
        r#"grpc_subchannel_disconnections_total{grpc_disconnect_error="GOAWAY NO_ERROR",grpc_target="fake:///orders"} 1"#,
        open[0],
    ];
    run.becomes("grpc_subchannel_", &all).await;
    run.resolver.endpoints([]);
    let ended = [
        r#"grpc_subchannel_disconnections_total{grpc_disconnect_error="GOAWAY NO_ERROR",grpc_target="fake:///orders"} 1"#,
        r#"grpc_subchannel_disconnections_total{grpc_disconnect_error="subchannel shutdown",grpc_target="fake:///orders"} 1"#,
    ];
    run.becomes("grpc_subchannel_disconnections", &ended).await;
    assert_eq!(run.series("grpc_lb_"), [""; 0], "neither pick_first nor weights");
}

#[tokio::test]
async fn pick_first_has_its_old_names_too_and_labels_are_off_unless_asked_for() {
    let mut run = run("pick_first", MetricsConfig::new()).await;
    run.resolver.endpoints([run.server.endpoint()]);
    run.becomes(
        "grpc_lb_pick_first_",
        &[r#"grpc_lb_pick_first_connection_attempts_succeeded_total{grpc_target="fake:///orders"} 1"#],
    )
    .await;
    run.becomes("grpc_subchannel_open", &[r#"grpc_subchannel_open_connections{grpc_target="fake:///orders"} 1"#]).await;
    run.server.kill().await;
    run.becomes("grpc_lb_pick_first_disc", &[r#"grpc_lb_pick_first_disconnections_total{grpc_target="fake:///orders"} 1"#]).await;
    run.becomes("grpc_subchannel_disc", &[r#"grpc_subchannel_disconnections_total{grpc_target="fake:///orders"} 1"#]).await;
    // Its next attempt is in vain.
    run.channel.exit_idle();
    let failed = async {
        while run.series("grpc_lb_pick_first_connection_attempts_failed").is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let channel = run.channel.clone();
    let asked = async move {
        let mut client = lb_testkit::pb::echo_client::EchoClient::new(channel);
        let _ = client.unary(lb_testkit::pb::EchoRequest::default()).await;
    };
    tokio::time::timeout(Duration::from_secs(40), async { tokio::join!(failed, asked) }).await.unwrap();
}

#[tokio::test]
async fn a_switch_to_pick_first_and_from_it_is_followed() {
    let run = run("round_robin", MetricsConfig::new()).await;
    run.channel.set_policy("pick_first", &serde_json::json!({})).unwrap();
    let mut events = run.channel.subscribe();
    run.resolver.endpoints([run.server.endpoint()]);
    while run.channel.state() != lb_core::ConnectivityState::Ready || run.channel.policy() != "pick_first" {
        events.next().await;
    }
    run.server.goaway();
    run.becomes("grpc_lb_pick_first_disc", &[r#"grpc_lb_pick_first_disconnections_total{grpc_target="fake:///orders"} 1"#]).await;
}

#[tokio::test]
async fn one_endpoint_has_nobody_to_be_weighed_against() {
    let run = run("weighted_round_robin", MetricsConfig::new().locality_label(true).backend_service_label(true)).await;
    run.resolver.endpoints([run.server.endpoint()]);
    let labels = r#"{grpc_lb_backend_service="",grpc_lb_locality="",grpc_target="fake:///orders"}"#;
    let limit = tokio::time::Instant::now() + Duration::from_secs(40);
    loop {
        let series = run.series("grpc_lb_wrr_");
        let schedules =
            series.iter().find(|line| line.contains("rr_fallback")).and_then(|line| line.rsplit(' ').next()).unwrap_or("0");
        let expected = [
            format!("grpc_lb_wrr_endpoint_weight_not_yet_usable_total{labels} {schedules}"),
            format!("grpc_lb_wrr_endpoint_weight_stale_total{labels} 0"),
            format!("grpc_lb_wrr_endpoint_weights_count{labels} {schedules}"),
            format!("grpc_lb_wrr_endpoint_weights_sum{labels} 0"),
            format!("grpc_lb_wrr_rr_fallback_total{labels} {schedules}"),
        ];
        let rest: Vec<&String> = series.iter().filter(|line| !line.contains("_bucket")).collect();
        if rest == expected.iter().collect::<Vec<_>>() {
            assert_eq!(series.len() - rest.len(), 19, "the buckets of gRPC's counts, and one for all");
            return;
        }
        // Somebody reads between two of the numbers of a schedule.
        assert!(tokio::time::Instant::now() < limit, "{rest:#?} is not {expected:#?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
