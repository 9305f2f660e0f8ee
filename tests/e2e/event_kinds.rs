//! What happens is told, once, to those who follow and to those who observe; and what happens often is told in few words.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use evenkeel::advice::ScalingConfig;
use evenkeel::breaker::{BreakerConfig, BreakerState};
use evenkeel::health::{GrpcHealthCheck, HealthConfig};
use evenkeel::resolver::ManualResolver;
use evenkeel::sessions::SessionLimits;
use evenkeel::stages::{EjectionMeasure, OutlierConfig};
use evenkeel::{Attributes, Endpoint, Events, LbChannel, LbEvent, Observer, PickOptions, RegistryHealth, SessionConfig};
use lb_testkit::pb::EchoRequest;
use lb_testkit::pb::echo_client::EchoClient;
use lb_testkit::{EchoServer, FakeResolver, ServingStatus};
use serde_json::json;
use tokio::task::JoinSet;
use tonic::{Code, Request};

use crate::support::{call, in_flight, quick_backoff, ready, servers, soon, target_of, until};

#[derive(Debug, Default, Clone)]
struct Recorder(Arc<Mutex<Vec<LbEvent>>>);

impl Observer for Recorder {
    fn on_event(&self, event: &LbEvent) {
        self.0.lock().unwrap().push(event.clone());
    }
}

impl Recorder {
    /// What was told of these kinds so far.
    fn of(&self, kinds: &[&str]) -> Vec<LbEvent> {
        self.0.lock().unwrap().iter().filter(|event| kinds.contains(&event.kind())).cloned().collect()
    }
}

/// The next event of this kind.
async fn next(events: &mut Events, kind: &str) -> LbEvent {
    soon(kind, async {
        loop {
            match events.next().await {
                Some(event) if event.kind() == kind => return event,
                Some(_) => {}
                None => panic!("the events have ended without {kind}"),
            }
        }
    })
    .await
}

fn of_capacity(server: &EchoServer, capacity: u32) -> Endpoint {
    let mut attributes = Attributes::default();
    attributes.capacity = Some(capacity);
    server.endpoint().with_attributes(attributes)
}

#[tokio::test]
async fn health_is_told_when_it_changes_and_not_when_a_connection_does() {
    let mut server = EchoServer::start("s").await.unwrap();
    let (resolver, handle) = FakeResolver::new("fake");
    let recorder = Recorder::default();
    let check = GrpcHealthCheck::new(HealthConfig::watch("").with_backoff(quick_backoff()));
    let builder = LbChannel::builder("fake:///orders").resolver(resolver).health(check).backoff(quick_backoff());
    let channel = builder.observer(recorder.clone()).build().unwrap();
    let mut events = channel.subscribe();
    handle.endpoints([server.endpoint()]);
    channel.exit_idle();
    let key = server.endpoint().key().clone();
    let healthy = LbEvent::HealthChanged { endpoint: key.clone(), healthy: true, reason: None };
    assert_eq!(next(&mut events, "health_changed").await, healthy, "the first answer");
    server.health().set("", ServingStatus::NotServing);
    let LbEvent::HealthChanged { healthy: false, reason: Some(reason), .. } = next(&mut events, "health_changed").await else {
        panic!("it is not healthy, and says why")
    };
    assert!(reason.contains("NOT_SERVING"), "{reason}");
    server.health().set("", ServingStatus::Serving);
    assert_eq!(next(&mut events, "health_changed").await, healthy);
    server.kill().await;
    next(&mut events, "disconnected").await;
    server.restart().await.unwrap();
    ready(&channel, 1).await;
    // The registry's word is told, too.
    let mut attributes = Attributes::default();
    attributes.health = RegistryHealth::Unhealthy;
    handle.endpoints([server.endpoint().with_attributes(attributes)]);
    let LbEvent::HealthChanged { healthy: false, reason: Some(reason), .. } = next(&mut events, "health_changed").await else {
        panic!("the registry says so")
    };
    assert!(reason.contains("registry"), "{reason}");
    handle.endpoints([server.endpoint()]);
    assert_eq!(next(&mut events, "health_changed").await, healthy);
    assert_eq!(recorder.of(&["health_changed"]).len(), 5, "and nothing for the connection that was lost and came back");
}

