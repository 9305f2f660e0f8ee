//! Limits that come with a service config.

use std::time::Duration;

use evenkeel::breaker::{BreakerConfig, BreakerForce, BreakerState};
use evenkeel::limits::{GradientConfig, RateLimit, RateLimits, ShedBy};
use evenkeel::{CallError, Events, PickOptions, RequestLimit};
use tonic::Code;

use super::*;
use crate::queueing::{enqueue, queue, take};
use crate::support::{Load, call, call_error, in_flight, info, ready, servers, soon};

fn limited(burst: u32) -> Value {
    json!({"evenkeel": {"rateLimits": {"channel": {"perSecond": 0.01, "burst": burst}}}})
}

/// How many of so many calls pass; the others are shed.
async fn passing(channel: &LbChannel, calls: usize) -> usize {
    let mut passed = 0;
    for _ in 0..calls {
        match call(channel).await {
            Ok(_) => passed += 1,
            Err(status) => assert!(matches!(call_error(&status), Some(CallError::Shed { .. })), "{status:?}"),
        }
    }
    passed
}

#[tokio::test]
async fn they_come_change_without_a_burst_and_go() {
    let servers = servers(1).await;
    let own = RateLimits::new().channel(RateLimit::per_second(0.01).unwrap().with_burst(30).unwrap());
    let (builder, resolver) = fake();
    let channel = builder.rate_limits(own).build().unwrap();
    resolver.update(listing(&servers, limited(5)));
    ready(&channel, 1).await;
    until("the config counts", || channel.service_config().is_some_and(|config| config.limits.rates.is_some())).await;
    assert_eq!(passing(&channel, 10).await, 5, "the config's, and not the channel's own");
    let shed = channel.limits().shed();
    assert_eq!(shed, 5);

    // More room is no burst: tokens are not made by a change. A config that is wrong changes nothing, nor does a limit nobody can keep.
    let mut events = channel.subscribe();
    resolver.update(listing(&servers, limited(10)));
    assert!(matches!(soon_event(&mut events).await, LbEvent::ConfigChanged(_)));
    assert_eq!((passing(&channel, 10).await, channel.limits().shed()), (0, shed + 10), "and counts go on");
    for wrong in
        [json!({"evenkeel": {"rateLimits": {"channel": {"perSecond": -1}}}}), json!({"evenkeel": {"concurrencyLimit": {}}})]
    {
        resolver.update(listing(&servers, wrong));
        let event = soon_event(&mut events).await;
        assert!(matches!(&event, LbEvent::ConfigRefused(reason) if reason.contains("evenkeel.")), "{event}");
    }
    assert_eq!(passing(&channel, 3).await, 0);
    let error = channel.set_service_config(json!({"evenkeel": {"concurrencyLimit": {}}})).unwrap_err();
    assert_eq!(error.field, "evenkeel.concurrencyLimit");

    // A single method, and the others as they like.
    let method = json!({"service": "evenkeel.echo.v1.Echo", "method": "Unary", "perSecond": 0.01, "burst": 2});
    resolver.update(listing(&servers, json!({"evenkeel": {"rateLimits": {"methods": [method]}}})));
    assert!(matches!(soon_event(&mut events).await, LbEvent::ConfigChanged(_)));
    assert_eq!(passing(&channel, 5).await, 2);
    // Without the object the channel's own limits hold again.
    resolver.update(listing(&servers, json!({})));
    assert!(matches!(soon_event(&mut events).await, LbEvent::ConfigChanged(_)));
    let status = loop {
        if let Err(status) = call(&channel).await {
            break status;
        }
    };
    assert!(matches!(call_error(&status), Some(CallError::Shed { limit: ShedBy::Channel(_), .. })), "{status:?}");
}

async fn soon_event(events: &mut Events) -> LbEvent {
    soon("a config is taken or refused", async {
        loop {
            match events.next().await {
                Some(event @ (LbEvent::ConfigChanged(_) | LbEvent::ConfigRefused(_))) => return event,
                Some(_) => {}
                None => panic!("the channel has ended"),
            }
        }
    })
    .await
}

