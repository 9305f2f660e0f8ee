//! Connections that end, and what becomes of calls.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use lb_core::ConnectivityState;
use lb_testkit::pb::EchoRequest;
use lb_testkit::pb::echo_client::EchoClient;
use lb_testkit::{EchoServer, RawConn, RawServer};
use lb_transport::{CloseReason, TransportErrorKind};
use tokio::task::JoinSet;
use tonic::{Code, Status};

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

/// One server after the other, as in a rolling restart: a call may be refused once, and by the time of the next GOAWAY it is done.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn goaways_under_load_fail_no_call() {
    let servers =
        [EchoServer::start("a").await.unwrap(), EchoServer::start("b").await.unwrap(), EchoServer::start("c").await.unwrap()];
    let all: Vec<&EchoServer> = servers.iter().collect();
    let channel = builder(&all, plain()).build().unwrap();
    ready(&channel, &all).await;
    let (stop, done) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
    let mut callers = JoinSet::new();
    for _ in 0..8 {
        let (channel, stop, done) = (channel.clone(), Arc::clone(&stop), Arc::clone(&done));
        callers.spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                call(&channel).await.unwrap();
                done.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    for round in 0..5 {
        for server in &servers {
            server.goaway();
            let again = || server.accepted() >= round + 2 && state(&channel, server) == ConnectivityState::Ready;
            until("it is connected to again", again).await;
            let enough = done.load(Ordering::Relaxed) + 100;
            until("calls go on", || done.load(Ordering::Relaxed) >= enough || callers.try_join_next().is_some()).await;
        }
    }
    stop.store(true, Ordering::Relaxed);
    assert_eq!(soon("the last calls", callers.join_all()).await.len(), 8, "no caller had a call fail");
}

/// Calls on a server that ends each connection's first call like this, and answers the others.
async fn calls_on<F, S>(first: F) -> (RawServer, Result<(), Status>)
where
    F: Fn(RawConn, u32) -> S + Clone + Send + Sync + 'static,
    S: Future<Output = io::Result<()>> + Send + 'static,
{
    let server = RawServer::start(move |mut conn| {
        let first = first.clone();
        async move {
            conn.handshake(&[]).await?;
            let call = conn.next_call().await?;
            if conn.index() == 0 {
                return first(conn, call).await;
            }
            conn.reply(call, b"").await?;
            conn.drain().await
        }
    })
    .await
    .unwrap();
    let target = format!("static:///{}", server.addr());
    let channel = lb_tonic::LbChannel::builder(target).connector(plain()).build().unwrap();
    let mut client = EchoClient::new(channel);
    let mut wait = tonic::Request::new(request("x"));
    wait.extensions_mut().insert(lb_tonic::PickOptions::new().wait_for_ready(true));
    let result = soon("a call", client.unary(wait)).await.map(|_| ());
    (server, result)
}

#[tokio::test]
async fn what_the_server_refused_is_sent_again_and_what_it_broke_off_is_not() {
    let (server, result) = calls_on(|mut conn, call| async move {
        conn.goaway(call - 1, 0, b"").await?;
        conn.drain().await
    })
    .await;
    result.unwrap();
    assert_eq!(server.accepted(), 2);

    let (server, result) = calls_on(|mut conn, call| async move {
        conn.reset(call, 7).await?;
        let again = conn.next_call().await?;
        conn.reply(again, b"").await?;
        conn.drain().await
    })
    .await;
    result.unwrap();
    assert_eq!(server.accepted(), 1, "a refused stream says nothing about the connection");

    for (code, expected) in [(2, Code::Internal), (8, Code::Cancelled), (11, Code::ResourceExhausted)] {
        let (_, result) = calls_on(move |mut conn, call| async move {
            conn.reset(call, code).await?;
            conn.drain().await
        })
        .await;
        assert_eq!(result.unwrap_err().code(), expected);
    }
    let (_, result) = calls_on(|_, _| async { Ok(()) }).await;
    assert_eq!(result.unwrap_err().code(), Code::Unavailable);
}

#[tokio::test]
async fn a_request_stream_that_fails_says_how() {
    let server = EchoServer::start("a").await.unwrap();
    let channel = builder(&[&server], plain()).max_request_message(10).build().unwrap();
    let mut client = EchoClient::new(channel);
    let (send, receive) = tokio::sync::mpsc::channel(1);
    let feed = async {
        send.send(request("x")).await.unwrap();
        until("the call has arrived", || server.active() == 1).await;
        send.send(request("far more than ten bytes")).await.unwrap();
    };
    let requests = tokio_stream::wrappers::ReceiverStream::new(receive);
    let (result, ()) = tokio::join!(soon("its end", client.client_stream(requests)), feed);
    assert_eq!(result.unwrap_err().code(), Code::ResourceExhausted);
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
