//! The echo server: the four kinds of call, its faults, its deaths.
#![allow(clippy::unwrap_used, reason = "a failing helper fails the test")]

mod common;

use std::time::{Duration, Instant};

use common::{channel, client, request, soon, until};
use futures_util::stream;
use lb_testkit::pb::EchoRequest;
use lb_testkit::{EchoServer, HealthFault, Latency, ServingStatus};
use tonic::{Code, Request};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

#[tokio::test]
async fn all_four_kinds_of_call_echo() {
    let server = EchoServer::start("one").await.unwrap();
    let mut client = client(&server);
    let reply = client.unary(request("a")).await.unwrap().into_inner();
    assert_eq!((&reply.payload[..], &reply.server[..], reply.calls, reply.received), (&b"a"[..], "one", 1, 1));

    let asked = EchoRequest { count: 3, ..request("b") };
    let mut replies = client.server_stream(asked).await.unwrap().into_inner();
    let mut received = Vec::new();
    while let Some(reply) = replies.message().await.unwrap() {
        received.push(reply.received);
    }
    assert_eq!(received, [1, 2, 3]);

    let sent = stream::iter([request("c"), request("d")]);
    let reply = client.client_stream(sent.clone()).await.unwrap().into_inner();
    assert_eq!((&reply.payload[..], reply.received), (&b"d"[..], 2));

    let mut replies = client.bidi(sent).await.unwrap().into_inner();
    assert_eq!(&replies.message().await.unwrap().unwrap().payload[..], b"c");
    assert_eq!(&replies.message().await.unwrap().unwrap().payload[..], b"d");
    assert!(replies.message().await.unwrap().is_none());
    drop(replies);
    until(|| server.active() == 0).await;
    assert_eq!(server.calls(), 4);
}

