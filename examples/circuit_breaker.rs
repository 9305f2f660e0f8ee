//! A circuit breaker: a server that fails is left alone after five failures, others take its calls, and trial calls bring it back when it
//! is well. When all are open, a call's error says when the next trial is. Then an operator forces one open by hand.
//! Run it with `cargo run --example circuit_breaker`.

#[path = "support/mod.rs"]
mod support;

use std::error::Error;
use std::time::{Duration, Instant};

use evenkeel::breaker::{BreakerConfig, BreakerForce, BreakerState};
use evenkeel::{CallError, EndpointInfo, EndpointKey, LbChannel, LbEvent};
use lb_testkit::pb::EchoRequest;
use lb_testkit::pb::echo_client::EchoClient;
use tonic::Code;

use support::{Failure, PATIENCE, key, servers, serves, target, until};

/// Whether the breaker of an endpoint is in this state.
fn is(endpoints: &[EndpointInfo], key: &EndpointKey, state: BreakerState) -> bool {
    let breaker = |endpoint: &EndpointInfo| endpoint.breakers.first().is_some_and(|breaker| breaker.state == state);
    endpoints.iter().any(|endpoint| endpoint.key == *key && breaker(endpoint))
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let servers = servers(2).await?;
    let (s0, s1) = (key(&servers[0]), key(&servers[1]));
    // The default: open after 5 failures in a row, try again after 60 s with at most 3 calls at once, close after 2 that succeed.
    let config = BreakerConfig::default().open_time(Duration::from_millis(200));
    let channel = LbChannel::builder(target(&servers)).circuit_breaker(config).build()?;
    let mut events = channel.subscribe();
    let printing = tokio::spawn(async move {
        let began = Instant::now();
        while let Some(event) = events.next().await {
            if let LbEvent::BreakerChanged { .. } = event {
                println!("{:>9.3?}  {event}", began.elapsed());
            }
        }
    });
    channel.exit_idle();
    until(&channel, "both serve", |endpoints| serves(endpoints, &s0) && serves(endpoints, &s1)).await?;
    let mut client = EchoClient::new(channel.clone());

    servers[0].fail(Code::Unavailable);
    let mut failed = 0;
    while !is(&channel.endpoints(), &s0, BreakerState::Open) {
        failed += u32::from(client.unary(EchoRequest::default()).await.is_err());
    }
    println!("s0 is open after {failed} failed calls; the next go to s1:");
    for _ in 0..5 {
        assert_eq!(client.unary(EchoRequest::default()).await?.into_inner().server, "s1");
    }

    servers[1].fail(Code::Unavailable);
    let error = loop {
        let Err(status) = client.unary(EchoRequest::default()).await else { continue };
        if let Some(CallError::BreakersOpen { open, next_trial, .. }) = status.source().and_then(|source| source.downcast_ref()) {
            println!("{open} breakers are open, the next trial is in {next_trial:?}");
            break status;
        }
    };
    println!("the caller reads: {}", error.message());

    servers.iter().for_each(|server| server.heal());
    let began = Instant::now();
    while ![&s0, &s1].iter().all(|key| is(&channel.endpoints(), key, BreakerState::Closed)) {
        // Calls are what trials are made of. One that waits for ready would wait for the next trial by itself.
        drop(client.unary(EchoRequest::default()).await);
        tokio::time::sleep(Duration::from_millis(5)).await;
        assert!(began.elapsed() < PATIENCE, "{:?}", channel.endpoints());
    }

    channel.force_breaker(s1, None, BreakerForce::Open)?;
    for _ in 0..5 {
        assert_eq!(client.unary(EchoRequest::default()).await?.into_inner().server, "s0");
    }
    drop((client, channel));
    tokio::time::timeout(PATIENCE, printing).await??;
    Ok(())
}
