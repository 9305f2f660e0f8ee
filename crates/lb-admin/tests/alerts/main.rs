//! Every alert of `deploy/prometheus/evenkeel.rules.yml`, rehearsed: provoked on a real channel with real servers, seen by a scraper, answered as
//! docs/OPERATIONS.md says, by the admin's API where the answer is ours, and seen to end.
//!
//! What a rule says over minutes is looked at between two scrapes here.
#![allow(clippy::unwrap_used, reason = "a failing helper fails the test")]

#[allow(dead_code, reason = "other tests need more of it")]
#[path = "../http/client.rs"]
mod client;
mod room;

use lb_core::{ResolveError, ResolveErrorKind};
use lb_testkit::{EchoServer, FakeResolver};
use serde_json::json;
use tonic::Code;

use client::ask;
use room::{Room, Scrape};

const RULES: &str = include_str!("../../../../deploy/prometheus/evenkeel.rules.yml");

/// Those that are rehearsed here.
const REHEARSED: [&str; 8] = [
    "EvenkeelNoEndpoint",
    "EvenkeelFewEndpoints",
    "EvenkeelResolverStale",
    "EvenkeelCallsWaiting",
    "EvenkeelCallsFail",
    "EvenkeelManyAttempts",
    "EvenkeelConnectionsFlap",
    "EvenkeelConfigRefused",
];

/// What is a failure to the rule.
const FAILED: &[&str] = &["UNAVAILABLE", "DEADLINE_EXCEEDED", "INTERNAL", "UNKNOWN", "DATA_LOSS", "RESOURCE_EXHAUSTED"];

#[test]
fn every_alert_is_rehearsed() {
    let there: Vec<&str> = RULES.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert_eq!(there, REHEARSED);
    let page = include_str!("../../../../docs/OPERATIONS.md");
    REHEARSED.iter().for_each(|alert| assert!(page.contains(&format!("| `{alert}` |")), "{alert} has no line in OPERATIONS"));
}

fn no_endpoint(_: &Scrape, now: &Scrape) -> bool {
    now.sum("evenkeel_channel_endpoints_taking_calls", &[]) == 0.0
}

fn few_endpoints(_: &Scrape, now: &Scrape) -> bool {
    now.sum("evenkeel_channel_endpoints_taking_calls", &[]) / now.sum("evenkeel_channel_endpoints", &[]) < 0.5
}

/// The rule waits for five minutes of it.
fn resolver_stale(_: &Scrape, now: &Scrape) -> bool {
    now.sum("evenkeel_resolver_stale_time_seconds", &[]) > 0.0
}

fn calls_waiting(before: &Scrape, now: &Scrape) -> bool {
    [before, now].iter().all(|scrape| scrape.sum("evenkeel_channel_waiting_calls", &[]) > 0.0)
}

fn calls_fail(before: &Scrape, now: &Scrape) -> bool {
    let failed = |scrape: &Scrape| FAILED.iter().map(|code| scrape.sum(CALLS, &[("grpc_status", code)])).sum::<f64>();
    (failed(now) - failed(before)) / (now.sum(CALLS, &[]) - before.sum(CALLS, &[])) > 0.01
}

fn many_attempts(before: &Scrape, now: &Scrape) -> bool {
    let grown = |name: &str| now.sum(name, &[]) - before.sum(name, &[]);
    grown("grpc_client_attempt_started_total") / grown(CALLS) > 1.2
}

fn connections_flap(before: &Scrape, now: &Scrape) -> bool {
    let ended = |scrape: &Scrape| scrape.sum("grpc_subchannel_disconnections_total", &[]);
    ended(now) - ended(before) > 3.0 * now.sum("evenkeel_channel_endpoints", &[])
}

fn config_refused(before: &Scrape, now: &Scrape) -> bool {
    let kinds = ["config_refused", "settings_refused"];
    let refused =
        |scrape: &Scrape| kinds.iter().map(|kind| scrape.sum("evenkeel_events_total", &[("evenkeel_event", kind)])).sum::<f64>();
    refused(now) > refused(before)
}

const CALLS: &str = "grpc_client_call_duration_seconds_count";

#[tokio::test]
async fn no_endpoint_because_all_are_drained_and_enabled_again() {
    let room = Room::new(2, json!({})).await;
    for index in 0..2 {
        room.lever(index, "drain").await;
    }
    room.fires(no_endpoint).await;
    let instances = room.get("/api/v1/loadbalancer/instances/orders").await;
    assert_eq!(instances["endpoints"][0]["excluded"], "drained", "it says why");
    assert_eq!(room.calls(1).await, 1, "calls fail");
    for index in 0..2 {
        room.lever(index, "enable").await;
    }
    room.ends(no_endpoint).await;
    assert_eq!(room.calls(4).await, 0);
}

#[tokio::test]
async fn no_endpoint_because_the_servers_are_down_and_started() {
    let mut room = Room::new(1, json!({"backoff": {"initial": "10ms", "max": "50ms"}})).await;
    room.servers[0].kill().await;
    room.fires(no_endpoint).await;
    let health = room.get("/api/v1/loadbalancer/health").await;
    assert_ne!(health["services"]["orders"]["status"], "healthy");
    room.servers[0].restart().await.unwrap();
    room.ends(no_endpoint).await;
    assert_eq!(room.calls(4).await, 0);
}

#[tokio::test]
async fn few_endpoints_and_those_that_were_taken_out_come_back() {
    let mut room = Room::new(3, json!({"backoff": {"initial": "10ms", "max": "50ms"}})).await;
    room.servers[0].kill().await;
    room.lever(1, "disable").await;
    room.fires(few_endpoints).await;
    assert_eq!(room.calls(6).await, 0, "the rest carries more");
    room.lever(1, "enable").await;
    room.servers[0].restart().await.unwrap();
    room.ends(few_endpoints).await;
}

