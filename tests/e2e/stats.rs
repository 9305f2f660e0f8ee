//! What a channel says of itself in numbers.

use std::time::Duration;

use evenkeel::breaker::{BreakerConfig, BreakerState};
use evenkeel::health::{GrpcHealthCheck, HealthConfig, PollConfig};
use evenkeel::limits::{RateLimit, RateLimits};
use evenkeel::queue::QueueConfig;
use evenkeel::retry::Throttling;
use evenkeel::sessions::SessionLimits;
use evenkeel::stages::{EjectionMeasure, OutlierConfig};
use evenkeel::{ChannelStats, ConnectivityState, Health, LbChannel, PickOptions, ResolveError, ResolveErrorKind, SessionConfig};
use lb_testkit::pb::EchoRequest;
use lb_testkit::pb::echo_client::EchoClient;
use lb_testkit::{FakeResolver, ReservedPort, ServingStatus};
use serde_json::{Value, json};
use tonic::{Code, Request};

use crate::support::{PATIENCE, call, in_flight, quick_backoff, ready, servers, soon, target, target_of, until};

/// Calls until the condition holds, whatever becomes of the calls.
async fn until_call(channel: &LbChannel, what: &str, mut condition: impl FnMut() -> bool) {
    soon(what, async {
        while !condition() {
            let _ = call(channel).await;
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn every_call_is_in_the_totals_once() {
    let servers = servers(2).await;
    let channel = LbChannel::builder(target_of(&servers)).build().unwrap();
    ready(&channel, 2).await;
    for _ in 0..10 {
        call(&channel).await.unwrap();
    }
    let failing = EchoRequest { fail_with: Code::Internal as u32, ..EchoRequest::default() };
    for _ in 0..4 {
        EchoClient::new(channel.clone()).unary(failing.clone()).await.unwrap_err();
    }
    let slow = EchoRequest { delay_ms: 60_000, ..EchoRequest::default() };
    let given_up = tokio::spawn({
        let mut client = EchoClient::new(channel.clone());
        async move { client.unary(slow).await }
    });
    until("the slow call is on its way", || in_flight(&channel) == 1).await;
    assert_eq!(channel.stats().totals.in_flight, 1);
    given_up.abort();
    until("it is given up", || in_flight(&channel) == 0).await;

    let stats = channel.stats();
    let totals = &stats.totals;
    assert_eq!((totals.succeeded, totals.failed, totals.cancelled, totals.in_flight), (10, 4, 1, 0));
    assert_eq!((totals.endpoints, totals.ready, totals.taking_calls, totals.excluded), (2, 2, 2, 0));
    assert_eq!(stats.endpoints.iter().map(|endpoint| endpoint.succeeded).sum::<u64>(), 10);
    let counted: u64 = stats.endpoints.iter().filter_map(|endpoint| endpoint.latency_quantiles).map(|times| times.count).sum();
    assert_eq!(counted, 10, "successes only: what fails at once would make an endpoint look fast");
    for times in stats.endpoints.iter().filter_map(|endpoint| endpoint.latency_quantiles) {
        assert!(times.p50 <= times.p90 && times.p90 <= times.p99 && times.p99 < Duration::from_secs(60), "{times:?}");
    }
    assert!(stats.endpoints.iter().all(|endpoint| endpoint.error_rate.is_some_and(|rate| (0.0..=1.0).contains(&rate))));
    assert_eq!((stats.policy.as_str(), stats.state), ("round_robin", ConnectivityState::Ready));
}

#[tokio::test]
async fn endpoints_are_counted_by_what_keeps_them_from_taking_calls() {
    let (servers, refusing) = (servers(2).await, ReservedPort::new().unwrap());
    let addresses = servers.iter().map(|server| server.addr()).chain([refusing.addr()]);
    let channel = LbChannel::builder(target(addresses)).backoff(quick_backoff()).build().unwrap();
    ready(&channel, 2).await;
    until("the third has failed", || channel.stats().totals.transient_failure == 1).await;
    channel.drain(servers[0].addr().to_string());
    until("one is drained", || channel.stats().totals.excluded == 1).await;
    let totals = channel.stats().totals;
    assert_eq!((totals.endpoints, totals.ready, totals.taking_calls), (3, 2, 1), "a drained endpoint keeps its connection");
}

#[tokio::test]
async fn a_resolver_that_fails_shows_as_doubt_that_grows() {
    let (servers, (resolver, handle)) = (servers(1).await, FakeResolver::new("fake"));
    let channel = LbChannel::builder("fake:///orders").resolver(resolver).build().unwrap();
    channel.exit_idle();
    handle.endpoints([servers[0].endpoint()]);
    ready(&channel, 1).await;
    assert_eq!(channel.stats().resolver.stale_for, None);
    handle.error(ResolveError::new(ResolveErrorKind::Unavailable, "the registry is away"));
    until("it is told", || channel.stats().resolver.stale_for.is_some()).await;
    let first = channel.stats().resolver.stale_for;
    until("the doubt grows", || channel.stats().resolver.stale_for > first).await;
    call(&channel).await.unwrap();
    assert_eq!(channel.stats().totals.taking_calls, 1);
}

#[tokio::test]
async fn as_data_it_is_whole_and_in_seconds() {
    let servers = servers(1).await;
    let channel = LbChannel::builder(target_of(&servers)).sessions(SessionConfig::table(SessionLimits::default())).build().unwrap();
    let mut request = Request::new(EchoRequest::default());
    request.extensions_mut().insert(PickOptions::new().session("user-1"));
    EchoClient::new(channel.clone()).unary(request).await.unwrap();
    until("the call has ended", || channel.stats().totals.succeeded == 1).await;

    let stats: ChannelStats = channel.stats();
    let data = serde_json::to_value(&stats).unwrap();
    assert_eq!(data["target"], Value::from(&*stats.target));
    assert_eq!(data["resolver"]["staleFor"], Value::Null);
    assert_eq!(data["totals"]["takingCalls"], Value::from(1));
    assert_eq!((&data["sessions"]["count"], &data["sessions"]["misses"]), (&Value::from(1), &Value::from(1)));
    let endpoint = &data["endpoints"][0];
    assert_eq!(endpoint["key"], Value::from(servers[0].addr().to_string()));
    for time in [&endpoint["latency"], &endpoint["latencyQuantiles"]["p99"]] {
        assert!(time.as_f64().is_some_and(|seconds| seconds > 0.0 && seconds < 60.0), "{time}");
    }
}

#[tokio::test]
async fn endpoints_are_counted_by_health_with_what_their_checks_found() {
    let (servers, refusing) = (servers(2).await, ReservedPort::new().unwrap());
    let addresses = servers.iter().map(|server| server.addr()).chain([refusing.addr()]);
    let poll = PollConfig::default().with_interval(Duration::from_millis(10)).unwrap();
    let check = GrpcHealthCheck::new(HealthConfig::poll("").with_poll(poll));
    let builder = LbChannel::builder(target(addresses)).health(check).backoff(quick_backoff());
    let channel = builder.build().unwrap();
    assert!(channel.stats().health_checks.is_none() && channel.endpoints().is_empty());
    servers[1].health().set("", ServingStatus::NotServing);
    channel.exit_idle();
    until("one is healthy, one says it does not serve, one cannot be reached", || {
        let totals = channel.stats().totals;
        (totals.healthy, totals.unhealthy, totals.unknown, totals.connections) == (1, 2, 0, 2)
    })
    .await;
    until("each has been checked a few times", || {
        channel.stats().endpoints[..2].iter().all(|endpoint| endpoint.health_check.is_some_and(|check| check.checks >= 3))
    })
    .await;
    let stats = channel.stats();
    let checks = stats.health_checks.unwrap();
    assert_eq!((checks.checked, checks.passing, checks.failing), (2, 1, 1));
    assert!(checks.checks >= 6 && checks.failures >= 3 && checks.failures < checks.checks, "{checks:?}");
    assert!(checks.latency > Duration::ZERO && checks.latency <= checks.slowest && checks.last < PATIENCE, "{checks:?}");
    assert_eq!(
        stats.endpoints.iter().map(|endpoint| endpoint.health).collect::<Vec<_>>(),
        [Health::Healthy, Health::Unhealthy, Health::Unhealthy]
    );
    assert!(stats.endpoints[0].health_check.unwrap().passed && !stats.endpoints[1].health_check.unwrap().passed);
    assert!(stats.endpoints[2].health_check.is_none() && !stats.endpoints[2].connected);
    let before = channel.stats().health_checks.unwrap().checks;
    channel.check_health_now();
    until("a check that is asked for counts, too", || channel.stats().health_checks.unwrap().checks > before).await;
}

#[tokio::test]
async fn a_watch_that_tells_of_changes_counts_its_messages() {
    let servers = servers(1).await;
    let channel = LbChannel::builder(target_of(&servers)).health_check("").build().unwrap();
    ready(&channel, 1).await;
    let check = || channel.stats().endpoints[0].health_check.unwrap();
    assert_eq!((check().checks, check().failures, check().passed), (1, 0, true));
    servers[0].health().set("", ServingStatus::NotServing);
    until("the change is told", || channel.stats().totals.unhealthy == 1).await;
    assert_eq!((check().checks, check().failures, check().passed), (2, 1, false));
}

#[tokio::test]
async fn an_ejected_endpoint_says_why_and_for_how_long() {
    let servers = servers(3).await;
    let config =
        json!({"interval": "10s", "baseEjectionTime": "30s", "maxEjectionPercent": 100, "consecutiveFailures": {"threshold": 3}});
    let outliers = OutlierConfig::from_json(&config).unwrap();
    let channel = LbChannel::builder(target_of(&servers)).outlier_detection(outliers).build().unwrap();
    ready(&channel, 3).await;
    servers[1].fail(Code::Internal);
    until_call(&channel, "it is ejected", || channel.stats().totals.ejected == 1).await;
    let stats = channel.stats();
    let ejected = stats.endpoints[1].ejected.clone().unwrap();
    assert_eq!((ejected.measure, stats.endpoints[1].health), (EjectionMeasure::ConsecutiveFailures, Health::Unhealthy));
    assert!(ejected.reason.contains("3 calls in a row"), "{ejected:?}");
    let whole = ejected.since + ejected.remaining.unwrap();
    assert!(whole > Duration::from_secs(29) && whole <= Duration::from_secs(31), "{ejected:?}");
    assert_eq!((stats.ejections.enforced(), stats.ejections.consecutive_failures.enforced), (1, 1));
    let data = serde_json::to_value(&stats).unwrap();
    assert_eq!(data["endpoints"][1]["ejected"]["measure"], "consecutive_failures");
    assert_eq!((&data["endpoints"][1]["health"], &data["totals"]["unhealthy"]), (&json!("unhealthy"), &json!(1)));
}

#[tokio::test]
async fn who_gets_which_part_and_what_the_policy_thinks() {
    let servers = servers(2).await;
    let spec = format!("static:///{};weight=3,{};weight=1", servers[0].addr(), servers[1].addr());
    let channel = LbChannel::builder(spec).policy("weighted_round_robin").build().unwrap();
    ready(&channel, 2).await;
    assert!(channel.stats().endpoints.iter().all(|endpoint| endpoint.part.is_none() && endpoint.total == 0));
    for _ in 0..40 {
        call(&channel).await.unwrap();
    }
    let stats = channel.stats();
    let of = |at: usize| (stats.endpoints[at].part, stats.endpoints[at].score, stats.endpoints[at].total);
    assert_eq!((of(0), of(1)), ((Some(0.75), Some(0.75), 30), (Some(0.25), Some(0.25), 10)));
}

#[tokio::test]
async fn performance_is_of_the_window_and_errors_are_in_it() {
    let servers = servers(2).await;
    let channel = LbChannel::builder(target_of(&servers)).build().unwrap();
    ready(&channel, 2).await;
    servers[1].fail(Code::Internal);
    for _ in 0..20 {
        let _ = call(&channel).await;
    }
    for window in [30, 300, 3600] {
        let seen = channel.performance(Duration::from_secs(window));
        assert_eq!(
            (seen.succeeded, seen.failed, seen.error_rate, seen.latency.unwrap().count),
            (10, 10, Some(0.5), 10),
            "{window}"
        );
        assert!(seen.window > Duration::ZERO && seen.window < PATIENCE, "{seen:?}");
        let ended = seen.rate * seen.window.as_secs_f64();
        assert!((ended - 20.0).abs() < 1e-6, "{seen:?}");
    }
    let data = serde_json::to_value(channel.performance(Duration::from_secs(60))).unwrap();
    assert!(data["window"].as_f64().is_some() && data["latency"]["p99"].as_f64().is_some(), "{data}");
}

#[tokio::test]
async fn what_was_done_before_the_channel_was_idle_is_remembered() {
    let servers = servers(1).await;
    let channel = LbChannel::builder(target_of(&servers)).idle_timeout(Duration::from_millis(50)).build().unwrap();
    call(&channel).await.unwrap();
    until("it is IDLE", || channel.state() == ConnectivityState::Idle && channel.endpoints().is_empty()).await;
    assert_eq!(channel.performance(Duration::from_secs(60)).succeeded, 1);
    call(&channel).await.unwrap();
    assert_eq!(channel.performance(Duration::from_secs(60)).succeeded, 2);
}

#[tokio::test]
async fn breakers_retries_queue_and_limits_are_in_the_statistics() {
    let servers = servers(2).await;
    let throttling = Throttling::try_new(10.0, 0.1).unwrap();
    let channel = LbChannel::builder(target_of(&servers))
        .circuit_breaker(BreakerConfig::default().consecutive_failures(2))
        .max_requests_per_endpoint(10)
        .queue(QueueConfig::default())
        .retry_throttling(throttling)
        .rate_limits(RateLimits::new().channel(RateLimit::per_second(1).unwrap().with_burst(30).unwrap()))
        .build()
        .unwrap();
    ready(&channel, 2).await;
    servers[1].fail(Code::Unavailable);
    until_call(&channel, "a breaker opens", || channel.stats().totals.breakers.open == 1).await;
    let stats = channel.stats();
    assert_eq!((stats.endpoints[0].breaker, stats.endpoints[1].breaker), (Some(BreakerState::Closed), Some(BreakerState::Open)));
    assert_eq!(stats.totals.breakers.closed, 1);
    assert!(stats.client.queue.is_some() && stats.client.retry_tokens.is_some(), "{:?}", stats.client);
    for _ in 0..40 {
        let _ = call(&channel).await;
    }
    assert_eq!(channel.stats().client.shed, channel.limits().shed());
    assert!(channel.stats().client.shed > 0);
    let data = serde_json::to_value(channel.stats()).unwrap();
    assert!(data["client"]["queue"]["oldest"].as_f64().is_some(), "{data}");
}