#[tokio::test]
async fn load_is_told_in_steps_and_overload_with_a_distance_between_its_limits() {
    let server = EchoServer::start("s").await.unwrap();
    let (resolver, handle) = FakeResolver::new("fake");
    let recorder = Recorder::default();
    let builder = LbChannel::builder("fake:///orders").resolver(resolver).observer(recorder.clone());
    let channel = builder.scaling(ScalingConfig::default()).build().unwrap();
    handle.endpoints([of_capacity(&server, 10)]);
    ready(&channel, 1).await;
    let slow = EchoRequest { delay_ms: 600_000, ..EchoRequest::default() };
    let mut calls = Vec::new();
    let told = |overloaded| {
        let of = recorder.of(&["overloaded"]);
        matches!(of.last(), Some(LbEvent::Overloaded { overloaded: last, .. }) if *last == overloaded)
    };
    let last_load = || match recorder.of(&["load_updated"]).last() {
        Some(LbEvent::LoadUpdated { percent, .. }) => Some(*percent),
        _ => None,
    };
    for _ in 0..9 {
        let (mut client, slow) = (EchoClient::new(channel.clone()), slow.clone());
        calls.push(tokio::spawn(async move { client.unary(slow).await }));
    }
    until("all calls are there", || in_flight(&channel) == 9).await;
    until("it is overloaded", || told(true)).await;
    until("its load is told", || last_load() == Some(90)).await;
    until("there should be more of it", || channel.stats().scaling.is_some_and(|scaling| scaling.desired > 1)).await;
    assert_eq!(recorder.of(&["scaling_advised"]).len(), 1);
    // Between the limits nothing changes.
    calls.drain(..1).for_each(|call| call.abort());
    until("80 %", || last_load() == Some(80)).await;
    assert_eq!(recorder.of(&["overloaded"]).len(), 1);
    calls.drain(..3).for_each(|call| call.abort());
    until("it is relieved", || told(false)).await;
    assert_eq!((recorder.of(&["overloaded"]).len(), last_load()), (2, Some(50)));
    assert!(recorder.of(&["load_updated"]).len() <= 6, "once a second at most, not once per call");
    calls.iter().for_each(|call| call.abort());
}

#[tokio::test]
async fn who_is_ejected_is_told_and_who_is_back() {
    let servers = servers(4).await;
    let config =
        json!({"interval": "0.05s", "baseEjectionTime": "0.1s", "maxEjectionPercent": 50, "consecutiveFailures": {"threshold": 3}});
    let outliers = OutlierConfig::from_json(&config).unwrap();
    let channel = LbChannel::builder(target_of(&servers)).outlier_detection(outliers).build().unwrap();
    let mut events = channel.subscribe();
    ready(&channel, 4).await;
    servers[2].fail(Code::Internal);
    let LbEvent::Ejected { endpoint, measure, reason } = tell(&channel, &mut events, "ejected").await else { unreachable!() };
    assert_eq!((endpoint.as_str(), measure), (&*servers[2].addr().to_string(), EjectionMeasure::ConsecutiveFailures));
    assert!(reason.contains("3 calls in a row"), "{reason}");
    servers[2].heal();
    assert_eq!(next(&mut events, "ejection_ended").await, LbEvent::EjectionEnded { endpoint });
}

