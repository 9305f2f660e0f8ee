//! Addresses that do not answer, or not as they should.

use std::sync::Arc;
use std::time::Duration;

use lb_core::Endpoint;
use lb_testkit::{EchoServer, HangingPort, RawServer, ReservedPort, count};
use lb_transport::{ConnectAttempt, ConnectFailure, ConnectStage, Connector};

use crate::support::*;

#[tokio::test]
async fn an_address_nobody_listens_on_beside_a_good_one() {
    let (good, dead) = (EchoServer::start("good").await.unwrap(), ReservedPort::new().unwrap());
    let (good_address, dead_address) = (good.addr().to_string(), dead.addr().to_string());
    let channel =
        lb_tonic::LbChannel::builder(format!("static:///{dead_address},{good_address}")).connector(plain()).build().unwrap();
    for _ in 0..500 {
        call(&channel).await.unwrap();
    }
    assert_eq!(good.accepted(), 1);
}

#[tokio::test]
async fn addresses_of_an_endpoint_race() {
    let (good, hanging) = (EchoServer::start("good").await.unwrap(), HangingPort::new().unwrap());
    let silent = RawServer::silent().await.unwrap();
    let addresses = [hanging.addr().into(), silent.addr().into(), good.address()];
    let connection = connect(&plain(), &addresses).await.unwrap();
    assert_eq!(connection.address, good.address());
    send(&connection.transport).await.unwrap();
}

#[tokio::test]
async fn a_server_that_is_none_is_never_connected_to() {
    let web = RawServer::says(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
    let error = connect(&plain(), &[web.addr().into()]).await.unwrap_err();
    let failure = &error.failures[0].failure;
    assert!(matches!(failure, ConnectFailure::NotHttp2(what) if what.contains("HTTP/1.1")), "{failure}");

    let rude = RawServer::start(|_| async { Ok(()) }).await.unwrap();
    let error = connect(&plain(), &[rude.addr().into()]).await.unwrap_err();
    assert!(matches!(error.failures[0].failure, ConnectFailure::Handshake(_)), "{error}");
}

#[tokio::test]
async fn an_attempt_ends_in_time_and_leaves_nothing() {
    let silent = RawServer::silent().await.unwrap();
    let before = (count::tasks(), count::sockets().unwrap());
    let endpoint = Arc::new(Endpoint::new(silent.addr()));
    let attempt = |timeout| ConnectAttempt::new(Arc::clone(&endpoint), AUTHORITY, timeout);
    let error = soon("its timeout", plain().connect(attempt(Duration::from_millis(100)))).await.unwrap_err();
    let failure = &error.failures[0].failure;
    assert!(matches!(failure, ConnectFailure::Timeout { stage: ConnectStage::Settings, .. }), "{failure}");

    let connecting = tokio::spawn(plain().connect(attempt(Duration::MAX)));
    until("it has connected", || silent.accepted() == 2).await;
    connecting.abort();
    until("tasks and sockets are gone", || (count::tasks(), count::sockets().unwrap()) == before).await;
}

#[tokio::test]
async fn an_authority_that_cannot_be_used_is_said() {
    let server = EchoServer::start("a").await.unwrap();
    let endpoint = Arc::new(Endpoint::new(server.address()));
    let attempt = ConnectAttempt::new(endpoint, "not an authority", Duration::from_secs(1));
    let error = plain().connect(attempt).await.unwrap_err();
    assert!(matches!(error.failures[0].failure, ConnectFailure::Authority(_)), "{error}");
}
