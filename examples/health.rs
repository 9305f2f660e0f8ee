//! Endpoints that say themselves whether they serve: the channel watches grpc.health.v1 on every connection. A server whose
//! service stops serving gets no calls though its connection stands, and gets them again when it says so.
//! Run it with `cargo run --example health`.

#[path = "support/mod.rs"]
mod support;

use std::collections::BTreeSet;

use evenkeel::LbChannel;
use evenkeel::health::{GrpcHealthCheck, HealthConfig};
use lb_testkit::ServingStatus;
use lb_testkit::pb::EchoRequest;
use lb_testkit::pb::echo_client::EchoClient;

use support::{Failure, PATIENCE, key, servers, serves, target, until};

/// A server may host several services, each with a health of its own. `""` stands for the server as a whole.
const SERVICE: &str = "evenkeel.echo.v1.Echo";

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let servers = servers(2).await?;
    let (s0, s1) = (key(&servers[0]), key(&servers[1]));
    for server in &servers {
        server.health().set(SERVICE, ServingStatus::Serving);
    }

    // One Watch per connection: a change is known as soon as the server says so, and an idle endpoint costs no traffic.
    // `with_poll_fallback` asks at intervals where something in between does not let streams through. Without it, the same is
    // `.health_check(SERVICE)`.
    let check = GrpcHealthCheck::new(HealthConfig::watch(SERVICE).with_poll_fallback());
    let channel = LbChannel::builder(target(&servers)).health(check).connect(PATIENCE).await?;
    until(&channel, "both serve", |endpoints| serves(endpoints, &s0) && serves(endpoints, &s1)).await?;
    show("both serve", &channel).await?;

    servers[0].health().set(SERVICE, ServingStatus::NotServing);
    until(&channel, "s0 is out", |endpoints| !serves(endpoints, &s0)).await?;
    let answered = show("s0 does not serve", &channel).await?;
    assert_eq!(answered, BTreeSet::from(["s1".to_owned()]));
    assert_eq!(servers[0].connections(), 1, "the connection is kept");

    servers[0].health().set(SERVICE, ServingStatus::Serving);
    until(&channel, "s0 is back", |endpoints| serves(endpoints, &s0)).await?;
    let answered = show("s0 serves again", &channel).await?;
    assert_eq!(answered.len(), 2);
    assert_eq!(servers[0].accepted(), 1, "the same connection all the time");
    Ok(())
}

/// Says which servers answer a few calls, and how each endpoint is.
async fn show(what: &str, channel: &LbChannel) -> Result<BTreeSet<String>, Failure> {
    let mut client = EchoClient::new(channel.clone());
    let mut names = BTreeSet::new();
    for _ in 0..8 {
        names.insert(client.unary(EchoRequest::default()).await?.into_inner().server);
    }
    println!("{what}: {names:?} answered");
    for endpoint in channel.endpoints() {
        println!("  {} {} {}", endpoint.key, endpoint.state, endpoint.error.unwrap_or_default());
    }
    Ok(names)
}
