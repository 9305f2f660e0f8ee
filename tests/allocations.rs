//! What a pick and a call allocate, counted.
//!
//! Through tonic's `Grpc` client with the prost codec a call takes 18 allocations: tonic's 12, h2's 6, none of ours. A deadline takes
//! three more: two for tonic to write the header, one for the timer. Generated clients add four: three for an extension that names
//! the method, one for the endpoint that answered. A pick takes none.

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use evenkeel::breaker::{BreakerConfig, FailureRate, MethodGroups};
use evenkeel::drops::{Denominator, DropOverload, DropOverloads};
use evenkeel::limits::{FloodLimit, GradientConfig, KeyLimit, RateLimit, RateLimits};
use evenkeel::machine::NamedPolicy;
use evenkeel::recovery::RampConfig;
use evenkeel::retry::{RetryPolicy, Throttling};
use evenkeel::{
    ConnectivityState, EndpointStats, LbChannel, LbChannelBuilder, PickArgs, PickHints, PickResult, PickedEndpoint, Plan,
    PolicyRegistry, Scratch, Slot, SubchannelView,
};
use lb_testkit::LightProcess;
use lb_testkit::count::{CountingAllocator, allocations, allocations_of_all_threads};
use lb_testkit::pb::{EchoReply, EchoRequest, echo_client::EchoClient};
use serde_json::{Value, json};
use tonic::Request;
use tonic::body::Body;
use tonic::client::{Grpc, GrpcService};
use tonic::transport::{Channel, Endpoint};
use tonic_prost::ProstCodec;

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

/// Calls counted; enough that a buffer that grows now and then does not show in the mean.
const CALLS: u64 = 2_000;

/// Calls before counting begins, until every buffer has its size.
const WARM_UP: u64 = 200;

fn view(count: u32) -> Vec<SubchannelView> {
    (0..count)
        .map(|index| {
            let address = format!("10.{}.{}.{}:50051", index >> 16, (index >> 8) & 255, index & 255)
                .parse::<std::net::SocketAddr>()
                .expect("an address");
            let endpoint = Arc::new(evenkeel::Endpoint::new(address).with_weight(1 + index % 7));
            SubchannelView::new(Slot::new(index, 0), endpoint, ConnectivityState::Ready, Arc::<EndpointStats>::default())
        })
        .collect()
}

/// What those policies need that need anything; the others ignore it.
fn config() -> Value {
    json!({"subsetSize": 20, "childPolicy": [{"round_robin": {}}]})
}

#[test]
fn no_policy_allocates_in_a_pick() {
    let registry = PolicyRegistry::default();
    let names: Vec<String> = registry.names().map(str::to_owned).collect();
    assert!(names.len() >= 5, "{names:?}");
    let rows = view(1_000);
    for name in names {
        let NamedPolicy { mut policy, .. } = NamedPolicy::new(&*name, registry.build(&name, &config()).unwrap());
        let now = Instant::now();
        let state = policy.rebuild(now, &rows, &mut Plan::new(7));
        let (headers, mut hints, mut scratch) = (http::HeaderMap::new(), PickHints::default(), Scratch::new(1));
        hints.session = Some("for policies that hash".into());
        let ((), counted) = allocations(|| {
            for _ in 0..10_000 {
                let result = state.picker.pick(&mut PickArgs::new(now, "/a/b", &headers, &hints, &mut scratch));
                assert!(matches!(result, PickResult::Pick(_)));
            }
        });
        assert_eq!(counted, 0, "{name}");
    }
}

async fn channel(server: &LightProcess) -> LbChannel {
    connected(builder(server)).await
}

fn builder(server: &LightProcess) -> LbChannelBuilder {
    let addresses: Vec<String> = server.addrs().iter().map(ToString::to_string).collect();
    LbChannel::builder(format!("static:///{}", addresses.join(",")))
}

