//! Servers register in etcd, each under a lease of its own, and an `etcd:` target finds them as they come, change and go.
//! Uses the etcd of `ETCDCTL_ENDPOINTS` or one on 127.0.0.1:2379, else a private one that `cargo xtask services fetch` has brought.
//! Run it with `cargo run --example etcd --features etcd`.

#[path = "support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::net::TcpStream;

use evenkeel::LbChannel;
use evenkeel::etcd::{EtcdConfig, EtcdRegistrar, EtcdRegistration};
use lb_testkit::EchoServer;
use lb_testkit::pb::EchoRequest;
use lb_testkit::pb::echo_client::EchoClient;
use lb_testkit::services::{self, Etcd};

use support::{Failure, PATIENCE, key, servers, serves, until};

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let Some((members, _private)) = etcd()? else {
        println!("there is no etcd: set ETCDCTL_ENDPOINTS, start one on 127.0.0.1:2379, or run `cargo xtask services fetch`");
        return Ok(());
    };
    // The name is this run's own, so that two runs do not meet.
    let name = format!("evenkeel/example-{}", std::process::id());
    let servers = servers(2).await?;
    let registrar = EtcdRegistrar::new(EtcdConfig::from_env().with_endpoints(members.split(','))?);
    let first = register(&registrar, &name, &servers[0], 1).await?;
    let second = register(&registrar, &name, &servers[1], 3).await?;
    println!("registered                  {} and {}", first.key(), second.key());

    let builder = LbChannel::builder(format!("etcd://{members}/{name}")).policy("weighted_round_robin");
    let channel = builder.connect(PATIENCE).await?;
    until(&channel, "both serve", |endpoints| servers.iter().all(|server| serves(endpoints, &key(server)))).await?;
    let answered = who_answers(&channel).await?;
    println!("weights 1 and 3:            {answered:?}");
    assert_eq!(answered, BTreeMap::from([("s0".to_owned(), 15), ("s1".to_owned(), 45)]));

    // On its way down a server first takes itself out, so that no call is sent to it in vain.
    assert!(first.shutdown().await, "etcd was told");
    until(&channel, "the first is gone", |endpoints| endpoints.len() == 1).await?;
    println!("one has gone:               {:?}", who_answers(&channel).await?);
    second.shutdown().await;
    Ok(())
}

async fn register(registrar: &EtcdRegistrar, name: &str, server: &EchoServer, weight: u32) -> Result<EtcdRegistration, Failure> {
    let mut registration = registrar.register(name, server.endpoint().with_weight(weight))?;
    tokio::time::timeout(PATIENCE, registration.registered()).await?;
    Ok(registration)
}

/// Members of the etcd to use, and what keeps it running if it is ours alone.
fn etcd() -> Result<Option<(String, Option<Etcd>)>, Failure> {
    if let Ok(members) = std::env::var("ETCDCTL_ENDPOINTS") {
        // With schemes this list could not stand in a target.
        return Ok(Some((members.replace("http://", ""), None)));
    }
    if TcpStream::connect(("127.0.0.1", 2379)).is_ok() {
        return Ok(Some(("127.0.0.1:2379".to_owned(), None)));
    }
    let Some(root) = services::require("etcd") else { return Ok(None) };
    let etcd = Etcd::start(&root)?;
    Ok(Some((etcd.addrs(), Some(etcd))))
}

/// How many of a few calls each server answers.
async fn who_answers(channel: &LbChannel) -> Result<BTreeMap<String, u32>, Failure> {
    let mut client = EchoClient::new(channel.clone());
    let mut counts = BTreeMap::new();
    for _ in 0..60 {
        *counts.entry(client.unary(EchoRequest::default()).await?.into_inner().server).or_default() += 1;
    }
    Ok(counts)
}
