//! Making connections: what counts as one, what does not, and the race of addresses.

use std::sync::Arc;
use std::time::{Duration, Instant};

use h2::server::Builder;
use lb_core::{Address, Endpoint};
use lb_transport::{ConnectAttempt, ConnectError, ConnectFailure, ConnectStage, Connector, TransportConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::*;

async fn failure_of(config: TransportConfig, answer: &'static [u8], hold: bool) -> ConnectFailure {
    let (listener, address) = listen().await;
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut sink = [0; 1024];
        let _ = stream.read(&mut sink).await;
        let _ = stream.write_all(answer).await;
        while hold && stream.read(&mut sink).await.is_ok_and(|n| n > 0) {}
    });
    only(connect_with(config, address).await.unwrap_err())
}

fn only(mut error: ConnectError) -> ConnectFailure {
    assert_eq!(error.failures.len(), 1, "{error}");
    error.failures.remove(0).failure
}

#[tokio::test]
async fn a_server_that_says_nothing_is_a_failed_attempt() {
    let config = TransportConfig::new().connect_timeout(Duration::from_millis(200));
    let failure = failure_of(config, b"", true).await;
    assert!(matches!(failure, ConnectFailure::Timeout { stage: ConnectStage::Settings, .. }), "{failure}");
}