async fn connected(builder: LbChannelBuilder) -> LbChannel {
    let channel = builder.connect(Duration::from_secs(10)).await.expect("a channel");
    let mut events = channel.subscribe();
    while channel.endpoints().iter().any(|endpoint| endpoint.state != ConnectivityState::Ready) {
        tokio::time::timeout(Duration::from_secs(10), events.next()).await.expect("an event");
    }
    channel
}

/// The mean of allocations per call, once every buffer has its size.
async fn mean(mut call: impl AsyncFnMut()) -> f64 {
    for _ in 0..WARM_UP {
        call().await;
    }
    let before = allocations_of_all_threads();
    for _ in 0..CALLS {
        call().await;
    }
    (allocations_of_all_threads() - before) as f64 / CALLS as f64
}

fn request(timeout: Option<Duration>) -> Request<EchoRequest> {
    let mut request = Request::new(EchoRequest { payload: bytes::Bytes::from_static(&[7; 100]), ..Default::default() });
    if let Some(timeout) = timeout {
        request.set_timeout(timeout);
    }
    request
}

async fn bare<T>(channel: T, timeout: Option<Duration>) -> f64
where
    T: GrpcService<Body>,
    T::ResponseBody: http_body::Body<Data = bytes::Bytes> + Send + 'static,
    <T::ResponseBody as http_body::Body>::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let mut client = Grpc::new(channel);
    mean(async || {
        client.ready().await.map_err(Into::into).expect("ready");
        let path = http::uri::PathAndQuery::from_static("/evenkeel.echo.v1.Echo/Unary");
        client.unary(request(timeout), path, ProstCodec::<EchoRequest, EchoReply>::default()).await.expect("a reply");
    })
    .await
}

async fn generated(channel: LbChannel, timeout: Option<Duration>) -> f64 {
    let mut client = EchoClient::new(channel);
    mean(async || {
        let reply = client.unary(request(timeout)).await.expect("a reply");
        assert!(reply.extensions().get::<PickedEndpoint>().is_some());
    })
    .await
}

#[tokio::test]
async fn a_unary_call_allocates_at_most_18_times_and_21_with_a_deadline() {
    let server = LightProcess::spawn(4, 1).await.unwrap();
    let channel = channel(&server).await;
    let timeout = Some(Duration::from_secs(5));
    let ours = (bare(channel.clone(), None).await, bare(channel.clone(), timeout).await);
    let generated = (generated(channel.clone(), None).await, generated(channel, timeout).await);
    let endpoints = server.addrs().iter().map(|address| Endpoint::from_shared(format!("http://{address}")).unwrap());
    let tonic = Channel::balance_list(endpoints);
    let theirs = (bare(tonic.clone(), None).await, bare(tonic, timeout).await);
    println!(
        "allocations per unary call, and with a deadline: bare {ours:.2?}, generated {generated:.2?}, balance_list {theirs:.2?}"
    );
    assert!(ours.0 <= 18.05 && ours.1 <= 21.05, "{ours:?}");
    assert!(generated.0 <= 22.05 && generated.1 <= 25.05, "{generated:?}");
    assert!(ours.0 < 0.65 * theirs.0 && ours.1 < 0.7 * theirs.1, "{ours:?} {theirs:?}");
}

/// Every limit there is, none of which anybody meets.
fn limits() -> RateLimits {
    let most = RateLimit::per_second(1_000_000).expect("a rate");
    let limits = RateLimits::new().flood(FloodLimit::above(10_000_000).expect("a threshold")).channel(most).endpoint(most);
    limits.method("evenkeel.echo.v1.Echo/Unary", most).key(KeyLimit::by_header("te", most).expect("a header"))
}

