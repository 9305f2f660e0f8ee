//! The admin server: two servers, looked at over HTTP, and one of them drained. `docs/ADMIN.md` has every route with a line of `curl`.
//! Run it with `cargo run --example admin --features admin,prometheus`.

#[path = "support/mod.rs"]
mod support;

use evenkeel::LbChannel;
use evenkeel::admin::{Admin, AdminToken};
use evenkeel::telemetry::{MetricsConfig, Prometheus};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use support::{Failure, key, servers, serves, target, until};

const SECRET: &str = "example-of-a-secret-0123";

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let servers = servers(2).await?;
    let target = target(&servers);
    let prometheus = Prometheus::new(MetricsConfig::new())?;
    let metrics = prometheus.metrics().clone();
    let channel = LbChannel::builder(target.clone()).observer(metrics.observer(target)).build()?;
    metrics.watch(&channel);

    // On loopback, at a port of the system's choice. A program would read the secret from its environment.
    let admin = Admin::builder()
        .service("orders", &channel)
        .token(AdminToken::operator("example", SECRET)?)
        .metrics(move || prometheus.text())
        .serve()
        .await?;
    println!("http://{}", admin.local_addr());

    channel.exit_idle();
    until(&channel, "both serve", |endpoints| servers.iter().all(|server| serves(endpoints, &key(server)))).await?;
    println!("{}", ask(&admin, "GET", "/api/v1/loadbalancer/health").await?);

    // Names are percent-encoded: they hold colons, and may hold slashes.
    let first = key(&servers[0]);
    let path = format!("/api/v1/loadbalancer/instances/orders/{}/drain", first.as_str().replace(':', "%3A"));
    assert!(ask(&admin, "POST", &path).await?.contains("200 OK"));
    assert!(!serves(&channel.endpoints(), &first));
    println!("{}", ask(&admin, "GET", "/api/v1/loadbalancer/health").await?);
    assert!(ask(&admin, "GET", "/metrics").await?.contains("evenkeel_channel_endpoints"));
    admin.stop().await;
    Ok(())
}

/// What a program would use an HTTP client for, or an operator `curl`.
async fn ask(admin: &Admin, method: &str, path: &str) -> Result<String, Failure> {
    let addr = admin.local_addr();
    let mut connection = TcpStream::connect(addr).await?;
    let request =
        format!("{method} {path} HTTP/1.1\r\nHost: {addr}\r\nAuthorization: Bearer {SECRET}\r\nConnection: close\r\n\r\n");
    connection.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await?;
    Ok(answer)
}
