//! Delivery: what arrives, how often, and what does not.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::prelude::BASE64_STANDARD as BASE64;
use lb_core::{BackoffConfig, LbEvent, Observer, Severity};
use lb_hooks::{HttpBackend, Overflow, Signer, Webhook, WebhookConfig};
use lb_testkit::EchoServer;
use lb_tonic::LbChannel;
use sha2::{Digest, Sha256};

use crate::receiver::{Answer, PATIENCE, Received, Receiver};

const KEY: [u8; 32] = [42; 32];

fn ok() -> Answer {
    Answer::With(204, String::new())
}

fn signer() -> Signer {
    Signer::new([format!("whsec_{}", BASE64.encode(KEY))]).expect("a secret")
}

/// Impatient, so that tests are quick.
fn config(url: &str) -> WebhookConfig {
    let backend = HttpBackend::new(url).and_then(|backend| backend.timeout(Duration::from_millis(300))).expect("a backend");
    let pause = Duration::from_millis(5);
    let backoff = BackoffConfig::default().with_initial(pause).and_then(|backoff| backoff.with_max(4 * pause)).expect("a backoff");
    WebhookConfig::new(backend, signer()).linger(Duration::ZERO).expect("no time").backoff(backoff)
}

fn advised(desired: u32) -> LbEvent {
    LbEvent::ScalingAdvised { current: 3, desired, reason: "busy".into() }
}

async fn flushed(webhook: &Webhook) {
    tokio::time::timeout(PATIENCE, webhook.flush()).await.expect("in time");
}

/// HMAC by RFC 2104 and nothing of the crate's.
fn independently(request: &Received) -> String {
    let (mut inner, mut outer) = (vec![0x36_u8; 64], vec![0x5c_u8; 64]);
    for (at, byte) in KEY.iter().enumerate() {
        inner[at] ^= byte;
        outer[at] ^= byte;
    }
    inner.extend(format!("{}.{}.", request.header("webhook-id"), request.header("webhook-timestamp")).bytes());
    inner.extend(&request.body);
    outer.extend(Sha256::digest(&inner));
    format!("v1,{}", BASE64.encode(Sha256::digest(&outer)))
}

#[tokio::test]
async fn a_channel_tells_and_the_receiver_can_check() {
    let receiver = Receiver::start(ok()).await;
    let webhook = Webhook::start(config(&receiver.url()).kinds(["drained"]).expect("a kind")).expect("a runtime");
    let server = EchoServer::start("s0").await.expect("a server");
    let target = format!("static:///{}", server.addr());
    let channel = LbChannel::builder(target).observer(webhook.observer("orders")).build().expect("a channel");
    channel.exit_idle();
    channel.drain(server.endpoint().key().clone());
    let request = receiver.received(1).await.remove(0);
    assert!(request.head.starts_with("POST /hook?key=1 HTTP/1.1\r\n"), "{}", request.head);
    assert_eq!(request.header("content-type"), "application/json");
    assert_eq!(request.header("host"), receiver.addr.to_string());
    assert_eq!(request.header("webhook-signature"), independently(&request));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    let timestamp = request.header("webhook-timestamp").parse().expect("a number");
    let (id, signature) = (request.header("webhook-id"), request.header("webhook-signature"));
    assert_eq!(signer().verify(id, timestamp, signature, &request.body, now, Duration::from_secs(60)), Ok(()));
    let body = request.json();
    assert_eq!((&body["type"], &body["lost"]), (&"evenkeel.events".into(), &0.into()));
    let event = &body["events"][0];
    assert_eq!(event["channel"], "orders");
    assert_eq!(event["kind"], "drained");
    assert_eq!(event["severity"], "info");
    assert_eq!(event["endpoint"], server.addr().to_string());
    assert_eq!(event["detail"]["drained"], true);
    assert!(event["time"].as_f64().expect("a time").abs() - (now as f64) < 60.0);
    flushed(&webhook).await;
    assert_eq!(webhook.stats().delivered, 1);
    // Only the task has the connection: when it goes, the task has ended.
    drop(webhook);
    drop(channel);
    receiver.left().await;
}

#[tokio::test]
async fn events_are_told_in_order_in_batches_over_one_connection() {
    let receiver = Receiver::start(ok()).await;
    let config = config(&receiver.url()).batch(4).expect("a batch").linger(Duration::from_secs(60)).expect("a time");
    let webhook = Webhook::start(config).expect("a runtime");
    let observer = webhook.observer("c");
    (0..10).for_each(|desired| observer.on_event(&advised(desired)));
    observer.on_event(&LbEvent::LoadUpdated { endpoint: "a:1".into(), percent: 5 });
    flushed(&webhook).await;
    let requests = receiver.received(3).await;
    let told = |request: &Received| {
        let events = request.json()["events"].as_array().expect("events").clone();
        events.iter().map(|event| event["detail"]["desired"].as_u64().expect("a number")).collect::<Vec<_>>()
    };
    assert_eq!(requests.iter().map(told).collect::<Vec<_>>(), [vec![0, 1, 2, 3], vec![4, 5, 6, 7], vec![8, 9]]);
    assert!(requests.iter().all(|request| request.connection == 0));
    assert_ne!(requests[0].header("webhook-id"), requests[1].header("webhook-id"));
}

