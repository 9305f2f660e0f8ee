//! Any resolver of evenkeel feeds other balancers: tonic's own `balance_channel`, and a balancer of tower with a load measure.
//! Both follow the same resolver while an endpoint is removed and another one added.
//! Run it with `cargo run --example discover_out`.

#[path = "support/mod.rs"]
mod support;

use std::collections::BTreeSet;

use evenkeel::resolver::{ManualHandle, ManualResolver};
use evenkeel::{Changes, Endpoint, EndpointKey, Target};
use futures_util::StreamExt;
use lb_testkit::EchoServer;
use lb_testkit::pb::echo_client::EchoClient;
use lb_testkit::pb::{EchoReply, EchoRequest};
use tonic::body::Body;
use tonic::transport::{self, Channel, channel};
use tonic::{Response, Status};
use tower::balance::p2c::Balance;
use tower::buffer::Buffer;
use tower::discover::Change;
use tower::load::{CompleteOnResponse, PendingRequestsDiscover};

use support::{Failure, PATIENCE, servers};

/// Calls that tower's balancers keep waiting at most.
const BUFFER: usize = 64;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let servers = servers(3).await?;
    // Any resolver will do: a file, DNS, one of your own. This one says what the program tells it.
    let (resolver, handle) = ManualResolver::new("demo");
    let target = Target::parse("demo:///orders", &|scheme| scheme == "demo")?;
    list(&handle, &servers[..2]);

    let mut by_tonic = EchoClient::new(balanced_by_tonic(&resolver, &target));
    let mut by_tower = EchoClient::new(balanced_by_tower(&resolver, &target));
    for listed in [&servers[..2], &servers[1..]] {
        list(&handle, listed);
        follows("tonic's balance_channel", listed, async || by_tonic.unary(EchoRequest::default()).await).await?;
        follows("tower's Balance", listed, async || by_tower.unary(EchoRequest::default()).await).await?;
    }
    Ok(())
}

/// tonic takes changes, of a type of its own, from a queue; a task carries them there.
fn balanced_by_tonic(resolver: &ManualResolver, target: &Target) -> Channel {
    let (balanced, queue) = Channel::balance_channel::<EndpointKey>(BUFFER);
    let mut changes = Changes::new(resolver, target, transport_of);
    tokio::spawn(async move {
        while let Some(Ok(change)) = changes.next().await {
            let change = match change {
                Change::Insert(key, endpoint) => channel::Change::Insert(key, endpoint),
                Change::Remove(key) => channel::Change::Remove(key),
            };
            // The queue is closed with the last clone of the channel.
            if queue.send(change).await.is_err() {
                return;
            }
        }
    });
    balanced
}

/// tower takes the changes as they are: `Changes` is a `Discover`. Here it counts the calls in flight per endpoint and takes the
/// less busy of two; the buffer makes it a service that can be cloned.
fn balanced_by_tower(
    resolver: &ManualResolver,
    target: &Target,
) -> Buffer<http::Request<Body>, <Balanced as tower::Service<http::Request<Body>>>::Future> {
    let channels = Changes::new(resolver, target, |endpoint| transport_of(endpoint).connect_lazy());
    let loaded = PendingRequestsDiscover::new::<http::Request<Body>>(channels, CompleteOnResponse::default());
    Buffer::new(Balance::new(loaded), BUFFER)
}

type Balanced = Balance<PendingRequestsDiscover<Changes<Channel>>, http::Request<Body>>;

/// What tonic connects to. An endpoint of several addresses would need a connector; these have one.
fn transport_of(endpoint: &Endpoint) -> transport::Endpoint {
    transport::Endpoint::from_shared(format!("http://{}", endpoint.addresses()[0])).expect("an IP address and port is an authority")
}

fn list(handle: &ManualHandle, servers: &[EchoServer]) {
    handle.set(servers.iter().map(EchoServer::endpoint));
}

/// Calls until each of the listed servers has answered, and then no other any more. These balancers hear of changes only while
/// calls are made, so the first ones may still go elsewhere.
async fn follows(
    what: &str,
    listed: &[EchoServer],
    mut call: impl AsyncFnMut() -> Result<Response<EchoReply>, Status>,
) -> Result<(), Failure> {
    let wanted: BTreeSet<String> = listed.iter().map(|server| server.name().to_owned()).collect();
    let mut followed = async || loop {
        let mut names = BTreeSet::new();
        for _ in 0..20 {
            names.insert(call().await?.into_inner().server);
        }
        if names == wanted {
            return Ok::<_, Status>(names);
        }
    };
    let names = tokio::time::timeout(PATIENCE, followed()).await.map_err(|_| format!("{what} did not follow to {wanted:?}"))??;
    println!("{what:<24} follows the resolver: {names:?} answered");
    Ok(())
}
