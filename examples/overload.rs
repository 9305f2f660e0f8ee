//! More calls than the servers can do: limits keep the servers at work, and a queue decides who waits and who hears no.
//! Two servers in this process that take 10 ms for a call and are given three at a time; 60 calls come at once.
//! Run it with `cargo run --example overload`.

#[path = "support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::error::Error;
use std::time::Duration;

use evenkeel::queue::QueueConfig;
use evenkeel::{CallError, LbChannel, PickOptions};
use lb_testkit::pb::EchoRequest;
use lb_testkit::pb::echo_client::EchoClient;
use tokio::task::JoinSet;
use tonic::{Code, Request};

use support::{Failure, PATIENCE, servers, target};

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let servers = servers(2).await?;

    // Each endpoint gets three calls at a time. What is too much waits, at most 24 of them and at most 2 s; beyond that calls are shed.
    let channel = LbChannel::builder(target(&servers))
        .max_requests_per_endpoint(3)
        .queue(QueueConfig::new(24).max_wait(Duration::from_secs(2)))
        .connect(PATIENCE)
        .await?;

    // 60 calls at once: six go through, 24 wait, and 30 are shed. Every fifth call is a user's and matters more than a report's.
    let mut calls = JoinSet::new();
    for number in 0..60 {
        let mut client = EchoClient::new(channel.clone());
        let kind = if number % 5 == 0 { "user" } else { "report" };
        calls.spawn(async move {
            let mut request = Request::new(EchoRequest { delay_ms: 10, ..EchoRequest::default() });
            request.extensions_mut().insert(PickOptions::new().priority(if kind == "user" { 5 } else { 0 }));
            (kind, client.unary(request).await)
        });
    }
    let mut tally: BTreeMap<&str, (u32, u32)> = BTreeMap::new();
    while let Some(done) = calls.join_next().await {
        let (kind, result) = done?;
        let (served, shed) = tally.entry(kind).or_default();
        match result {
            Ok(_) => *served += 1,
            Err(status) => {
                // RESOURCE_EXHAUSTED, and as a type: the queue was full, or one came that matters more, or the wait was too long.
                assert_eq!(status.code(), Code::ResourceExhausted);
                let error = status.source().and_then(|source| source.downcast_ref());
                assert!(matches!(error, Some(CallError::QueueFull { .. } | CallError::QueueTimeout { .. })), "{status}");
                *shed += 1;
            }
        }
    }
    for (kind, (served, shed)) in &tally {
        println!("{kind}s: {served} served, {shed} shed");
    }
    assert_eq!(tally["user"].1, 0, "a report made room for every user");
    assert!(tally["report"].0 > 0 && tally["report"].1 > 0);

    // The servers never had more than they were given.
    for server in &servers {
        let most = server.control().most_active();
        println!("{} had {most} calls at once at most", server.control().name());
        assert!(most <= 3);
    }
    let queue = channel.queue().ok_or("the channel has a queue")?;
    println!("{} waited and were served, {} shed; the longest wait was {:?}", queue.served, queue.total_shed(), queue.longest_wait);
    assert_eq!(queue.waiting, 0);
    Ok(())
}
