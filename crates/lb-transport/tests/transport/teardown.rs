//! Nothing is left behind: cancelled calls, dropped connections.

use std::time::Duration;

use lb_transport::{Connector, TransportConfig};
use tokio::runtime::Handle;

use crate::support::*;

#[tokio::test]
async fn a_call_dropped_at_any_point_leaves_nothing() {
    let (mut raw, connection) = Raw::pair(TransportConfig::new(), &[(MAX_STREAMS, 1)]).await;
    let transport = &connection.transport;
    let zero = || (transport.in_flight(), transport.queued()) == (0, 0);
    // Before it is polled.
    drop(transport.send(post(Pieces::one("x"))));
    assert!(zero());
    // Sent, without an answer.
    let sent = transport.send(post(Pieces::one("x")));
    tokio::select! { _ = sent => panic!("answered"), stream = raw.request() => assert_eq!(stream, 1) }
    assert!(zero());
    assert_eq!(raw.next(RST_STREAM).await.3, 8_u32.to_be_bytes());
    // Waiting behind another, which is then dropped too: the permit is passed on and given back.
    let mut holder = Box::pin(transport.send(post(Pieces::one("x"))));
    let mut waiter = Box::pin(transport.send(post(Pieces::one("x"))));
    tokio::select! {
        biased;
        _ = &mut holder => panic!("answered"),
        _ = &mut waiter => panic!("answered"),
        () = std::future::ready(()) => {}
    }
    assert_eq!((transport.in_flight(), transport.queued()), (1, 1));
    drop(holder);
    assert_eq!(transport.in_flight(), 1);
    drop(waiter);
    assert!(zero());
    // With headers, body unread; and with a request still open.
    let (_feed, body) = Fed::new();
    let answering = async {
        // Stream 3 was the holder's: opened and reset at once.
        while raw.request().await != 5 {}
        raw.headers(5).await;
    };
    let (response, ()) = tokio::join!(transport.send(post(body)), answering);
    drop(response.unwrap());
    assert!(zero());
    while raw.next(RST_STREAM).await.2 != 5 {}
}

async fn tasks_return_to(before: usize) {
    let metrics = Handle::current().metrics();
    eventually("the tasks end", || metrics.num_alive_tasks() == before).await;
}

#[tokio::test]
async fn dropping_the_connection_ends_tasks_and_sockets() {
    let before = Handle::current().metrics().num_alive_tasks();
    let (mut raw, connection) = Raw::pair(TransportConfig::new(), &[]).await;
    let transport = connection.transport.clone();
    assert!(Handle::current().metrics().num_alive_tasks() > before);
    drop(connection);
    raw.rest().await;
    tasks_return_to(before).await;
    drop(transport);
}

#[tokio::test]
async fn a_streaming_call_that_is_dropped_ends_its_pump() {
    let (mut raw, connection) = Raw::pair(TransportConfig::new(), &[]).await;
    let before = Handle::current().metrics().num_alive_tasks();
    let (feed, body) = Fed::new();
    let call = connection.transport.send(post(body));
    tokio::select! { _ = call => panic!("answered"), _ = raw.request() => {} }
    tasks_return_to(before).await;
    assert!(feed.is_closed());
    raw.next(RST_STREAM).await;
}

#[tokio::test]
async fn a_dropped_attempt_closes_its_sockets() {
    let (listener, address) = listen().await;
    let connecting = connector(TransportConfig::new()).connect(attempt(address));
    let (mut stream, _) =
        tokio::select! { _ = connecting => panic!("connected"), accepted = listener.accept() => accepted.unwrap() };
    let mut sink = Vec::new();
    within(tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut sink)).await.unwrap();
}

#[tokio::test]
async fn a_stalled_server_does_not_make_memory_grow_or_calls_hang() {
    // The server reads nothing: writes block. Calls end at their deadlines, and leave nothing.
    let (_raw, connection) = Raw::pair(TransportConfig::new(), &[]).await;
    let transport = &connection.transport;
    for _ in 0..200 {
        let _ = tokio::time::timeout(Duration::from_millis(1), call(transport, Pieces::one(vec![0; 50_000]))).await;
    }
    assert_eq!((transport.in_flight(), transport.queued()), (0, 0));
    let before = Handle::current().metrics().num_alive_tasks();
    connection.handle.abort();
    tasks_return_to(before - 1).await;
}

/// As when one deadline ends many calls at once, and the server answers them all the same.
#[tokio::test]
async fn late_answers_to_dropped_calls_do_not_cost_the_connection() {
    const CALLS: usize = 3_000;
    let (mut raw, connection) = Raw::pair(TransportConfig::new(), &[]).await;
    let transport = connection.transport.clone();
    let spawn = || {
        let transport = transport.clone();
        tokio::spawn(async move { call(&transport, Pieces::one("x")).await })
    };
    let calls: Vec<_> = (0..CALLS).map(|_| spawn()).collect();
    let mut streams = Vec::new();
    while streams.len() < CALLS {
        streams.push(raw.request().await);
    }
    calls.iter().for_each(tokio::task::JoinHandle::abort);
    eventually("the calls are gone", || transport.in_flight() == 0).await;
    let calling = spawn();
    eventually("another is sent", || transport.in_flight() == 1).await;
    let another = streams[CALLS - 1] + 2;
    let headers = |flags, stream: u32| [&[0, 0, 1, HEADERS, flags][..], &stream.to_be_bytes(), &[0x88]].concat();
    let mut answers: Vec<u8> = streams.iter().flat_map(|stream| headers(4, *stream)).collect();
    answers.extend(headers(5, another));
    // Reads on while it writes, so that neither side waits for the other.
    let (mut from, mut to) = raw.0.into_split();
    let draining = tokio::spawn(async move { tokio::io::copy(&mut from, &mut tokio::io::sink()).await });
    tokio::io::AsyncWriteExt::write_all(&mut to, &answers).await.unwrap();
    within(calling).await.unwrap().unwrap();
    draining.abort();
}

/// A slow reader of a stream of small messages: h2 by default closes the connection at some 11 000 of them.
#[tokio::test]
async fn many_small_messages_unread_do_not_cost_the_connection() {
    const MESSAGES: usize = 40_000;
    let (mut raw, connection) = Raw::pair(TransportConfig::new(), &[]).await;
    let sending = tokio::spawn(async move {
        let stream = raw.request().await;
        raw.headers(stream).await;
        let frame = [&[0, 0, 20, DATA, 0][..], &stream.to_be_bytes(), &[7; 20]].concat();
        tokio::io::AsyncWriteExt::write_all(&mut raw.0, &frame.repeat(MESSAGES)).await.unwrap();
        raw.trailers(stream).await;
        // A second call, so that the client is known to have taken in all of the first.
        let stream = raw.request().await;
        raw.respond(stream).await;
        raw
    });
    let unread = within(connection.transport.send(post(Pieces::one("x")))).await.unwrap();
    within(call(&connection.transport, Pieces::one("x"))).await.unwrap();
    assert_eq!(within(finish(unread.into_body())).await.unwrap().0.len(), MESSAGES * 20);
    drop(sending.await.unwrap());
}
