//! Servers that leave in good order lose no call.

use std::time::Duration;

use evenkeel::{ConnectivityState, LbChannel};
use lb_testkit::pb::EchoRequest;
use lb_testkit::{EchoServer, Latency};

use crate::support::{Load, Tally, quick_backoff, ready, servers, soon, target_of, until, until_state};

const CALLERS: usize = 24;

/// Every call was done, and done once, wherever it was sent a second time.
fn each_call_was_executed_once(tally: &Tally, servers: &[EchoServer]) {
    tally.all_succeeded();
    let executed: u64 = servers.iter().map(|server| server.calls()).sum();
    assert_eq!(executed, tally.ok, "calls executed and calls made");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_servers_restarted_one_after_the_other() {
    let mut servers = servers(5).await;
    for server in &servers {
        server.set_latency(Latency::Uniform(Duration::ZERO, Duration::from_millis(4)));
    }
    let channel = LbChannel::builder(target_of(&servers)).backoff(quick_backoff()).build().unwrap();
    ready(&channel, 5).await;
    let load = Load::start(&channel, CALLERS, &EchoRequest::default());
    load.goes_on(200).await;
    for server in &mut servers {
        // GOAWAY first, as a deployment that drains does, then down, then up.
        server.goaway();
        load.goes_on(50).await;
        soon("the server has finished", server.shutdown()).await;
        load.goes_on(50).await;
        server.restart().await.unwrap();
        until_state(&channel, server.addr(), ConnectivityState::Ready).await;
        load.goes_on(50).await;
    }
    each_call_was_executed_once(&load.stop().await, &servers);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn goaway_often_and_from_two_of_three_at_once() {
    let servers = servers(3).await;
    let channel = LbChannel::builder(target_of(&servers)).backoff(quick_backoff()).build().unwrap();
    ready(&channel, 3).await;
    let load = Load::start(&channel, CALLERS, &EchoRequest::default());
    // A third one stays, because a server that leaves may also cut a connection that is being made.
    for round in 0..24 {
        load.goes_on(40).await;
        ready(&channel, 3).await;
        (0..2).for_each(|place| servers[(round + place) % 3].goaway());
    }
    load.goes_on(100).await;
    assert!(servers.iter().all(|server| server.accepted() > 3), "the connections were not replaced");
    each_call_was_executed_once(&load.stop().await, &servers);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_age_after_a_second() {
    let mut servers = Vec::new();
    for _ in 0..3 {
        let builder = EchoServer::builder().max_connection_age(Duration::from_secs(1));
        servers.push(builder.latency(Latency::Fixed(Duration::from_millis(2))).start().await.unwrap());
    }
    let channel = LbChannel::builder(target_of(&servers)).build().unwrap();
    ready(&channel, 3).await;
    let load = Load::start(&channel, CALLERS, &EchoRequest::default());
    until("every server has sent three connections away", || servers.iter().all(|server| server.accepted() > 3)).await;
    each_call_was_executed_once(&load.stop().await, &servers);
}
