//! Connections that end, and what becomes of calls.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use lb_core::ConnectivityState;
use lb_testkit::EchoServer;
use lb_testkit::pb::EchoRequest;
use lb_testkit::pb::echo_client::EchoClient;
use lb_transport::{CloseReason, TransportErrorKind};
use tonic::Code;

use crate::support::*;

#[tokio::test]
async fn loss_is_reported_without_traffic_and_tonic_does_not_reconnect() {
    let server = EchoServer::start("a").await.unwrap();
    let connection = connect(&plain(), &[server.address()]).await.unwrap();
    send(&connection.transport).await.unwrap();
    server.cut_connections();
    let reason = soon("the loss", connection.closed).await;
    assert!(matches!(reason, CloseReason::Lost(_)), "{reason}");
    for _ in 0..10 {
        let error = send(&connection.transport).await.unwrap_err();
        assert_eq!(kind(&error), Some(TransportErrorKind::NotSent), "{error}");
    }
    assert_eq!(server.accepted(), 1);
}

#[tokio::test]
async fn a_goaway_ends_an_idle_connection_at_once() {
    let server = EchoServer::start("a").await.unwrap();
    let connection = connect(&plain(), &[server.address()]).await.unwrap();
    server.goaway();
    soon("the end", connection.closed).await;
    assert_eq!(kind(&send(&connection.transport).await.unwrap_err()), Some(TransportErrorKind::NotSent));
    assert_eq!(server.accepted(), 1);
}

#[tokio::test]
async fn after_a_goaway_the_next_call_goes_elsewhere_and_streams_go_on() {
    let (a, b) = (EchoServer::start("a").await.unwrap(), EchoServer::start("b").await.unwrap());
    let channel = builder(&[&a, &b], plain()).build().unwrap();
    ready(&channel, &[&a, &b]).await;
    let mut client = EchoClient::new(channel.clone());
    let (send, receive) = tokio::sync::mpsc::channel(1);
    let mut replies = client.bidi(tokio_stream::wrappers::ReceiverStream::new(receive)).await.unwrap().into_inner();
    send.send(request("1")).await.unwrap();
    let first = soon("a reply", replies.message()).await.unwrap().unwrap();
    let streaming = if first.server == "a" { &a } else { &b };
    for _ in 0..3 {
        streaming.goaway();
        for _ in 0..50 {
            call(&channel).await.unwrap();
        }
        until("it is connected to again", || state(&channel, streaming) == ConnectivityState::Ready).await;
    }
    send.send(request("2")).await.unwrap();
    assert_eq!(soon("a reply", replies.message()).await.unwrap().unwrap().payload, "2");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn goaways_under_load_fail_no_call() {
    let servers =
        [EchoServer::start("a").await.unwrap(), EchoServer::start("b").await.unwrap(), EchoServer::start("c").await.unwrap()];
    let all: Vec<&EchoServer> = servers.iter().collect();
    let channel = builder(&all, plain()).build().unwrap();
    ready(&channel, &all).await;
    let stop = Arc::<AtomicBool>::default();
    let callers: Vec<_> = (0..8)
        .map(|_| {
            let (channel, stop) = (channel.clone(), Arc::clone(&stop));
            tokio::spawn(async move {
                let mut calls = 0;
                while !stop.load(Ordering::Relaxed) {
                    call(&channel).await.unwrap();
                    calls += 1;
                }
                calls
            })
        })
        .collect();
    for round in 0..5 {
        for server in &servers {
            server.goaway();
            until("it is connected to again", || {
                server.accepted() >= round + 2 && state(&channel, server) == ConnectivityState::Ready
            })
            .await;
        }
    }
    stop.store(true, Ordering::Relaxed);
    for caller in callers {
        assert!(soon("its last call", caller).await.unwrap() > 0);
    }
}

#[tokio::test]
async fn killed_and_restarted() {
    let (mut a, b) = (EchoServer::start("a").await.unwrap(), EchoServer::start("b").await.unwrap());
    let channel = builder(&[&a, &b], plain()).build().unwrap();
    ready(&channel, &[&a, &b]).await;
    a.kill().await;
    until("its loss is seen without a call", || state(&channel, &a) != ConnectivityState::Ready).await;
    for _ in 0..100 {
        assert_eq!(call(&channel).await.unwrap().server, "b");
    }
    assert_eq!(a.accepted(), 1, "nobody connects to a server that is down");
    a.restart().await.unwrap();
    until("it is back without a call", || state(&channel, &a) == ConnectivityState::Ready).await;
    assert_eq!(a.accepted(), 2, "one connection for each life");
    let before = a.calls();
    for _ in 0..10 {
        call(&channel).await.unwrap();
    }
    assert_eq!(a.calls() - before, 5);
}

#[tokio::test]
async fn calls_in_progress_are_unavailable_and_name_the_endpoint() {
    let server = EchoServer::start("a").await.unwrap();
    let channel = builder(&[&server], plain()).build().unwrap();
    ready(&channel, &[&server]).await;
    let endless = EchoRequest { count: 1_000_000, delay_ms: 5, ..request("x") };
    let mut replies = EchoClient::new(channel.clone()).server_stream(endless).await.unwrap().into_inner();
    soon("a reply", replies.message()).await.unwrap().unwrap();
    server.hang();
    let waiting = tokio::spawn({
        let channel = channel.clone();
        async move { call(&channel).await }
    });
    until("the call has arrived", || server.active() == 2).await;
    server.cut_connections();
    let of_stream = soon("its end", async {
        loop {
            if let Err(status) = replies.message().await {
                return status;
            }
        }
    })
    .await;
    for status in [of_stream, soon("its end", waiting).await.unwrap().unwrap_err()] {
        assert_eq!(status.code(), Code::Unavailable, "{status}");
        assert!(status.message().contains(&server.addr().to_string()), "{status}");
    }
}
