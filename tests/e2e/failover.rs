//! Calls move to other endpoints and back: groups, replicas, panic, and what happens to calls where an endpoint goes.

use std::time::{Duration, Instant};

use evenkeel::stages::{FailoverConfig, OutlierConfig, PanicConfig, ReplicaConfig};
use evenkeel::{CallError, ConnectivityState, Endpoint, Events, LbChannel, LbEvent};
use lb_testkit::pb::echo_client::EchoClient;
use lb_testkit::pb::{EchoReply, EchoRequest};
use lb_testkit::{EchoServer, FakeResolver, FakeResolverHandle, HangingPort};
use serde_json::json;
use tonic::{Code, Streaming};

use crate::support::{call, call_error, info, quick_backoff, ready, request, servers, soon, target_of, until};

const MILLISECOND: Duration = Duration::from_millis(1);

async fn answered_by(channel: &LbChannel) -> String {
    call(channel).await.unwrap().into_inner().server
}

/// Waits until calls are answered by this server; those that fail meanwhile are counted.
async fn until_answered_by(channel: &LbChannel, name: &str) -> usize {
    let mut failed = 0;
    soon(&format!("{name} answers"), async {
        loop {
            match call(channel).await {
                Ok(reply) if reply.get_ref().server == name => return,
                Ok(_) => tokio::time::sleep(MILLISECOND).await,
                Err(_) => failed += 1,
            }
        }
    })
    .await;
    failed
}

/// Waits for the first event that `wanted` makes something of.
async fn told<T>(events: &mut Events, what: &str, wanted: impl Fn(&LbEvent) -> Option<T>) -> T {
    soon(what, async {
        loop {
            if let Some(found) = wanted(&events.next().await.unwrap()) {
                return found;
            }
        }
    })
    .await
}