/// Calls until an event of this kind comes.
async fn tell(channel: &LbChannel, events: &mut Events, kind: &str) -> LbEvent {
    let calls = async {
        loop {
            let _ = call(channel).await;
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        event = next(events, kind) => event,
        () = calls => unreachable!("they never end"),
    }
}

#[tokio::test]
async fn what_operators_and_configs_do_is_told() {
    let servers = servers(2).await;
    let (resolver, handle) = FakeResolver::new("fake");
    let channel = LbChannel::builder("fake:///orders")
        .resolver(resolver)
        .circuit_breaker(BreakerConfig::default().consecutive_failures(1))
        .build()
        .unwrap();
    let mut events = channel.subscribe();
    handle.endpoints(servers.iter().map(EchoServer::endpoint));
    ready(&channel, 2).await;
    let key = servers[0].endpoint().key().clone();
    channel.drain(key.clone());
    assert_eq!(next(&mut events, "drained").await, LbEvent::Drained { endpoint: key.clone(), drained: true });
    channel.undrain(key.clone());
    assert_eq!(next(&mut events, "drained").await, LbEvent::Drained { endpoint: key.clone(), drained: false });
    channel.disable(key.clone());
    assert_eq!(next(&mut events, "disabled").await, LbEvent::Disabled { endpoint: key.clone(), disabled: true });
    channel.enable(key.clone());
    assert_eq!(next(&mut events, "disabled").await, LbEvent::Disabled { endpoint: key, disabled: false });
    channel.set_policy("random", &json!({})).unwrap();
    assert_eq!(next(&mut events, "policy_changed").await, LbEvent::PolicyChanged { policy: "random".into() });
    channel.set_service_config(json!({"loadBalancingConfig": [{"least_request": {}}]})).unwrap();
    next(&mut events, "config_changed").await;
    let LbEvent::PolicyChanged { policy } = next(&mut events, "policy_changed").await else { unreachable!() };
    assert!(policy.starts_with("least_request"), "{policy}");
    handle.unavailable("the registry is away");
    let LbEvent::ResolverFailed(error) = next(&mut events, "resolver_failed").await else { unreachable!() };
    assert!(error.contains("the registry is away"), "{error}");
    handle.endpoints(servers.iter().map(EchoServer::endpoint));
    assert_eq!(next(&mut events, "resolver_recovered").await, LbEvent::ResolverRecovered);
    servers.iter().for_each(|server| server.fail(Code::Unavailable));
    let LbEvent::BreakerChanged { from, to, .. } = tell(&channel, &mut events, "breaker_changed").await else { unreachable!() };
    assert_eq!((from, to), (BreakerState::Closed, BreakerState::Open));
}

#[tokio::test]
async fn a_storm_of_calls_without_an_endpoint_is_few_events_that_count_them_all() {
    let servers = servers(2).await;
    let recorder = Recorder::default();
    let channel = LbChannel::builder(target_of(&servers)).observer(recorder.clone()).build().unwrap();
    ready(&channel, 2).await;
    let began = std::time::Instant::now();
    let mut tasks = JoinSet::new();
    for n in 0..2_000 {
        let mut client = EchoClient::new(channel.clone());
        tasks.spawn(async move {
            let mut request = Request::new(EchoRequest::default());
            let options = if n % 4 == 0 { PickOptions::new().policy("no such policy") } else { PickOptions::new().require("gpu") };
            request.extensions_mut().insert(options);
            client.unary(request).await.unwrap_err();
        });
    }
    soon("all calls fail", async { while tasks.join_next().await.is_some() {} }).await;
    let told = || recorder.of(&["selection_failed"]);
    let sum =
        || told().iter().map(|event| if let LbEvent::SelectionFailed { calls, .. } = event { *calls } else { 0 }).sum::<u64>();
    until("all of them have been told", || sum() == 2_000).await;
    assert!(told().len() as u64 <= 2 + began.elapsed().as_secs(), "one at once, then one a second: {:?}", told());
    let mut counted = std::collections::BTreeMap::new();
    for event in told() {
        let LbEvent::SelectionFailed { reason, reasons, .. } = event else { unreachable!() };
        assert!(reason.contains("of 2 endpoints: 2 without gpu") || reason.contains("no such policy"), "{reason}");
        reasons.into_iter().for_each(|(kind, calls)| *counted.entry(kind).or_insert(0) += calls);
    }
    assert_eq!(counted, [("nothing_fits", 1_500), ("unknown_policy", 500)].into());
    assert_eq!(channel.stats().selection.failures_by_reason, counted);
    // The next one is told by itself.
    let mut request = Request::new(EchoRequest::default());
    request.extensions_mut().insert(PickOptions::new().require("gpu"));
    EchoClient::new(channel.clone()).unary(request).await.unwrap_err();
    until("it is told", || sum() == 2_001).await;
}

#[tokio::test]
async fn a_deadline_that_passes_without_an_endpoint_is_a_failed_pick() {
    let (resolver, _handle) = FakeResolver::new("fake");
    let channel = LbChannel::builder("fake:///orders").resolver(resolver).timeout(Duration::from_millis(30)).build().unwrap();
    let mut events = channel.subscribe();
    assert_eq!(call(&channel).await.unwrap_err().code(), Code::DeadlineExceeded);
    let LbEvent::SelectionFailed { calls, reasons, .. } = next(&mut events, "selection_failed").await else { unreachable!() };
    assert_eq!((calls, reasons), (1, [("deadline_exceeded", 1)].into()));
}

#[tokio::test]
async fn very_many_sessions_that_move_are_few_events_and_all_are_counted() {
    let servers = servers(2).await;
    let (resolver, handle) = ManualResolver::new("manual");
    let recorder = Recorder::default();
    let builder = LbChannel::builder("manual:///orders").resolver(resolver).observer(recorder.clone());
    let channel = builder.sessions(SessionConfig::table(SessionLimits::default())).build().unwrap();
    handle.set([servers[0].endpoint()]);
    ready(&channel, 1).await;
    let began = std::time::Instant::now();
    let ask = async |session: String| {
        let mut request = Request::new(EchoRequest::default());
        request.extensions_mut().insert(PickOptions::new().session(session));
        EchoClient::new(channel.clone()).unary(request).await.unwrap();
    };
    for n in 0..500 {
        ask(format!("user-{n}")).await;
    }
    handle.set([servers[1].endpoint()]);
    until("the other serves", || channel.endpoints().first().is_some_and(|info| info.key == *servers[1].endpoint().key())).await;
    ready(&channel, 1).await;
    for n in 0..500 {
        ask(format!("user-{n}")).await;
    }
    assert_eq!(channel.stats().sessions.unwrap().stats.moved, 500);
    let told = recorder.of(&["session_moved"]).len() as u64;
    assert!(told >= 1 && told <= 64 * (1 + began.elapsed().as_secs()), "{told} told");
}
