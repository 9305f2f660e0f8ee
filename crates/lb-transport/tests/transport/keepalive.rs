//! Keepalive on real sockets, with short times.

use std::sync::Arc;
use std::time::{Duration, Instant};

use lb_core::Endpoint;
use lb_transport::{CloseReason, ConnectAttempt, Connector, TransportConfig, TransportErrorKind};

use crate::support::*;

const TIME: Duration = Duration::from_millis(100);

fn config() -> TransportConfig {
    TransportConfig::new().keepalive_time_unchecked(TIME).keepalive_timeout(TIME)
}

#[tokio::test]
async fn a_silent_server_with_a_call_is_found_dead() {
    let (mut raw, connection) = Raw::pair(config(), &[]).await;
    let calling = tokio::spawn({
        let transport = connection.transport.clone();
        async move { call(&transport, Pieces::one("x")).await }
    });
    raw.next(PING).await;
    assert_eq!(within(connection.closed).await, CloseReason::KeepaliveTimeout);
    let error = within(calling).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), TransportErrorKind::Lost);
    assert!(error.to_string().contains("keepalive"), "{error}");
}

#[tokio::test]
async fn a_server_that_answers_pings_is_alive() {
    let (mut raw, connection) = Raw::pair(config().keepalive_timeout(Duration::from_secs(5)), &[]).await;
    let calling = tokio::spawn({
        let transport = connection.transport.clone();
        async move { call(&transport, Pieces::one("x")).await }
    });
    let stream = raw.request().await;
    for _ in 0..5 {
        let (_, flags, _, payload) = raw.next(PING).await;
        assert_eq!(flags, 0);
        raw.send(PING, 1, 0, &payload).await;
    }
    raw.respond(stream).await;
    within(calling).await.unwrap().unwrap();
}

#[tokio::test]
async fn without_calls_it_sleeps_and_a_call_pings_at_once() {
    let (mut raw, connection) = Raw::pair(config().keepalive_timeout(Duration::from_secs(5)), &[]).await;
    let quiet = tokio::time::timeout(TIME * 5, async {
        loop {
            let frame = raw.frame().await.expect("the client has closed");
            assert_ne!(frame.0, PING);
        }
    });
    assert!(quiet.await.is_err());
    let calling = tokio::spawn({
        let transport = connection.transport.clone();
        async move { call(&transport, Pieces::one("x")).await }
    });
    let first = within(raw.frame()).await.unwrap();
    assert_eq!(first.0, PING, "the ping goes before the headers");
    raw.send(PING, 1, 0, &first.3).await;
    let stream = raw.request().await;
    raw.respond(stream).await;
    within(calling).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_call_that_wakes_it_fails_within_the_timeout_if_nobody_is_there() {
    let (mut raw, connection) = Raw::pair(config(), &[]).await;
    // Far longer than the interval: it sleeps, and nothing tells it that the server has gone.
    tokio::time::sleep(TIME * 5).await;
    let (began, calling) = (Instant::now(), call(&connection.transport, Pieces::one("x")));
    let error = within(calling).await.unwrap_err();
    assert!(began.elapsed() >= TIME, "the server had its time to answer");
    assert!(error.to_string().contains("keepalive"), "{error}");
    assert_eq!(within(connection.closed).await, CloseReason::KeepaliveTimeout);
    let kinds: Vec<u8> = raw.rest().await.into_iter().map(|frame| frame.0).filter(|kind| [PING, HEADERS].contains(kind)).collect();
    assert_eq!(kinds.first(), Some(&PING), "at once, before the call: {kinds:?}");
    assert_eq!(kinds.iter().filter(|kind| **kind == PING).count(), 1, "{kinds:?}");
}

#[tokio::test]
async fn while_something_arrives_there_is_no_ping() {
    // An interval that a busy machine keeps to.
    let time = Duration::from_millis(500);
    let (mut raw, connection) = Raw::pair(TransportConfig::new().keepalive_time_unchecked(time), &[]).await;
    let calling = tokio::spawn({
        let transport = connection.transport.clone();
        async move { call(&transport, Pieces::one("x")).await }
    });
    let stream = raw.request().await;
    raw.headers(stream).await;
    let began = Instant::now();
    while began.elapsed() < time * 3 {
        raw.send(DATA, 0, stream, b"x").await;
        tokio::time::sleep(time / 20).await;
    }
    raw.trailers(stream).await;
    within(calling).await.unwrap().unwrap();
    connection.handle.close();
    let frames = raw.rest().await;
    assert!(frames.iter().all(|frame| frame.0 != PING), "{frames:?}");
}

#[tokio::test]
async fn without_calls_it_watches_if_told_to() {
    let (mut raw, connection) = Raw::pair(config().keepalive_without_calls(true), &[]).await;
    raw.next(PING).await;
    assert_eq!(within(connection.closed).await, CloseReason::KeepaliveTimeout);
}

#[tokio::test]
async fn a_complaint_doubles_the_interval_of_the_connector() {
    let (listener, address) = listen().await;
    let connector = connector(config());
    let attempt = ConnectAttempt::new(Arc::new(Endpoint::new(address)), "orders.test", Duration::from_secs(5));
    let (mut raw, connection) = tokio::join!(Raw::accept(&listener, &[]), connector.connect(attempt));
    raw.go_away(ANY_STREAM, 11, "too_many_pings").await;
    assert!(within(connection.unwrap().closed).await.too_many_pings());
    assert_eq!(connector.keepalive_time(), Some(TIME * 2));
}