#[tokio::test]
async fn endpoints_can_be_limited_where_the_channel_has_gates_for_it() {
    let servers = servers(1).await;
    let (builder, resolver) = fake();
    let channel = builder.concurrency_limit(GradientConfig::new()).timeout(Duration::from_secs(10)).build().unwrap();
    let endpoint =
        json!({"evenkeel": {"rateLimits": {"endpoint": {"perSecond": 0.01, "burst": 3}}, "concurrencyLimit": {"max": 7}}});
    resolver.update(listing(&servers, endpoint));
    ready(&channel, 1).await;
    until("the config counts", || channel.service_config().is_some_and(|config| config.limits.rates.is_some())).await;
    assert_eq!(passing(&channel, 6).await, 3);
    // The default config's are had from the beginning.
    let (builder, resolver) = fake();
    let config = json!({"evenkeel": {"rateLimits": {"endpoint": {"perSecond": 0.01, "burst": 2}}}});
    let channel = builder.service_config(config).build().unwrap();
    resolver.update(ResolverUpdate::new(servers.iter().map(EchoServer::endpoint).collect()));
    ready(&channel, 1).await;
    assert_eq!(passing(&channel, 5).await, 2);
}

async fn taken(channel: &LbChannel, resolver: &FakeResolverHandle, servers: &[EchoServer], config: Value) -> Result<(), String> {
    let mut events = channel.subscribe();
    resolver.update(listing(servers, config));
    channel.exit_idle();
    match soon_event(&mut events).await {
        LbEvent::ConfigRefused(reason) => Err(reason.to_string()),
        _ => Ok(()),
    }
}

fn breaker(fields: Value) -> Value {
    json!({"evenkeel": {"circuitBreaker": fields}})
}

/// The state of the one breaker of the only endpoint.
fn state(channel: &LbChannel, server: &EchoServer) -> Option<BreakerState> {
    info(channel, server.addr()).breakers.first().map(|breaker| breaker.state)
}

