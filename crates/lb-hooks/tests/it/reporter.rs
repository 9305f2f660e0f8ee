//! Statistics sent to a backend.

use std::time::Duration;

use lb_hooks::{HttpBackend, StatsReporter};
use lb_tonic::LbChannel;

use crate::receiver::{Answer, PATIENCE, Receiver};

const EVERY: Duration = Duration::from_millis(100);

#[tokio::test]
async fn statistics_are_sent_every_interval_until_the_channels_are_gone() {
    let receiver = Receiver::start(Answer::With(500, String::new())).await;
    let channel = LbChannel::builder("static:///127.0.0.1:1").build().expect("a channel");
    let backend = HttpBackend::new(&receiver.url()).expect("a backend");
    let reporter = StatsReporter::start(backend, EVERY, [("orders", &channel)]).expect("a runtime");
    receiver.received(2).await;
    assert!(reporter.stats().failed > 0 && reporter.stats().failing.expect("a reason").contains("500"));
    receiver.answers(Answer::With(200, String::new()));
    let report = receiver.received(5).await.pop().expect("a report");
    let json = report.json();
    assert_eq!(json["type"], "evenkeel.stats");
    assert_eq!(json["channels"][0]["channel"], "orders");
    assert_eq!(json["channels"][0]["stats"]["target"], "static:///127.0.0.1:1");
    assert!(json["channels"][0]["stats"]["totals"]["endpoints"].is_u64());
    let stats = reporter.stats();
    assert!(stats.sent > 0 && stats.failing.is_none(), "{stats:?}");
    drop(channel);
    receiver.left().await;
    let finished = async {
        while !reporter.is_finished() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, finished).await.expect("it ends with its channels");
}

#[tokio::test]
async fn it_ends_when_it_is_dropped_though_nobody_answers() {
    let receiver = Receiver::start(Answer::Never).await;
    let channel = LbChannel::builder("static:///127.0.0.1:1").build().expect("a channel");
    let backend =
        HttpBackend::new(&receiver.url()).and_then(|backend| backend.timeout(Duration::from_secs(300))).expect("a backend");
    let reporter = StatsReporter::start(backend.clone(), EVERY, [("orders", &channel)]).expect("a runtime");
    receiver.received(1).await;
    drop(reporter);
    receiver.left().await;
    assert!(StatsReporter::start(backend, Duration::ZERO, [("orders", &channel)]).is_err());
}