#[tokio::test]
async fn limits_allocate_nothing_for_a_call_that_passes() {
    let server = LightProcess::spawn(4, 1).await.unwrap();
    let never = DropOverload::new("never", 0, Denominator::Million).and_then(|never| DropOverloads::new([never])).unwrap();
    let limited = builder(&server).rate_limits(limits()).concurrency_limit(GradientConfig::new());
    let channel = connected(limited.drop_overloads(never)).await;
    let mean = bare(channel.clone(), None).await;
    assert!(mean <= 18.05, "{mean}");
    let stats = channel.limits();
    assert_eq!((stats.door.admitted, stats.attempts.admitted, stats.shed()), (CALLS + WARM_UP, CALLS + WARM_UP, 0));
    assert_eq!(stats.door.keys.map(|keys| keys.capacity), Some(65_536), "and keys were asked");
}

#[tokio::test]
async fn circuit_breakers_that_are_closed_allocate_nothing() {
    let server = LightProcess::spawn(4, 1).await.unwrap();
    let full = BreakerConfig::default().groups(MethodGroups::PerMethod).failure_rate(FailureRate::default());
    for config in [BreakerConfig::default(), full] {
        let channel = connected(builder(&server).circuit_breaker(config)).await;
        let mean = bare(channel.clone(), None).await;
        assert!(mean <= 18.05, "{mean}");
        assert!(channel.endpoints().iter().all(|endpoint| endpoint.breakers.len() == 1), "and they were asked");
    }
}

#[tokio::test]
async fn retries_that_are_not_needed_allocate_nothing() {
    let server = LightProcess::spawn(4, 1).await.unwrap();
    let policy = RetryPolicy::default();
    let by_builder = builder(&server).retry(policy).retry_throttling(Throttling::default());
    let method = json!({
        "name": [{}],
        "retryPolicy": {
            "maxAttempts": 3, "initialBackoff": "1s", "maxBackoff": "1s", "backoffMultiplier": 1, "retryableStatusCodes": [14],
        },
    });
    let by_config =
        builder(&server).service_config(json!({"methodConfig": [method], "retryThrottling": {"maxTokens": 10, "tokenRatio": 1}}));
    for builder in [by_builder, by_config] {
        let channel = connected(builder).await;
        let mean = (bare(channel.clone(), None).await, bare(channel, Some(Duration::from_secs(5))).await);
        println!("allocations per unary call with retries, and with a deadline: {mean:.2?}");
        assert!(mean.0 <= 18.05 && mean.1 <= 21.05, "{mean:?}");
    }
}

#[tokio::test]
async fn a_methods_config_costs_no_allocation() {
    let server = LightProcess::spawn(4, 1).await.unwrap();
    // A timeout would cost its timer; here the call has an earlier one.
    let method = json!({
        "name": [{"service": "evenkeel.echo.v1.Echo"}],
        "timeout": "100s", "waitForReady": true, "maxRequestMessageBytes": 100_000,
        "loadBalancingConfig": [{"least_request": {}}]
    });
    let timeout = Some(Duration::from_secs(5));
    let plain = bare(channel(&server).await, timeout).await;
    let with = bare(connected(builder(&server).service_config(json!({"methodConfig": [method]}))).await, timeout).await;
    println!("allocations per unary call with a deadline: {plain:.2}, by a method's config too {with:.2}");
    assert!(with <= plain + 0.05, "{with} after {plain}");
}

#[tokio::test]
async fn shares_cost_no_allocation_neither_idle_nor_kept() {
    let server = LightProcess::spawn(4, 1).await.unwrap();
    let channel = connected(builder(&server).recovery(RampConfig::steps())).await;
    let idle = bare(channel.clone(), None).await;
    let endpoint = channel.endpoints()[0].key.clone();
    channel.degrade(endpoint, 0.3);
    let until = Instant::now() + Duration::from_secs(10);
    while channel.endpoints()[0].share > 0.3 && Instant::now() < until {
        tokio::task::yield_now().await;
    }
    assert_eq!(channel.endpoints()[0].limited, Some("degraded by hand"));
    let kept = bare(channel, None).await;
    println!("allocations per unary call: {idle:.2} with a ramp configured, {kept:.2} while a share is kept");
    assert!(idle <= 18.05 && kept <= 18.1, "{idle} {kept}");
}
