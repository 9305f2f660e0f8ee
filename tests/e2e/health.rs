//! Health checks between connected and READY.

use std::time::Duration;

use evenkeel::ConnectivityState::{Ready, TransientFailure};
use evenkeel::LbChannel;
use evenkeel::health::{GrpcHealthCheck, HealthConfig, PollConfig, TcpProbe};
use lb_testkit::pb::EchoRequest;
use lb_testkit::{EchoServer, HealthFault, ServingStatus};
use tonic::Code;

use crate::support::{Load, call, info, quick_backoff, ready, servers, target, target_of, until, until_state};

fn checked(target: String) -> LbChannel {
    let config = HealthConfig::watch("").with_backoff(quick_backoff());
    LbChannel::builder(target).health(GrpcHealthCheck::new(config)).backoff(quick_backoff()).build().unwrap()
}

#[tokio::test]
async fn connected_is_not_ready_until_the_first_answer_says_serving() {
    let server = EchoServer::start("s").await.unwrap();
    server.health().set_watch_fault(HealthFault::Hang);
    let channel = checked(server.target());
    channel.exit_idle();
    until("the watch is open", || server.health().watching() == 1).await;
    assert_eq!(info(&channel, server.addr()).state, evenkeel::ConnectivityState::Connecting);
    server.health().set_watch_fault(HealthFault::None);
    // The watch that hangs goes on hanging; a check right now replaces it.
    channel.check_health_now();
    until_state(&channel, server.addr(), Ready).await;
    call(&channel).await.unwrap();
}

#[tokio::test]
async fn nobody_healthy_fails_calls_and_says_so() {
    let servers = servers(2).await;
    for server in &servers {
        server.health().set("", ServingStatus::NotServing);
    }
    let channel = checked(target_of(&servers));
    let status = call(&channel).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains("health") && status.message().contains("NOT_SERVING"), "{status}");
    servers[1].health().set("", ServingStatus::Serving);
    until_state(&channel, servers[1].addr(), Ready).await;
    assert_eq!(call(&channel).await.unwrap().into_inner().server, "s1");
    assert!(servers.iter().all(|server| server.accepted() == 1), "the connections are kept");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flips_under_load_lose_no_call() {
    let servers = servers(3).await;
    let channel = checked(target_of(&servers));
    ready(&channel, 3).await;
    let load = Load::start(&channel, 8, &EchoRequest { delay_ms: 1, ..EchoRequest::default() });
    for round in 0..12 {
        let flipped = &servers[round % 3];
        flipped.health().set("", ServingStatus::NotServing);
        until_state(&channel, flipped.addr(), TransientFailure).await;
        until("its calls have finished", || info(&channel, flipped.addr()).in_flight == 0).await;
        let calls = flipped.calls();
        load.goes_on(30).await;
        assert_eq!(flipped.calls(), calls, "an unhealthy endpoint got calls");
        flipped.health().set("", ServingStatus::Serving);
        until_state(&channel, flipped.addr(), Ready).await;
        load.goes_on(30).await;
    }
    load.stop().await.all_succeeded();
    assert!(servers.iter().all(|server| server.accepted() == 1));
}

#[tokio::test]
async fn a_server_without_health_service_counts_as_healthy() {
    let server = EchoServer::builder().name("s").health(false).start().await.unwrap();
    let channel = checked(server.target());
    for _ in 0..10 {
        call(&channel).await.unwrap();
    }
}

#[tokio::test]
async fn a_watch_that_ends_is_unhealthy_and_tried_again() {
    let server = EchoServer::start("s").await.unwrap();
    let channel = checked(server.target());
    ready(&channel, 1).await;
    let mut events = channel.subscribe();
    for code in [Code::Ok, Code::Unavailable, Code::Internal] {
        let watches = server.health().watches();
        server.health().end_watches(code);
        until("a new watch", || server.health().watches() > watches).await;
        until_state(&channel, server.addr(), Ready).await;
    }
    let mut unhealthy = 0;
    while let Ok(Some(event)) = tokio::time::timeout(Duration::from_millis(50), events.next()).await {
        unhealthy += u32::from(matches!(event, evenkeel::LbEvent::SubchannelState { to: TransientFailure, .. }));
    }
    assert!(unhealthy > 0, "the end of a watch was not noticed");
    assert_eq!(server.accepted(), 1);
}

#[tokio::test]
async fn one_service_of_many_and_an_unknown_one() {
    let server = EchoServer::start("s").await.unwrap();
    let config = |service: &str| HealthConfig::watch(service).with_backoff(quick_backoff());
    let builder = LbChannel::builder(server.target()).health(GrpcHealthCheck::new(config("orders")));
    let channel = builder.build().unwrap();
    let status = call(&channel).await.unwrap_err();
    assert!(status.message().contains("SERVICE_UNKNOWN"), "{status}");
    server.health().set("orders", ServingStatus::Serving);
    until_state(&channel, server.addr(), Ready).await;
    call(&channel).await.unwrap();
}

#[tokio::test]
async fn polling_takes_so_many_failures_and_so_many_successes() {
    let server = EchoServer::start("s").await.unwrap();
    let poll = PollConfig::default().with_interval(Duration::from_millis(10)).unwrap();
    let builder = LbChannel::builder(server.target()).health(GrpcHealthCheck::new(HealthConfig::poll("").with_poll(poll)));
    let channel = builder.build().unwrap();
    ready(&channel, 1).await;
    server.health().set_check_fault(HealthFault::Fail(Code::Unavailable));
    until_state(&channel, server.addr(), TransientFailure).await;
    server.health().set_check_fault(HealthFault::None);
    until_state(&channel, server.addr(), Ready).await;
    assert_eq!((server.health().watches(), server.accepted()), (0, 1));
}

#[tokio::test]
async fn a_reconnected_endpoint_is_checked_anew() {
    let mut server = EchoServer::start("s").await.unwrap();
    let channel = checked(server.target());
    ready(&channel, 1).await;
    server.kill().await;
    server.health().set("", ServingStatus::NotServing);
    server.restart().await.unwrap();
    until("it is connected and not healthy", || {
        info(&channel, server.addr()).error.is_some_and(|error| error.contains("NOT_SERVING"))
    })
    .await;
    assert_eq!(call(&channel).await.unwrap_err().code(), Code::Unavailable);
    server.health().set("", ServingStatus::Serving);
    until_state(&channel, server.addr(), Ready).await;
    until("one watch is open", || server.health().watching() == 1).await;
}

#[tokio::test]
async fn a_probe_by_connecting() {
    let server = EchoServer::start("s").await.unwrap();
    let proxy = lb_testkit::FaultProxy::start(server.addr()).await.unwrap();
    let poll = PollConfig::default().with_interval(Duration::from_millis(10)).unwrap();
    let channel = LbChannel::builder(target([proxy.addr()])).health(TcpProbe::new(poll)).build().unwrap();
    call(&channel).await.unwrap();
    proxy.refuse().await.unwrap();
    until_state(&channel, proxy.addr(), TransientFailure).await;
    proxy.accept().await.unwrap();
    until_state(&channel, proxy.addr(), Ready).await;
    call(&channel).await.unwrap();
}
