//! An endpoint that comes back gets its calls step by step, and falls back if it fails again. The same levers by hand: degrade, disable,
//! enable, force. Run it with `cargo run --example recovery`.

#[path = "support/mod.rs"]
mod support;

use std::time::Duration;

use evenkeel::recovery::RampConfig;
use evenkeel::{BackoffConfig, EndpointKey, LbChannel, LbEvent};
use lb_testkit::EchoServer;
use lb_testkit::pb::EchoRequest;
use lb_testkit::pb::echo_client::EchoClient;

use support::{Failure, PATIENCE, key, servers, serves, target, until};

/// Calls of one row.
const CALLS: u64 = 200;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let mut servers = servers(4).await?;
    let first = key(&servers[0]);

    // As promised it would be 10 % more every 30 s, which is `RampConfig::steps()`. This example has less time.
    let ramp = RampConfig::steps().with_step(0.2, Duration::from_millis(300))?;
    let backoff = BackoffConfig::try_new(Duration::from_millis(50), 1.6, Duration::from_millis(200), 0.2, PATIENCE)?;
    let channel = LbChannel::builder(target(&servers)).recovery(ramp).backoff(backoff).connect(PATIENCE).await?;
    until(&channel, "all serve", |endpoints| servers.iter().all(|server| serves(endpoints, &key(server)))).await?;

    let mut events = channel.subscribe();
    println!("{:<32} {:>12}  gets of what the others get", "", "share");
    row("all serve", &channel, &servers, &first).await?;

    servers[0].kill().await;
    until(&channel, "s0 is gone", |endpoints| !serves(endpoints, &first)).await?;
    row("s0 is killed", &channel, &servers, &first).await?;

    servers[0].restart().await?;
    until(&channel, "s0 is back", |endpoints| serves(endpoints, &first)).await?;
    while let Some(recovering) = channel.recovery().first() {
        row(&format!("s0 recovers, at {:.0} %", recovering.share * 100.0), &channel, &servers, &first).await?;
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
    row("s0 has recovered", &channel, &servers, &first).await?;

    // Between serving and not serving.
    channel.degrade(first.clone(), 0.5);
    until_share(&channel, &first, 0.5).await?;
    row("s0 is degraded by hand", &channel, &servers, &first).await?;
    channel.degrade(first.clone(), 1.0);

    // No new calls, and no connection once those in progress have finished.
    channel.disable(first.clone());
    until(&channel, "s0 is disabled", |endpoints| !serves(endpoints, &first)).await?;
    row("s0 is disabled", &channel, &servers, &first).await?;
    channel.enable(first.clone());
    until(&channel, "s0 is enabled", |endpoints| serves(endpoints, &first)).await?;
    row("s0 is enabled, and recovers", &channel, &servers, &first).await?;
    channel.force_recovery(first.clone());
    until_share(&channel, &first, 1.0).await?;
    row("s0 is forced", &channel, &servers, &first).await?;

    println!();
    let mut forced = false;
    while !forced {
        let Some(event) = events.next().await else { break };
        forced = matches!(event, LbEvent::RecoveryFinished { forced: true, .. });
        if event.kind().starts_with("recovery") || matches!(event, LbEvent::Degraded { .. } | LbEvent::Disabled { .. }) {
            println!("event: {event}");
        }
    }
    Ok(())
}

/// Makes some calls, and says what the first server got of what the others got.
async fn row(what: &str, channel: &LbChannel, servers: &[EchoServer], first: &EndpointKey) -> Result<(), Failure> {
    let share = share(channel, first);
    let before: Vec<u64> = servers.iter().map(|server| server.calls()).collect();
    let mut client = EchoClient::new(channel.clone());
    for _ in 0..CALLS {
        client.unary(EchoRequest::default()).await?;
    }
    let calls: Vec<u64> = servers.iter().zip(before).map(|(server, before)| server.calls() - before).collect();
    let others = calls[1..].iter().sum::<u64>() as f64 / (calls.len() - 1) as f64;
    let got = calls[0] as f64 / others;
    let shares = format!("{share:.2} to {:.2}", self::share(channel, first));
    println!("{what:<32} {shares:>12}  {got:>4.2} {}", "#".repeat((got * 40.0) as usize));
    Ok(())
}

fn share(channel: &LbChannel, first: &EndpointKey) -> f64 {
    channel.endpoints().iter().find(|endpoint| endpoint.key == *first).map_or(0.0, |endpoint| endpoint.share)
}

async fn until_share(channel: &LbChannel, first: &EndpointKey, wanted: f64) -> Result<(), Failure> {
    until(channel, "s0 has another share", |endpoints| {
        endpoints.iter().any(|endpoint| endpoint.key == *first && (endpoint.share - wanted).abs() < 1e-9)
    })
    .await
}
