//! Endpoints that were never reachable, beside a good one.

use std::net::SocketAddr;

use evenkeel::{ConnectivityState, LbChannel};
use lb_testkit::pb::EchoRequest;
use lb_testkit::pb::echo_client::EchoClient;
use lb_testkit::{EchoServer, HangingPort, RawServer, ReservedPort};

use crate::support::{Load, call, info, picked, quick_backoff, request, soon, target};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_calls_without_an_error_from_the_first_on() {
    let dead = ReservedPort::new().unwrap();
    let good = EchoServer::start("good").await.unwrap();
    let channel = LbChannel::builder(target([dead.addr(), good.addr()])).backoff(quick_backoff()).build().unwrap();
    assert_eq!(channel.state(), ConnectivityState::Idle);
    let load = Load::start(&channel, 16, &EchoRequest::default());
    load.goes_on(10_000).await;
    let tally = load.stop().await;
    tally.all_succeeded();
    assert_eq!(tally.by_server.keys().collect::<Vec<_>>(), ["good"]);
    let dead = info(&channel, dead.addr());
    assert_eq!((dead.succeeded, dead.failed), (0, 0));
    assert!(dead.error.unwrap().contains("refused"));
}

async fn calls_beside(dead: SocketAddr, policy: &str) {
    let good = EchoServer::start("good").await.unwrap();
    for addrs in [[dead, good.addr()], [good.addr(), dead]] {
        let channel = LbChannel::builder(target(addrs)).policy(policy).build().unwrap();
        let mut client = EchoClient::new(channel);
        for _ in 0..50 {
            let reply = soon("a call beside a dead endpoint", client.unary(request("x"))).await.unwrap();
            assert_eq!(picked(&reply), (good.addr().to_string(), 1), "{policy}");
        }
    }
}

#[tokio::test]
async fn every_policy_avoids_one_that_refuses() {
    let dead = ReservedPort::new().unwrap();
    for policy in ["round_robin", "pick_first", "random", "least_request", "weighted_round_robin"] {
        calls_beside(dead.addr(), policy).await;
    }
}

#[tokio::test]
async fn one_that_hangs_or_is_silent_holds_nobody_up() {
    let hanging = HangingPort::new().unwrap();
    // It accepts and never sends SETTINGS: not a connection.
    let silent = RawServer::silent().await.unwrap();
    for policy in ["round_robin", "random", "least_request", "weighted_round_robin"] {
        calls_beside(hanging.addr(), policy).await;
        calls_beside(silent.addr(), policy).await;
    }
}

#[tokio::test]
async fn one_that_speaks_http1_is_a_failed_attempt_that_says_so() {
    let old = RawServer::says(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n").await.unwrap();
    let channel = LbChannel::builder(target([old.addr()])).backoff(quick_backoff()).build().unwrap();
    let status = call(&channel).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::Unavailable);
    assert!(status.message().contains(&old.addr().to_string()) && status.message().contains("HTTP/2"), "{status}");
}
