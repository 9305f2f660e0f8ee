//! GOAWAY, loss, and what becomes of calls.

use std::time::Duration;

use lb_transport::{CloseReason, H2Transport, TransportConfig, TransportErrorKind};
use tokio::net::TcpListener;

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

/// Both say goodbye at the same moment, at every point the scheduler finds: the connection ends, and nobody waits for the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_sides_may_leave_at_once() {
    for round in 0..100 {
        let (mut raw, connection) = Raw::pair(TransportConfig::new(), &[]).await;
        let calling = (round % 2 == 0).then(|| {
            let transport = connection.transport.clone();
            tokio::spawn(async move { call(&transport, Pieces::one("x")).await })
        });
        let stream = if calling.is_some() { raw.request().await } else { 0 };
        let leaving = tokio::spawn(async move {
            let goaway = [&[0, 0, 8, GOAWAY, 0, 0, 0, 0, 0][..], &stream.to_be_bytes(), &[0; 4]].concat();
            // Without a call the other side may have closed before.
            let sent = tokio::io::AsyncWriteExt::write_all(&mut raw.0, &goaway).await;
            if stream > 0 {
                sent.unwrap();
                raw.respond(stream).await;
                raw.rest().await;
            }
        });
        let handle = connection.handle;
        let closing = tokio::spawn(async move { handle.close() });
        let reason = within(connection.closed).await;
        assert!(matches!(reason, CloseReason::Closed | CloseReason::GoAway { .. }), "{reason}");
        within(closing).await.unwrap();
        if let Some(calling) = calling {
            within(calling).await.unwrap().unwrap();
        }
        within(leaving).await.unwrap();
    }
}

#[tokio::test]
async fn a_peer_that_breaks_the_protocol_is_lost() {
    let (mut raw, connection) = Raw::pair(TransportConfig::new(), &[]).await;
    // DATA on a stream nobody opened.
    raw.send(DATA, 0, 9, b"x").await;
    let reason = within(connection.closed).await;
    assert!(matches!(&reason, CloseReason::Lost(why) if why.contains("protocol")), "{reason}");
}

/// Serves each connection for this many calls, then says goodbye as servers with a maximum age do, and finishes what it has.
async fn serve_briefly(listener: TcpListener, calls: usize) {
    while let Ok((stream, _)) = listener.accept().await {
        stream.set_nodelay(true).unwrap();
        tokio::spawn(async move {
            let mut connection = h2::server::handshake(stream).await.unwrap();
            let mut served = 0;
            while let Some(Ok((request, respond))) = connection.accept().await {
                tokio::spawn(echo(request, respond));
                served += 1;
                if served == calls {
                    connection.graceful_shutdown();
                }
            }
        });
    }
}

/// Calls until `count` calls have succeeded. A call that was not sent goes to the next connection, and one that was refused does so
/// once: more than that would be a failed call.
async fn keep_calling(transports: tokio::sync::watch::Receiver<H2Transport>, count: usize) {
    let (mut done, mut refused) = (0, 0);
    while done < count {
        let transport = transports.borrow().clone();
        match call(&transport, Pieces::one(vec![1; 300])).await {
            Ok((reply, _)) => {
                assert_eq!(reply.len(), 300);
                (done, refused) = (done + 1, 0);
            }
            Err(error) => {
                refused += usize::from(error.kind() != TransportErrorKind::NotSent);
                assert!(
                    refused <= 1 && matches!(error.kind(), TransportErrorKind::NotSent | TransportErrorKind::Refused),
                    "{error}"
                );
                tokio::task::yield_now().await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_fails_on_servers_that_say_goodbye_under_load() {
    let (listener, address) = listen().await;
    tokio::spawn(serve_briefly(listener, 100));
    let mut connection = connect(address).await;
    let (sender, transports) = tokio::sync::watch::channel(connection.transport.clone());
    let callers: Vec<_> = (0..16).map(|_| tokio::spawn(keep_calling(transports.clone(), 200))).collect();
    let mut connections = 1;
    let mut calling = Box::pin(async {
        for caller in callers {
            caller.await.unwrap();
        }
    });
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    loop {
        tokio::select! {
            () = &mut calling => break,
            reason = &mut connection.closed => {
                assert_eq!(reason, CloseReason::GoAway { code: 0, debug: String::new() });
                connection = connect(address).await;
                connections += 1;
                sender.send(connection.transport.clone()).unwrap();
            }
            () = tokio::time::sleep_until(deadline) => panic!("calls hang"),
        }
    }
    // 3200 calls at 100 and a little more per connection.
    assert!(connections > 10, "{connections}");
}
