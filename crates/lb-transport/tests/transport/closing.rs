//! GOAWAY, loss, and what becomes of calls.

use lb_transport::{CloseReason, TransportConfig, TransportErrorKind};

use crate::support::*;

#[tokio::test]
async fn a_graceful_goaway_lets_streams_finish_and_takes_no_new_ones() {
    let (mut raw, connection) = Raw::pair(TransportConfig::new(), &[]).await;
    let transport = connection.transport.clone();
    let calling = tokio::spawn({
        let transport = transport.clone();
        async move { call(&transport, Pieces::one("x")).await }
    });
    let stream = raw.request().await;
    raw.go_away(ANY_STREAM, 0, "max_age").await;
    assert_eq!(within(connection.closed).await, CloseReason::GoAway { code: 0, debug: "max_age".into() });
    let error = within(call(&transport, Pieces::one("x"))).await.unwrap_err();
    assert_eq!(error.kind(), TransportErrorKind::NotSent);
    assert_eq!(error.to_string(), "not sent: GOAWAY NO_ERROR (max_age)");
    raw.go_away(stream, 0, "max_age").await;
    raw.respond(stream).await;
    assert_eq!(within(calling).await.unwrap().unwrap().0, b"reply");
    // Idle now: the client says goodbye and closes, although handle and transport live.
    let rest = raw.rest().await;
    assert_eq!(rest.last().unwrap().0, GOAWAY);
    drop(connection.handle);
}

#[tokio::test]
async fn goaway_refuses_only_streams_above_its_last() {
    let (mut raw, connection) = Raw::pair(TransportConfig::new(), &[]).await;
    let spawn = || {
        let transport = connection.transport.clone();
        tokio::spawn(async move { call(&transport, Pieces::one("x")).await })
    };
    let one = spawn();
    assert_eq!(raw.request().await, 1);
    let three = spawn();
    assert_eq!(raw.request().await, 3);
    raw.go_away(1, 0, "bye").await;
    let error = within(three).await.unwrap().unwrap_err();
    assert_eq!((error.kind(), error.grpc_code()), (TransportErrorKind::Refused, 14));
    assert!(error.to_string().contains("GOAWAY NO_ERROR (bye)"), "{error}");
    raw.respond(1).await;
    within(one).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_stream_that_has_headers_is_never_refused() {
    let (mut raw, connection) = Raw::pair(TransportConfig::new(), &[]).await;
    let answering = async {
        let stream = raw.request().await;
        raw.headers(stream).await;
        stream
    };
    let (response, _) = tokio::join!(within(connection.transport.send(post(Pieces::one("x")))), answering);
    raw.go_away(0, 0, "").await;
    let error = within(finish(response.unwrap().into_body())).await.unwrap_err();
    assert_eq!(error.kind(), TransportErrorKind::Lost);
}

#[tokio::test]
async fn a_call_on_a_connection_lost_after_goaway_is_lost() {
    let (mut raw, connection) = Raw::pair(TransportConfig::new(), &[]).await;
    let calling = tokio::spawn({
        let transport = connection.transport.clone();
        async move { call(&transport, Pieces::one("x")).await }
    });
    let stream = raw.request().await;
    raw.go_away(stream, 2, "crash").await;
    within(connection.closed).await;
    drop(raw);
    assert_eq!(within(calling).await.unwrap().unwrap_err().kind(), TransportErrorKind::Lost);
}

#[tokio::test]
async fn loss_in_mid_call_is_lost_and_loss_before_it_is_not_sent() {
    let (mut raw, connection) = Raw::pair(TransportConfig::new(), &[]).await;
    let calling = tokio::spawn({
        let transport = connection.transport.clone();
        async move { call(&transport, Pieces::one("x")).await }
    });
    raw.request().await;
    drop(raw);
    let error = within(calling).await.unwrap().unwrap_err();
    assert_eq!((error.kind(), error.grpc_code()), (TransportErrorKind::Lost, 14));
    assert!(matches!(within(connection.closed).await, CloseReason::Lost(_)));
    let error = within(call(&connection.transport, Pieces::one("x"))).await.unwrap_err();
    assert_eq!(error.kind(), TransportErrorKind::NotSent);
}

/// The request is with h2, but the connection ends before its task has written anything: it cannot have left.
#[tokio::test]
async fn a_call_that_was_never_written_is_not_sent() {
    let (_raw, connection) = Raw::pair(TransportConfig::new(), &[]).await;
    let mut call = Box::pin(call(&connection.transport, Pieces::one("x")));
    tokio::select! {
        biased;
        _ = &mut call => panic!("answered"),
        () = std::future::ready(()) => {}
    }
    assert_eq!(connection.transport.in_flight(), 1);
    connection.handle.abort();
    assert_eq!(within(call).await.unwrap_err().kind(), TransportErrorKind::NotSent);
}

#[tokio::test]
async fn closing_by_handle_drains() {
    let (mut raw, connection) = Raw::pair(TransportConfig::new(), &[]).await;
    let transport = connection.transport.clone();
    let calling = tokio::spawn({
        let transport = transport.clone();
        async move { call(&transport, Pieces::one("x")).await }
    });
    let stream = raw.request().await;
    connection.handle.close();
    assert_eq!(within(connection.closed).await, CloseReason::Closed);
    let error = within(call(&transport, Pieces::one("x"))).await.unwrap_err();
    assert_eq!(error.kind(), TransportErrorKind::NotSent);
    raw.respond(stream).await;
    within(calling).await.unwrap().unwrap();
    assert_eq!(raw.rest().await.last().unwrap().0, GOAWAY);
}

#[tokio::test]
async fn aborting_by_handle_fails_streams_at_once() {
    let (mut raw, connection) = Raw::pair(TransportConfig::new(), &[]).await;
    let calling = tokio::spawn({
        let transport = connection.transport.clone();
        async move { call(&transport, Pieces::one("x")).await }
    });
    raw.request().await;
    connection.handle.abort();
    let error = within(calling).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), TransportErrorKind::Lost);
    assert!(error.to_string().contains("closed by this client"), "{error}");
    raw.rest().await;
}

#[tokio::test]
async fn a_peer_that_breaks_the_protocol_is_lost() {
    let (mut raw, connection) = Raw::pair(TransportConfig::new(), &[]).await;
    // DATA on a stream nobody opened.
    raw.send(DATA, 0, 9, b"x").await;
    let reason = within(connection.closed).await;
    assert!(matches!(&reason, CloseReason::Lost(why) if why.contains("protocol")), "{reason}");
}
