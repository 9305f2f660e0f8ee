//! What one call may wish, given through an interceptor or the request's extensions, and how to see where it went.
//! Three servers in this process; every wish is checked against the server that answered.
//! Run it with `cargo run --example per_call_options`.

#[path = "support/mod.rs"]
mod support;

use std::time::Duration;

use evenkeel::{CallError, FillOptions, LbChannel, Misfit, Outcome, PickOptions, PickedEndpoint};
use lb_testkit::pb::EchoRequest;
use lb_testkit::pb::echo_client::EchoClient;
use tonic::{Code, Request};

use support::{Failure, PATIENCE, key, servers, target, tell};

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let servers = servers(3).await?;
    let channel = LbChannel::builder(target(&servers)).connect(PATIENCE).await?;

    // For every call of a client: `PickOptions` is an interceptor. This client never goes to s0.
    let options = PickOptions::new().exclude(key(&servers[0])).wait_for_ready(true);
    let mut careful = EchoClient::with_interceptor(channel.clone(), options);
    for _ in 0..4 {
        let response = careful.unary(EchoRequest::default()).await?;
        tell("a client that excludes s0", &response);
        assert_ne!(response.get_ref().server, "s0");
    }

    // For one call: the request's extensions. Where both speak the request wins, and exclusions add up: only s1 is left.
    let mut request = Request::new(EchoRequest::default());
    request.extensions_mut().insert(PickOptions::new().exclude(key(&servers[2])));
    let response = careful.unary(request).await?;
    tell("a call that excludes s2 as well", &response);
    assert_eq!(response.get_ref().server, "s1");

    // A plain client of the same channel has no wishes; one of its calls goes to one endpoint and no other.
    let mut client = EchoClient::new(channel.clone());
    let mut request = Request::new(EchoRequest::default());
    request.extensions_mut().insert(PickOptions::new().pin(key(&servers[2])));
    let response = client.unary(request).await?;
    tell("a call pinned to s2", &response);
    assert_eq!(response.get_ref().server, "s2");

    // Another policy for one call. Built-in ones are there without being asked for in advance.
    let mut request = Request::new(EchoRequest::default());
    request.extensions_mut().insert(PickOptions::new().policy("least_request"));
    let response = client.unary(request).await?;
    tell("a call picked by least_request", &response);
    let picked = response.extensions().get::<PickedEndpoint>().ok_or("the response does not say where it came from")?;
    assert_eq!(picked.attempts(), 1);

    // Conditions that nobody meets are counted, for people and for programs.
    let mut request = Request::new(EchoRequest::default());
    request.extensions_mut().insert(PickOptions::new().require("gpu").exclude(key(&servers[0])));
    let Err(status) = client.unary(request).await else { return Err("a server without a GPU took the call".into()) };
    println!("a call that needs a GPU: {}", status.message());
    let error = std::error::Error::source(&status).and_then(|source| source.downcast_ref::<CallError>());
    let Some(CallError::NothingFits { unfit, .. }) = error else { return Err("the error has no counts".into()) };
    assert_eq!((unfit.endpoints, unfit.removed_by(&Misfit::Excluded)), (3, 1));

    // Wishes from what the call carries: here the session from a cookie and the region from a header, beside an interceptor of our own.
    let interceptor = FillOptions::session().by_cookie("sid").then(FillOptions::region().by_header("x-region"));
    let mut passed_on =
        EchoClient::with_interceptor(channel.clone(), interceptor.then(PickOptions::new().prefer(key(&servers[1]))));
    let mut request = Request::new(EchoRequest::default());
    request.metadata_mut().insert("cookie", "theme=dark; sid=s-123".parse()?);
    let response = passed_on.unary(request).await?;
    tell("a call that prefers s1", &response);
    assert_eq!(response.get_ref().server, "s1");

    // An endpoint without a call: to place a task, which counts as a call in flight until its outcome is reported.
    let picked = channel.pick(PickOptions::new().avoid(key(&servers[0])).avoid(key(&servers[1]))).await?;
    println!("{:<44} -> {}", "a task is placed", picked.address());
    picked.report(Outcome::Success);
    for row in channel.explain(&PickOptions::new().exclude(key(&servers[0])))? {
        println!("  {:<22} {:<6.2} {}", row.endpoint, row.total, row.reason);
    }

    // A deadline is tonic's own. The error says what the call was waiting for, to people and to programs.
    let mut request = Request::new(EchoRequest { delay_ms: 2000, ..Default::default() });
    request.set_timeout(Duration::from_millis(50));
    let Err(status) = client.unary(request).await else { return Err("a call outlived its deadline".into()) };
    println!("a call that is given 50 ms: {}", status.message());
    assert_eq!(status.code(), Code::DeadlineExceeded);
    let error = std::error::Error::source(&status).and_then(|source| source.downcast_ref::<CallError>());
    assert!(matches!(error, Some(CallError::DeadlineExceeded { .. })));
    Ok(())
}