#[tokio::test]
async fn a_receiver_that_is_down_gets_its_events_when_it_is_back() {
    let receiver = Receiver::start(ok()).await;
    let (addr, url) = (receiver.addr, receiver.url());
    drop(receiver);
    let webhook = Webhook::start(config(&url).attempts(100).expect("a number")).expect("a runtime");
    webhook.observer("c").on_event(&advised(5));
    let down = async {
        while webhook.stats().failures < 2 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, down).await.expect("it is tried again");
    assert!(webhook.stats().failing.expect("a reason").contains("cannot be connected"));
    let receiver = Receiver::at(addr, ok()).await;
    flushed(&webhook).await;
    assert_eq!(receiver.received(1).await.len(), 1);
    let stats = webhook.stats();
    assert_eq!((stats.delivered, stats.given_up, stats.failing), (1, 0, None));
}

#[tokio::test]
async fn an_error_is_met_with_the_same_message_again_and_no_more_often_than_allowed() {
    let receiver = Receiver::start(Answer::With(500, "out\nof order".to_owned())).await;
    let webhook = Webhook::start(config(&receiver.url()).attempts(3).expect("a number")).expect("a runtime");
    let observer = webhook.observer("c");
    observer.on_event(&advised(1));
    flushed(&webhook).await;
    let stats = webhook.stats();
    assert_eq!((stats.given_up, stats.failures, stats.waiting), (1, 3, 0));
    assert_eq!(stats.failing.as_deref(), Some("answered 500 Internal Server Error: out of order"));
    receiver.answers(ok());
    observer.on_event(&advised(2));
    flushed(&webhook).await;
    let requests = receiver.received(4).await;
    assert_eq!(requests.len(), 4);
    for again in &requests[..3] {
        assert_eq!((again.header("webhook-id"), &again.body), (requests[0].header("webhook-id"), &requests[0].body));
        assert_eq!(again.header("webhook-signature"), independently(again));
    }
    assert_eq!(requests[3].told(), (vec!["scaling_advised".to_owned()], 1), "it is told what it missed");
}

#[tokio::test]
async fn a_receiver_that_asks_for_time_gets_it() {
    let receiver = Receiver::start(Answer::Later(503, "1")).await;
    // Without a word of the receiver the pauses are of milliseconds.
    let webhook = Webhook::start(config(&receiver.url())).expect("a runtime");
    webhook.observer("c").on_event(&advised(1));
    receiver.received(1).await;
    let asked = tokio::time::Instant::now();
    receiver.answers(ok());
    flushed(&webhook).await;
    assert!(asked.elapsed() >= Duration::from_millis(900), "{:?}", asked.elapsed());
    let stats = webhook.stats();
    assert_eq!((stats.delivered, stats.failures, receiver.received(2).await.len()), (1, 1, 2));
}

#[tokio::test]
async fn what_will_never_be_taken_is_not_sent_again() {
    for status in [301, 400, 401, 404, 410] {
        let receiver = Receiver::start(Answer::With(status, String::new())).await;
        let webhook = Webhook::start(config(&receiver.url())).expect("a runtime");
        webhook.observer("c").on_event(&advised(1));
        flushed(&webhook).await;
        let stats = webhook.stats();
        assert_eq!((stats.refused, stats.failures, receiver.received(1).await.len()), (1, 1, 1), "{status}");
    }
}

#[tokio::test]
async fn a_receiver_that_never_answers_holds_nobody_up_and_what_it_misses_is_counted() {
    for (answer, overflow) in [(Answer::Never, Overflow::DropOldest), (Answer::Close, Overflow::DropNewest)] {
        let receiver = Receiver::start(answer).await;
        let config =
            config(&receiver.url()).capacity(4).and_then(|config| config.attempts(100)).expect("numbers").overflow(overflow);
        let webhook = Webhook::start(config).expect("a runtime");
        let observer = webhook.observer("c");
        observer.on_event(&advised(0));
        // The first is on its way now, and no other is taken while it is.
        receiver.received(1).await;
        (1..=10).for_each(|desired| observer.on_event(&advised(desired)));
        let stats = webhook.stats();
        assert_eq!((stats.waiting, stats.dropped, stats.delivered), (5, 6, 0));
        receiver.answers(ok());
        flushed(&webhook).await;
        let stats = webhook.stats();
        assert_eq!((stats.waiting, stats.delivered, stats.dropped), (0, 5, 6));
        assert!(stats.failures > 0);
        let last = receiver.received(3).await.pop().expect("a request");
        let desired: Vec<_> =
            last.json()["events"].as_array().expect("events").iter().map(|event| event["detail"]["desired"].clone()).collect();
        assert_eq!(desired, if overflow == Overflow::DropOldest { [7, 8, 9, 10] } else { [1, 2, 3, 4] });
        assert_eq!(last.told().1, 6);
    }
}

#[tokio::test]
async fn values_out_of_range_are_refused_by_name() {
    let config = || config("http://127.0.0.1:1/");
    let told = |error: lb_core::ConfigError| error.to_string();
    assert!(told(config().kinds(["drained", "drainde"]).expect_err("a typing error")).contains("drainde"));
    assert!(told(config().kinds([""; 0]).expect_err("nothing")).contains("hooks.kinds"));
    assert!(told(config().capacity(0).expect_err("no room")).contains("hooks.capacity"));
    assert!(told(config().batch(1001).expect_err("too many")).contains("hooks.batch"));
    assert!(told(config().attempts(0).expect_err("none")).contains("hooks.attempts"));
    assert!(told(config().linger(Duration::from_secs(61)).expect_err("too long")).contains("hooks.linger"));
    assert!(config().at_least(Severity::Warning).batch(1000).is_ok());
}

#[test]
fn without_a_runtime_there_is_an_error() {
    assert!(Webhook::start(config("http://127.0.0.1:1/")).is_err());
}
