//! Limits on how many calls there are: of the channel, of a tenant, of a method, of each endpoint, and in a flood. What is beyond one is shed
//! at once, with a typed error and a hint when to come again. Run it with `cargo run --example rate_limits`.

#[path = "support/mod.rs"]
mod support;

use evenkeel::limits::{FloodLimit, GradientConfig, KeyLimit, RateLimit, RateLimits, ShedBy};
use evenkeel::{CallError, LbChannel, PickOptions};
use lb_testkit::pb::EchoRequest;
use lb_testkit::pb::echo_client::EchoClient;
use tonic::{Request, Status};

use support::{Failure, PATIENCE, servers, target};

/// The limit that shed a call, for programs. People read the status.
fn limit_of(status: &Status) -> Option<&ShedBy> {
    match std::error::Error::source(status)?.downcast_ref::<CallError>()? {
        CallError::Shed { limit, .. } => Some(limit),
        _ => None,
    }
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let servers = servers(2).await?;
    let limits = RateLimits::new()
        .flood(FloodLimit::above(5000)?)
        .channel(RateLimit::per_second(1000)?.with_burst(1500)?)
        .method("evenkeel.echo.v1.Echo/Unary", RateLimit::per_second(50)?.with_burst(20)?)
        .key(KeyLimit::by_header("x-tenant", RateLimit::per_second(1)?.with_burst(3)?)?)
        .endpoint(RateLimit::per_second(200)?);
    // The adaptive limit protects servers where no number is known: it measures how many calls at once each of them bears.
    let channel = LbChannel::builder(target(&servers))
        .rate_limits(limits.clone())
        .concurrency_limit(GradientConfig::new())
        .connect(PATIENCE)
        .await?;

    // A tenant that calls too often is shed, and others are not.
    let mut client = EchoClient::new(channel.clone());
    for turn in 1..=4 {
        let mut request = Request::new(EchoRequest::default());
        request.metadata_mut().insert("x-tenant", "red".parse()?);
        match client.unary(request).await {
            Ok(reply) => println!("red, call {turn}: served by {}", reply.get_ref().server),
            Err(status) => {
                let hint = status.metadata().get("grpc-retry-pushback-ms").ok_or("no hint")?.to_str()?;
                println!("red, call {turn}: {} (again in {hint} ms)", status.message());
                assert!(matches!(limit_of(&status), Some(ShedBy::Key { key, .. }) if &**key == "red"));
                assert_eq!(turn, 4);
            }
        }
    }
    let mut blue = EchoClient::with_interceptor(channel.clone(), PickOptions::new().limit_key("blue"));
    println!("blue: served by {}", blue.unary(EchoRequest::default()).await?.get_ref().server);

    // Limits change while the channel runs. Buckets keep the tokens they have, so a change is no burst.
    let scarce = RateLimit::per_second(0.1)?;
    channel.set_rate_limits(limits.method("evenkeel.echo.v1.Echo/Unary", scarce))?;
    assert!(client.unary(EchoRequest::default()).await.is_ok());
    let Err(status) = client.unary(EchoRequest::default()).await else { return Err("one call in ten seconds".into()) };
    println!("another limit: {}", status.message());

    let stats = channel.limits();
    println!("{} calls admitted, {} shed", stats.door.admitted, stats.shed());
    for endpoint in &stats.endpoints {
        println!("  {} may have {:?} calls at once", endpoint.endpoint, endpoint.concurrency);
    }
    assert_eq!((stats.door.admitted, stats.door.shed_by_key, stats.door.shed_by_method), (5, 1, 1));
    Ok(())
}
