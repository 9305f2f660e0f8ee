//! What a connection says of itself.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use h2::server::Builder;
use lb_core::Address;
use lb_transport::{Connection, H2Transport, SocketInfo, TransportConfig, next_serial};

use crate::support::*;

/// A gRPC message of so many bytes.
fn message(size: usize) -> Bytes {
    let mut bytes = vec![0];
    bytes.extend((size as u32).to_be_bytes());
    bytes.resize(5 + size, 7);
    bytes.into()
}

fn info(transport: &H2Transport) -> SocketInfo {
    let sockets = transport.sockets();
    assert_eq!(sockets.len(), 1);
    sockets[0].info()
}

fn streams(info: &SocketInfo) -> [u64; 3] {
    [info.streams_started, info.streams_succeeded, info.streams_failed]
}

#[tokio::test]
async fn calls_and_their_messages_are_counted_and_dated() {
    let (before, address) = (SystemTime::now(), serve(Builder::new(), echo).await);
    let connection = connect(address).await;
    let fresh = info(&connection.transport);
    assert_eq!((streams(&fresh), fresh.messages_sent, fresh.messages_received), ([0; 3], 0, 0));
    assert_eq!((fresh.last_stream_at, fresh.last_sent_at, fresh.last_received_at), (None, None, None));
    for size in [0, 1, 9_000] {
        call(&connection.transport, Pieces::one(message(size))).await.unwrap();
    }
    let after = info(&connection.transport);
    assert_eq!((streams(&after), after.messages_sent, after.messages_received), ([3, 3, 0], 3, 3));
    // A stream, its pieces cut where no message ends.
    let two = [message(10), message(100)].concat();
    let pieces = two.chunks(7).map(Bytes::copy_from_slice).collect::<Vec<_>>();
    call(&connection.transport, Pieces::many(pieces)).await.unwrap();
    let after = info(&connection.transport);
    assert_eq!((streams(&after), after.messages_sent, after.messages_received), ([4, 4, 0], 5, 5));
    // Clocks of microseconds and of nanoseconds need not agree on the last digit.
    let slack = Duration::from_millis(50);
    for at in [Some(after.opened_at), after.last_stream_at, after.last_sent_at, after.last_received_at] {
        let at = at.expect("it has happened");
        assert!(before - slack <= at && at <= SystemTime::now() + slack, "{at:?}");
    }
    assert!(after.last_stream_at.unwrap() + slack >= after.opened_at);
}

#[tokio::test]
async fn addresses_options_and_limits_are_the_sockets_own() {
    let address = serve(Builder::new().max_concurrent_streams(7).clone(), echo).await;
    let connection = connect_with(TransportConfig::new().tcp_keepalive(Duration::from_secs(60)), address).await.unwrap();
    let info = info(&connection.transport);
    assert_eq!(info.remote, Some(Address::Tcp(address)));
    assert!(matches!(info.local, Some(Address::Tcp(local)) if local.ip().is_loopback() && local != address), "{info:?}");
    assert_eq!((info.authority.as_str(), info.max_streams, info.security.is_none()), ("orders.test", Some(7), true));
    let option = |name| info.options.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str());
    assert_eq!((option("TCP_NODELAY"), option("SO_KEEPALIVE"), option("TCP_KEEPIDLE")), (Some("1"), Some("1"), Some("60s")));
    #[cfg(target_os = "linux")]
    assert_eq!(option("TCP_USER_TIMEOUT"), Some("20s"));
    assert!(option("SO_SNDBUF").unwrap().parse::<u64>().unwrap() > 0);
}

