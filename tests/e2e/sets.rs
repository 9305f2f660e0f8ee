//! Sets of endpoints and targets of every kind, good and bad.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use evenkeel::machine::MAX_ENDPOINTS;
use evenkeel::{BuildError, ConnectivityState, Endpoint, LbChannel, LbEvent, PickOptions, ResolverUpdate};
use lb_testkit::pb::echo_client::EchoClient;
use lb_testkit::{EchoServer, FakeResolver, FakeResolverHandle};
use tonic::{Code, Request};

use crate::support::{call, quick_backoff, ready, request, servers, soon, target, target_of, until};

fn channel(policy: &str) -> (LbChannel, FakeResolverHandle) {
    let (resolver, handle) = FakeResolver::new("fake");
    let builder = LbChannel::builder("fake:///orders").resolver(resolver).backoff(quick_backoff());
    (builder.policy(policy).build().unwrap(), handle)
}

/// The n-th address of the loopback network, from 127.0.0.1 on.
fn loopback(n: u32, port: u16) -> SocketAddr {
    (Ipv4Addr::from_bits(Ipv4Addr::LOCALHOST.to_bits() + n), port).into()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_thousand_endpoints_of_which_eight_listen() {
    let first = EchoServer::start("0").await.unwrap();
    let port = first.addr().port();
    let mut servers = vec![first];
    for n in 1..8_u32 {
        servers.push(EchoServer::builder().name(n.to_string()).bind(loopback(n * 600, port)).start().await.unwrap());
    }
    let (channel, handle) = channel("round_robin");
    handle.endpoints((0..5_000).map(|n| Endpoint::new(loopback(n, port))));
    // From the first call on.
    call(&channel).await.unwrap();
    ready(&channel, 8).await;
    assert_eq!(channel.endpoints().len(), 5_000);
    let begun: u64 = servers.iter().map(|server| server.calls()).sum();
    let mut client = EchoClient::new(channel.clone());
    for _ in 0..800 {
        soon("a call among five thousand endpoints", client.unary(request("x"))).await.unwrap();
    }
    let calls: Vec<u64> = servers.iter().map(|server| server.calls()).collect();
    assert_eq!(calls.iter().sum::<u64>() - begun, 800);
    assert!(calls.iter().all(|calls| (95..=105).contains(calls)), "{calls:?}");
    // And gone again.
    handle.endpoints([servers[7].endpoint()]);
    until("one is left", || channel.endpoints().len() == 1).await;
    assert_eq!(call(&channel).await.unwrap().into_inner().server, "7");
}

#[tokio::test]
async fn endpoints_beyond_the_most_are_ignored_and_told() {
    let server = EchoServer::start("s").await.unwrap();
    let (channel, handle) = channel("pick_first");
    let mut events = channel.subscribe();
    let others = (0..MAX_ENDPOINTS as u32).map(|n| Endpoint::new(loopback(n + 1000, 1)));
    handle.endpoints([server.endpoint()].into_iter().chain(others));
    call(&channel).await.unwrap();
    assert_eq!(channel.endpoints().len(), MAX_ENDPOINTS);
    let told = soon("the event", async {
        loop {
            match events.next().await.unwrap() {
                LbEvent::ResolverFailed(error) => return error,
                LbEvent::Lagged(_) => return "lagged".into(),
                _ => {}
            }
        }
    })
    .await;
    assert!(told.contains("100001") || &*told == "lagged", "{told}");
}

#[tokio::test]
async fn an_empty_set_fails_calls_and_ends_when_endpoints_come() {
    let server = EchoServer::start("s").await.unwrap();
    let (channel, handle) = channel("round_robin");
    handle.update(ResolverUpdate::new(Vec::new()).with_note("nobody is on duty"));
    let status = call(&channel).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    for part in ["no endpoints", "nobody is on duty", "fake:///orders"] {
        assert!(status.message().contains(part), "{status}");
    }
    assert_eq!(channel.state(), ConnectivityState::TransientFailure);
    soon("the resolver is asked again", handle.asked_again(1)).await;

    let mut waits = Request::new(request("x"));
    waits.extensions_mut().insert(PickOptions::new().wait_for_ready(true));
    let mut client = EchoClient::new(channel.clone());
    let waiting = tokio::spawn(async move { client.unary(waits).await });
    handle.endpoints([server.endpoint()]);
    soon("the waiting call", waiting).await.unwrap().unwrap();

    // A set that becomes empty drops its connections: the resolver says with authority that there is nobody.
    handle.endpoints([]);
    until("nobody is left", || channel.endpoints().is_empty()).await;
    assert_eq!(call(&channel).await.unwrap_err().code(), Code::Unavailable);
    until("the connection is closed", || server.connections() == 0).await;
}

#[tokio::test]
async fn duplicates_are_one_endpoint_with_one_connection() {
    let servers = servers(2).await;
    let (channel, handle) = channel("round_robin");
    let (one, two) = (servers[0].endpoint(), servers[1].endpoint());
    handle.endpoints([one.clone().with_weight(3), two, one.with_weight(9)]);
    ready(&channel, 2).await;
    let listed = channel.endpoints();
    assert_eq!((listed.len(), listed[0].weight), (2, 3), "the first counts");
    for _ in 0..20 {
        call(&channel).await.unwrap();
    }
    assert!(servers.iter().all(|server| (server.accepted(), server.calls()) == (1, 10)));
}

async fn shares(weights: [u32; 3], calls: usize) -> Vec<u64> {
    let servers = servers(3).await;
    let (channel, handle) = channel("weighted_round_robin");
    handle.endpoints(servers.iter().zip(weights).map(|(server, weight)| server.endpoint().with_weight(weight)));
    ready(&channel, 3).await;
    let mut client = EchoClient::new(channel);
    for _ in 0..calls {
        soon("a weighted call", client.unary(request("x"))).await.unwrap();
    }
    servers.iter().map(|server| server.calls()).collect()
}

#[tokio::test]
async fn weights_of_zero_and_absurd_ones() {
    assert_eq!(shares([0, 1, 1], 60).await, [0, 30, 30], "weight 0 takes nothing");
    assert_eq!(shares([0, 0, 0], 60).await, [20; 3], "unless all have it");
    // Cut at ten times and lifted to a hundredth of the mean: the largest gets nearly all, and nobody starves for ever.
    let absurd = shares([u32::MAX, 1, 1], 600).await;
    assert!(absurd[0] >= 580 && absurd.iter().sum::<u64>() == 600, "{absurd:?}");
    assert_eq!(shares([u32::MAX; 3], 60).await, [20; 3]);
}

#[tokio::test]
async fn ipv6_and_unix_sockets() {
    let v6 = EchoServer::builder().name("v6").bind("[::1]:0".parse().unwrap()).start().await.unwrap();
    let path = std::env::temp_dir().join(format!("evenkeel-e2e-{}.sock", std::process::id()));
    let unix = EchoServer::builder().name("unix").unix(&path).record_requests().start().await.unwrap();
    for server in [&v6, &unix] {
        let channel = LbChannel::builder(server.target()).connect(Duration::from_secs(20)).await.unwrap();
        assert_eq!(call(&channel).await.unwrap().into_inner().server, server.name());
    }
    assert_eq!(unix.last_request().unwrap().uri.authority().unwrap(), "localhost");
    let both = LbChannel::builder(format!("static:///{},unix:{}", v6.addr(), path.display())).build().unwrap();
    ready(&both, 2).await;
    for _ in 0..10 {
        call(&both).await.unwrap();
    }
    assert_eq!((v6.calls(), unix.calls()), (6, 6));
}

#[tokio::test]
async fn an_endpoint_with_several_addresses_is_one_endpoint() {
    let server = EchoServer::start("s").await.unwrap();
    let dead = lb_testkit::ReservedPort::new().unwrap();
    let (channel, handle) = channel("round_robin");
    handle.endpoints([Endpoint::with_addresses([dead.addr().into(), server.address()]).unwrap()]);
    for _ in 0..20 {
        call(&channel).await.unwrap();
    }
    assert_eq!((channel.endpoints().len(), server.accepted()), (1, 1));
}

fn refused(target: &str) -> BuildError {
    match LbChannel::builder(target).build() {
        Ok(_) => panic!("{target:?} was accepted"),
        Err(error) => error,
    }
}

#[tokio::test]
async fn targets_that_make_no_sense_are_errors_when_the_channel_is_built() {
    let long = format!("static:///{}:1", "a".repeat(255));
    for (text, says) in [
        ("", "empty"),
        ("static:", "empty"),
        ("static:///", "empty"),
        ("static:///a:1,,b:1", "empty"),
        ("static:///a:99999", "0 to 65535"),
        ("static:///a b:1", "may hold only"),
        ("static:///a:1;weight=-1", "weight"),
        ("static://authority/a:1", "authority"),
        ("ipv4:orders:1", "IPv4"),
        ("ipv4:[::1]:1", "IPv4"),
        ("ipv6:127.0.0.1:1", "IPv6"),
        ("unix:", "empty"),
        ("unix://host/path", "authority"),
        ("static:///%zz", "percent"),
        ("static:///a\u{0}b", "control"),
        ("file:", "file"),
        (&*long, "253"),
    ] {
        let error = refused(text);
        let shown = error.to_string();
        assert!(matches!(error, BuildError::Target(_) | BuildError::Resolve { .. }), "{text:?}: {error:?}");
        assert!(shown.contains(says), "{text:?}: {shown}");
        assert!(shown.contains(&format!("{text:?}")), "{text:?} is not named: {shown}");
    }
}

#[tokio::test]
async fn a_scheme_nobody_serves_is_an_error_that_lists_those_served() {
    let error = refused("nonesuch:///orders");
    let shown = error.to_string();
    assert!(shown.contains("nonesuch:///orders"), "{shown}");
    #[cfg(not(feature = "dns"))]
    assert!(matches!(&error, BuildError::UnknownScheme { .. }) && shown.contains("static") && shown.contains("unix"), "{error:?}");
}

/// 253 characters are the longest name there is. It is looked up at each attempt, and that fails.
#[tokio::test]
async fn the_longest_name_is_a_name() {
    let name = [&*"a".repeat(63), &*"b".repeat(63), &*"c".repeat(63), &*"d".repeat(53), "invalid"].join(".");
    assert_eq!(name.len(), 253);
    let channel = LbChannel::builder(format!("static:///{name}:1")).build().unwrap();
    let status = call(&channel).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains(&name) && status.message().contains("lookup"), "{status}");
}

#[tokio::test]
async fn connect_waits_for_an_endpoint_and_says_why_there_is_none() {
    let servers = servers(2).await;
    let channel = LbChannel::builder(target_of(&servers)).connect(Duration::from_secs(20)).await.unwrap();
    assert_eq!(channel.state(), ConnectivityState::Ready);
    let dead = lb_testkit::ReservedPort::new().unwrap();
    let timeout = Duration::from_millis(200);
    let error = LbChannel::builder(target([dead.addr()])).connect(timeout).await.unwrap_err();
    assert!(matches!(&error, BuildError::NotReady { reason, .. } if reason.contains("refused")), "{error:?}");
    assert!(error.to_string().contains(&dead.addr().to_string()), "{error}");
}

#[test]
fn building_needs_a_runtime() {
    assert!(matches!(refused("static:///127.0.0.1:1"), BuildError::NoRuntime));
}
