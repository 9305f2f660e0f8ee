//! The raw server, heard by tonic's client, which is a strict one.

#![allow(clippy::unwrap_used, reason = "a failing helper fails the test")]

mod common;

use std::time::Duration;

use common::{channel, request, soon};
use lb_testkit::pb::echo_client::EchoClient;
use lb_testkit::raw::setting;
use lb_testkit::{Heard, RawServer};
use tonic::{Code, Request};

async fn code_of(server: &RawServer) -> Code {
    let mut client = EchoClient::new(channel(server.uri()));
    match soon(client.unary(request("x"))).await {
        Ok(_) => Code::Ok,
        Err(status) => status.code(),
    }
}

#[tokio::test]
async fn it_answers_what_a_strict_client_accepts() {
    let server = RawServer::start(|mut conn| async move {
        conn.handshake(&[(setting::MAX_CONCURRENT_STREAMS, 1)]).await?;
        loop {
            let call = conn.next_call().await?;
            conn.reply(call, &[]).await?;
        }
    })
    .await
    .unwrap();
    let mut client = EchoClient::new(channel(server.uri()));
    let big = lb_testkit::pb::EchoRequest { payload: vec![7; 1 << 20].into(), ..Default::default() };
    for _ in 0..3 {
        assert_eq!(soon(client.unary(big.clone())).await.unwrap().into_inner().received, 0);
    }
    assert_eq!(server.accepted(), 1);
}

#[tokio::test]
async fn it_fails_calls_in_every_way() {
    let server = RawServer::start(|mut conn| async move {
        conn.handshake(&[]).await?;
        let call = conn.next_call().await?;
        conn.trailers_only(call, 8, &"long".repeat(100)).await?;
        conn.drain().await
    })
    .await
    .unwrap();
    assert_eq!(code_of(&server).await, Code::ResourceExhausted);

    let server = RawServer::start(|mut conn| async move {
        conn.handshake(&[]).await?;
        let call = conn.next_call().await?;
        conn.reset(call, 0xb).await?;
        conn.drain().await
    })
    .await
    .unwrap();
    assert_eq!(code_of(&server).await, Code::ResourceExhausted, "ENHANCE_YOUR_CALM");

    let server = RawServer::start(|mut conn| async move {
        conn.handshake(&[]).await?;
        let call = conn.next_call().await?;
        conn.begin(call).await?;
        conn.abort();
        Ok(())
    })
    .await
    .unwrap();
    assert_ne!(code_of(&server).await, Code::Ok);
    let server = RawServer::says(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n").await.unwrap();
    assert_ne!(code_of(&server).await, Code::Ok);
}

#[tokio::test]
async fn goaway_sends_the_client_to_another_connection() {
    let server = RawServer::start(|mut conn| async move {
        conn.handshake(&[]).await?;
        let call = conn.next_call().await?;
        conn.goaway(call, 0, b"enough").await?;
        conn.reply(call, &[]).await?;
        conn.drain().await
    })
    .await
    .unwrap();
    let mut client = EchoClient::new(channel(server.uri()));
    for _ in 0..2 {
        soon(client.unary(request("x"))).await.unwrap();
    }
    assert_eq!(server.accepted(), 2);
}

#[tokio::test]
async fn a_silent_server_leaves_calls_to_their_deadline_and_hears_cancellation() {
    let server = RawServer::silent().await.unwrap();
    let mut client = EchoClient::new(channel(server.uri()));
    let mut asked = Request::new(request("x"));
    asked.set_timeout(Duration::from_millis(30));
    assert_ne!(soon(client.unary(asked)).await.unwrap_err().code(), Code::Ok);

    let (heard, mut hears) = tokio::sync::mpsc::unbounded_channel();
    let server = RawServer::start(move |mut conn| {
        let heard = heard.clone();
        async move {
            conn.handshake(&[]).await?;
            loop {
                let _ = heard.send(conn.heard().await?);
            }
        }
    })
    .await
    .unwrap();
    let mut client = EchoClient::new(channel(server.uri()));
    let call = tokio::spawn(async move { client.unary(request("x")).await });
    while !matches!(soon(hears.recv()).await.unwrap(), Heard::Data { end: true, .. }) {}
    call.abort();
    while soon(hears.recv()).await.unwrap() != (Heard::Reset { stream: 1, code: 8 }) {}
}
