//! The fault proxy and the ports, on plain sockets.
#![allow(clippy::unwrap_used, reason = "a failing helper fails the test")]

mod common;

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use common::{client, request, soon, until};
use lb_testkit::{Cut, Direction, EchoServer, Fault, FaultProxy, HangingPort, ReservedPort};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Long enough for loopback to have delivered what it is going to deliver.
const QUIET: Duration = Duration::from_millis(50);

/// A client and a server socket with a proxy between them.
async fn linked() -> (FaultProxy, TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = FaultProxy::start(listener.local_addr().unwrap()).await.unwrap();
    let client = TcpStream::connect(proxy.addr()).await.unwrap();
    let (server, _) = soon(listener.accept()).await.unwrap();
    (proxy, client, server)
}

async fn arrives(stream: &mut TcpStream, bytes: &[u8]) {
    let mut got = vec![0; bytes.len()];
    soon(stream.read_exact(&mut got)).await.unwrap();
    assert_eq!(got, bytes);
}

async fn hears_nothing(stream: &mut TcpStream) {
    assert!(tokio::time::timeout(QUIET, stream.read_u8()).await.is_err());
}

#[tokio::test]
async fn passes_both_ways_and_counts() {
    let (proxy, mut client, mut server) = linked().await;
    client.write_all(b"there").await.unwrap();
    arrives(&mut server, b"there").await;
    server.write_all(b"back").await.unwrap();
    arrives(&mut client, b"back").await;
    assert_eq!((proxy.delivered(Direction::ToServer), proxy.delivered(Direction::ToClient)), (5, 4));
    assert_eq!((proxy.accepted(), proxy.connections()), (1, 1));
    drop(client);
    assert_eq!(soon(server.read(&mut [0; 1])).await.unwrap(), 0);
    drop(server);
    until(|| proxy.connections() == 0).await;
}