#[tokio::test]
async fn failures_are_counted_down_and_healed() {
    let server = EchoServer::start("").await.unwrap();
    let mut client = client(&server);
    server.fail_next(2, Code::ResourceExhausted);
    for code in [Code::ResourceExhausted, Code::ResourceExhausted] {
        assert_eq!(client.unary(request("")).await.unwrap_err().code(), code);
    }
    assert!(client.unary(request("")).await.is_ok());
    server.fail(Code::Internal);
    assert_eq!(client.unary(request("")).await.unwrap_err().code(), Code::Internal);
    server.heal();
    assert!(client.unary(request("")).await.is_ok());
    let asked = EchoRequest { fail_with: 5, ..request("") };
    assert_eq!(client.unary(asked.clone()).await.unwrap_err().code(), Code::NotFound);
    let mut replies = client.server_stream(asked).await.unwrap().into_inner();
    assert_eq!(replies.message().await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn a_hanging_call_ends_only_by_its_caller() {
    let server = EchoServer::start("").await.unwrap();
    let mut client = client(&server);
    server.hang();
    let mut asked = Request::new(request(""));
    asked.set_timeout(Duration::from_millis(50));
    assert!(client.unary(asked).await.is_err());
    until(|| server.active() == 0).await;
    assert_eq!((server.calls(), server.most_active()), (1, 1));
}

#[tokio::test]
async fn latency_delays_the_answer() {
    let latency = Latency::Fixed(Duration::from_millis(30));
    let server = EchoServer::builder().latency(latency).start().await.unwrap();
    let begin = Instant::now();
    client(&server).unary(request("")).await.unwrap();
    assert!(begin.elapsed() >= Duration::from_millis(30));
}

#[tokio::test]
async fn goaway_lets_streams_finish_and_new_connections_in() {
    let server = EchoServer::start("").await.unwrap();
    let mut client = client(&server);
    let asked = EchoRequest { count: 3, delay_ms: 50, ..request("") };
    let mut replies = client.server_stream(asked).await.unwrap().into_inner();
    replies.message().await.unwrap();
    server.goaway();
    assert!(replies.message().await.unwrap().is_some());
    assert!(replies.message().await.unwrap().is_some());
    assert!(replies.message().await.unwrap().is_none());
    drop(replies);
    soon(async { while client.unary(request("")).await.is_err() {} }).await;
    until(|| server.connections() == 1).await;
    assert!(server.accepted() >= 2);
}

#[tokio::test]
async fn killed_it_resets_and_refuses_until_restarted_on_the_same_port() {
    let mut server = EchoServer::start("").await.unwrap();
    let (addr, control) = (server.addr(), server.control());
    let mut client = client(&server);
    let mut stuck = client.clone();
    client.unary(request("")).await.unwrap();
    server.hang();
    let call = tokio::spawn(async move { stuck.unary(request("")).await });
    until(|| control.active() == 1).await;
    soon(server.kill()).await;
    assert!(soon(call).await.unwrap().is_err());
    assert_eq!(server.connections(), 0);
    let refused = tokio::net::TcpStream::connect(addr).await.unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    server.heal();
    server.restart().await.unwrap();
    assert_eq!(server.addr(), addr);
    soon(async { while client.unary(request("")).await.is_err() {} }).await;
}

#[tokio::test]
async fn shutdown_waits_for_streams_and_then_refuses() {
    let mut server = EchoServer::start("").await.unwrap();
    let addr = server.addr();
    let mut client = client(&server);
    let asked = EchoRequest { delay_ms: 100, ..request("") };
    let control = server.control();
    let call = tokio::spawn(async move { client.unary(asked).await });
    until(|| control.active() == 1).await;
    soon(server.shutdown()).await;
    assert!(call.await.unwrap().is_ok());
    assert!(tokio::net::TcpStream::connect(addr).await.is_err());
}

#[tokio::test]
async fn dropping_leaves_no_task_and_no_port() {
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    let server = EchoServer::start("").await.unwrap();
    let addr = server.addr();
    let mut stuck = client(&server);
    server.hang();
    let control = server.control();
    let call = tokio::spawn(async move { stuck.unary(request("")).await });
    until(|| control.active() == 1).await;
    drop(server);
    assert!(soon(call).await.unwrap().is_err());
    until(|| tasks() == before).await;
    assert!(tokio::net::TcpListener::bind(addr).await.is_ok());
}

#[tokio::test]
async fn a_unix_socket_serves_too() {
    let path = std::env::temp_dir().join(format!("lb-testkit-{}.sock", std::process::id()));
    let server = EchoServer::builder().unix(&path).start().await.unwrap();
    assert_eq!(server.target(), format!("unix:{}", path.display()));
    let uri = format!("unix:{}", path.display());
    let mut client = lb_testkit::pb::echo_client::EchoClient::new(channel(uri));
    assert_eq!(client.unary(request("")).await.unwrap().into_inner().server, path.display().to_string());
    drop(server);
    assert!(!path.exists());
}

#[tokio::test]
async fn the_latest_request_is_recorded() {
    let server = EchoServer::builder().record_requests().start().await.unwrap();
    let mut asked = Request::new(request(""));
    asked.metadata_mut().insert("x-mark", "1".parse().unwrap());
    client(&server).unary(asked).await.unwrap();
    let head = server.last_request().unwrap();
    assert_eq!(head.uri.path(), "/evenkeel.echo.v1.Echo/Unary");
    assert_eq!(head.uri.authority().unwrap().as_str(), server.addr().to_string());
    assert_eq!(head.headers["x-mark"], "1");
}

#[tokio::test]
async fn health_follows_its_control() {
    let server = EchoServer::start("").await.unwrap();
    let mut client = HealthClient::new(channel(server.uri()));
    let of = |service: &str| HealthCheckRequest { service: service.to_owned() };
    let health = server.health();
    assert_eq!(client.check(of("")).await.unwrap().into_inner().status(), ServingStatus::Serving);
    assert_eq!(client.check(of("a")).await.unwrap_err().code(), Code::NotFound);

    let mut watch = client.watch(of("a")).await.unwrap().into_inner();
    assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::ServiceUnknown);
    for status in [ServingStatus::NotServing, ServingStatus::Serving, ServingStatus::Serving] {
        health.set("a", status);
        assert_eq!(watch.message().await.unwrap().unwrap().status(), status);
    }
    health.end_watches(Code::Ok);
    assert!(watch.message().await.unwrap().is_none());
    let mut watch = client.watch(of("")).await.unwrap().into_inner();
    watch.message().await.unwrap();
    health.end_watches(Code::Unavailable);
    assert_eq!(watch.message().await.unwrap_err().code(), Code::Unavailable);
    until(|| health.watching() == 0).await;
    health.set_watch_fault(HealthFault::Fail(Code::PermissionDenied));
    assert_eq!(client.watch(of("")).await.unwrap_err().code(), Code::PermissionDenied);
    assert_eq!((health.watches(), health.checks()), (3, 2));
}

#[tokio::test]
async fn without_a_health_service_health_is_unimplemented() {
    let server = EchoServer::builder().health(false).start().await.unwrap();
    let mut client = HealthClient::new(channel(server.uri()));
    assert_eq!(client.watch(HealthCheckRequest::default()).await.unwrap_err().code(), Code::Unimplemented);
}
