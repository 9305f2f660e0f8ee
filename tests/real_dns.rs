//! A channel to a `dns:` target, against a real DNS server whose records change and which goes silent.
#![cfg(feature = "dns")]
#![allow(clippy::unwrap_used, reason = "a failing helper fails the test")]

#[path = "support/mod.rs"]
#[allow(dead_code, reason = "shared by several test binaries")]
mod support;

use std::net::SocketAddr;
use std::time::Duration;

use evenkeel::resolver::{DnsConfig, DnsResolver};
use evenkeel::{LbChannel, LbChannelBuilder};
use lb_testkit::EchoServer;
use lb_testkit::pb::EchoRequest;
use lb_testkit::services::{self, KNOT_ZONE, Knot};
use tonic::Code;

use crate::support::{Load, call, quick_backoff, ready, servers, soon, until};

/// Looks again after the records' time to live, which these tests set to a second.
fn builder(knot: &Knot, name: &str) -> LbChannelBuilder {
    let config = DnsConfig::new().with_refresh(Duration::from_millis(200), Duration::from_secs(1)).unwrap();
    LbChannel::builder(format!("dns://{}/{name}.{KNOT_ZONE}", knot.addr()))
        .resolver(DnsResolver::with_config(config))
        .backoff(quick_backoff())
}

fn srv(server: &EchoServer) -> String {
    format!("0 1 {} local.{KNOT_ZONE}", server.addr().port())
}

fn set(knot: &Knot, servers: &[&EchoServer]) {
    let records: Vec<String> = servers.iter().map(|server| srv(server)).collect();
    knot.set("_grpc._tcp.orders", "SRV", 1, &records.iter().map(String::as_str).collect::<Vec<_>>()).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_that_change_move_calls_and_a_silent_name_server_does_not() {
    let Some(root) = services::require("knot") else { return };
    let knot = Knot::start(&root, "local 1 A 127.0.0.1\n").unwrap();
    let servers = servers(3).await;
    set(&knot, &[&servers[0], &servers[1]]);
    let channel = builder(&knot, "_grpc._tcp.orders").build().unwrap();
    let load = Load::start(&channel, 4, &EchoRequest { delay_ms: 1, ..EchoRequest::default() });
    until("both serve", || servers[..2].iter().all(|server| server.calls() > 10)).await;

    set(&knot, &[&servers[1], &servers[2]]);
    until("the new one serves", || servers[2].calls() > 10).await;
    until("the old one is let go", || servers[0].connections() == 0).await;

    // No answer is not an empty answer.
    knot.pause().unwrap();
    let mut events = channel.subscribe();
    soon("the resolver fails", async { while !matches!(events.next().await, Some(evenkeel::LbEvent::ResolverFailed(_))) {} }).await;
    load.goes_on(100).await;
    assert_eq!(channel.endpoints().len(), 2);
    knot.resume().unwrap();
    set(&knot, &[&servers[0]]);
    until("the one that is left serves alone", || channel.endpoints().len() == 1).await;
    load.goes_on(20).await;
    load.stop().await.all_succeeded();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_address_of_a_long_answer_is_an_endpoint() {
    let Some(root) = services::require("knot") else { return };
    let records: String = (1..=200).map(|n| format!("many 60 A 127.0.0.{n}\n")).collect();
    let knot = Knot::start(&root, &records).unwrap();
    let first = EchoServer::start("first").await.unwrap();
    let port = first.addr().port();
    let last: SocketAddr = format!("127.0.0.200:{port}").parse().unwrap();
    let _last = EchoServer::builder().name("last").bind(last).start().await.unwrap();
    let config = DnsConfig::new();
    let channel = LbChannel::builder(format!("dns://{}/many.{KNOT_ZONE}:{port}", knot.addr()))
        .resolver(DnsResolver::with_config(config))
        .build()
        .unwrap();
    call(&channel).await.unwrap();
    ready(&channel, 2).await;
    assert_eq!(channel.endpoints().len(), 200);
    let answered: Vec<String> = [call(&channel).await, call(&channel).await].map(|reply| reply.unwrap().into_inner().server).into();
    assert!(answered.contains(&"first".to_owned()) && answered.contains(&"last".to_owned()), "{answered:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_does_not_exist_says_so_until_it_does() {
    let Some(root) = services::require("knot") else { return };
    let knot = Knot::start(&root, "local 1 A 127.0.0.1\n").unwrap();
    let server = EchoServer::start("s").await.unwrap();
    let channel = builder(&knot, "_grpc._tcp.orders").build().unwrap();
    let status = call(&channel).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains("orders"), "{status}");
    set(&knot, &[&server]);
    ready(&channel, 1).await;
    call(&channel).await.unwrap();
}
