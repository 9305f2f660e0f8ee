//! A scripted run, read as a scraper would: names, units, labels and values.
#![cfg(feature = "prometheus")]
#![allow(clippy::unwrap_used, reason = "a failing helper fails the test")]

use std::time::Duration;

use lb_core::{ResolveError, ResolveErrorKind};
use lb_telemetry::{MetricsConfig, Prometheus};
use lb_testkit::pb::EchoRequest;
use lb_testkit::pb::echo_client::EchoClient;
use lb_testkit::{EchoServer, FakeResolver, FakeResolverHandle};
use lb_tonic::LbChannel;

const TARGET: &str = "fake:///orders";

struct Run {
    servers: Vec<EchoServer>,
    prometheus: Prometheus,
    channel: LbChannel,
    resolver: FakeResolverHandle,
}

async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let limit = tokio::time::Instant::now() + Duration::from_secs(40);
    while !condition() {
        assert!(tokio::time::Instant::now() < limit, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A channel over so many servers, all of them connected.
async fn run(config: MetricsConfig, count: usize) -> Run {
    let mut servers = Vec::new();
    for n in 0..count {
        servers.push(EchoServer::start(&format!("s{n}")).await.unwrap());
    }
    let prometheus = Prometheus::new(config).unwrap();
    let (resolver, handle) = FakeResolver::new("fake");
    let observer = prometheus.metrics().observer(TARGET);
    let channel = LbChannel::builder(TARGET).resolver(resolver).observer(observer).build().unwrap();
    prometheus.metrics().watch(&channel);
    channel.exit_idle();
    handle.endpoints(servers.iter().map(EchoServer::endpoint));
    until("all are connected", || channel.stats().totals.taking_calls == count).await;
    Run { servers, prometheus, channel, resolver: handle }
}

impl Run {
    /// The value of the series with this name and all these labels.
    fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let text = self.prometheus.text().unwrap();
        let has = |line: &str| labels.iter().all(|(label, value)| line.contains(&format!("{label}=\"{value}\"")));
        let line = text.lines().find(|line| line.starts_with(&format!("{name}{{")) && has(line))?;
        assert!(line.contains(&format!("grpc_target=\"{TARGET}\"")), "{line}");
        line.rsplit(' ').next()?.parse().ok()
    }

    /// The same, when it has become this: what is collected is read anew only every so often.
    async fn becomes(&self, name: &str, labels: &[(&str, &str)], expected: f64) {
        until(&format!("{name} {labels:?} is {expected}"), || self.value(name, labels) == Some(expected)).await;
    }

    async fn call(&self, request: EchoRequest) -> bool {
        EchoClient::new(self.channel.clone()).unary(request).await.is_ok()
    }
}

#[tokio::test]
async fn connections_are_counted_as_grpc_names_them() {
    let mut run = run(MetricsConfig::new(), 2).await;
    run.becomes("grpc_subchannel_connection_attempts_succeeded_total", &[], 2.0).await;
    run.becomes("grpc_subchannel_open_connections", &[], 2.0).await;
    run.becomes("evenkeel_channel_endpoints", &[("evenkeel_state", "ready")], 2.0).await;
    run.servers[1].kill().await;
    run.becomes("grpc_subchannel_disconnections_total", &[], 1.0).await;
    run.becomes("grpc_subchannel_open_connections", &[], 1.0).await;
    until("it is tried again in vain", || run.value("grpc_subchannel_connection_attempts_failed_total", &[]) >= Some(1.0)).await;
    run.becomes("evenkeel_channel_endpoints", &[("evenkeel_state", "ready")], 1.0).await;
    run.becomes("evenkeel_channel_endpoints_taking_calls", &[], 1.0).await;
    run.becomes("evenkeel_events_total", &[("evenkeel_event", "endpoint_added")], 2.0).await;
}

#[tokio::test]
async fn a_resolver_that_cannot_answer_is_a_number_that_grows_and_an_answer_resets_it() {
    let run = run(MetricsConfig::new(), 1).await;
    run.becomes("evenkeel_resolver_stale_time_seconds", &[], 0.0).await;
    run.resolver.error(ResolveError::new(ResolveErrorKind::Unavailable, "the registry is away"));
    let stale = || run.value("evenkeel_resolver_stale_time_seconds", &[]).unwrap();
    until("it is told", || stale() > 0.0).await;
    let first = stale();
    until("it grows", || stale() > first).await;
    run.becomes("evenkeel_resolver_failures_total", &[], 1.0).await;
    assert!(run.call(EchoRequest::default()).await, "the last good set stands");
    run.resolver.endpoints([run.servers[0].endpoint()]);
    run.becomes("evenkeel_resolver_stale_time_seconds", &[], 0.0).await;
    run.becomes("evenkeel_resolver_updates_total", &[], 2.0).await;
}

#[tokio::test]
async fn endpoints_have_series_of_their_own_if_asked_and_no_more_than_allowed() {
    let run = run(MetricsConfig::new().per_endpoint(true).max_endpoints(1), 2).await;
    for _ in 0..6 {
        assert!(run.call(EchoRequest::default()).await);
    }
    let failing = EchoRequest { fail_with: tonic::Code::Internal as u32, ..EchoRequest::default() };
    assert!(!run.call(failing.clone()).await && !run.call(failing).await);
    let [first, second] = [0, 1].map(|n: usize| run.servers[n].addr().to_string());
    let of = |outcome: &'static str| [("evenkeel_endpoint", first.as_str()), ("evenkeel_outcome", outcome)];
    run.becomes("evenkeel_endpoint_attempts_total", &of("ok"), 3.0).await;
    run.becomes("evenkeel_endpoint_attempts_total", &of("failed"), 1.0).await;
    run.becomes("evenkeel_endpoint_in_flight", &[("evenkeel_endpoint", &first)], 0.0).await;
    let p99 = run.value("evenkeel_endpoint_latency_seconds", &[("evenkeel_endpoint", &first), ("evenkeel_quantile", "0.99")]);
    assert!(p99.is_some_and(|seconds| seconds > 0.0 && seconds < 40.0), "{p99:?}");
    assert!(!run.prometheus.text().unwrap().contains(&second), "the bound is one");
}

#[tokio::test]
async fn a_channel_that_is_watched_ends_with_its_last_clone() {
    let run = run(MetricsConfig::new(), 1).await;
    let Run { prometheus, channel, resolver, .. } = run;
    assert_eq!(resolver.watching(), 1);
    drop(channel);
    until("the resolver is let go", || resolver.watching() == 0).await;
    until("its series end", || !prometheus.text().unwrap().contains("evenkeel_resolver_stale_time_seconds{")).await;
}

#[tokio::test]
async fn selection_is_counted_timed_and_its_failures_have_reasons() {
    let run = run(MetricsConfig::new(), 1).await;
    for _ in 0..130 {
        assert!(run.call(EchoRequest::default()).await);
    }
    run.becomes("evenkeel_pick_count_total", &[], 130.0).await;
    run.channel.drain(run.servers[0].endpoint().key().clone());
    until("it is drained", || run.channel.stats().totals.taking_calls == 0).await;
    assert!(!run.call(EchoRequest::default()).await);
    // Whichever reason the policy has for a drained endpoint.
    run.becomes("evenkeel_pick_failures_total", &[("evenkeel_reason", "no_endpoint")], 1.0).await;
    let stats = run.channel.stats().selection;
    assert_eq!((stats.picks, stats.failures), (130, 1));
    assert!((2..=3).contains(&stats.timed), "one in 64, from an unknown place on: {}", stats.timed);
    let median = run.value("evenkeel_pick_time_seconds", &[("evenkeel_quantile", "0.5")]).unwrap();
    assert!(median > 0.0 && median < 1.0, "{median}");
}
