//! Looking at a channel closely.
#![allow(clippy::unwrap_used, reason = "tests, their helpers included")]

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use lb_core::{Address, ConnectivityState, LbEvent, Observer};
use lb_testkit::EchoServer;
use lb_testkit::pb::EchoRequest;
use lb_testkit::pb::echo_client::EchoClient;
use lb_tonic::LbChannel;

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
