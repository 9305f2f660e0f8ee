//! Calls go elsewhere and come back: a primary site with a replica of its server, another site behind it, an order to leave an
//! endpoint within a time, and a way to see and to steer all of it.
//! Run it with `cargo run --example failover`.

#[path = "support/mod.rs"]
mod support;

use std::time::Duration;

use evenkeel::stages::{FailoverConfig, PanicConfig, ReplicaConfig};
use evenkeel::{CallError, LbChannel, LbEvent, Observer};
use lb_testkit::pb::EchoRequest;
use lb_testkit::pb::echo_client::EchoClient;

use support::{Failure, key, servers, serves, until};

/// What would ask the deployment for another replica, or for a repair of the primary.
#[derive(Debug)]
struct Deployment;

impl Observer for Deployment {
    fn on_event(&self, event: &LbEvent) {
        if matches!(
            event,
            LbEvent::Promoted { .. } | LbEvent::Demoted { .. } | LbEvent::Failover { .. } | LbEvent::CallsEnded { .. }
        ) {
            println!("{:>12}  {event}", event.kind());
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let mut servers = servers(3).await?;
    let (main, standby, far) = (key(&servers[0]), key(&servers[1]), key(&servers[2]));
    // The same words in every registry: `replica_of` in Consul's Meta, `replicaOf` in etcd and files, an annotation in Kubernetes.
    let target = format!("static:///{main};id=main,{standby};replica_of=main,{far};priority=1");
    let channel = LbChannel::builder(target)
        .failover(FailoverConfig::default().fail_back_after(Duration::from_millis(100)).names(["home", "away"]))
        .replicas(ReplicaConfig::default().hand_back_after(Duration::from_millis(100)))
        .panic(PanicConfig::below(50))
        .observer(Deployment)
        .build()?;
    channel.exit_idle();
    until(&channel, "the primary serves", |endpoints| serves(endpoints, &main)).await?;
    let mut client = EchoClient::new(channel.clone());
    assert_eq!(client.unary(EchoRequest::default()).await?.get_ref().server, "s0");

    // Its replica has been connected all the while, and is used from now on.
    servers[0].kill().await;
    until(&channel, "the replica serves", |endpoints| serves(endpoints, &standby)).await?;
    assert_eq!(client.unary(EchoRequest::default()).await?.get_ref().server, "s1");

    // Nobody is left at home. A long call at the replica has 50 ms to finish.
    let asked = EchoRequest { count: u32::MAX, delay_ms: 5, ..EchoRequest::default() };
    let mut stream = client.server_stream(asked).await?.into_inner();
    channel.drain_within(standby.clone(), Duration::from_millis(50));
    let status = loop {
        match stream.message().await {
            Ok(message) => assert!(message.is_some(), "the stream never ends by itself"),
            Err(status) => break status,
        }
    };
    let error = std::error::Error::source(&status).and_then(|source| source.downcast_ref::<CallError>());
    assert!(matches!(error, Some(CallError::Ended { .. })), "{status}");
    println!("{:>12}  {}", "call", status.message());
    until(&channel, "the other site serves", |endpoints| serves(endpoints, &far)).await?;
    assert_eq!(client.unary(EchoRequest::default()).await?.get_ref().server, "s2");
    if let Some(state) = channel.failover() {
        println!("{:>12}  {} since {:.1?}: {}", "in use", state.name, state.since.elapsed(), state.reason);
    }

    // Back without waiting for anybody to prove himself.
    channel.undrain(standby.clone());
    channel.fail_back();
    until(&channel, "home again", |endpoints| serves(endpoints, &standby)).await?;
    assert_eq!(client.unary(EchoRequest::default()).await?.get_ref().server, "s1");
    Ok(())
}