#[tokio::test]
async fn a_delay_is_latency_not_rate() {
    let (proxy, mut client, mut server) = linked().await;
    proxy.set(Fault::Delay(Duration::from_millis(200)));
    let begin = Instant::now();
    for _ in 0..20 {
        client.write_all(b"x").await.unwrap();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    arrives(&mut server, &[b'x'; 20]).await;
    // One after the other they would take four seconds.
    let took = begin.elapsed();
    assert!(took >= Duration::from_millis(290) && took < Duration::from_secs(3), "{took:?}");
}

#[tokio::test]
async fn half_open_stops_one_direction_until_it_passes_again() {
    let (proxy, mut client, mut server) = linked().await;
    proxy.set(Fault::HalfOpen(Direction::ToClient));
    client.write_all(b"a").await.unwrap();
    arrives(&mut server, b"a").await;
    server.write_all(b"b").await.unwrap();
    hears_nothing(&mut client).await;
    proxy.set(Fault::Pass);
    arrives(&mut client, b"b").await;
}

#[tokio::test]
async fn a_black_hole_accepts_and_hides_even_the_end() {
    let (proxy, mut client, server) = linked().await;
    proxy.set(Fault::BlackHole);
    drop(server);
    hears_nothing(&mut client).await;
    let mut second = TcpStream::connect(proxy.addr()).await.unwrap();
    hears_nothing(&mut second).await;
    proxy.set(Fault::Pass);
    assert_eq!(soon(client.read(&mut [0; 1])).await.unwrap_or(0), 0);
}

#[tokio::test]
async fn garbled_bytes_arrive_flipped_in_one_direction() {
    let (proxy, mut client, mut server) = linked().await;
    proxy.set(Fault::Garble(Direction::ToClient));
    server.write_all(&[0, 0x0f, 0xff]).await.unwrap();
    arrives(&mut client, &[0xff, 0xf0, 0]).await;
    client.write_all(b"clear").await.unwrap();
    arrives(&mut server, b"clear").await;
}

#[tokio::test]
async fn a_redirected_proxy_leads_new_connections_elsewhere_and_leaves_the_open_ones() {
    let (proxy, mut client, mut server) = linked().await;
    let elsewhere = TcpListener::bind("127.0.0.1:0").await.unwrap();
    proxy.redirect(elsewhere.local_addr().unwrap());
    let mut second = TcpStream::connect(proxy.addr()).await.unwrap();
    let (mut other, _) = soon(elsewhere.accept()).await.unwrap();
    second.write_all(b"new").await.unwrap();
    arrives(&mut other, b"new").await;
    client.write_all(b"old").await.unwrap();
    arrives(&mut server, b"old").await;
}

#[tokio::test]
async fn new_and_existing_connections_are_told_apart() {
    let server = EchoServer::start("").await.unwrap();
    let proxy = FaultProxy::start(server.addr()).await.unwrap();
    let mut client = client_of(&proxy);
    client.unary(request("")).await.unwrap();
    proxy.set_new(Fault::BlackHole);
    client.unary(request("")).await.unwrap();
    let mut second = client_of(&proxy);
    let mut call = tokio::spawn(async move { second.unary(request("")).await });
    until(|| proxy.accepted() == 2).await;
    assert!(tokio::time::timeout(QUIET, &mut call).await.is_err());
    proxy.set_existing(Fault::Pass);
    soon(call).await.unwrap().unwrap();
    assert_eq!((proxy.accepted(), server.accepted()), (2, 2));
}

fn client_of(proxy: &FaultProxy) -> lb_testkit::pb::echo_client::EchoClient<tonic::transport::Channel> {
    lb_testkit::pb::echo_client::EchoClient::new(common::channel(proxy.uri()))
}

#[tokio::test]
async fn cut_by_count_delivers_exactly_so_many_bytes() {
    let (proxy, mut client, mut server) = linked().await;
    proxy.set(Fault::CutAfter { direction: Direction::ToClient, bytes: 3 });
    server.write_all(b"abcdef").await.unwrap();
    arrives(&mut client, b"abc").await;
    assert_eq!(soon(client.read_u8()).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert_eq!(proxy.delivered(Direction::ToClient), 3);
}

#[tokio::test]
async fn cut_now_by_reset_or_by_end() {
    let (proxy, mut client, _server) = linked().await;
    proxy.cut(Cut::Rst);
    assert_eq!(soon(client.read_u8()).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    let (proxy, mut client, _server) = linked().await;
    proxy.cut(Cut::Fin);
    assert_eq!(soon(client.read(&mut [0; 1])).await.unwrap(), 0);
}

#[tokio::test]
async fn a_drip_takes_its_time() {
    let (proxy, mut client, mut server) = linked().await;
    proxy.set(Fault::Drip { bytes: 1, every: Duration::from_millis(20) });
    let begin = Instant::now();
    client.write_all(b"abcd").await.unwrap();
    arrives(&mut server, b"abcd").await;
    assert!(begin.elapsed() >= Duration::from_millis(80));
}

#[tokio::test]
async fn refused_and_accepted_again_on_the_same_port() {
    let (proxy, mut client, mut server) = linked().await;
    proxy.refuse().await.unwrap();
    assert_eq!(TcpStream::connect(proxy.addr()).await.unwrap_err().kind(), ErrorKind::ConnectionRefused);
    client.write_all(b"a").await.unwrap();
    arrives(&mut server, b"a").await;
    proxy.accept().await.unwrap();
    TcpStream::connect(proxy.addr()).await.unwrap();
}

#[tokio::test]
async fn a_server_that_dies_resets_its_clients() {
    let mut server = EchoServer::start("").await.unwrap();
    let proxy = FaultProxy::start(server.addr()).await.unwrap();
    client_of(&proxy).unary(request("")).await.unwrap();
    let mut raw = TcpStream::connect(proxy.addr()).await.unwrap();
    until(|| server.connections() >= 1 && proxy.connections() >= 1).await;
    let mut settings = [0; 9];
    soon(raw.read_exact(&mut settings)).await.unwrap();
    server.kill().await;
    let mut rest = Vec::new();
    let _ = soon(raw.read_to_end(&mut rest)).await;
    until(|| proxy.connections() == 0).await;
    assert!(client(&server).unary(request("")).await.is_err());
}

#[tokio::test]
async fn dropping_the_proxy_leaves_nothing() {
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    let (proxy, mut client, _server) = linked().await;
    proxy.set(Fault::BlackHole);
    let addr = proxy.addr();
    drop(proxy);
    assert!(!matches!(soon(client.read(&mut [0; 1])).await, Ok(1..)));
    until(|| tasks() == before).await;
    assert!(TcpListener::bind(addr).await.is_ok());
}

#[tokio::test]
async fn a_reserved_port_refuses_and_a_hanging_one_hangs() {
    let reserved = ReservedPort::new().unwrap();
    assert_eq!(TcpStream::connect(reserved.addr()).await.unwrap_err().kind(), ErrorKind::ConnectionRefused);
    let listener = reserved.listen().unwrap();
    TcpStream::connect(reserved.addr()).await.unwrap();
    drop(listener);
    assert!(TcpStream::connect(reserved.addr()).await.is_err());
    let hanging = HangingPort::new().unwrap();
    assert!(tokio::time::timeout(QUIET, TcpStream::connect(hanging.addr())).await.is_err());
}
