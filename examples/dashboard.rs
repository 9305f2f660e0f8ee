//! The dashboard: four servers in this process under a gentle load, and a page that shows them. Open the printed address and press
//! "Drain" at one of them; the calls go to the others, and none fails.
//! Run it with `cargo run --example dashboard`; it ends with Ctrl-C, or by itself after as many seconds as `EVENKEEL_EXAMPLE_SECONDS` says.

use std::error::Error;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use evenkeel::resolver::ManualResolver;
use evenkeel::{Attributes, ConnectivityState, LbChannel, Locality};
// A program that has `evenkeel` with its feature `admin` finds this at `evenkeel::admin`.
use lb_admin::Admin;
use lb_testkit::pb::EchoRequest;
use lb_testkit::pb::echo_client::EchoClient;
use lb_testkit::{EchoServer, Latency};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

type Failure = Box<dyn Error>;

/// Names, zones, and mean times to answer in milliseconds. They differ, so that there is something to see.
const SERVERS: [(&str, &str, u64); 4] = [("amber", "a", 3), ("birch", "a", 5), ("cedar", "b", 8), ("dogwood", "b", 20)];

/// Calls in progress at any time, and the pause of a caller after each: some two hundred calls a second.
const CALLERS: usize = 8;
const PAUSE: Duration = Duration::from_millis(30);

/// Where the page is, so that a browser's bookmark works; any port does if this one is taken.
const PORT: u16 = 7878;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let started = Instant::now();
    let (resolver, endpoints) = ManualResolver::new("demo");
    let mut servers = Vec::new();
    for (name, zone, millis) in SERVERS {
        let mean = Duration::from_millis(millis);
        let server = EchoServer::builder().name(name).latency(Latency::Uniform(mean / 2, mean * 3 / 2)).start().await?;
        let mut attributes = Attributes::default();
        attributes.id = Some(name.into());
        attributes.locality = Locality::new("eu-west-1", zone, "");
        attributes.capacity = Some(16);
        endpoints.add(server.endpoint().with_attributes(attributes));
        servers.push(server);
    }
    let channel = LbChannel::builder("demo:///orders").resolver(resolver).policy("least_request").build()?;

    // That is all there is to it: a name for the channel, and a server on loopback.
    let admin = serve(&channel, PORT).await?;
    println!("The dashboard is at http://{}/ (Ctrl-C ends it).", admin.local_addr());

    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let client = EchoClient::new(channel.clone());
        callers.spawn(call(client));
    }
    // Calls wait for a server by themselves; a page that is asked for earlier shows none yet.
    while channel.state() != ConnectivityState::Ready {
        channel.wait_for_state_change(channel.state()).await;
    }
    let page = ask(admin.local_addr(), "/").await?;
    let shown = ask(admin.local_addr(), "/api/v1/loadbalancer/instances/orders").await?;
    println!("{} ms from start to a page of {} bytes with four servers.", started.elapsed().as_millis(), page.len());
    if SERVERS.iter().any(|(name, ..)| !shown.contains(name)) {
        return Err(format!("a server is missing: {shown}").into());
    }
    tokio::select! {
        () = end() => {}
        failed = callers.join_next() => return Err(format!("a caller ended: {failed:?}").into()),
    }
    let totals = channel.stats().totals;
    println!("{} calls, of which {} failed.", totals.succeeded + totals.failed, totals.failed);
    admin.stop().await;
    if totals.failed > 0 { Err("calls failed".into()) } else { Ok(()) }
}

async fn serve(channel: &LbChannel, port: u16) -> Result<Admin, Failure> {
    let at = |port| Admin::builder().service("orders", channel).bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    match at(port).serve().await {
        Ok(admin) => Ok(admin),
        Err(_) => Ok(at(0).serve().await?),
    }
}

/// Calls for ever; whether a call failed is seen in the channel's statistics.
async fn call(mut client: EchoClient<LbChannel>) {
    loop {
        let _ = client.unary(EchoRequest::default()).await;
        tokio::time::sleep(PAUSE).await;
    }
}

/// What a browser asks first.
async fn ask(addr: SocketAddr, path: &str) -> io::Result<String> {
    let mut connection = TcpStream::connect(addr).await?;
    connection.write_all(format!("GET {path} HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n\r\n").as_bytes()).await?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await?;
    Ok(answer)
}

/// Waits for Ctrl-C, or for as long as the environment says.
async fn end() {
    match std::env::var("EVENKEEL_EXAMPLE_SECONDS").ok().and_then(|seconds| seconds.parse().ok()) {
        Some(seconds) => tokio::time::sleep(Duration::from_secs_f64(seconds)).await,
        None => drop(tokio::signal::ctrl_c().await),
    }
}
