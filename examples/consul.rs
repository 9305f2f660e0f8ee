//! Servers register in Consul, each kept alive by a check, and a `consul:` target finds them as they come, change and go.
//! Uses the agent of `CONSUL_HTTP_ADDR` or one on 127.0.0.1:8500, else a private one that `cargo xtask services fetch` has brought.
//! Run it with `cargo run --example consul --features consul`.

#[path = "support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::net::TcpStream;
use std::time::Duration;

use evenkeel::LbChannel;
use evenkeel::consul::{ConsulCheck, ConsulConfig, ConsulRegistration, ConsulResolver, ConsulService};
use lb_testkit::EchoServer;
use lb_testkit::pb::EchoRequest;
use lb_testkit::pb::echo_client::EchoClient;
use lb_testkit::services::{self, Consul};

use support::{Failure, PATIENCE, key, servers, serves, until};

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let Some((config, _private)) = consul()? else {
        println!("there is no Consul: set CONSUL_HTTP_ADDR, start one on 127.0.0.1:8500, or run `cargo xtask services fetch`");
        return Ok(());
    };
    // The name is this run's own, so that two runs do not meet.
    let name = format!("evenkeel-example-{}", std::process::id());
    let servers = servers(2).await?;
    let first = register(&config, &name, &servers[0], 1).await?;
    let second = register(&config, &name, &servers[1], 3).await?;

    // With the environment's own configuration the builder's default resolvers would do.
    let builder = LbChannel::builder(format!("consul:///{name}?passing")).resolver(ConsulResolver::with_config(config)?);
    let channel = builder.policy("weighted_round_robin").connect(PATIENCE).await?;
    until(&channel, "both serve", |endpoints| servers.iter().all(|server| serves(endpoints, &key(server)))).await?;
    let answered = who_answers(&channel).await?;
    println!("weights 1 and 3:            {answered:?}");
    assert_eq!(answered, BTreeMap::from([("s0".to_owned(), 15), ("s1".to_owned(), 45)]));

    // On its way down a server first takes itself out, so that no call is sent to it in vain.
    first.shutdown().await?;
    until(&channel, "the first is gone", |endpoints| endpoints.len() == 1).await?;
    println!("one has gone:               {:?}", who_answers(&channel).await?);
    second.shutdown().await?;
    Ok(())
}

async fn register(config: &ConsulConfig, name: &str, server: &EchoServer, weight: u16) -> Result<ConsulRegistration, Failure> {
    let address = server.addr();
    let service = ConsulService::new(name, address.port())?
        .with_address(address.ip().to_string())
        .with_check(ConsulCheck::ttl(Duration::from_secs(10))?)
        .with_weights(weight, 1)?;
    println!("registering                 {}", service.id());
    Ok(ConsulRegistration::register(config.clone(), service).await?)
}

/// How to reach the Consul to use, and what keeps it running if it is ours alone.
fn consul() -> Result<Option<(ConsulConfig, Option<Consul>)>, Failure> {
    if std::env::var_os("CONSUL_HTTP_ADDR").is_some() || TcpStream::connect(("127.0.0.1", 8500)).is_ok() {
        return Ok(Some((ConsulConfig::from_env()?, None)));
    }
    let Some(root) = services::require("consul") else { return Ok(None) };
    let consul = Consul::start(&root)?;
    let config = ConsulConfig::new().with_agents([consul.addr().to_string()])?;
    Ok(Some((config, Some(consul))))
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