fn in_groups(servers: &[EchoServer]) -> String {
    let listed: Vec<String> = servers.iter().enumerate().map(|(at, server)| format!("{};priority={at}", server.addr())).collect();
    format!("static:///{}", listed.join(","))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_fail_over_when_a_group_dies_and_return_when_it_has_proved_itself() {
    let mut servers = servers(2).await;
    let config = FailoverConfig::default().fail_back_after(300 * MILLISECOND).names(["here", "there"]);
    let channel = LbChannel::builder(in_groups(&servers)).backoff(quick_backoff()).failover(config).build().unwrap();
    let mut events = channel.subscribe();
    ready(&channel, 1).await;
    assert_eq!((answered_by(&channel).await, servers[1].accepted()), ("s0".to_owned(), 0));
    assert_eq!(&*channel.failover().unwrap().name, "here");

    servers[0].kill().await;
    // Sequential calls: at most the one that raced the kill is lost.
    let failed = until_answered_by(&channel, "s1").await;
    assert!(failed <= 1, "{failed} calls failed");
    let state = channel.failover().unwrap();
    assert_eq!((state.priority, &*state.reason), (1, "here is TRANSIENT_FAILURE"));

    servers[0].restart().await.unwrap();
    until("it proves itself", || channel.failover().unwrap().fail_back.is_some_and(|back| back.at.is_some())).await;
    let ready_at = Instant::now();
    until_answered_by(&channel, "s0").await;
    assert!(ready_at.elapsed() >= 250 * MILLISECOND, "too early: {:?}", ready_at.elapsed());
    let names = |event: &LbEvent| match event {
        LbEvent::Failover { from, to, .. } => Some(format!("{from} -> {to}")),
        _ => None,
    };
    let moves = [told(&mut events, "over", names).await, told(&mut events, "back", names).await];
    assert_eq!(moves, ["here -> there", "there -> here"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_that_hangs_is_left_after_its_time_and_by_hand_others_are_used() {
    let hanging = HangingPort::new().unwrap();
    let servers = servers(2).await;
    let target = format!("static:///{},{};priority=1,{};priority=2", hanging.addr(), servers[0].addr(), servers[1].addr());
    let config = FailoverConfig::default().failover_after(200 * MILLISECOND);
    let channel = LbChannel::builder(target).failover(config).build().unwrap();
    let began = Instant::now();
    assert_eq!(answered_by(&channel).await, "s0", "the call waited for the first group, and then went to the next");
    assert!(began.elapsed() >= 200 * MILLISECOND);
    channel.fail_over_to(2);
    until_answered_by(&channel, "s1").await;
    assert_eq!(channel.failover().unwrap().forced, Some(2));
    channel.fail_back();
    until_answered_by(&channel, "s0").await;
}

#[tokio::test]
async fn times_that_cannot_be_counted_are_refused() {
    let build = |failover, replicas, panic| {
        LbChannel::builder("static:///127.0.0.1:1").failover(failover).replicas(replicas).panic(panic).build().map(drop)
    };
    let (failover, replicas, panic) = (FailoverConfig::default(), ReplicaConfig::default(), PanicConfig::below(50));
    build(failover.clone(), replicas.clone(), panic.clone()).unwrap();
    let errors = [
        build(failover.clone().fail_back_after(Duration::MAX), replicas.clone(), panic.clone()),
        build(failover.clone(), replicas.clone().hand_back_after(Duration::MAX), panic),
        build(failover, replicas, PanicConfig::below(101)),
    ];
    let text = errors.map(|result| result.unwrap_err().to_string());
    assert!(text[0].contains("failover.failBackAfter") && text[1].contains("replicas.handBackAfter"), "{text:?}");
    assert!(text[2].contains("panic.healthyPanicThreshold is 101"), "{text:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_stands_by_connected_and_takes_the_place_of_the_one_that_is_killed() {
    let mut servers = servers(2).await;
    let target = format!("static:///{};id=main,{};replica_of=main", servers[0].addr(), servers[1].addr());
    let replicas = ReplicaConfig::default().hand_back_after(200 * MILLISECOND);
    let channel = LbChannel::builder(target).backoff(quick_backoff()).replicas(replicas).build().unwrap();
    let mut events = channel.subscribe();
    ready(&channel, 2).await;
    for _ in 0..20 {
        assert_eq!(answered_by(&channel).await, "s0");
    }
    assert_eq!((info(&channel, servers[1].addr()).excluded, servers[1].connections()), (Some("standby"), 1));
    servers[0].kill().await;
    let failed = until_answered_by(&channel, "s1").await;
    assert!(failed <= 1, "{failed} calls failed");
    let promoted = |event: &LbEvent| match event {
        LbEvent::Promoted { endpoint, primary, .. } => Some((endpoint.to_string(), primary.to_string())),
        _ => None,
    };
    assert_eq!(told(&mut events, "promoted", promoted).await, (servers[1].addr().to_string(), "main".to_owned()));
    assert_eq!((channel.promotions().len(), servers[1].accepted()), (1, 1));
    servers[0].restart().await.unwrap();
    until_answered_by(&channel, "s0").await;
    told(&mut events, "demoted", |event| matches!(event, LbEvent::Demoted { .. }).then_some(())).await;
    assert!(channel.promotions().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_failures_in_a_row_eject_at_once_and_where_too_few_are_left_all_are_used() {
    let servers = servers(3).await;
    // Nothing is judged by the hour but rows of failures.
    let config = json!({"interval": "3600s", "maxEjectionPercent": 100, "consecutiveFailures": {}});
    let channel = LbChannel::builder(target_of(&servers))
        .outlier_detection(OutlierConfig::from_json(&config).unwrap())
        .panic(PanicConfig::below(50))
        .build()
        .unwrap();
    let mut events = channel.subscribe();
    ready(&channel, 3).await;
    servers[0].fail(Code::Internal);
    let ejected = |addr| info(&channel, addr).error.is_some_and(|error| error.contains("5 calls in a row failed"));
    let mut failed = 0;
    while !ejected(servers[0].addr()) {
        failed += usize::from(call(&channel).await.is_err());
        assert!(failed < 50, "not ejected after {failed} failures");
    }
    assert_eq!(servers[0].connections(), 1, "it stays connected");
    for _ in 0..20 {
        assert_ne!(answered_by(&channel).await, "s0");
    }
    // A second one: one of three is left, and all are used.
    servers[1].fail(Code::Unavailable);
    let panics = |event: &LbEvent| match event {
        LbEvent::Panic { eligible, of, panicking, .. } => Some((*eligible, *of, *panicking)),
        _ => None,
    };
    let calling = tokio::spawn({
        let channel = channel.clone();
        async move {
            loop {
                let _ = call(&channel).await;
            }
        }
    });
    assert_eq!(told(&mut events, "panic", panics).await, (1, 3, true));
    calling.abort();
    assert_eq!(channel.panic().map(|panic| (panic.of, panic.restored)), Some((3, 2)));
    servers.iter().for_each(|server| server.heal());
    let before = servers[0].calls();
    for _ in 0..30 {
        call(&channel).await.unwrap();
    }
    assert!(servers[0].calls() >= before + 8, "it is used though it is ejected");
}

fn listed() -> (LbChannel, FakeResolverHandle) {
    let (resolver, handle) = FakeResolver::new("fake");
    let builder = LbChannel::builder("fake:///orders").resolver(resolver).removal_deadline(300 * MILLISECOND);
    (builder.build().unwrap(), handle)
}

fn endpoints(servers: &[EchoServer]) -> Vec<Endpoint> {
    servers.iter().map(EchoServer::endpoint).collect()
}

async fn stream(channel: &LbChannel, count: u32, delay_ms: u32) -> Streaming<EchoReply> {
    let asked = EchoRequest { count, delay_ms, ..request("x") };
    let mut stream = soon("the headers", EchoClient::new(channel.clone()).server_stream(asked)).await.unwrap().into_inner();
    soon("a message", stream.message()).await.unwrap().unwrap();
    stream
}

/// Reads to the end: how many messages came, and how it ended.
async fn read(stream: &mut Streaming<EchoReply>) -> (usize, Result<(), tonic::Status>) {
    let mut messages = 0;
    loop {
        match soon("a message", stream.message()).await {
            Ok(Some(_)) => messages += 1,
            Ok(None) => return (messages, Ok(())),
            Err(status) => return (messages, Err(status)),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_at_a_removed_endpoint_finish_in_their_time_or_are_ended_saying_why() {
    let servers = servers(2).await;
    let (channel, handle) = listed();
    let mut events = channel.subscribe();
    handle.endpoints(endpoints(&servers[..1]));
    ready(&channel, 1).await;
    let (mut short, mut long) = (stream(&channel, 10, 10).await, stream(&channel, u32::MAX, 10).await);
    let began = Instant::now();
    handle.endpoints(endpoints(&servers[1..]));
    until_answered_by(&channel, "s1").await;
    assert_eq!(read(&mut short).await.0, 9, "what ends in time is left alone");
    let (messages, ended) = read(&mut long).await;
    let status = ended.unwrap_err();
    assert!(messages > 5 && began.elapsed() >= 290 * MILLISECOND, "{messages} messages, {:?}", began.elapsed());
    assert_eq!(status.code(), Code::Unavailable);
    let reason = match call_error(&status) {
        Some(CallError::Ended { endpoint, reason }) if endpoint.as_str() == servers[0].addr().to_string() => reason.to_string(),
        other => panic!("{other:?} of {status:?}"),
    };
    assert_eq!(reason, "no longer listed, and given 300ms for calls in progress");
    let calls = |event: &LbEvent| match event {
        LbEvent::CallsEnded { calls, .. } => Some(*calls),
        _ => None,
    };
    assert_eq!(told(&mut events, "the end of the call", calls).await, 1);
    until("its connection is closed and the server has heard of it", || servers[0].connections() + servers[0].active() == 0).await;
    assert_eq!(answered_by(&channel).await, "s1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn draining_within_a_time_ends_what_takes_longer_unless_the_endpoint_is_taken_back() {
    let servers = servers(2).await;
    let channel = LbChannel::builder(target_of(&servers)).build().unwrap();
    ready(&channel, 2).await;
    let mut streams = [stream(&channel, u32::MAX, 10).await, stream(&channel, u32::MAX, 10).await];
    until("one is at each", || servers.iter().all(|server| server.active() == 1)).await;
    servers.iter().for_each(|server| channel.drain_within(server.endpoint().key().clone(), 200 * MILLISECOND));
    until("both are drained", || channel.endpoints().iter().all(|endpoint| endpoint.excluded == Some("drained"))).await;
    channel.undrain(servers[1].endpoint().key().clone());
    until("one is back", || info(&channel, servers[1].addr()).state == ConnectivityState::Ready).await;
    assert_eq!(answered_by(&channel).await, "s1");
    until("the other's connection is closed", || servers[0].connections() == 0).await;
    tokio::time::sleep(300 * MILLISECOND).await;
    assert_eq!(servers[1].active(), 1, "what was taken back goes on");
    let mut ended = 0;
    for stream in &mut streams {
        if let Ok(Err(status)) = tokio::time::timeout(50 * MILLISECOND, async { read(stream).await.1 }).await {
            assert!(status.message().contains("drained, and given 200ms"), "{status}");
            ended += 1;
        }
    }
    assert_eq!(ended, 1);
    assert_eq!(info(&channel, servers[0].addr()).state, ConnectivityState::Idle, "not connected before it is taken back");
}
