//! The resolver talks: often, in any order, wrongly, and while nobody calls.

use std::time::Duration;

use evenkeel::{Endpoint, LbChannel, LbEvent};
use lb_testkit::pb::EchoRequest;
use lb_testkit::{EchoServer, FakeResolver, FakeResolverHandle};
use tonic::Code;

use crate::support::{Dice, Load, PATIENCE, call, info, quick_backoff, ready, servers, soon, until};

fn channel() -> (LbChannel, FakeResolverHandle) {
    let (resolver, handle) = FakeResolver::new("fake");
    (LbChannel::builder("fake:///orders").resolver(resolver).backoff(quick_backoff()).build().unwrap(), handle)
}

fn endpoints(servers: &[EchoServer]) -> Vec<Endpoint> {
    servers.iter().map(EchoServer::endpoint).collect()
}

fn listed(channel: &LbChannel, endpoints: &[Endpoint]) -> bool {
    channel.endpoints().iter().map(|endpoint| &endpoint.key).eq(endpoints.iter().map(Endpoint::key))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_set_in_random_order_reconnects_nothing() {
    let servers = servers(4).await;
    let (channel, handle) = channel();
    let mut set = endpoints(&servers);
    handle.endpoints(set.clone());
    ready(&channel, 4).await;
    let load = Load::start(&channel, 4, &EchoRequest::default());
    let mut dice = Dice(7);
    for update in 0..1_000_u32 {
        dice.shuffle(&mut set);
        // Another weight is no reason to reconnect either.
        set[0].attributes.weight = update % 5 + 1;
        handle.endpoints(set.clone());
        tokio::time::sleep(Duration::from_micros(500)).await;
    }
    load.goes_on(50).await;
    load.stop().await.all_succeeded();
    assert!(listed(&channel, &set));
    for server in &servers {
        assert_eq!((server.accepted(), server.connections()), (1, 1));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endpoints_that_come_and_go_lose_no_call() {
    let servers = servers(4).await;
    servers.iter().for_each(|server| server.set_latency(lb_testkit::Latency::Fixed(Duration::from_millis(2))));
    let (channel, handle) = channel();
    handle.endpoints(endpoints(&servers));
    ready(&channel, 4).await;
    let load = Load::start(&channel, 16, &EchoRequest::default());
    let mut dice = Dice(11);
    for _ in 0..60 {
        let mut set = endpoints(&servers);
        set.remove(dice.below(4));
        set.remove(dice.below(3));
        handle.endpoints(set);
        load.goes_on(10).await;
    }
    let tally = load.stop().await;
    tally.all_succeeded();
    let executed: u64 = servers.iter().map(|server| server.calls()).sum();
    assert_eq!(executed, tally.ok, "calls executed and calls made");
    // Removed endpoints were let go once their calls were done.
    handle.endpoints([servers[0].endpoint()]);
    until("the others are not connected any more", || servers[1..].iter().all(|server| server.connections() == 0)).await;
}

#[tokio::test]
async fn a_failing_resolver_never_empties_a_working_set() {
    let servers = servers(2).await;
    let (channel, handle) = channel();
    let mut events = channel.subscribe();
    handle.endpoints(endpoints(&servers));
    ready(&channel, 2).await;
    for _ in 0..10 {
        handle.unavailable("the registry is on fire");
        call(&channel).await.unwrap();
    }
    assert_eq!(channel.endpoints().len(), 2);
    handle.endpoints(endpoints(&servers));
    let mut seen = Vec::new();
    soon("the resolver recovers", async {
        while seen.last() != Some(&LbEvent::ResolverRecovered) {
            seen.push(events.next().await.unwrap());
        }
    })
    .await;
    assert!(seen.iter().any(|event| matches!(event, LbEvent::ResolverFailed(error) if error.contains("on fire"))), "{seen:?}");
}

#[tokio::test]
async fn a_resolver_that_fails_first_fails_calls_with_its_error_until_it_answers() {
    let server = EchoServer::start("s").await.unwrap();
    let (channel, handle) = channel();
    handle.unavailable("the registry is on fire");
    let status = call(&channel).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains("on fire") && status.message().contains("fake:///orders"), "{status}");
    handle.endpoints([server.endpoint()]);
    until("the set is taken over", || !channel.endpoints().is_empty()).await;
    call(&channel).await.unwrap();
}

#[tokio::test]
async fn a_stream_that_ends_leaves_its_last_set() {
    let server = EchoServer::start("s").await.unwrap();
    let (channel, handle) = channel();
    handle.endpoints([server.endpoint()]);
    ready(&channel, 1).await;
    handle.end();
    server.cut_connections();
    until("it is connected again", || server.accepted() == 2).await;
    call(&channel).await.unwrap();
}

#[tokio::test]
async fn a_lost_connection_makes_the_channel_ask_again() {
    let mut server = EchoServer::start("s").await.unwrap();
    let (channel, handle) = channel();
    handle.endpoints([server.endpoint()]);
    ready(&channel, 1).await;
    assert_eq!(handle.again(), 0);
    server.kill().await;
    tokio::time::timeout(PATIENCE, handle.asked_again(1)).await.expect("the resolver was not asked to look again");
    until("it is known to be down", || info(&channel, server.addr()).error.is_some()).await;
    // Its successor is elsewhere; what the resolver says is enough.
    let successor = EchoServer::start("successor").await.unwrap();
    handle.endpoints([successor.endpoint()]);
    ready(&channel, 1).await;
    assert_eq!(call(&channel).await.unwrap().into_inner().server, "successor");
}
