//! A circuit breaker kept elsewhere.

use std::time::Duration;

use futures_util::StreamExt;
use lb_core::breaker::{BreakerConfig, RemoteBreaker, RemoteState, RemoteUpdate};
use lb_hooks::{HttpBackend, HttpBreaker};
use lb_testkit::EchoServer;
use lb_testkit::pb::EchoRequest;
use lb_testkit::pb::echo_client::EchoClient;
use lb_tonic::LbChannel;
use serde_json::json;

use crate::receiver::{Answer, PATIENCE, Receiver};

const EVERY: Duration = Duration::from_millis(20);

fn says(states: &serde_json::Value) -> Answer {
    Answer::With(200, states.to_string())
}

fn breaker(receiver: &Receiver, every: Duration) -> HttpBreaker {
    let backend = HttpBackend::new(&receiver.url()).and_then(|backend| backend.timeout(Duration::from_secs(1))).expect("a backend");
    HttpBreaker::new(backend, every).expect("an interval")
}

#[tokio::test]
async fn what_the_backend_says_is_told_and_what_is_no_answer_is_not() {
    let good = says(&json!({"a:1": "open", "b:1": "half_open", "c:1": "closed"}));
    let receiver = Receiver::start(good.clone()).await;
    let mut states = breaker(&receiver, EVERY).states();
    let held = 3 * EVERY;
    let open = RemoteUpdate::new("a:1", RemoteState::Open).open_for(held);
    let half_open = RemoteUpdate::new("b:1", RemoteState::HalfOpen).open_for(held);
    assert_eq!(states.next().await, Some(open.clone()));
    assert_eq!(states.next().await, Some(half_open.clone()));
    let huge = format!("{{\"{}\": \"open\"}}", "x".repeat(1 << 20));
    for hostile in ["[]", "", "{\"a:1\": \"ajar\"}", "{", huge.as_str()] {
        let before = receiver.received(0).await.len();
        receiver.answers(Answer::With(200, hostile.to_owned()));
        tokio::select! {
            told = states.next() => panic!("told {told:?} by {hostile:.20}"),
            _ = receiver.received(before + 3) => {}
        }
        receiver.answers(good.clone());
        assert_eq!(states.next().await, Some(open.clone()), "it goes on after {hostile:.20}");
        assert_eq!(states.next().await, Some(half_open.clone()));
    }
    receiver.answers(says(&json!({})));
    let closed = RemoteUpdate::new("a:1", RemoteState::Closed);
    let seen = async { while states.next().await != Some(closed.clone()) {} };
    tokio::time::timeout(PATIENCE, seen).await.expect("one that is no longer named is closed");
}

#[tokio::test]
async fn a_channel_keeps_away_from_what_is_open_and_reports_what_it_sees() {
    let (one, other) = (EchoServer::start("s0").await.expect("a server"), EchoServer::start("s1").await.expect("a server"));
    let receiver = Receiver::start(says(&json!({one.addr().to_string(): "open"}))).await;
    let channel = LbChannel::builder(format!("static:///{},{}", one.addr(), other.addr()))
        .circuit_breaker(BreakerConfig::default().consecutive_failures(None))
        // OPEN holds for three of these: long enough for the calls below on a busy machine.
        .remote_breaker(breaker(&receiver, Duration::from_secs(1)))
        .build()
        .expect("a channel");
    channel.exit_idle();
    let open = || channel.endpoints().iter().any(|info| info.breakers.iter().any(|breaker| breaker.state.is_open()));
    let told = async {
        while !open() {
            tokio::time::sleep(EVERY).await;
        }
    };
    tokio::time::timeout(PATIENCE, told).await.expect("it is told");
    let mut client = EchoClient::new(channel.clone());
    for _ in 0..10 {
        assert_eq!(client.unary(EchoRequest::default()).await.expect("an answer").into_inner().server, "s1");
    }
    let mut succeeded = 0;
    let mut at = 0;
    while succeeded < 10 {
        let requests = receiver.received(at + 1).await;
        for post in requests[at..].iter().filter(|request| request.head.starts_with("POST")) {
            for report in post.json().as_array().expect("reports") {
                assert_eq!(report["endpoint"], other.addr().to_string());
                succeeded += report["succeeded"].as_u64().expect("a number");
            }
        }
        at = requests.len();
    }
    assert_eq!(succeeded, 10, "each call is reported once");
    drop((client, channel));
    receiver.left().await;
}

#[test]
fn intervals_have_bounds() {
    for interval in [Duration::ZERO, Duration::from_secs(3601)] {
        let backend = HttpBackend::new("http://127.0.0.1:1/").expect("a URL");
        assert!(HttpBreaker::new(backend, interval).expect_err("out of range").to_string().contains("hooks.interval"));
    }
}
