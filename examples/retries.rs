//! Retries and hedging: failed calls go elsewhere, and slow ones do not have to be waited for. When nothing helps, the error lists the
//! attempts. Run it with `cargo run --example retries`.

#[path = "support/mod.rs"]
mod support;

use std::error::Error;
use std::time::{Duration, Instant};

use evenkeel::retry::{HedgingPolicy, RetryPolicy, Throttling};
use evenkeel::{CallError, LbChannel};
use lb_testkit::pb::EchoRequest;
use lb_testkit::pb::echo_client::EchoClient;
use tonic::Code;

use support::{Failure, key, servers, serves, target, tell, until};

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let servers = servers(3).await?;
    let keys: Vec<_> = servers.iter().map(key).collect();
    let all_serve = |endpoints: &[evenkeel::EndpointInfo]| keys.iter().all(|key| serves(endpoints, key));

    // Two retries, which are three attempts, a little faster than the default.
    let policy = RetryPolicy::retries(2)?.with_codes([Code::Unavailable])?.with_initial_backoff(Duration::from_millis(5))?;
    let retrying = LbChannel::builder(target(&servers)).retry(policy).retry_throttling(Throttling::try_new(100.0, 0.1)?).build()?;
    retrying.exit_idle();
    until(&retrying, "all serve", all_serve).await?;
    let mut client = EchoClient::new(retrying);
    servers[0].fail(Code::Unavailable);
    servers[1].fail(Code::Unavailable);
    for _ in 0..3 {
        tell("s0 and s1 fail every call", &client.unary(EchoRequest::default()).await?);
    }

    servers[2].fail(Code::Unavailable);
    let Err(status) = client.unary(EchoRequest::default()).await else { return Err("somebody answered".into()) };
    println!("all fail: {:?}, {:?}", status.code(), status.message());
    if let Some(CallError::RetriesExhausted { attempts, why }) = status.source().and_then(|source| source.downcast_ref()) {
        attempts.iter().for_each(|attempt| println!("    {attempt}"));
        println!("    and no more, because: {why:?}");
    }
    servers.iter().for_each(|server| server.heal());

    // A second attempt after 20 ms without an answer; the first answer counts and the other attempt is cancelled.
    let hedging = LbChannel::builder(target(&servers)).hedging(HedgingPolicy::try_new(2, Duration::from_millis(20))?).build()?;
    hedging.exit_idle();
    until(&hedging, "all serve", all_serve).await?;
    let mut client = EchoClient::new(hedging.clone());
    servers[0].hang();
    let began = Instant::now();
    for _ in 0..6 {
        tell("s0 hangs", &client.unary(EchoRequest::default()).await?);
    }
    println!(
        "six calls took {:.0?}, and {} are in flight",
        began.elapsed(),
        hedging.endpoints().iter().map(|row| row.in_flight).sum::<u32>()
    );
    Ok(())
}
