//! What a channel's limits shed, and what they let pass, over real sockets.

use std::time::Duration;

use evenkeel::limits::{EndpointLimitCounts, FloodLimit, GradientConfig, KeyLimit, RateLimit, RateLimits, ShedBy};
use evenkeel::{CallError, LbChannel, LbChannelBuilder, PickOptions};
use lb_testkit::pb::EchoRequest;
use lb_testkit::pb::echo_client::EchoClient;
use serde_json::json;
use tonic::{Code, Request, Status};

use crate::support::{Load, call, call_error, in_flight, ready, request, servers, soon, target_of, until};

const UNARY: &str = "evenkeel.echo.v1.Echo/Unary";

/// So many calls at once, and then hardly any more.
fn burst(calls: u32) -> RateLimit {
    RateLimit::per_second(0.01).unwrap().with_burst(calls).unwrap()
}

async fn channel(builder: LbChannelBuilder, endpoints: usize) -> LbChannel {
    let channel = builder.build().unwrap();
    ready(&channel, endpoints).await;
    channel
}

/// The limit that shed the call; fails the test if none did, or if the status does not say what it must.
fn shed(status: &Status) -> ShedBy {
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    let Some(CallError::Shed { limit, retry_after }) = call_error(status) else { panic!("not shed: {status:?}") };
    let hint: u64 = status.metadata().get("grpc-retry-pushback-ms").unwrap().to_str().unwrap().parse().unwrap();
    assert!(hint >= 1 && u128::from(hint) >= retry_after.as_millis(), "{hint} ms for {retry_after:?}");
    assert!(status.message().contains(&limit.to_string()), "{}", status.message());
    limit.clone()
}