#[tokio::test]
async fn other_protocols_are_named() {
    for (answer, word) in [
        (&b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n"[..], "HTTP/1"),
        (b"SSH-2.0-OpenSSH_9\r\n", "SSH-2.0"),
        (b"\x15\x03\x01\x00\x02\x02\x46", "TLS"),
        (b"\0\0\x08\x06\0\0\0\0\0payload!", "SETTINGS"),
    ] {
        let failure = failure_of(TransportConfig::new(), answer, true).await;
        assert!(matches!(&failure, ConnectFailure::NotHttp2(text) if text.contains(word)), "{failure}");
    }
}

#[tokio::test]
async fn a_server_that_closes_at_once_is_a_failed_attempt() {
    let failure = failure_of(TransportConfig::new(), b"", false).await;
    assert!(matches!(failure, ConnectFailure::Handshake(_)), "{failure}");
}

#[tokio::test]
async fn a_goaway_before_settings_is_told() {
    let failure = failure_of(TransportConfig::new(), b"\0\0\0\x04\0\0\0\0\0\0\0\x0b\x07\0\0\0\0\0\0\0\0\0\0\0\0\0bye", false).await;
    let text = failure.to_string();
    assert!(text.contains("GOAWAY") || text.contains("closed"), "{text}");
}

fn several(addresses: &[Address]) -> ConnectAttempt {
    let endpoint = Endpoint::with_addresses(addresses.iter().cloned()).unwrap();
    ConnectAttempt::new(Arc::new(endpoint), "orders.test", Duration::from_secs(10))
}

async fn closed_port() -> Address {
    let (listener, address) = listen().await;
    drop(listener);
    address.into()
}

#[tokio::test]
async fn a_refused_address_advances_at_once() {
    let live = serve(Builder::new(), echo).await;
    let config = TransportConfig::new().attempt_delay(Duration::from_secs(2));
    let start = Instant::now();
    let connection = within(connector(config).connect(several(&[closed_port().await, live.into()]))).await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    assert_eq!(connection.address, live.into());
}

#[tokio::test]
async fn a_silent_address_is_overtaken_after_the_delay_and_then_closed() {
    let Ok(silent) = tokio::net::TcpListener::bind("[::1]:0").await else { return };
    let live = serve(Builder::new(), echo).await;
    let config = TransportConfig::new().attempt_delay(Duration::from_millis(150));
    let start = Instant::now();
    let attempt = several(&[silent.local_addr().unwrap().into(), live.into()]);
    let connection = within(connector(config).connect(attempt)).await.unwrap();
    let took = start.elapsed();
    assert_eq!(connection.address, live.into());
    assert!(took >= Duration::from_millis(150) && took < Duration::from_secs(2), "{took:?}");
    let (mut loser, _) = silent.accept().await.unwrap();
    let mut sink = Vec::new();
    within(loser.read_to_end(&mut sink)).await.unwrap();
}

#[tokio::test]
async fn an_earlier_attempt_may_still_win() {
    let (slow, slow_address) = listen().await;
    let (silent, silent_address) = listen().await;
    let attempt = several(&[slow_address.into(), silent_address.into()]);
    let config = TransportConfig::new().attempt_delay(Duration::from_millis(100));
    let connecting = tokio::spawn(connector(config).connect(attempt));
    // The second attempt has begun; now the first is answered.
    let (_held, _) = within(silent.accept()).await.unwrap();
    let _raw = within(Raw::accept(&slow, &[])).await;
    assert_eq!(within(connecting).await.unwrap().unwrap().address, slow_address.into());
}

#[tokio::test]
async fn every_address_tried_has_its_row() {
    let (one, two) = (closed_port().await, closed_port().await);
    let error = within(connector(TransportConfig::new()).connect(several(&[one.clone(), two.clone()]))).await.unwrap_err();
    let mut addresses: Vec<_> = error.failures.iter().map(|row| row.address.clone()).collect();
    addresses.sort();
    let mut expected = [one, two];
    expected.sort();
    assert_eq!(addresses, expected);
    let text = error.to_string();
    assert!(text.contains(&expected[0].to_string()) && text.contains("refused"), "{text}");
}

#[tokio::test]
async fn nothing_to_try_is_an_error() {
    let error = within(connector(TransportConfig::new()).connect(attempt(closed_port().await).with_addresses(vec![]))).await;
    assert_eq!(error.unwrap_err().to_string(), "no address to connect to");
}

#[tokio::test]
async fn the_longest_and_the_shortest_timeout_are_no_trouble() {
    let live = serve(Builder::new(), echo).await;
    let endpoint = Arc::new(Endpoint::new(live));
    let config = TransportConfig::new().connect_timeout(Duration::MAX).keepalive_time(Duration::MAX);
    let attempt = |timeout| ConnectAttempt::new(endpoint.clone(), "orders.test", timeout);
    within(connector(config.clone()).connect(attempt(Duration::MAX))).await.unwrap();
    let silent = listen().await;
    let none = ConnectAttempt::new(Arc::new(Endpoint::new(silent.1)), "orders.test", Duration::ZERO);
    let failure = only(within(connector(config).connect(none)).await.unwrap_err());
    assert!(matches!(failure, ConnectFailure::Timeout { .. }), "{failure}");
}

#[tokio::test]
async fn host_names_are_looked_up_at_each_attempt() {
    let live = serve(Builder::new(), echo).await;
    let connector = connector(TransportConfig::new());
    let address = Address::host("localhost", live.port()).unwrap();
    let connection = within(connector.connect(attempt(address))).await.unwrap();
    assert_eq!(connection.address, live.into());
    let unknown = Address::host("name.invalid", 1).unwrap();
    let failure = only(within(connector.connect(attempt(unknown))).await.unwrap_err());
    assert!(matches!(failure, ConnectFailure::Lookup(_)), "{failure}");
}

#[tokio::test]
async fn an_authority_that_cannot_be_sent_is_an_error() {
    let live = serve(Builder::new(), echo).await;
    let attempt = ConnectAttempt::new(Arc::new(Endpoint::new(live)), "not an authority", Duration::from_secs(1));
    let failure = only(within(connector(TransportConfig::new()).connect(attempt)).await.unwrap_err());
    assert!(matches!(failure, ConnectFailure::Authority(_)), "{failure}");
}

#[tokio::test]
async fn a_local_address_is_used_or_its_family_reported() {
    let (listener, address) = listen().await;
    let local: std::net::IpAddr = "127.0.0.1".parse().unwrap();
    let config = TransportConfig::new().local_address(local).tcp_keepalive(Duration::from_secs(60));
    let connecting = tokio::spawn(connect_with(config, address));
    let raw = within(Raw::accept(&listener, &[])).await;
    assert_eq!(raw.0.peer_addr().unwrap().ip(), local);
    within(connecting).await.unwrap().unwrap();
    let config = TransportConfig::new().local_address("::1".parse::<std::net::IpAddr>().unwrap());
    let failure = only(connect_with(config, address).await.unwrap_err());
    assert!(matches!(failure, ConnectFailure::Unsupported(_)), "{failure}");
}

#[cfg(unix)]
#[tokio::test]
async fn unix_sockets_work_and_a_missing_one_is_reported() {
    let path = std::env::temp_dir().join(format!("lb-transport-{}.sock", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        serve_connection(Builder::new(), stream, echo).await;
    });
    let connector = connector(TransportConfig::new());
    let connection = within(connector.connect(attempt(Address::Unix(path.clone())))).await.unwrap();
    assert_eq!(within(call(&connection.transport, Pieces::one("unix"))).await.unwrap().0, b"unix");
    std::fs::remove_file(&path).unwrap();
    let failure = only(within(connector.connect(attempt(Address::Unix(path)))).await.unwrap_err());
    assert!(matches!(failure, ConnectFailure::Socket(_)), "{failure}");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn abstract_unix_sockets_work() {
    let name = format!("lb-transport-{}", std::process::id());
    let listener = tokio::net::UnixListener::bind(format!("\0{name}")).unwrap();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        serve_connection(Builder::new(), stream, echo).await;
    });
    let address = Address::UnixAbstract(name.into());
    let connection = within(connector(TransportConfig::new()).connect(attempt(address))).await.unwrap();
    assert_eq!(within(call(&connection.transport, Pieces::one("abstract"))).await.unwrap().0, b"abstract");
}
