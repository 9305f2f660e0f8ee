//! Servers that answer in ways gRPC does not provide for: each ends the call, with the endpoint named where the channel can know.

use std::future::Future;
use std::io;
use std::time::Duration;

use evenkeel::{CallError, LbChannel};
use lb_testkit::raw::{Frame, kind};
use lb_testkit::{RawConn, RawServer};
use tonic::{Code, Status};

use crate::support::{call, call_error, in_flight, quick_backoff, soon, target};

/// One call to a server that does this with the first request of every connection.
async fn answered_by<S>(script: impl Fn(RawConn, u32) -> S + Clone + Send + 'static) -> (RawServer, Result<(), Status>)
where
    S: Future<Output = io::Result<()>> + Send + 'static,
{
    let server = RawServer::start(move |mut conn| {
        let script = script.clone();
        async move {
            conn.handshake(&[]).await?;
            let call = conn.next_call().await?;
            script(conn, call).await
        }
    })
    .await
    .unwrap();
    let builder = LbChannel::builder(target([server.addr()])).backoff(quick_backoff()).timeout(Duration::from_secs(20));
    let channel = builder.build().unwrap();
    let result = soon("the odd answer", call(&channel)).await.map(drop);
    let endpoint = &channel.endpoints()[0];
    assert_eq!((in_flight(&channel), endpoint.succeeded + endpoint.failed), (0, 1), "{result:?}");
    (server, result)
}

fn lost(server: &RawServer, result: Result<(), Status>) {
    let status = result.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    let key = server.addr().to_string();
    assert!(matches!(call_error(&status), Some(CallError::Lost { endpoint, .. }) if endpoint.as_str() == key), "{status:?}");
}

#[tokio::test]
async fn an_http_error_page() {
    for (code, expected) in
        [("503", Code::Unavailable), ("404", Code::Unimplemented), ("401", Code::Unauthenticated), ("500", Code::Unknown)]
    {
        let (_server, result) = answered_by(move |mut conn, call| async move {
            conn.headers(call, &[(":status", code), ("content-type", "text/html")], false).await?;
            conn.data(call, b"<h1>not a gRPC server</h1>", true).await?;
            conn.drain().await
        })
        .await;
        let status = result.unwrap_err();
        assert_eq!(status.code(), expected, "{code}");
        assert!(matches!(call_error(&status), Some(CallError::Failed { .. })) && status.message().contains(code), "{status:?}");
    }
}

#[tokio::test]
async fn an_end_without_trailers() {
    let (_server, result) = answered_by(|mut conn, call| async move {
        conn.begin(call).await?;
        conn.data(call, b"", true).await?;
        conn.drain().await
    })
    .await;
    assert_ne!(result.unwrap_err().code(), Code::Ok);
}

#[tokio::test]
async fn a_connection_that_ends_after_the_headers() {
    let (server, result) = answered_by(|mut conn, call| async move { conn.begin(call).await }).await;
    lost(&server, result);
    let (server, result) = answered_by(|mut conn, call| async move {
        conn.begin(call).await?;
        conn.abort();
        Ok(())
    })
    .await;
    lost(&server, result);
}

#[tokio::test]
async fn a_connection_that_ends_before_the_headers() {
    let (server, result) = answered_by(|_conn, _call| async { Ok(()) }).await;
    lost(&server, result);
}

#[tokio::test]
async fn half_a_message() {
    let (_server, result) = answered_by(|mut conn, call| async move {
        conn.begin(call).await?;
        conn.data(call, &[0, 0, 0, 0, 100, 1, 2, 3], false).await?;
        conn.trailers(call, 0).await?;
        conn.drain().await
    })
    .await;
    assert_ne!(result.unwrap_err().code(), Code::Ok);
}

#[tokio::test]
async fn frames_that_break_the_protocol() {
    // DATA on stream 0, a SETTINGS of the wrong length, a frame longer than allowed.
    for (kind, stream, length) in [(kind::DATA, 0, 1), (kind::SETTINGS, 0, 5), (kind::DATA, 1, 20_000)] {
        let (server, result) = answered_by(move |mut conn, _call| async move {
            conn.send(Frame { kind, flags: 0, stream, payload: vec![0; length].into() }).await?;
            conn.drain().await
        })
        .await;
        lost(&server, result);
    }
}

#[tokio::test]
async fn more_headers_than_are_accepted() {
    let (_server, result) = answered_by(|mut conn, call| async move {
        // As HTTP/2 counts them, with 32 bytes for each.
        let mut headers = vec![(":status", "200"), ("content-type", "application/grpc")];
        headers.extend([("a", "b"); 1_000]);
        conn.headers(call, &headers, false).await?;
        conn.message(call, b"").await?;
        conn.trailers(call, 0).await?;
        conn.drain().await
    })
    .await;
    let status = result.unwrap_err();
    assert!(matches!(call_error(&status), Some(CallError::Failed { .. } | CallError::Lost { .. })), "{status:?}");
}
