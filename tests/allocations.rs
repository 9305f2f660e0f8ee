//! What a pick and a call allocate, counted.
//!
//! Through tonic's `Grpc` client with the prost codec a call takes 18 allocations: tonic's 12, h2's 6, none of ours. A deadline takes
//! three more: two for tonic to write the header, one for the timer. Generated clients add four: see [`Client::Generated`]. A pick
//! takes none.

use std::sync::Arc;
use std::time::{Duration, Instant};

use evenkeel::machine::NamedPolicy;
use evenkeel::{
    ConnectivityState, Endpoint, EndpointStats, LbChannel, PickArgs, PickHints, PickResult, PickedEndpoint, Plan, PolicyRegistry,
    Scratch, Slot, SubchannelView,
};
use lb_testkit::LightProcess;
use lb_testkit::count::{CountingAllocator, allocations, allocations_of_all_threads};
use lb_testkit::pb::{EchoReply, EchoRequest, echo_client::EchoClient};
use serde_json::json;
use tonic::Request;
use tonic::client::Grpc;
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
            let endpoint = Arc::new(Endpoint::new(address).with_weight(1 + index % 7));
            SubchannelView::new(Slot::new(index, 0), endpoint, ConnectivityState::Ready, Arc::<EndpointStats>::default())
        })
        .collect()
}

#[test]
fn no_policy_allocates_in_a_pick() {
    let registry = PolicyRegistry::default();
    let names: Vec<String> = registry.names().map(str::to_owned).collect();
    assert!(names.len() >= 5, "{names:?}");
    let rows = view(1_000);
    for name in names {
        let NamedPolicy { mut policy, .. } = NamedPolicy::new(&*name, registry.build(&name, &json!({})).unwrap());
        let state = policy.rebuild(Instant::now(), &rows, &mut Plan::new(7));
        let (headers, hints, mut scratch) = (http::HeaderMap::new(), PickHints::default(), Scratch::new(1));
        let ((), counted) = allocations(|| {
            for _ in 0..10_000 {
                let result = state.picker.pick(&mut PickArgs::new("/a/b", &headers, &hints, &mut scratch));
                assert!(matches!(result, PickResult::Pick(_)));
            }
        });
        assert_eq!(counted, 0, "{name}");
    }
}

/// How a call is made.
#[derive(Clone, Copy)]
enum Client {
    /// By tonic's `Grpc` directly, as in the published study of transports.
    Bare,
    /// By generated code, whose requests carry an extension that names the method (3 allocations), so that their responses can carry
    /// the endpoint that answered (1 more).
    Generated,
}

async fn channel(server: &LightProcess) -> LbChannel {
    let addresses: Vec<String> = server.addrs().iter().map(ToString::to_string).collect();
    let channel =
        LbChannel::builder(format!("static:///{}", addresses.join(","))).connect(Duration::from_secs(10)).await.expect("a channel");
    let mut events = channel.subscribe();
    while channel.endpoints().iter().any(|endpoint| endpoint.state != ConnectivityState::Ready) {
        tokio::time::timeout(Duration::from_secs(10), events.next()).await.expect("an event");
    }
    channel
}

/// The mean of allocations per unary call of 100 bytes; the server is another process.
async fn per_call(client: Client, timeout: Option<Duration>) -> f64 {
    let server = LightProcess::spawn(4, 1).await.expect("a server");
    let channel = channel(&server).await;
    let (mut bare, mut generated) = (Grpc::new(channel.clone()), EchoClient::new(channel));
    let payload = bytes::Bytes::from_static(&[7; 100]);
    let mut before = 0;
    for call in 0..CALLS + WARM_UP {
        if call == WARM_UP {
            before = allocations_of_all_threads();
        }
        let mut request = Request::new(EchoRequest { payload: payload.clone(), ..Default::default() });
        if let Some(timeout) = timeout {
            request.set_timeout(timeout);
        }
        match client {
            Client::Bare => {
                bare.ready().await.expect("always ready");
                let path = http::uri::PathAndQuery::from_static("/evenkeel.echo.v1.Echo/Unary");
                bare.unary(request, path, ProstCodec::<EchoRequest, EchoReply>::default()).await.expect("a reply");
            }
            Client::Generated => {
                let reply = generated.unary(request).await.expect("a reply");
                assert!(reply.extensions().get::<PickedEndpoint>().is_some());
            }
        }
    }
    (allocations_of_all_threads() - before) as f64 / CALLS as f64
}

#[tokio::test]
async fn a_unary_call_allocates_at_most_18_times_and_21_with_a_deadline() {
    let timeout = Some(Duration::from_secs(5));
    let bare = (per_call(Client::Bare, None).await, per_call(Client::Bare, timeout).await);
    let generated = (per_call(Client::Generated, None).await, per_call(Client::Generated, timeout).await);
    println!("allocations per unary call, and with a deadline: bare {bare:.2?}, generated {generated:.2?}");
    assert!(bare.0 <= 18.05 && bare.1 <= 21.05, "{bare:?}");
    assert!(generated.0 <= 22.05 && generated.1 <= 25.05, "{generated:?}");
}
