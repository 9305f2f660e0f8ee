//! Endpoints that come back by a ramp, and those taken out by hand, against real servers.

use std::time::Duration;

use evenkeel::health::{GrpcHealthCheck, HealthConfig, PollConfig};
use evenkeel::recovery::RampConfig;
use evenkeel::{ConnectivityState, LbChannel, LbChannelBuilder, LbEvent};
use lb_testkit::pb::EchoRequest;
use lb_testkit::pb::echo_client::EchoClient;
use lb_testkit::{EchoServer, ServingStatus};

use crate::support::{Load, call, info, quick_backoff, ready, servers, target_of, until, until_state};

/// Calls in one look at the shares: so many that what is counted is a share within a point or two.
const LOOK: u64 = 300;

fn channel(servers: &[EchoServer], build: impl FnOnce(LbChannelBuilder) -> LbChannelBuilder) -> LbChannel {
    build(LbChannel::builder(target_of(servers)).backoff(quick_backoff())).build().unwrap()
}

/// What the first server gets of what the others get, while the load goes on for a while.
async fn ratio(load: &Load, servers: &[EchoServer]) -> f64 {
    let before: Vec<u64> = servers.iter().map(|server| server.calls()).collect();
    load.goes_on(LOOK).await;
    let calls: Vec<u64> = servers.iter().zip(before).map(|(server, before)| server.calls() - before).collect();
    calls[0] as f64 * (calls.len() - 1) as f64 / calls[1..].iter().sum::<u64>() as f64
}

