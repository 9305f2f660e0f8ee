//! A `Discover` written for tower's balancers feeds an evenkeel channel: keep what you have, gain the rest.
//! The one here is a stream of single changes from a queue; servers are inserted, removed and replaced through it.
//! Run it with `cargo run --example discover_in`.

#[path = "support/mod.rs"]
mod support;

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use evenkeel::{DiscoverResolver, Endpoint, LbChannel};
use futures_util::Stream;
use lb_testkit::pb::EchoRequest;
use lb_testkit::pb::echo_client::EchoClient;
use tokio::sync::mpsc;
use tower::discover::Change;

use support::{Failure, PATIENCE, key, servers, serves, until};

/// Your own source of changes. Any `Stream` of `Result<Change<K, V>, E>` is a `tower::discover::Discover`; the keys are yours, and
/// so is what comes with an insert.
struct Fleet(mpsc::Receiver<Change<String, SocketAddr>>);

impl Stream for Fleet {
    type Item = Result<Change<String, SocketAddr>, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(cx).map(|change| change.map(Ok))
    }
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let servers = servers(3).await?;
    let (changes, fleet) = mpsc::channel(16);
    for (index, server) in servers[..2].iter().enumerate() {
        changes.send(Change::Insert(format!("orders-{index}"), server.addr())).await?;
    }

    // The closure says which endpoint an insert is. Attributes such as an id, a weight or a locality may be set here.
    let resolver = DiscoverResolver::new(Fleet(fleet), |name: &String, addr| {
        let mut endpoint = Endpoint::new(addr);
        endpoint.attributes.id = Some(name.as_str().into());
        endpoint
    });
    let channel = LbChannel::builder("discover:///orders").resolver(resolver).connect(PATIENCE).await?;
    let [s0, s1, s2] = [key(&servers[0]), key(&servers[1]), key(&servers[2])];
    until(&channel, "both serve", |endpoints| serves(endpoints, &s0) && serves(endpoints, &s1)).await?;
    assert_eq!(answered("two were inserted", &channel).await?, ["s0", "s1"].map(str::to_owned).into());

    // Unlike tower's balancers the channel hears of it without any call being made.
    changes.send(Change::Remove("orders-0".to_owned())).await?;
    until(&channel, "s0 is gone", |endpoints| endpoints.iter().all(|endpoint| endpoint.key != s0)).await?;
    assert_eq!(answered("orders-0 was removed", &channel).await?, ["s1"].map(str::to_owned).into());

    changes.send(Change::Insert("orders-1".to_owned(), servers[2].addr())).await?;
    until(&channel, "s2 serves alone", |endpoints| serves(endpoints, &s2) && endpoints.len() == 1).await?;
    assert_eq!(answered("orders-1 moved to another address", &channel).await?, ["s2"].map(str::to_owned).into());
    Ok(())
}

/// The names of the servers that answer a few calls.
async fn answered(what: &str, channel: &LbChannel) -> Result<BTreeSet<String>, Failure> {
    let mut client = EchoClient::new(channel.clone());
    let mut names = BTreeSet::new();
    for _ in 0..8 {
        names.insert(client.unary(EchoRequest::default()).await?.into_inner().server);
    }
    println!("{what}: {names:?} answered");
    Ok(names)
}
