//! Looking at a channel closely.
#![allow(clippy::unwrap_used, reason = "tests, their helpers included")]

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use lb_core::{Address, ConnectivityState, LbEvent, Observer};
use lb_testkit::EchoServer;
use lb_testkit::pb::EchoRequest;
use lb_testkit::pb::echo_client::EchoClient;
use lb_tonic::LbChannel;
use serde_json::json;
use tonic::Code;

const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
struct Heard(Mutex<Vec<String>>);

impl Heard {
    fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

impl Observer for Heard {
    fn on_event(&self, event: &LbEvent) {
        self.0.lock().unwrap().push(event.to_string());
    }
}

async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let wait = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("never: {what}"));
}

#[tokio::test]
async fn subchannels_show_their_connections_and_what_went_over_them() {
    let mut server = EchoServer::start("s0").await.unwrap();
    let before = SystemTime::now();
    let channel = LbChannel::builder(format!("static:///{}", server.addr())).build().unwrap();
    let other = LbChannel::builder(format!("static:///{}", server.addr())).build().unwrap();
    assert!(channel.subchannels().is_empty(), "an idle channel has none");
    assert!(channel.serial() != other.serial() && channel.clone().serial() == channel.serial());
    assert!(before <= channel.created_at() && channel.created_at() <= SystemTime::now());
    assert_eq!(channel.target(), format!("static:///{}", server.addr()));
    let mut client = EchoClient::new(channel.clone());
    for _ in 0..3 {
        client.unary(EchoRequest::default()).await.unwrap();
    }
    let subchannels = channel.subchannels();
    let [subchannel] = &subchannels[..] else { panic!("{subchannels:?}") };
    assert_eq!((subchannel.key.to_string(), subchannel.state), (server.addr().to_string(), ConnectivityState::Ready));
    assert_eq!(subchannel.stats.succeeded(), 3);
    let sockets = subchannel.sockets();
    let [socket] = &sockets[..] else { panic!("{sockets:?}") };
    let info = socket.info();
    assert_eq!(info.remote, Some(Address::Tcp(server.addr())));
    assert_eq!((info.streams_started, info.streams_succeeded, info.messages_sent, info.messages_received), (3, 3, 3, 3));
    assert_eq!(channel.subchannel(&subchannel.key).unwrap().sockets()[0].serial(), socket.serial());
    assert_eq!(channel.socket(socket.serial()).unwrap().serial(), socket.serial());
    assert!(channel.subchannel(&"10.0.0.1:1".into()).is_none() && channel.socket(channel.serial()).is_none());
    server.kill().await;
    eventually("the connection is gone", || channel.subchannels()[0].sockets().is_empty()).await;
}

#[tokio::test]
async fn an_observer_that_comes_late_hears_of_what_happens_from_then_on() {
    let server = EchoServer::start("s0").await.unwrap();
    let channel = LbChannel::builder(format!("static:///{}", server.addr())).build().unwrap();
    let heard = Arc::new(Heard::default());
    channel.observe(heard.clone());
    channel.exit_idle();
    let added = format!("endpoint {} added", server.addr());
    eventually("it hears of the endpoint", || heard.all().contains(&added)).await;
    eventually("it hears of the state", || heard.all().iter().any(|event| event.ends_with("-> READY"))).await;
    let late = Arc::new(Heard::default());
    channel.observe(late.clone());
    channel.drain(server.endpoint().key().clone());
    eventually("it hears of the drain", || !late.all().is_empty()).await;
    assert_eq!(late.all()[0], format!("endpoint {} drained", server.addr()), "and of nothing before");
}

#[tokio::test]
async fn calls_are_counted_from_when_somebody_asks_and_once_however_often_they_are_sent() {
    let server = EchoServer::start("s0").await.unwrap();
    let channel = LbChannel::builder(format!("static:///{}", server.addr())).build().unwrap();
    let policy = json!({"name": [{}], "retryPolicy": {"maxAttempts": 4, "initialBackoff": "0.001s", "maxBackoff": "0.001s",
        "backoffMultiplier": 1, "retryableStatusCodes": ["UNAVAILABLE"]}});
    channel.set_service_config(json!({"methodConfig": [policy]})).unwrap();
    let mut client = EchoClient::new(channel.clone());
    client.unary(EchoRequest::default()).await.unwrap();
    eventually("the config counts", || channel.service_config().is_some()).await;
    let counts = channel.count_calls();
    let numbers = || (counts.started(), counts.succeeded(), counts.failed());
    assert_eq!((numbers(), counts.last_started_at()), ((0, 0, 0), None));
    server.fail_next(2, Code::Unavailable);
    client.unary(EchoRequest::default()).await.unwrap();
    assert_eq!(channel.subchannels()[0].stats.failed(), 2);
    assert_eq!(numbers(), (1, 1, 0));
    // A clone counts with the others, and asking again begins nothing anew.
    assert!(Arc::ptr_eq(&counts, &channel.clone().count_calls()));
    client.unary(EchoRequest { fail_with: Code::Internal as u32, ..EchoRequest::default() }).await.unwrap_err();
    assert_eq!(numbers(), (2, 1, 1));
    // A stream counts as succeeded when its end is read, and as failed when it is dropped before.
    let request = EchoRequest { count: 3, ..EchoRequest::default() };
    let mut stream = client.server_stream(request.clone()).await.unwrap().into_inner();
    while stream.message().await.unwrap().is_some() {
        assert_eq!(numbers(), (3, 1, 1));
    }
    assert_eq!(numbers(), (3, 2, 1));
    drop(client.server_stream(EchoRequest { delay_ms: 1_000, ..request }).await.unwrap());
    assert_eq!(numbers(), (4, 2, 2));
    // One that finds no endpoint is a call too.
    channel.drain(server.endpoint().key().clone());
    eventually("it is drained", || channel.endpoints()[0].excluded.is_some()).await;
    let mut request = tonic::Request::new(EchoRequest::default());
    request.set_timeout(Duration::from_millis(50));
    client.unary(request).await.unwrap_err();
    assert_eq!(numbers(), (5, 2, 3));
    assert!(counts.last_started_at().unwrap() <= SystemTime::now());
}
