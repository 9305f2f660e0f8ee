//! What a channel tells while it works: connections, states, policies, drains. An endpoint is drained, taken back, and killed.
//! Every event is printed as it happens, and a drained endpoint is shown to get no calls.
//! Run it with `cargo run --example events`.

#[path = "support/mod.rs"]
mod support;

use std::time::Instant;

use evenkeel::{LbChannel, LbEvent};
use lb_testkit::pb::EchoRequest;
use lb_testkit::pb::echo_client::EchoClient;
use serde_json::json;

use support::{Failure, PATIENCE, key, servers, serves, target, until};

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let mut servers = servers(2).await?;
    let channel = LbChannel::builder(target(&servers)).build()?;

    // Any number may subscribe; each gets everything from then on. One that is too slow loses the oldest events, is told so, and
    // holds nobody up. `LbChannelBuilder::observer` tells from the very beginning, on the channel's own task.
    let mut events = channel.subscribe();
    let printing = tokio::spawn(async move {
        let (began, mut seen) = (Instant::now(), Vec::new());
        while let Some(event) = events.next().await {
            println!("{:>9.3?}  {event}", began.elapsed());
            seen.push(event);
        }
        seen
    });

    channel.exit_idle();
    let (s0, s1) = (key(&servers[0]), key(&servers[1]));
    until(&channel, "both serve", |endpoints| serves(endpoints, &s0) && serves(endpoints, &s1)).await?;

    channel.drain(s0.clone());
    until(&channel, "s0 is drained", |endpoints| !serves(endpoints, &s0)).await?;
    let mut client = EchoClient::new(channel.clone());
    for _ in 0..10 {
        assert_eq!(client.unary(EchoRequest::default()).await?.into_inner().server, "s1");
    }
    channel.undrain(s0.clone());
    until(&channel, "s0 is back", |endpoints| serves(endpoints, &s0)).await?;

    channel.set_policy("least_request", &json!({}))?;
    servers[1].kill().await;
    until(&channel, "s1 is out", |endpoints| !serves(endpoints, &s1)).await?;

    // The stream of events ends with the last clone of the channel.
    drop((client, channel));
    let seen = tokio::time::timeout(PATIENCE, printing).await??;
    for drained in [true, false] {
        assert!(seen.contains(&LbEvent::Drained { endpoint: s0.clone(), drained }));
    }
    Ok(())
}