#[tokio::test]
async fn breakers_come_change_where_they_stand_and_go() {
    let servers = servers(1).await;
    let (builder, resolver) = fake();
    let channel = builder.circuit_breaker(BreakerConfig::off()).build().unwrap();
    let long = json!({"consecutiveFailures": 3, "openTime": "3600s"});
    taken(&channel, &resolver, &servers, json!({})).await.unwrap();
    ready(&channel, 1).await;
    servers[0].fail(Code::Unavailable);
    let fail = async |calls: usize| {
        for _ in 0..calls {
            assert_eq!(call(&channel).await.unwrap_err().code(), Code::Unavailable);
        }
    };
    fail(20).await;
    assert_eq!((state(&channel, &servers[0]), servers[0].calls()), (Some(BreakerState::Closed), 20), "off");
    taken(&channel, &resolver, &servers, breaker(long.clone())).await.unwrap();
    // A call that fails counts from now on, and one that succeeds too.
    servers[0].heal();
    call(&channel).await.unwrap();
    servers[0].fail(Code::Unavailable);
    fail(3).await;
    assert_eq!((state(&channel, &servers[0]), servers[0].calls()), (Some(BreakerState::Open), 24));
    let open = async || assert!(matches!(call_error(&call(&channel).await.unwrap_err()), Some(CallError::BreakersOpen { .. })));
    open().await;
    // One that is wrong changes nothing, and another one lets open what is open.
    let reason = taken(&channel, &resolver, &servers, breaker(json!({"trialCalls": 0}))).await.unwrap_err();
    assert!(reason.contains("evenkeel.circuitBreaker.trialCalls"), "{reason}");
    let mut other = long;
    other["consecutiveFailures"] = json!(7);
    taken(&channel, &resolver, &servers, breaker(other)).await.unwrap();
    open().await;
    assert_eq!(servers[0].calls(), 24, "nobody was asked");
    // Without the object the channel's own hold again, which let everything through.
    servers[0].heal();
    taken(&channel, &resolver, &servers, json!({})).await.unwrap();
    until("it is closed", || state(&channel, &servers[0]) == Some(BreakerState::Closed)).await;
    call(&channel).await.unwrap();
    // What was forced stays, even where methods are grouped otherwise.
    channel.force_breaker(servers[0].addr().to_string(), None, BreakerForce::Open).unwrap();
    taken(&channel, &resolver, &servers, breaker(json!({"methodGroups": "METHOD"}))).await.unwrap();
    open().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn breakers_change_under_load_without_a_failed_call_and_every_call_is_let_go() {
    let servers = servers(2).await;
    let (builder, resolver) = fake();
    let channel = builder.circuit_breaker(BreakerConfig::default()).build().unwrap();
    taken(&channel, &resolver, &servers, json!({})).await.unwrap();
    ready(&channel, 2).await;
    let load = Load::start(&channel, 8, &EchoRequest::default());
    for round in 0..30_u32 {
        let groups = ["ALL", "SERVICE", "METHOD"][round as usize % 3];
        let rate = json!({"percent": 50, "window": format!("{}s", 1 + round % 2), "minimumCalls": 1000});
        let fields = json!({"consecutiveFailures": 5 + round, "methodGroups": groups, "failureRate": rate});
        taken(&channel, &resolver, &servers, breaker(fields)).await.unwrap();
        load.goes_on(20).await;
    }
    load.stop().await.all_succeeded();
    assert_eq!(in_flight(&channel), 0);
}

#[tokio::test]
async fn a_number_of_attempts_at_once_comes_and_goes_for_any_channel() {
    let servers = servers(1).await;
    let of = |max: u32| json!({"evenkeel": {"maxRequests": max}});
    for own in [None, Some(RequestLimit::new(3))] {
        let (mut builder, resolver) = fake();
        if let Some(own) = own.clone() {
            builder = builder.max_requests(own);
        }
        let channel = builder.queue(queue(10)).build().unwrap();
        taken(&channel, &resolver, &servers, json!({})).await.unwrap();
        ready(&channel, 1).await;
        let early = take(&channel, PickOptions::new()).await;
        taken(&channel, &resolver, &servers, of(1)).await.unwrap();
        // What began before there was a limit is none of its attempts.
        let held = if own.is_none() { take(&channel, PickOptions::new()).await } else { early };
        let waits = enqueue(&channel, PickOptions::new()).await;
        assert_eq!(channel.endpoints()[0].in_flight, 1 + u32::from(own.is_none()));
        // Raised, it lets those in that wait; lowered, it ends nothing.
        taken(&channel, &resolver, &servers, of(2)).await.unwrap();
        soon("there is room", waits).await.unwrap().unwrap();
        taken(&channel, &resolver, &servers, of(0)).await.unwrap();
        let waits = enqueue(&channel, PickOptions::new()).await;
        // Without the object it is the channel's own again, or none.
        taken(&channel, &resolver, &servers, json!({})).await.unwrap();
        soon("there is room", waits).await.unwrap().unwrap();
        if let Some(own) = own {
            assert_eq!((own.max(), own.in_flight()), (3, 1));
        }
        drop(held);
    }
}

#[tokio::test]
async fn a_number_of_attempts_at_once_at_each_endpoint_for_channels_that_have_one() {
    let servers = servers(2).await;
    let of = |max: u32| json!({"evenkeel": {"maxRequestsPerEndpoint": max}});
    let (builder, resolver) = fake();
    let channel = builder.max_requests_per_endpoint(u32::MAX).build().unwrap();
    taken(&channel, &resolver, &servers, of(2)).await.unwrap();
    ready(&channel, 2).await;
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(take(&channel, PickOptions::new()).await);
    }
    let status = call(&channel).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(matches!(call_error(&status), Some(CallError::Shed { .. })), "{status:?}");
    assert!(channel.endpoints().iter().all(|endpoint| endpoint.in_flight == 2));
    taken(&channel, &resolver, &servers, json!({})).await.unwrap();
    call(&channel).await.unwrap();
    drop(held);
    // A channel without gates refuses it, and one whose default config has it has them.
    let (builder, resolver) = fake();
    let channel = builder.build().unwrap();
    let reason = taken(&channel, &resolver, &servers, of(2)).await.unwrap_err();
    assert!(reason.contains("evenkeel.maxRequestsPerEndpoint"), "{reason}");
    assert_eq!(channel.set_service_config(breaker(json!({}))).unwrap_err().field, "evenkeel.circuitBreaker");
    let (builder, resolver) = fake();
    let channel = builder.service_config(of(0)).build().unwrap();
    resolver.update(ResolverUpdate::new(servers.iter().map(EchoServer::endpoint).collect()));
    ready(&channel, 2).await;
    assert_eq!(call(&channel).await.unwrap_err().code(), Code::ResourceExhausted);
}
