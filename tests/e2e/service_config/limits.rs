//! Limits that come with a service config.

use std::time::Duration;

use evenkeel::limits::{GradientConfig, RateLimit, RateLimits, ShedBy};
use evenkeel::{CallError, Events};

use super::*;
use crate::support::{call, call_error, ready, servers};

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
    crate::support::soon("a config is taken or refused", async {
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
