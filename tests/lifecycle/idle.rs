//! A channel nobody uses lets everything go, and comes back when it is used.

use std::time::Duration;

use evenkeel::health::GrpcHealthCheck;
use evenkeel::{BackoffConfig, ConnectivityState, LbChannel};
use lb_testkit::pb::EchoRequest;
use lb_testkit::pb::echo_client::EchoClient;
use lb_testkit::{EchoServer, FakeResolver, FakeResolverHandle, ReservedPort};

use crate::support::{Dice, call, quick_backoff, ready, request, soon, target, until};

async fn short_lived(timeout: Duration) -> (EchoServer, LbChannel, FakeResolverHandle) {
    let server = EchoServer::start("s").await.unwrap();
    let (resolver, handle) = FakeResolver::new("fake");
    handle.endpoints([server.endpoint()]);
    let builder = LbChannel::builder("fake:///orders").resolver(resolver).idle_timeout(timeout);
    (server, builder.backoff(quick_backoff()).build().unwrap(), handle)
}

async fn until_idle(channel: &LbChannel) {
    until("the channel is IDLE", || channel.state() == ConnectivityState::Idle).await;
}

#[tokio::test]
async fn it_lets_go_of_connections_and_resolver_and_a_call_wakes_it() {
    let (server, channel, handle) = short_lived(Duration::from_millis(100)).await;
    assert_eq!((handle.resolves(), handle.watching()), (0, 0), "nothing before the first call");
    for round in 1..=3 {
        call(&channel).await.unwrap();
        assert_eq!((handle.resolves(), handle.watching()), (round, 1));
        until_idle(&channel).await;
        until("everything is let go", || handle.watching() == 0 && server.connections() == 0).await;
        assert!(channel.endpoints().is_empty());
    }
    assert_eq!(server.accepted(), 3);
}

#[tokio::test]
async fn it_can_be_woken_without_a_call() {
    let (_server, channel, _handle) = short_lived(Duration::from_millis(100)).await;
    ready(&channel, 1).await;
    until_idle(&channel).await;
    ready(&channel, 1).await;
}

#[tokio::test]
async fn a_long_call_blocks_idleness_for_any_number_of_periods() {
    let timeout = Duration::from_millis(60);
    let (server, channel, _handle) = short_lived(timeout).await;
    let asked = EchoRequest { count: u32::MAX, delay_ms: 200, ..request("x") };
    let mut stream = EchoClient::new(channel.clone()).server_stream(asked).await.unwrap().into_inner();
    // Five messages take a second, which is more than sixteen periods.
    for _ in 0..5 {
        soon("a message", stream.message()).await.unwrap().unwrap();
        assert_eq!(channel.state(), ConnectivityState::Ready);
    }
    assert_eq!(server.accepted(), 1);
    drop(stream);
    until_idle(&channel).await;
}

#[tokio::test]
async fn calls_keep_it_awake_and_none_means_never() {
    let (server, channel, _handle) = short_lived(Duration::from_millis(400)).await;
    for _ in 0..20 {
        call(&channel).await.unwrap();
        // A tenth of the timeout, so that a busy machine has nine tenths to lose.
        tokio::time::sleep(Duration::from_millis(40)).await;
    }
    assert_eq!(server.accepted(), 1);
    let never = LbChannel::builder(server.target()).idle_timeout(None).build().unwrap();
    ready(&never, 1).await;
    until_idle(&channel).await;
    assert_eq!(never.state(), ConnectivityState::Ready);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_race_the_timeout_all_succeed() {
    let timeout = Duration::from_millis(32);
    let (_server, channel, handle) = short_lived(timeout).await;
    let mut dice = Dice(17);
    for _ in 0..60 {
        let calls: Vec<_> = (0..8)
            .map(|_| {
                let channel = channel.clone();
                tokio::spawn(async move { call(&channel).await })
            })
            .collect();
        for call in calls {
            soon("a call", call).await.unwrap().unwrap();
        }
        // Around the moment at which it gives up: the timeout, and up to a sixteenth more.
        tokio::time::sleep(timeout + Duration::from_micros(dice.below(4_000) as u64) - Duration::from_millis(1)).await;
    }
    assert!(handle.resolves() > 5, "it was IDLE {} times only", handle.resolves());
    assert!(handle.watching() <= 1);
}

#[tokio::test]
async fn a_health_watch_is_no_activity() {
    let server = EchoServer::start("s").await.unwrap();
    let builder = LbChannel::builder(server.target()).health(GrpcHealthCheck::default());
    let channel = builder.idle_timeout(Duration::from_millis(100)).build().unwrap();
    for _ in 0..2 {
        call(&channel).await.unwrap();
        assert_eq!(server.health().watching(), 1);
        until_idle(&channel).await;
        until("everything is let go", || server.health().watching() + server.connections() == 0).await;
    }
}

/// IDLE ends a sticky failure, and the backoff with it.
#[tokio::test]
async fn a_failed_channel_that_was_idle_begins_afresh() {
    let hour = Duration::from_secs(3600);
    let slow = BackoffConfig::try_new(hour, 1.0, hour, 0.0, Duration::from_secs(5)).unwrap();
    for policy in ["pick_first", "round_robin"] {
        let dead = ReservedPort::new().unwrap();
        let builder = LbChannel::builder(target([dead.addr()])).policy(policy).backoff(slow);
        let channel = builder.idle_timeout(Duration::from_millis(100)).build().unwrap();
        assert_eq!(call(&channel).await.unwrap_err().code(), tonic::Code::Unavailable);
        assert_eq!(channel.state(), ConnectivityState::TransientFailure);
        until_idle(&channel).await;
        let _late = EchoServer::builder().bind(dead.addr()).start().await.unwrap();
        call(&channel).await.unwrap();
    }
}
