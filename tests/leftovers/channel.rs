//! Dropping a channel ends every task and socket it started: counted, not hoped.
//!
//! The servers are processes of their own, so that what is counted in this one is the channel's.

use std::net::SocketAddr;

use evenkeel::health::GrpcHealthCheck;
use evenkeel::transport::TransportConfig;
use evenkeel::{LbChannel, LbChannelBuilder, PickOptions};
use lb_testkit::pb::EchoRequest;
use lb_testkit::pb::echo_client::EchoClient;
use lb_testkit::{EchoProcess, HangingPort, ReservedPort, count};
use tonic::Request;

use crate::support::{call, in_flight, quick_backoff, ready, request, soon, target, until};

/// Tasks and sockets of this process.
fn open() -> (usize, usize) {
    (count::tasks(), count::sockets().unwrap())
}

async fn processes(count: usize) -> (Vec<EchoProcess>, Vec<SocketAddr>) {
    let mut processes = Vec::new();
    for index in 0..count {
        processes.push(EchoProcess::spawn(&format!("s{index}")).await.unwrap());
    }
    let addrs = processes.iter().map(EchoProcess::addr).collect();
    (processes, addrs)
}

fn builder(addrs: &[SocketAddr]) -> LbChannelBuilder {
    LbChannel::builder(target(addrs.iter().copied())).backoff(quick_backoff())
}

/// Waits until as much is open as before.
async fn as_before(before: (usize, usize), when: &str) {
    until(&format!("everything is closed that was opened {when}"), || open() == before).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_every_state_of_the_channel() {
    let _alone = crate::alone().await;
    let (_processes, addrs) = processes(3).await;
    let before = open();

    let channel = builder(&addrs).build().unwrap();
    assert_eq!(open().0, before.0 + 1, "an IDLE channel is one task");
    drop(channel);
    as_before(before, "by an IDLE channel").await;

    let channel = builder(&addrs).build().unwrap();
    channel.exit_idle();
    drop(channel);
    as_before(before, "by a channel that had just begun").await;

    let channel = builder(&addrs).build().unwrap();
    ready(&channel, 3).await;
    assert!(open().0 > before.0 + 1 && open().1 == before.1 + 3, "{:?}", open());
    for _ in 0..30 {
        call(&channel).await.unwrap();
    }
    let clones: Vec<_> = (0..10).map(|_| channel.clone()).collect();
    drop(channel);
    for clone in &clones {
        call(clone).await.unwrap();
    }
    drop(clones);
    as_before(before, "by a READY channel and its clones").await;

    let channel = builder(&addrs).health(GrpcHealthCheck::default()).build().unwrap();
    ready(&channel, 3).await;
    drop(channel);
    as_before(before, "by health checks").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_it_connects_and_while_it_waits_to_try_again() {
    let _alone = crate::alone().await;
    let (hanging, dead) = (HangingPort::new().unwrap(), ReservedPort::new().unwrap());
    let before = open();
    let channel = builder(&[hanging.addr(), dead.addr()]).build().unwrap();
    channel.exit_idle();
    until("one attempt has failed and one hangs", || {
        let endpoints = channel.endpoints();
        endpoints.len() == 2 && endpoints[1].error.is_some() && open().1 > before.1
    })
    .await;
    // Calls that wait keep the channel; dropping them as well ends it.
    let waiting: Vec<_> = (0..5)
        .map(|_| {
            let mut asked = Request::new(request("x"));
            asked.extensions_mut().insert(PickOptions::new().wait_for_ready(true));
            let mut client = EchoClient::new(channel.clone());
            tokio::spawn(async move { client.unary(asked).await })
        })
        .collect();
    tokio::task::yield_now().await;
    drop(channel);
    waiting.iter().for_each(tokio::task::JoinHandle::abort);
    as_before(before, "while connecting").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_in_progress_finish_first() {
    let _alone = crate::alone().await;
    let (_processes, addrs) = processes(2).await;
    let before = open();
    let channel = builder(&addrs).transport(TransportConfig::new().max_connections_per_endpoint(2)).build().unwrap();
    ready(&channel, 2).await;
    let asked = EchoRequest { count: 20, delay_ms: 5, ..request("x") };
    let mut stream = EchoClient::new(channel.clone()).server_stream(asked).await.unwrap().into_inner();
    let slow = tokio::spawn({
        let mut client = EchoClient::new(channel.clone());
        async move { client.unary(EchoRequest { delay_ms: 100, ..request("x") }).await }
    });
    until("both are in flight", || in_flight(&channel) == 2).await;
    drop(channel);
    soon("the unary call", slow).await.unwrap().unwrap();
    let mut messages = 0;
    while soon("a message", stream.message()).await.unwrap().is_some() {
        messages += 1;
    }
    assert_eq!(messages, 20, "the stream was cut off");
    drop(stream);
    as_before(before, "with calls in progress").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_channel_per_call_adds_up_to_nothing() {
    let _alone = crate::alone().await;
    let (_processes, addrs) = processes(1).await;
    let before = open();
    for _ in 0..100 {
        let channel = builder(&addrs).build().unwrap();
        call(&channel).await.unwrap();
    }
    as_before(before, "by a hundred channels").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endpoints_that_go_and_whose_calls_are_ended() {
    let _alone = crate::alone().await;
    let (_processes, addrs) = processes(2).await;
    let before = open();
    let channel = builder(&addrs).build().unwrap();
    ready(&channel, 2).await;
    let endless = EchoRequest { count: u32::MAX, delay_ms: 5, ..request("x") };
    let mut streams = Vec::new();
    for _ in 0..4 {
        streams.push(EchoClient::new(channel.clone()).server_stream(endless.clone()).await.unwrap().into_inner());
    }
    let connected = open();
    for addr in &addrs {
        channel.drain_within(&*addr.to_string(), std::time::Duration::from_millis(50));
    }
    until("the connections and their tasks are gone, and only they", || open() == (connected.0 - 2, connected.1 - 2)).await;
    for stream in &mut streams {
        while let Ok(message) = soon("the end", stream.message()).await {
            assert!(message.is_some());
        }
    }
    // With a deadline that has not come the channel leaves nothing either.
    for addr in &addrs {
        channel.undrain(&*addr.to_string());
    }
    ready(&channel, 2).await;
    let stream = EchoClient::new(channel.clone()).server_stream(endless).await.unwrap().into_inner();
    channel.drain_within(&*addrs[0].to_string(), std::time::Duration::from_secs(3600));
    channel.drain_within(&*addrs[1].to_string(), std::time::Duration::from_secs(3600));
    until("both are drained", || channel.endpoints().iter().all(|endpoint| endpoint.excluded == Some("drained"))).await;
    drop((channel, stream, streams));
    as_before(before, "by a channel with calls that had an hour to go").await;
}
