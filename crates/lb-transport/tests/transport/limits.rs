//! The peer's limit of concurrent streams, the queue in front of it, and pools of connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use h2::server::Builder;
use lb_transport::{CloseReason, TransportConfig, TransportErrorKind};

use crate::support::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_calls_pass_a_limit_of_one() {
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let counters = (running, most.clone());
    let address = serve(Builder::new().max_concurrent_streams(1).clone(), move |request, respond| {
        let (running, most) = counters.clone();
        async move {
            most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::task::yield_now().await;
            running.fetch_sub(1, Ordering::SeqCst);
            echo(request, respond).await;
        }
    })
    .await;
    let connection = connect(address).await;
    assert_eq!(connection.transport.limit(), 1);
    let calls: Vec<_> = (0..100_u8)
        .map(|i| {
            let transport = connection.transport.clone();
            tokio::spawn(async move { call(&transport, Pieces::one(vec![i; 100])).await })
        })
        .collect();
    for (i, call) in calls.into_iter().enumerate() {
        assert_eq!(within(call).await.unwrap().unwrap().0, [i as u8; 100]);
    }
    assert_eq!(most.load(Ordering::SeqCst), 1);
    assert_eq!((connection.transport.in_flight(), connection.transport.queued()), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_is_forgotten_under_contention() {
    let address = serve(Builder::new().max_concurrent_streams(3).clone(), echo).await;
    let connection = connect(address).await;
    let callers: Vec<_> = (0..32)
        .map(|caller| {
            let transport = connection.transport.clone();
            tokio::spawn(async move {
                for round in 0..50 {
                    if (caller + round) % 5 == 0 {
                        // Gives up at once, wherever it is by then.
                        let _ = tokio::time::timeout(std::time::Duration::ZERO, call(&transport, Pieces::one("x"))).await;
                    } else {
                        call(&transport, Pieces::one("x")).await.unwrap();
                    }
                }
            })
        })
        .collect();
    for caller in callers {
        tokio::time::timeout(std::time::Duration::from_secs(30), caller).await.expect("a call hangs").unwrap();
    }
    assert_eq!((connection.transport.in_flight(), connection.transport.queued()), (0, 0));
}

#[tokio::test]
async fn a_new_limit_counts_at_once_in_both_directions() {
    let (mut raw, connection) = Raw::pair(TransportConfig::new(), &[(MAX_STREAMS, 1)]).await;
    let transport = &connection.transport;
    let calls: Vec<_> = (0..3)
        .map(|_| {
            let transport = transport.clone();
            tokio::spawn(async move { call(&transport, Pieces::one("x")).await })
        })
        .collect();
    assert_eq!(raw.request().await, 1);
    eventually("two calls wait", || transport.queued() == 2).await;
    assert_eq!(transport.in_flight(), 1);
    raw.settings(&[(MAX_STREAMS, 3)]).await;
    assert_eq!((raw.request().await, raw.request().await), (3, 5));
    assert_eq!(transport.queued(), 0);
    raw.settings(&[(MAX_STREAMS, 1)]).await;
    eventually("the limit is 1", || transport.limit() == 1).await;
    let late = tokio::spawn({
        let transport = transport.clone();
        async move { call(&transport, Pieces::one("x")).await }
    });
    eventually("the late call waits", || transport.queued() == 1).await;
    raw.respond(1).await;
    raw.respond(3).await;
    eventually("one is left", || transport.in_flight() == 1).await;
    assert_eq!(transport.queued(), 1);
    raw.respond(5).await;
    assert_eq!(raw.request().await, 7);
    raw.respond(7).await;
    within(late).await.unwrap().unwrap();
    for call in calls {
        within(call).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_limit_of_zero_blocks_until_it_is_raised_or_the_connection_goes() {
    let (mut raw, connection) = Raw::pair(TransportConfig::new(), &[(MAX_STREAMS, 0)]).await;
    let transport = connection.transport.clone();
    let spawn = || {
        let transport = transport.clone();
        tokio::spawn(async move { call(&transport, Pieces::one("x")).await })
    };
    let cancelled = spawn();
    eventually("it waits", || transport.queued() == 1).await;
    cancelled.abort();
    eventually("it has left", || transport.queued() == 0).await;

    let raised = spawn();
    eventually("it waits", || transport.queued() == 1).await;
    raw.settings(&[(MAX_STREAMS, 1)]).await;
    let stream = raw.request().await;
    let failing = spawn();
    eventually("the other waits", || transport.queued() == 1).await;
    raw.go_away(stream, 0, "").await;
    let error = within(failing).await.unwrap().unwrap_err();
    assert_eq!((error.kind(), error.grpc_code()), (TransportErrorKind::NotSent, 14));
    raw.respond(stream).await;
    within(raised).await.unwrap().unwrap();
    assert_eq!(transport.queued(), 0);
}

#[tokio::test]
async fn a_pool_grows_to_its_limit_and_outlives_a_connection() {
    let (listener, address) = listen().await;
    let config = TransportConfig::new().max_connections_per_endpoint(2);
    let limit = [(MAX_STREAMS, 1)];
    let (mut first, connection) = tokio::join!(Raw::accept(&listener, &limit), connect_with(config, address));
    let mut connection = connection.unwrap();
    let transport = connection.transport.clone();
    let spawn = || {
        let transport = transport.clone();
        tokio::spawn(async move { call(&transport, Pieces::one("x")).await })
    };
    let one = spawn();
    assert_eq!(first.request().await, 1);
    let two = spawn();
    let mut second = within(Raw::accept(&listener, &limit)).await;
    assert_eq!(second.request().await, 1);
    assert_eq!((transport.connections(), transport.in_flight(), transport.limit()), (2, 2, 2));
    let three = spawn();
    eventually("the third waits", || transport.queued() == 1).await;
    // The oldest connection with room gets it.
    first.respond(1).await;
    assert_eq!(first.request().await, 3);
    within(one).await.unwrap().unwrap();

    drop(first);
    assert_eq!(within(three).await.unwrap().unwrap_err().kind(), TransportErrorKind::Lost);
    eventually("one connection is left", || transport.connections() == 1).await;
    second.respond(1).await;
    within(two).await.unwrap().unwrap();
    let four = spawn();
    assert_eq!(second.request().await, 3);
    second.respond(3).await;
    within(four).await.unwrap().unwrap();
    let pending = tokio::time::timeout(std::time::Duration::ZERO, &mut connection.closed).await;
    assert!(pending.is_err(), "closed although one is left");
    drop(second);
    assert!(matches!(within(connection.closed).await, CloseReason::Lost(_)));
    assert_eq!(within(spawn()).await.unwrap().unwrap_err().kind(), TransportErrorKind::NotSent);
}

#[tokio::test]
async fn a_pool_grows_as_far_as_calls_wait() {
    let address = serve(Builder::new().max_concurrent_streams(2).clone(), echo).await;
    let connection = connect_with(TransportConfig::new().max_connections_per_endpoint(3), address).await.unwrap();
    let transport = &connection.transport;
    let mut feeds = Vec::new();
    let mut calls = Vec::new();
    for _ in 0..7 {
        // The echo server holds the stream until the client ends its request.
        let (feed, body) = Fed::new();
        feeds.push(feed);
        let transport = transport.clone();
        calls.push(tokio::spawn(async move { call(&transport, body).await }));
    }
    eventually("three connections carry six calls", || (transport.connections(), transport.in_flight()) == (3, 6)).await;
    assert_eq!(transport.queued(), 1);
    drop(feeds);
    for call in calls {
        within(call).await.unwrap().unwrap();
    }
    assert_eq!((transport.connections(), transport.in_flight(), transport.queued()), (3, 0, 0));
}

#[tokio::test]
async fn waiting_calls_go_in_the_order_they_came() {
    let (mut raw, connection) = Raw::pair(TransportConfig::new(), &[(MAX_STREAMS, 0)]).await;
    let transport = &connection.transport;
    let mut calls = Vec::new();
    for i in 0..10_u8 {
        let caller = transport.clone();
        calls.push(tokio::spawn(async move { call(&caller, Pieces::one(vec![i])).await }));
        eventually("it waits", || transport.queued() == usize::from(i) + 1).await;
    }
    raw.settings(&[(MAX_STREAMS, 1)]).await;
    for i in 0..10_u8 {
        let (_, _, stream, data) = raw.next(DATA).await;
        assert_eq!(data, [i]);
        raw.respond(stream).await;
    }
    for call in calls {
        within(call).await.unwrap().unwrap();
    }
}
