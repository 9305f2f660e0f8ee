//! Servers that say how loaded they are, a client that follows, and a server that leaves in good order.
//! Three servers in this process; one of them is much busier than the others.
//! Run it with `cargo run --features server --example load_reports`.

#[path = "support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use evenkeel::LbChannel;
use evenkeel::server::{Drain, Drained, LoadRecorder, LoadReportLayer, OpenRcaService, ProbeService};
use lb_testkit::EchoServer;
use lb_testkit::pb::EchoRequest;
use lb_testkit::pb::echo_client::EchoClient;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;

use support::Failure;

/// A server with everything a server of yours can have.
struct Running {
    address: String,
    load: LoadRecorder,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<Drained, tonic::transport::Error>>,
}

async fn start(name: &str) -> Result<Running, Failure> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?.to_string();
    let (reporter, health) = tonic_health::server::health_reporter();
    let (_, echo) = EchoServer::builder().name(name).service();

    // Step 1: one recorder; the layer measures into it, and you tell it what only you can know.
    let load = LoadRecorder::new();
    // Step 2: the layer puts reports into trailers; the two services answer clients that ask.
    let router = Server::builder()
        .layer(LoadReportLayer::new(load.clone()))
        .add_service(echo)
        .add_service(health)
        .add_service(OpenRcaService::new(load.clone()))
        .add_service(ProbeService::new(load.clone()));
    // Step 3: on a signal say NOT_SERVING, serve on for a moment, and wait for the last call.
    let (stop, stopped) = oneshot::channel::<()>();
    let drain = Drain::new(load.clone()).health(reporter, ["evenkeel.echo.v1.Echo"]).notice(Duration::from_millis(200));
    let incoming = TcpListenerStream::new(listener);
    let serve = |shutdown| router.serve_with_incoming_shutdown(incoming, shutdown);
    let task = tokio::spawn(drain.serve(async { drop(stopped.await) }, serve));
    Ok(Running { address, load, stop, task })
}

/// How many of so many calls each server gets.
async fn shares(channel: &LbChannel, calls: u32) -> Result<BTreeMap<String, u32>, Failure> {
    let mut shares = BTreeMap::new();
    for _ in 0..calls {
        let reply = EchoClient::new(channel.clone()).unary(EchoRequest::default()).await?.into_inner();
        *shares.entry(reply.server).or_default() += 1;
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    Ok(shares)
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let (busy, one, two) = (start("busy").await?, start("idle 1").await?, start("idle 2").await?);
    busy.load.set_application_utilization(0.9)?;
    one.load.set_application_utilization(0.2)?;
    two.load.set_application_utilization(0.2)?;

    // Step 4: a policy that reads reports. Nothing else is needed at the client.
    let target = format!("static:///{},{},{}", busy.address, one.address, two.address);
    let policy = ("weighted_round_robin", json!({ "blackoutPeriod": "0s", "weightUpdatePeriod": "0.1s" }));
    let channel = LbChannel::builder(target).policy(policy).connect(support::PATIENCE).await?;
    println!("before the servers know their own rates:  {:?}", shares(&channel, 90).await?);
    tokio::time::sleep(Duration::from_secs(1)).await;
    shares(&channel, 90).await?;
    let followed = shares(&channel, 90).await?;
    println!("weighed by what they report:              {followed:?}");
    println!("idle 1 says: {:?}", one.load.report());
    assert!(followed["busy"] < followed["idle 1"], "{followed:?}");

    // A server leaves while calls go on.
    one.stop.send(()).map_err(|()| "it has stopped already")?;
    let left = tokio::spawn(one.task);
    let without = shares(&channel, 300).await?;
    println!("one has drained ({:?}), no call failed:   {without:?}", left.await???);
    Ok(())
}