#[tokio::test]
async fn the_resolver_is_stale_and_calls_go_on_until_the_registry_is_back() {
    let server = EchoServer::start("s0").await.unwrap();
    let (resolver, registry) = FakeResolver::new("fake");
    let resolver = std::sync::Mutex::new(Some(resolver));
    let settings = json!({"target": "fake:///orders"});
    let room = Room::with(Vec::new(), settings, move |builder| match resolver.lock().unwrap().take() {
        Some(resolver) => builder.resolver(resolver),
        None => builder,
    })
    .await;
    registry.endpoints([server.endpoint()]);
    room.ends(no_endpoint).await;
    registry.error(ResolveError::new(ResolveErrorKind::Unavailable, "the registry is away"));
    room.fires(resolver_stale).await;
    assert_eq!(room.calls(3).await, 0, "calls go on with the last set");
    let debug = room.get("/api/v1/admin/loadbalancer/debug").await.to_string();
    assert!(debug.contains("the registry is away"), "the error is there to be read");
    registry.endpoints([server.endpoint()]);
    room.ends(resolver_stale).await;
}

#[tokio::test]
async fn calls_wait_until_there_are_more_servers() {
    let settings = json!({"maxRequestsPerEndpoint": 1, "queue": {"maxPending": 16, "maxWait": "60s"}});
    let room = Room::new(1, settings).await;
    room.servers[0].control().hang();
    let waiting: Vec<_> = (0..3).map(|_| room.call()).collect();
    room.fires(calls_waiting).await;
    let more = EchoServer::start("more").await.unwrap();
    let mut config = room.get("/api/v1/loadbalancer/config").await;
    config["services"]["orders"]["endpoints"] = json!([room.servers[0].addr().to_string(), more.addr().to_string()]);
    let answer = ask("PUT", "/api/v1/loadbalancer/config").json(&config).of(room.addr()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    room.ends(calls_waiting).await;
    room.servers[0].control().heal();
    drop(waiting);
}

#[tokio::test]
async fn calls_fail_until_the_endpoint_that_fails_is_drained() {
    let room = Room::new(2, json!({})).await;
    room.servers[1].control().fail(Code::Internal);
    let before = room.scrape().await;
    assert!(room.calls(20).await > 0);
    room.fires_since(&before, calls_fail).await;
    // The endpoint's success rate says which.
    let instances = room.get("/api/v1/loadbalancer/stats/orders").await;
    let rows = instances["endpoints"].as_array().unwrap();
    let failing: Vec<&str> =
        rows.iter().filter(|row| row["failed"].as_u64() > Some(0)).filter_map(|row| row["key"].as_str()).collect();
    assert_eq!(failing, [room.servers[1].addr().to_string()], "{rows:#?}");
    room.lever(1, "drain").await;
    let after = room.scrape().await;
    assert_eq!(room.calls(20).await, 0);
    room.is_over_since(&after, calls_fail).await;
}

#[tokio::test]
async fn many_attempts_until_what_fails_is_out() {
    let room = Room::new(2, json!({"retry": {"maxAttempts": 3, "initialBackoff": "1ms", "maxBackoff": "2ms"}})).await;
    room.servers[1].control().fail(Code::Unavailable);
    let before = room.scrape().await;
    assert_eq!(room.calls(20).await, 0, "users see none of it");
    room.fires_since(&before, many_attempts).await;
    room.lever(1, "disable").await;
    let after = room.scrape().await;
    assert_eq!(room.calls(20).await, 0);
    room.is_over_since(&after, many_attempts).await;
}

#[tokio::test]
async fn connections_flap_until_the_endpoint_is_disabled() {
    let room = Room::new(2, json!({})).await;
    let before = room.scrape().await;
    let mut events = room.channel().subscribe();
    for _ in 0..7 {
        room.servers[1].goaway();
        // It is replaced, though not within a second of its start.
        let replaced = async { while !matches!(events.next().await.unwrap(), lb_core::LbEvent::Connected { .. }) {} };
        tokio::time::timeout(std::time::Duration::from_secs(20), replaced).await.unwrap();
    }
    room.fires_since(&before, connections_flap).await;
    room.lever(1, "disable").await;
    room.ends(|_, now| now.sum("grpc_subchannel_open_connections", &[]) > 1.0).await;
    let after = room.scrape().await;
    (0..7).for_each(|_| room.servers[1].goaway());
    assert_eq!(room.calls(4).await, 0);
    room.is_over_since(&after, connections_flap).await;
}

#[tokio::test]
async fn a_configuration_is_refused_until_it_is_right() {
    let room = Room::new(1, json!({})).await;
    let before = room.scrape().await;
    let good = room.get("/api/v1/loadbalancer/config").await;
    let mut bad = good.clone();
    bad["services"]["new"] = json!({"endpoints": ["127.0.0.1:1"], "sessions": {"mode": "token", "tokenKeysFile": "/nowhere/keys"}});
    let refused = ask("PUT", "/api/v1/loadbalancer/config").json(&bad).of(room.addr()).await;
    assert!(refused.problem(409).contains("/nowhere/keys"), "it names the field and the value");
    room.fires_since(&before, config_refused).await;
    assert_eq!(room.get("/api/v1/loadbalancer/config").await, good, "the one before it stands");
    let after = room.scrape().await;
    bad["services"]["new"] = json!({"endpoints": ["127.0.0.1:1"]});
    let taken = ask("PUT", "/api/v1/loadbalancer/config").json(&bad).of(room.addr()).await;
    assert_eq!(taken.status, 200, "{taken:?}");
    room.is_over_since(&after, config_refused).await;
    assert_eq!(room.calls(2).await, 0);
}
