//! What a channel says of itself in numbers.

use std::time::Duration;

use evenkeel::sessions::SessionLimits;
use evenkeel::{ChannelStats, ConnectivityState, LbChannel, PickOptions, ResolveError, ResolveErrorKind, SessionConfig};
use lb_testkit::pb::EchoRequest;
use lb_testkit::pb::echo_client::EchoClient;
use lb_testkit::{FakeResolver, ReservedPort};
use serde_json::Value;
use tonic::{Code, Request};

use crate::support::{call, in_flight, quick_backoff, ready, servers, target, target_of, until};

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