fn share(channel: &LbChannel, server: &EchoServer) -> f64 {
    info(channel, server.addr()).share
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_returned_endpoint_follows_its_ramp_and_no_call_fails() {
    for policy in ["round_robin", "least_request"] {
        let mut servers = servers(4).await;
        let ramp = RampConfig::linear(Duration::from_secs(4)).unwrap();
        let channel = channel(&servers, |builder| builder.policy(policy).recovery(ramp).seed(1));
        ready(&channel, 4).await;
        assert!(channel.recovery().is_empty(), "the first set starts full");
        servers[0].kill().await;
        until_state(&channel, servers[0].addr(), ConnectivityState::TransientFailure).await;
        let mut events = channel.subscribe();
        let load = Load::start(&channel, 8, &EchoRequest { delay_ms: 2, ..EchoRequest::default() });
        load.goes_on(100).await;
        servers[0].restart().await.unwrap();
        until_state(&channel, servers[0].addr(), ConnectivityState::Ready).await;
        let (mut looks, mut last) = (0, share(&channel, &servers[0]));
        assert!(last < 0.3 && info(&channel, servers[0].addr()).limited == Some("recovering"), "{last}");
        while last < 1.0 {
            let ratio = ratio(&load, &servers).await;
            let now = share(&channel, &servers[0]);
            // The share may have changed anywhere between the two, by as much as a busy machine lets it; counts are off by a little.
            assert!((last - 0.07..=now + 0.07).contains(&ratio), "{policy}: {ratio} is not between {last} and {now}");
            (looks, last) = (looks + 1, now);
        }
        println!("{policy}: {looks} looks");
        let after = ratio(&load, &servers).await;
        assert!(after > 0.8, "{policy}: it has its full share: {after}");
        load.stop().await.all_succeeded();
        let mut told = Vec::new();
        while told.last() != Some(&"recovery_finished") {
            told.extend(events.next().await.iter().map(LbEvent::kind).filter(|kind| kind.starts_with("recovery")));
        }
        assert_eq!(told, ["recovery_started", "recovery_finished"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn recovery_is_listed_and_can_be_forced() {
    let mut servers = servers(3).await;
    let channel = channel(&servers, |builder| builder.recovery(RampConfig::steps()));
    ready(&channel, 3).await;
    servers[0].kill().await;
    until_state(&channel, servers[0].addr(), ConnectivityState::TransientFailure).await;
    servers[0].restart().await.unwrap();
    until_state(&channel, servers[0].addr(), ConnectivityState::Ready).await;
    let recovery = channel.recovery();
    assert_eq!((recovery.len(), recovery[0].share), (1, 0.1), "{recovery:?}");
    assert_eq!(recovery[0].endpoint.as_str(), servers[0].addr().to_string());
    assert!(recovery[0].next_step > recovery[0].since);
    channel.force_recovery(recovery[0].endpoint.clone());
    until("it has its full share", || channel.recovery().is_empty() && share(&channel, &servers[0]) == 1.0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn degraded_by_hand_it_gets_what_it_is_given() {
    let servers = servers(3).await;
    let channel = channel(&servers, |builder| builder);
    ready(&channel, 3).await;
    channel.degrade(&*servers[0].addr().to_string(), 0.25);
    until("it is degraded", || info(&channel, servers[0].addr()).limited == Some("degraded by hand")).await;
    let load = Load::start(&channel, 4, &EchoRequest::default());
    load.goes_on(50).await;
    let got = ratio(&load, &servers).await;
    assert!((got - 0.25).abs() <= 0.05, "{got}");
    channel.degrade(&*servers[0].addr().to_string(), 1.0);
    until("it is not", || share(&channel, &servers[0]) == 1.0).await;
    load.goes_on(50).await;
    let got = ratio(&load, &servers).await;
    assert!((got - 1.0).abs() <= 0.05, "{got}");
    load.stop().await.all_succeeded();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disabled_endpoint_finishes_its_calls_and_loses_its_connection_until_it_is_enabled() {
    let servers = servers(2).await;
    let channel = channel(&servers, |builder| builder);
    ready(&channel, 2).await;
    // A call to each, which takes a while.
    let slow = EchoRequest { delay_ms: 300, ..EchoRequest::default() };
    let calls: Vec<_> = (0..2)
        .map(|_| {
            let (mut client, slow) = (EchoClient::new(channel.clone()), slow.clone());
            tokio::spawn(async move { client.unary(slow).await })
        })
        .collect();
    until("each has a call", || servers.iter().all(|server| server.active() == 1)).await;
    let first = servers[0].addr();
    channel.disable(&*first.to_string());
    until("it is out", || info(&channel, first).excluded == Some("disabled")).await;
    let before = servers[0].calls();
    for _ in 0..20 {
        call(&channel).await.unwrap();
    }
    assert_eq!(servers[0].calls(), before, "no new calls");
    for call in calls {
        call.await.unwrap().unwrap();
    }
    until("its connection is closed", || servers[0].connections() == 0).await;
    assert_eq!(info(&channel, first).state, ConnectivityState::Idle);
    channel.reset_connect_backoff();
    call(&channel).await.unwrap();
    assert_eq!(servers[0].accepted(), 1, "and not made again");
    channel.enable(&*first.to_string());
    until_state(&channel, first, ConnectivityState::Ready).await;
    until("it gets calls", || info(&channel, first).excluded.is_none()).await;
    for _ in 0..4 {
        call(&channel).await.unwrap();
    }
    assert!(servers[0].calls() > before && servers[0].accepted() == 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_health_check_that_begins_to_fail_halves_the_share() {
    let servers = servers(3).await;
    // So many failures in a row that it stays between the two.
    let poll = PollConfig::every_5s().with_interval(Duration::from_millis(10)).unwrap().with_unhealthy_threshold(1000).unwrap();
    let check = GrpcHealthCheck::new(HealthConfig::poll("").with_poll(poll));
    let channel = channel(&servers, |builder| builder.health(check));
    ready(&channel, 3).await;
    let first = servers[0].addr();
    servers[0].health().set("", ServingStatus::NotServing);
    until("it is degraded", || info(&channel, first).limited == Some("degraded by its health check")).await;
    let now = info(&channel, first);
    assert_eq!((now.state, now.share), (ConnectivityState::Ready, 0.5));
    let load = Load::start(&channel, 4, &EchoRequest::default());
    load.goes_on(50).await;
    let got = ratio(&load, &servers).await;
    assert!((got - 0.5).abs() <= 0.07, "{got}");
    servers[0].health().set("", ServingStatus::Serving);
    until("it is not", || info(&channel, first).share == 1.0).await;
    load.stop().await.all_succeeded();
}