/// How many of so many calls one after the other pass, and what the last one met.
async fn calls(channel: &LbChannel, count: usize) -> (usize, Option<ShedBy>) {
    let (mut passed, mut last) = (0, None);
    for _ in 0..count {
        match call(channel).await {
            Ok(_) => passed += 1,
            Err(status) => last = Some(shed(&status)),
        }
    }
    (passed, last)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_channels_rate_sheds_what_is_beyond_it_and_the_server_never_hears_of_it() {
    let servers = servers(1).await;
    let channel = channel(LbChannel::builder(target_of(&servers)).rate_limits(RateLimits::new().channel(burst(3))), 1).await;
    assert_eq!(calls(&channel, 10).await, (3, Some(ShedBy::Channel(burst(3)))));
    assert_eq!(servers[0].calls(), 3);
    let counts = channel.limits();
    assert_eq!((counts.door.admitted, counts.door.shed_by_channel, counts.shed()), (3, 7, 7));

    let mut patient = Request::new(EchoRequest::default());
    patient.extensions_mut().insert(PickOptions::new().wait_for_ready(true));
    let status = soon("a shed call waits for nothing", EchoClient::new(channel.clone()).unary(patient)).await.unwrap_err();
    assert_eq!(shed(&status), ShedBy::Channel(burst(3)));
    assert!(matches!(channel.pick(PickOptions::new()).await, Err(CallError::Shed { .. })), "picking for oneself is a call");
    assert_eq!(in_flight(&channel), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_method_and_a_key_have_limits_of_their_own() {
    let servers = servers(1).await;
    let key = KeyLimit::by_header("x-tenant", burst(2)).unwrap();
    let limits = RateLimits::new().method(UNARY, burst(5)).key(key);
    let channel = channel(LbChannel::builder(target_of(&servers)).rate_limits(limits), 1).await;
    let mut client = EchoClient::new(channel.clone());
    let mut of = async |tenant: &'static str| {
        let mut request = Request::new(request("x"));
        request.metadata_mut().insert("x-tenant", tenant.parse().unwrap());
        client.unary(request).await.map(drop).map_err(|status| shed(&status))
    };
    assert_eq!((of("red").await, of("red").await), (Ok(()), Ok(())));
    assert_eq!(of("red").await, Err(ShedBy::Key { key: "red".into(), limit: burst(2) }));
    assert_eq!((of("blue").await, of("blue").await, of("green").await), (Ok(()), Ok(()), Ok(())));
    assert_eq!(of("green").await, Err(ShedBy::Method { name: format!("/{UNARY}").into(), limit: burst(5) }));

    let options = PickOptions::new().limit_key("blue");
    let mut blue = EchoClient::with_interceptor(channel.clone(), options);
    assert!(matches!(shed(&blue.unary(request("x")).await.unwrap_err()), ShedBy::Key { key, .. } if &*key == "blue"));
    let stream = EchoClient::new(channel.clone()).server_stream(EchoRequest { count: 2, ..EchoRequest::default() }).await;
    assert!(stream.is_ok(), "another method, without a key");
    assert_eq!(channel.limits().door.keys.unwrap().in_use, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_is_shed_at_the_door() {
    let servers = servers(1).await;
    let limits = RateLimits::new().flood(FloodLimit::above(10).unwrap().over(Duration::from_secs(10)).unwrap());
    let channel = channel(LbChannel::builder(target_of(&servers)).rate_limits(limits), 1).await;
    let load = Load::start(&channel, 4, &request("x"));
    until("a flood is seen", || channel.limits().door.flooding).await;
    let tally = load.stop().await;
    assert!(tally.ok <= 200 && tally.failures.iter().all(|status| matches!(shed(status), ShedBy::Flood(_))), "{tally:?}");
    assert_eq!(servers[0].calls(), tally.ok);
    assert_eq!(channel.limits().door.shed_by_flood, tally.failures.len() as u64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_the_rate_of_an_endpoint_calls_go_elsewhere_and_only_then_are_shed() {
    let servers = servers(2).await;
    let limits = RateLimits::new().endpoint(burst(3));
    let channel = channel(LbChannel::builder(target_of(&servers)).policy("round_robin").rate_limits(limits), 2).await;
    let (passed, last) = calls(&channel, 10).await;
    assert_eq!((passed, last), (6, Some(ShedBy::Endpoints { rate_limited: 2, at_limit: 0 })));
    assert_eq!((servers[0].calls(), servers[1].calls()), (3, 3));
    let stats = channel.limits();
    assert_eq!((stats.shed_by_endpoints, stats.attempts.admitted, stats.endpoints.len()), (4, 6, 2));
    assert!(stats.endpoints.iter().all(|endpoint| endpoint.tokens.is_some_and(|tokens| tokens < 1.0)));

    channel.set_rate_limits(RateLimits::new()).unwrap();
    assert_eq!(calls(&channel, 10).await, (10, None), "taken away while it runs");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_the_concurrency_of_all_endpoints_calls_are_shed_until_one_ends() {
    let servers = servers(2).await;
    let two = GradientConfig::new().between(1, 2).unwrap();
    let channel = channel(LbChannel::builder(target_of(&servers)).concurrency_limit(two), 2).await;
    servers.iter().for_each(|server| server.hang());
    let hanging = (0..4).map(|_| {
        let mut client = EchoClient::new(channel.clone());
        tokio::spawn(async move { client.unary(request("x")).await })
    });
    let hanging: Vec<_> = hanging.collect();
    until("four calls are under way", || servers.iter().map(|server| server.active()).sum::<usize>() == 4).await;
    let status = call(&channel).await.unwrap_err();
    assert_eq!(shed(&status), ShedBy::Endpoints { rate_limited: 0, at_limit: 2 });
    let mut patient = Request::new(EchoRequest { delay_ms: 1, ..EchoRequest::default() });
    patient.extensions_mut().insert(PickOptions::new().wait_for_ready(true));
    let mut client = EchoClient::new(channel.clone());
    let patient = tokio::spawn(async move { client.unary(patient).await });
    servers.iter().for_each(|server| server.heal());
    hanging.into_iter().for_each(|call| call.abort());
    soon("a call that waits gets the place of one that was given up", patient).await.unwrap().unwrap();
    until("nothing is left of them", || channel.limits().endpoints.iter().all(|endpoint| endpoint.in_flight == 0)).await;
    let stats = channel.limits();
    assert_eq!((stats.shed_by_endpoints, stats.attempts.admitted), (1, 5));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_limit_grows_with_what_an_endpoint_bears_and_follows_its_bounds() {
    let servers = servers(1).await;
    let config = GradientConfig::new().initial(4).unwrap().window(Duration::from_millis(20)).unwrap();
    // So much that a busy machine does not look like a busy server.
    let config = config.tolerance(1.9).unwrap();
    let channel = channel(LbChannel::builder(target_of(&servers)).concurrency_limit(config), 1).await;
    let limit = || channel.limits().endpoints[0].concurrency.unwrap();
    assert_eq!(limit(), 4);
    let load = Load::start(&channel, 16, &EchoRequest { delay_ms: 5, ..EchoRequest::default() });
    until("it bears more than four", || limit() > 6).await;
    channel.set_concurrency_limit(config.between(1, 5).unwrap()).unwrap();
    until("the bound is kept", || limit() <= 5).await;
    channel.set_concurrency_limit(None).unwrap();
    load.goes_on(200).await;
    assert_eq!(channel.limits().endpoints[0].concurrency, None);
    let tally = load.stop().await;
    assert!(tally.failures.iter().all(|status| matches!(shed(status), ShedBy::Endpoints { rate_limited: 0, at_limit: 1 })));
    assert_eq!(in_flight(&channel), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_shed_is_not_sent_again_whatever_the_policy_of_retries() {
    let servers = servers(2).await;
    let policy = json!({
        "maxAttempts": 5, "initialBackoff": "0.01s", "maxBackoff": "0.01s", "backoffMultiplier": 1,
        "retryableStatusCodes": ["RESOURCE_EXHAUSTED"],
    });
    let config = json!({"methodConfig": [{"name": [{}], "retryPolicy": policy}]});
    let limits = RateLimits::new().channel(burst(5)).endpoint(burst(1));
    let builder = LbChannel::builder(target_of(&servers)).service_config(config).rate_limits(limits);
    let channel = channel(builder, 2).await;
    for expected in ["endpoints", "channel"] {
        let (passed, last) = calls(&channel, 5).await;
        assert_eq!((passed, last.map(|shed| shed.name())), (if expected == "endpoints" { 2 } else { 0 }, Some(expected)));
    }
    let stats = channel.limits();
    assert_eq!((stats.shed_by_endpoints, stats.door.shed_by_channel, stats.attempts.admitted), (3, 5, 2), "each call once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_limits_nothing_is_counted_and_limits_of_the_door_can_come_later() {
    let servers = servers(1).await;
    let channel = channel(LbChannel::builder(target_of(&servers)), 1).await;
    assert_eq!(calls(&channel, 5).await, (5, None));
    let stats = channel.limits();
    assert_eq!((stats.door.admitted, stats.shed(), stats.attempts), (0, 0, EndpointLimitCounts::default()));
    assert!(stats.endpoints.is_empty());
    assert_eq!(channel.set_rate_limits(RateLimits::new().endpoint(burst(1))).unwrap_err().field, "rateLimits.endpoint");
    assert_eq!(channel.set_concurrency_limit(GradientConfig::new()).unwrap_err().field, "concurrencyLimit");
    assert_eq!(calls(&channel, 5).await, (5, None), "refused settings change nothing");
    channel.set_rate_limits(RateLimits::new().channel(burst(2))).unwrap();
    assert_eq!(calls(&channel, 5).await, (2, Some(ShedBy::Channel(burst(2)))));
    channel.set_rate_limits(RateLimits::new()).unwrap();
    assert_eq!(calls(&channel, 5).await, (5, None));
    assert_eq!((channel.limits().door.admitted, channel.limits().shed()), (2, 3));
}
