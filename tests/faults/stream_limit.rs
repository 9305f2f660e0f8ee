//! Servers that take few streams at a time.

use std::sync::Arc;
use std::time::Duration;

use evenkeel::health::GrpcHealthCheck;
use evenkeel::transport::TransportConfig;
use evenkeel::{CallError, LbChannel, WaitingFor};
use lb_testkit::pb::echo_client::EchoClient;
use lb_testkit::raw::setting;
use lb_testkit::{EchoServer, FaultProxy, RawServer};
use tokio::sync::Notify;
use tonic::{Code, Request};

use crate::support::{call, call_error, in_flight, ready, request, servers, soon, target, target_of, until};

async fn narrow() -> EchoServer {
    EchoServer::builder().name("narrow").max_concurrent_streams(1).start().await.unwrap()
}

/// A hundred calls at once, all of which succeed.
async fn hundred(channel: &LbChannel) {
    let calls: Vec<_> = (0..100)
        .map(|_| {
            let channel = channel.clone();
            tokio::spawn(async move { call(&channel).await })
        })
        .collect();
    for call in calls {
        soon("one call of a hundred", call).await.unwrap().unwrap();
    }
    assert_eq!(in_flight(channel), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_calls_at_once_over_one_stream() {
    let server = narrow().await;
    let channel = LbChannel::builder(target([server.addr()])).build().unwrap();
    hundred(&channel).await;
    assert_eq!((server.calls(), server.most_active(), server.accepted()), (100, 1, 1));
}

/// Servers allow a few hundred streams unless told otherwise.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_calls_at_once() {
    let servers = servers(3).await;
    let channel = LbChannel::builder(target_of(&servers)).build().unwrap();
    ready(&channel, 3).await;
    let calls: Vec<_> = (0..6_000)
        .map(|_| {
            let channel = channel.clone();
            tokio::spawn(async move { call(&channel).await })
        })
        .collect();
    for call in calls {
        soon("one call of thousands", call).await.unwrap().unwrap();
    }
    assert_eq!((in_flight(&channel), servers.iter().map(|server| server.calls()).sum::<u64>()), (0, 6_000));
    assert!(servers.iter().all(|server| server.accepted() == 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_pool_they_use_its_connections() {
    let server = narrow().await;
    server.set_latency(lb_testkit::Latency::Fixed(Duration::from_millis(2)));
    let transport = TransportConfig::new().max_connections_per_endpoint(3);
    let channel = LbChannel::builder(target([server.addr()])).transport(transport).build().unwrap();
    hundred(&channel).await;
    assert_eq!((server.calls(), server.accepted()), (100, 3));
    assert!((2..=3).contains(&server.most_active()), "{} at once", server.most_active());
}

/// The Watch of a health check holds the only stream; with a second connection there is another for calls.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beside_a_health_watch() {
    let server = narrow().await;
    let transport = TransportConfig::new().max_connections_per_endpoint(2);
    let builder = LbChannel::builder(target([server.addr()])).transport(transport);
    let channel = builder.health(GrpcHealthCheck::default()).build().unwrap();
    hundred(&channel).await;
    assert_eq!((server.calls(), server.health().watching()), (100, 1));
}

/// A further connection that cannot be made is tried again for the calls that wait already.
#[tokio::test]
async fn a_pool_that_could_not_grow_tries_again_without_a_new_call() {
    let server = narrow().await;
    let proxy = FaultProxy::start(server.addr()).await.unwrap();
    let transport = TransportConfig::new().max_connections_per_endpoint(2);
    let builder = LbChannel::builder(target([proxy.addr()])).transport(transport);
    let channel = builder.health(GrpcHealthCheck::default()).build().unwrap();
    ready(&channel, 1).await;
    proxy.refuse().await.unwrap();
    let asked = tokio::spawn({
        let channel = channel.clone();
        async move { call(&channel).await }
    });
    until("the call waits", || in_flight(&channel) == 1).await;
    // Time enough for the refusal; being too short would only make the test easier.
    tokio::time::sleep(Duration::from_millis(100)).await;
    proxy.accept().await.unwrap();
    soon("the call gets its stream", asked).await.unwrap().unwrap();
}

/// With one connection the calls wait, and say for whom. It is what gRPC prescribes.
#[tokio::test]
async fn a_health_watch_on_the_only_stream_makes_calls_wait() {
    let server = narrow().await;
    let channel = LbChannel::builder(target([server.addr()])).health(GrpcHealthCheck::default()).build().unwrap();
    ready(&channel, 1).await;
    let mut asked = Request::new(request("x"));
    asked.set_timeout(Duration::from_millis(200));
    let status = soon("the deadline", EchoClient::new(channel.clone()).unary(asked)).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    let error = call_error(&status);
    assert!(matches!(error, Some(CallError::DeadlineExceeded { waiting_for: WaitingFor::Response(_) })), "{status:?}");
    assert_eq!((server.calls(), in_flight(&channel)), (0, 0));
}

#[tokio::test]
async fn calls_cancelled_while_they_wait_for_a_stream_are_forgotten() {
    let server = narrow().await;
    server.hang();
    let channel = LbChannel::builder(target([server.addr()])).build().unwrap();
    ready(&channel, 1).await;
    let calls: Vec<_> = (0..50)
        .map(|_| {
            let channel = channel.clone();
            tokio::spawn(async move { call(&channel).await })
        })
        .collect();
    until("one call is served and all are counted", || server.active() == 1 && in_flight(&channel) == 50).await;
    server.heal();
    calls.iter().for_each(tokio::task::JoinHandle::abort);
    until("nothing is in flight", || in_flight(&channel) == 0).await;
    call(&channel).await.unwrap();
    // The first was seen; those that waited never left.
    assert_eq!(server.calls(), 2);
}

#[tokio::test]
async fn a_limit_that_is_raised_lets_waiting_calls_go() {
    let raise = Arc::new(Notify::new());
    let raised = Arc::clone(&raise);
    let server = RawServer::start(move |mut conn| {
        let raised = Arc::clone(&raised);
        async move {
            conn.handshake(&[(setting::MAX_CONCURRENT_STREAMS, 0)]).await?;
            raised.notified().await;
            conn.settings(&[(setting::MAX_CONCURRENT_STREAMS, 1)]).await?;
            loop {
                let call = conn.next_call().await?;
                conn.reply(call, b"").await?;
            }
        }
    })
    .await
    .unwrap();
    let channel = LbChannel::builder(target([server.addr()])).build().unwrap();
    let calls: Vec<_> = (0..20)
        .map(|_| {
            let channel = channel.clone();
            tokio::spawn(async move { call(&channel).await })
        })
        .collect();
    until("all calls wait", || in_flight(&channel) == 20).await;
    raise.notify_one();
    for call in calls {
        soon("a call after the limit was raised", call).await.unwrap().unwrap();
    }
}
