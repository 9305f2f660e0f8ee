//! Both checks over real sockets, on real time.
#![allow(clippy::unwrap_used, reason = "a failing helper fails the test")]

mod common;

use std::time::Duration;

use common::{Watch, endpoint};
use lb_core::{Address, Endpoint};
use lb_health::{GrpcHealthCheck, HealthConfig, PollConfig, TcpProbe};
use lb_testkit::{EchoServer, Fault, FaultProxy, HangingPort, ReservedPort, ServingStatus as Wire};
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tonic::transport::Channel;

async fn until(condition: impl Fn() -> bool) {
    let wait = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), wait).await.expect("took too long");
}

fn channel(uri: String) -> Channel {
    tonic::transport::Endpoint::from_shared(uri).unwrap().connect_lazy()
}

/// Probes often, with the patience a busy machine needs.
fn probe() -> TcpProbe {
    TcpProbe::new(every_5_ms().with_timeout(Duration::from_secs(10)).unwrap())
}

fn every_5_ms() -> PollConfig {
    PollConfig::default().with_interval(Duration::from_millis(5)).unwrap()
}

#[tokio::test]
async fn a_watch_follows_a_real_server_and_its_cancellation_reaches_it() {
    let server = EchoServer::start("").await.unwrap();
    let mut watch = Watch::start(&GrpcHealthCheck::default(), channel(server.uri()), server.endpoint());
    watch.serving().await;
    server.health().set("", Wire::NotServing);
    assert_eq!(watch.not_serving().await, "health check: NOT_SERVING");
    assert_eq!((server.health().watches(), server.health().watching()), (1, 1));
    drop(watch);
    until(|| server.health().watching() == 0).await;
    assert_eq!((server.health().watches(), server.accepted()), (1, 1));
}

#[tokio::test]
async fn a_real_server_without_a_health_service_serves() {
    let server = EchoServer::builder().health(false).start().await.unwrap();
    for config in [HealthConfig::watch("a"), HealthConfig::poll("a")] {
        let mut watch = Watch::start(&GrpcHealthCheck::new(config), channel(server.uri()), server.endpoint());
        watch.serving().await;
        assert_eq!(watch.next().await, None);
    }
}

#[tokio::test]
async fn a_connection_that_is_cut_or_black_holed_does_not_serve() {
    let server = EchoServer::start("").await.unwrap();
    let proxy = FaultProxy::start(server.addr()).await.unwrap();
    let poll = every_5_ms().with_timeout(Duration::from_secs(2)).unwrap().with_unhealthy_threshold(1).unwrap();
    let config = HealthConfig::poll("").with_poll(poll);
    let mut watch = Watch::start(&GrpcHealthCheck::new(config), channel(proxy.uri()), server.endpoint());
    watch.serving().await;
    proxy.set(Fault::BlackHole);
    watch.not_serving().await;
    proxy.set(Fault::Pass);
    watch.serving().await;
}

#[tokio::test]
async fn a_probe_sees_a_port_close_and_open() {
    let port = ReservedPort::new().unwrap();
    let mut watch = Watch::start(&probe(), (), endpoint(&port.addr().to_string()));
    let reason = watch.not_serving().await;
    assert!(reason.starts_with(&format!("TCP probe of {}: ", port.addr())), "{reason}");
    let listener = port.listen().unwrap();
    watch.serving().await;
    drop(listener);
    watch.not_serving().await;
}

#[tokio::test]
async fn a_probe_gives_up_on_a_port_where_connecting_hangs() {
    let port = HangingPort::new().unwrap();
    let probe = TcpProbe::new(every_5_ms().with_timeout(Duration::from_millis(100)).unwrap());
    let mut watch = Watch::start(&probe, (), endpoint(&port.addr().to_string()));
    assert!(watch.not_serving().await.ends_with("not connected within 100ms"));
}

#[tokio::test]
async fn a_probe_sends_nothing_and_leaves_no_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut watch = Watch::start(&probe(), (), endpoint(&listener.local_addr().unwrap().to_string()));
    watch.serving().await;
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut heard = Vec::new();
    stream.read_to_end(&mut heard).await.unwrap();
    assert!(heard.is_empty());
}

#[tokio::test]
async fn a_probe_knows_every_kind_of_address() {
    let path = std::env::temp_dir().join(format!("lb-health-{}.sock", std::process::id()));
    let _listener = tokio::net::UnixListener::bind(&path).unwrap();
    Watch::start(&probe(), (), Endpoint::new(Address::Unix(path.clone()))).serving().await;
    std::fs::remove_file(&path).unwrap();
    Watch::start(&probe(), (), Endpoint::new(Address::Unix(path))).not_serving().await;

    let name = format!("lb-health-{}", std::process::id());
    let _listener = tokio::net::UnixListener::bind(format!("\0{name}")).unwrap();
    Watch::start(&probe(), (), endpoint(&format!("unix-abstract:{name}"))).serving().await;

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    Watch::start(&probe(), (), endpoint(&format!("localhost:{port}"))).serving().await;
}

#[tokio::test]
async fn check_now_probes_at_once() {
    let config = PollConfig::default().with_interval(Duration::from_secs(3600)).unwrap().with_unhealthy_threshold(1).unwrap();
    let port = ReservedPort::new().unwrap();
    let listener = port.listen().unwrap();
    let mut watch = Watch::start(&TcpProbe::new(config), (), endpoint(&port.addr().to_string()));
    watch.serving().await;
    drop(listener);
    watch.check_now.fire();
    tokio::time::timeout(Duration::from_secs(20), watch.not_serving()).await.unwrap();
}
