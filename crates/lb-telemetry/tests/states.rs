//! What stages, breakers, health checks, limits and sessions do, read as a scraper would: names, units, labels and values.
#![cfg(feature = "prometheus")]
#![allow(clippy::unwrap_used, reason = "a failing helper fails the test")]

use std::time::Duration;

use lb_core::breaker::BreakerConfig;
use lb_core::drops::{Denominator, DropOverload, DropOverloads};
use lb_core::stages::OutlierConfig;
use lb_telemetry::{MetricsConfig, Prometheus};
use lb_testkit::EchoServer;
use lb_testkit::pb::EchoRequest;
use lb_testkit::pb::echo_client::EchoClient;
use lb_tonic::{LbChannel, LbChannelBuilder, PickOptions, SessionConfig};
use serde_json::json;
use tonic::{Code, Request};

async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let limit = tokio::time::Instant::now() + Duration::from_secs(40);
    while !condition() {
        assert!(tokio::time::Instant::now() < limit, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

struct Run {
    servers: Vec<EchoServer>,
    prometheus: Prometheus,
    channel: LbChannel,
}

async fn run(count: usize, with: impl FnOnce(LbChannelBuilder) -> LbChannelBuilder) -> Run {
    let mut servers = Vec::new();
    for n in 0..count {
        servers.push(EchoServer::start(&format!("s{n}")).await.unwrap());
    }
    let addresses: Vec<String> = servers.iter().map(|server| server.addr().to_string()).collect();
    let prometheus = Prometheus::new(MetricsConfig::new().per_endpoint(true)).unwrap();
    let channel = with(LbChannel::builder(format!("static:///{}", addresses.join(",")))).build().unwrap();
    prometheus.metrics().watch(&channel);
    channel.exit_idle();
    until("all are connected", || channel.stats().totals.taking_calls == count).await;
    Run { servers, prometheus, channel }
}

impl Run {
    fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let text = self.prometheus.text().unwrap();
        let has = |line: &str| labels.iter().all(|(label, value)| line.contains(&format!("{label}=\"{value}\"")));
        let line = text.lines().find(|line| line.starts_with(&format!("{name}{{")) && has(line))?;
        line.rsplit(' ').next()?.parse::<f64>().ok()
    }

    async fn becomes(&self, name: &str, labels: &[(&str, &str)], expected: f64) {
        until(&format!("{name} {labels:?} is {expected}"), || self.value(name, labels) == Some(expected)).await;
    }

    async fn call(&self, options: PickOptions) {
        let mut request = Request::new(EchoRequest::default());
        request.extensions_mut().insert(options);
        let _ = EchoClient::new(self.channel.clone()).unary(request).await;
    }
}

#[tokio::test]
async fn ejections_have_grpcs_names_and_labels() {
    let config = json!({"interval": "600s", "maxEjectionPercent": 10, "consecutiveFailures": {"threshold": 3}});
    let outliers = OutlierConfig::from_json(&config).unwrap();
    let run = run(3, |builder| builder.outlier_detection(outliers)).await;
    run.servers.iter().for_each(|server| server.fail(Code::Internal));
    until("one is ejected", || run.channel.stats().totals.ejected == 1).await_with(&run).await;
    let method = ("grpc_lb_outlier_detection_detection_method", "consecutive_failures");
    run.becomes("grpc_lb_outlier_detection_ejections_enforced_total", &[method], 1.0).await;
    let overflow = ("grpc_lb_outlier_detection_unenforced_reason", "max_ejection_overflow");
    let spared = || run.channel.stats().ejections.consecutive_failures.spared_by_overflow;
    until("others may not be", || spared() > 0).await_with(&run).await;
    // What the last calls did may still be on its way to the statistics.
    let unenforced = || run.value("grpc_lb_outlier_detection_ejections_unenforced_total", &[method, overflow]);
    until("what was not enforced is counted", || unenforced() == Some(spared() as f64)).await;
    run.becomes("evenkeel_channel_ejected", &[], 1.0).await;
    run.becomes("evenkeel_channel_endpoints_by_health", &[("evenkeel_health", "healthy")], 2.0).await;
    run.becomes("evenkeel_channel_endpoints_by_health", &[("evenkeel_health", "unhealthy")], 1.0).await;
}

/// Waits while calls are made.
trait WhileCalling {
    async fn await_with(self, run: &Run);
}

impl<F: Future<Output = ()>> WhileCalling for F {
    async fn await_with(self, run: &Run) {
        let calls = async {
            loop {
                run.call(PickOptions::new()).await;
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            () = self => {}
            () = calls => {}
        }
    }
}

#[tokio::test]
async fn breakers_picks_sessions_and_checks_are_counted() {
    let run = run(2, |builder| {
        let breaker = BreakerConfig::default().consecutive_failures(1).open_time(Duration::from_secs(600));
        let sessions = SessionConfig::table(lb_core::sessions::SessionLimits::default());
        builder.circuit_breaker(breaker).sessions(sessions).health_check("").max_requests(100)
    })
    .await;
    run.call(PickOptions::new().session("user-1")).await;
    run.becomes("evenkeel_sessions_count", &[], 1.0).await;
    run.becomes("evenkeel_sessions_events_total", &[("evenkeel_outcome", "miss")], 1.0).await;
    run.becomes("evenkeel_health_checks", &[("evenkeel_outcome", "passed")], 2.0).await;
    run.becomes("evenkeel_limits_turned_away_total", &[("evenkeel_reason", "max_requests")], 0.0).await;
    run.servers.iter().for_each(|server| server.fail(Code::Unavailable));
    until("both breakers are open", || run.channel.stats().totals.breakers.open == 2).await_with(&run).await;
    run.becomes("evenkeel_channel_breakers", &[("evenkeel_breaker_state", "open")], 2.0).await;
    let key = run.servers[0].addr().to_string();
    run.becomes("evenkeel_endpoint_health", &[("evenkeel_endpoint", &key), ("evenkeel_health", "healthy")], 1.0).await;
    let text = run.prometheus.text().unwrap();
    assert!(
        text.contains("# TYPE evenkeel_channel_breakers gauge")
            && text.contains("# TYPE evenkeel_limits_turned_away_total counter")
    );
}

#[tokio::test]
async fn drops_are_counted_by_category_and_in_all() {
    let drop = |name| DropOverload::new(name, 100, Denominator::Hundred).unwrap();
    let drops = DropOverloads::new([drop("lb"), drop("throttle")]).unwrap();
    let run = run(1, |builder| builder.max_requests(0).drop_overloads(drops)).await;
    for _ in 0..3 {
        run.call(PickOptions::new()).await;
    }
    // What the limit of attempts drops has no category.
    run.channel.set_service_config(json!({"evenkeel": {"dropOverloads": []}})).unwrap();
    until("nothing is dropped by category", || run.channel.service_config().is_some()).await;
    for _ in 0..2 {
        run.call(PickOptions::new()).await;
    }
    run.becomes("evenkeel_drops_by_category_total", &[("evenkeel_category", "lb")], 3.0).await;
    run.becomes("evenkeel_drops_by_category_total", &[("evenkeel_category", "throttle")], 0.0).await;
    run.becomes("evenkeel_drops_calls_total", &[], 5.0).await;
    run.becomes("evenkeel_pick_failures_total", &[("evenkeel_reason", "dropped_by_category")], 3.0).await;
}