#[tokio::test]
async fn windows_are_what_was_granted_less_what_was_sent() {
    let config = TransportConfig::new().initial_connection_window(100_000);
    let (mut raw, connection) = Raw::pair(config, &[]).await;
    let windows = |connection: &Connection<H2Transport>| {
        let info = info(&connection.transport);
        (info.send_window.unwrap(), info.receive_window.unwrap())
    };
    eventually("our own grant has left", || windows(&connection).1 == 100_000).await;
    assert_eq!(windows(&connection).0, 65_535);
    let transport = connection.transport.clone();
    let calling = tokio::spawn(async move { call(&transport, Pieces::one(message(995))).await });
    let stream = raw.request().await;
    raw.next(DATA).await;
    assert_eq!(windows(&connection).0, 64_535);
    raw.send(8, 0, 0, &500_u32.to_be_bytes()).await;
    raw.send(8, 0, stream, &9_000_u32.to_be_bytes()).await;
    eventually("the server's grant is here", || windows(&connection).0 == 65_035).await;
    raw.respond(stream).await;
    within(calling).await.unwrap().unwrap();
    // Little is given back lazily, as other data arrives.
    assert_eq!(windows(&connection).1, 100_000 - 5);
}

#[tokio::test]
async fn resets_and_calls_given_up_have_failed() {
    let (mut raw, connection) = Raw::pair(TransportConfig::new(), &[]).await;
    let transport = connection.transport.clone();
    let calling = tokio::spawn(async move { call(&transport, Pieces::one(message(1))).await });
    let stream = raw.request().await;
    raw.reset(stream, 2).await;
    within(calling).await.unwrap().unwrap_err();
    assert_eq!(streams(&info(&connection.transport)), [1, 0, 1]);
    // Given up before the answer.
    let transport = connection.transport.clone();
    let calling = tokio::spawn(async move { call(&transport, Pieces::one(message(1))).await });
    raw.request().await;
    assert_eq!(streams(&info(&connection.transport)), [2, 0, 1]);
    calling.abort();
    eventually("the stream has ended", || streams(&info(&connection.transport)) == [2, 0, 2]).await;
    // Given up before it was sent: no stream at all.
    drop(connection.transport.send(post(Pieces::one(message(1)))));
    assert_eq!(streams(&info(&connection.transport)), [2, 0, 2]);
}

#[tokio::test]
async fn a_response_of_headers_alone_is_whole_though_nobody_reads_it() {
    let (mut raw, connection) = Raw::pair(TransportConfig::new(), &[]).await;
    let transport = connection.transport.clone();
    let calling = tokio::spawn(async move { transport.send(post(Pieces::one(message(1)))).await.map(drop) });
    let stream = raw.request().await;
    raw.send(HEADERS, 5, stream, &[0x88]).await;
    within(calling).await.unwrap().unwrap();
    assert_eq!(streams(&info(&connection.transport)), [1, 1, 0]);
}

#[tokio::test]
async fn keepalive_pings_are_counted() {
    let config = TransportConfig::new().keepalive_time_unchecked(Duration::from_millis(20)).keepalive_without_calls(true);
    let (mut raw, connection) = Raw::pair(config, &[]).await;
    for _ in 0..3 {
        let (_, _, _, payload) = raw.next(PING).await;
        raw.send(PING, 1, 0, &payload).await;
    }
    assert!(info(&connection.transport).keepalives_sent >= 3);
}

#[tokio::test]
async fn a_connection_that_is_gone_is_listed_no_more_and_says_little() {
    let (raw, connection) = Raw::pair(TransportConfig::new(), &[]).await;
    let socket = connection.transport.sockets().remove(0);
    assert_eq!(socket.serial(), socket.info().serial);
    assert_eq!(connection.transport.socket(socket.serial()).unwrap().serial(), socket.serial());
    assert!(connection.transport.socket(next_serial()).is_none());
    drop(raw);
    within(connection.closed).await;
    assert!(connection.transport.sockets().is_empty() && connection.transport.socket(socket.serial()).is_none());
    eventually("the socket is closed", || socket.info().remote.is_none()).await;
    let info = socket.info();
    assert_eq!((info.local, info.send_window, info.options.len()), (None, None, 0));
}

#[tokio::test]
async fn every_connection_has_a_number_of_its_own() {
    let address = serve(Builder::new(), echo).await;
    let (one, other) = (connect(address).await, connect(address).await);
    let serials = [info(&one.transport).serial, info(&other.transport).serial];
    assert!(serials[0] != serials[1] && !serials.contains(&next_serial()), "{serials:?}");
}
