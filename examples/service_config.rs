//! What the owner of a service tells its clients: a service config with timeouts for methods and policies, changed while the channel runs.
//! Run it with `cargo run --example service_config`.

#[path = "support/mod.rs"]
mod support;

use std::collections::BTreeSet;
use std::time::Duration;

use evenkeel::{LbChannel, LbEvent};
use lb_testkit::pb::EchoRequest;
use lb_testkit::pb::echo_client::EchoClient;
use serde_json::json;
use tonic::Code;

use support::{Failure, PATIENCE, servers, target};

const SERVICE: &str = "evenkeel.echo.v1.Echo";

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let servers = servers(3).await?;
    // The default, for as long as the resolver brings none. Text from a file would do as well.
    let config = json!({
        "loadBalancingConfig": [{ "round_robin": {} }],
        "methodConfig": [
            { "name": [{ "service": SERVICE, "method": "Unary" }], "timeout": "0.05s" },
            { "name": [{ "service": SERVICE }], "timeout": "10s", "waitForReady": true }
        ]
    });
    let channel = LbChannel::builder(target(&servers)).service_config(config).connect(PATIENCE).await?;

    // The caller set no deadline; its method has one.
    let slow = EchoRequest { delay_ms: 5_000, ..EchoRequest::default() };
    let status = EchoClient::new(channel.clone()).unary(slow).await.expect_err("it takes longer than its method may");
    assert_eq!(status.code(), Code::DeadlineExceeded);
    println!("a slow call: {status}");

    // What is wrong is refused, by its path, and changes nothing.
    let wrong = json!({ "methodConfig": [{ "name": [{}], "timeout": "3c" }] });
    println!("refused: {}", channel.set_service_config(wrong).expect_err("3c is no time"));

    // While the channel runs: one method gets a policy of its own.
    let mut events = channel.subscribe();
    channel.set_service_config(json!({
        "methodConfig": [{ "name": [{ "service": SERVICE, "method": "Unary" }], "loadBalancingConfig": [{ "pick_first": {} }] }]
    }))?;
    while let Some(event) = tokio::time::timeout(Duration::from_secs(10), events.next()).await? {
        if matches!(event, LbEvent::ConfigChanged(_)) {
            println!("{event}");
            break;
        }
    }
    let mut answered = BTreeSet::new();
    for _ in 0..6 {
        answered.insert(EchoClient::new(channel.clone()).unary(EchoRequest::default()).await?.into_inner().server);
    }
    println!("unary calls went to {answered:?}, the channel's policy is {}", channel.policy());
    assert_eq!(answered.len(), 1);
    Ok(())
}
