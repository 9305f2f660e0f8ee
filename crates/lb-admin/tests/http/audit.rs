//! One line per change, whatever becomes of it, and none with a secret.

use std::fmt::{self, Write as _};
use std::sync::{Arc, Mutex};

use lb_admin::AdminToken;
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tracing::field::{Field, Visit};
use tracing::{Event, Metadata, Subscriber, span};

use crate::client::{ask, get};
use crate::support::{Live, OPERATOR, READER, orders};

/// Keeps what is logged, all of it.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<(String, String)>>>);

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        write!(self.0, "{}={value:?} ", field.name()).unwrap();
    }
}

impl Subscriber for Log {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(format!("{} ", event.metadata().level()));
        event.record(&mut line);
        self.0.lock().unwrap().push((event.metadata().target().to_owned(), line.0));
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

impl Log {
    fn take(&self) -> Vec<String> {
        let mut lines = self.0.lock().unwrap();
        lines.retain(|(_, line)| {
            assert!(!line.contains(OPERATOR) && !line.contains(READER), "{line}");
            true
        });
        lines.drain(..).filter(|(target, _)| target == "evenkeel::audit").map(|(_, line)| line).collect()
    }
}

#[tokio::test]
async fn every_change_leaves_a_line_and_no_secret() {
    let log = Log::default();
    let _guard = tracing::subscriber::set_default(log.clone());
    let live = Live::start(2).await;
    let admin = orders(&live.channel)
        .token(AdminToken::operator("night shift", OPERATOR).unwrap())
        .token(AdminToken::reader("look", READER).unwrap())
        .serve()
        .await
        .unwrap();
    let addr = admin.local_addr();
    let one = |has: &[&str]| {
        let lines = log.take();
        assert_eq!(lines.len(), 1, "{lines:?}");
        has.iter().for_each(|has| assert!(lines[0].contains(has), "{has}: {}", lines[0]));
    };
    let instance = live.instance(0);
    let drain = format!("/api/v1/loadbalancer/instances/orders/{instance}/drain");
    ask("POST", &drain).token(OPERATOR).of(addr).await;
    one(&[
        "INFO",
        "who=\"night shift\"",
        "peer=\"127.0.0.1:",
        "method=POST",
        &drain,
        "from=\"in use\"",
        "to=\"drained\"",
        "\"done\"",
    ]);
    let body = json!({ "algorithm": "random" });
    ask("PUT", "/api/v1/loadbalancer/algorithms/orders").token(OPERATOR).json(&body).of(addr).await;
    one(&["INFO", "from=\"round_robin\"", "to=\"random {}\"", "status=200"]);

    ask("POST", &drain).token(READER).of(addr).await.problem(403);
    one(&["WARN", "who=\"look\"", "status=403", "refused", "may look but not change"]);
    ask("PUT", "/api/v1/loadbalancer/algorithms/orders").token(OPERATOR).json(&json!({ "algorithm": "nope" })).of(addr).await;
    one(&["WARN", "status=422", "nope"]);
    ask("POST", "/api/v1/loadbalancer/instances/orders/%0Afake/drain").token(OPERATOR).of(addr).await.problem(404);
    one(&["%0Afake", "status=404"]);
    let long = format!("/api/v1/loadbalancer/sessions/{}", "x".repeat(5000));
    ask("DELETE", long).token(OPERATOR).of(addr).await.problem(404);
    one(&["status=404"]);

    // Looking leaves none, asking for an explanation neither.
    get("/api/v1/loadbalancer/stats").token(OPERATOR).of(addr).await;
    ask("POST", "/api/v1/loadbalancer/explain/orders").token(READER).json(&json!({})).of(addr).await;
    assert_eq!(log.take(), Vec::<String>::new());
    // Of those without a token one is told, and the others cannot fill a disk.
    let strange = format!("{drain}?{}", "x".repeat(5000));
    ask("POST", &strange).token("some-other-secret").of(addr).await.problem(401);
    one(&["WARN", "no token", "peer=\"127.0.0.1:", "method=POST", &drain, "status=401", "count=1"]);
    for _ in 0..50 {
        ask("POST", &drain).token("some-other-secret").of(addr).await.problem(401);
    }
    assert_eq!(log.take(), Vec::<String>::new(), "not again so soon");
}

#[tokio::test]
async fn who_does_not_wait_for_the_answer_has_changed_it_all_the_same() {
    let log = Log::default();
    let _guard = tracing::subscriber::set_default(log.clone());
    let live = Live::start(1).await;
    let admin = orders(&live.channel).serve().await.unwrap();
    let addr = admin.local_addr();
    let request = ask("POST", format!("/api/v1/loadbalancer/instances/orders/{}/drain", live.instance(0))).bytes(addr);
    let mut connection = TcpStream::connect(addr).await.unwrap();
    connection.write_all(request.as_bytes()).await.unwrap();
    drop(connection);
    live.until(|channel| channel.endpoints()[0].excluded == Some("drained")).await;
    let written = async {
        loop {
            let lines = log.take();
            if !lines.is_empty() {
                break lines;
            }
            tokio::task::yield_now().await;
        }
    };
    let lines = tokio::time::timeout(std::time::Duration::from_secs(5), written).await.unwrap();
    assert!(lines.len() == 1 && lines[0].contains("anybody on this machine"), "{lines:?}");
}
