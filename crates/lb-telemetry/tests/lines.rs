//! Lines of log as a program reads them.
#![allow(clippy::unwrap_used, reason = "a failing helper fails the test")]

#[path = "support/mod.rs"]
mod support;

use std::time::{Duration, Instant};

use lb_core::retry::RetryPolicy;
use lb_telemetry::trace::{CallLog, TraceLayer, Tracing};
use lb_testkit::pb::EchoRequest;
use lb_testkit::{EchoServer, FakeResolver};
use lb_tonic::LbChannel;
use serde_json::{Value, json};
use tonic::Code;
use tracing::Level;

use support::{Lines, builder, echo, ready, unary, until};

const CALLS: &str = "evenkeel::calls";

fn failing(code: Code) -> EchoRequest {
    EchoRequest { fail_with: code as u32, ..EchoRequest::default() }
}

/// A log alone.
fn log(log: CallLog) -> Tracing {
    Tracing::new().without_spans().log(log)
}

/// Takes out what differs from run to run, once it has been looked at.
fn steady(mut line: Value) -> Value {
    let fields = line.as_object_mut().unwrap();
    assert!(fields.remove("timestamp").unwrap().as_str().unwrap().ends_with('Z'));
    let duration = fields.remove("duration").unwrap().as_f64().unwrap();
    assert!((0.0..40.0).contains(&duration) && duration > 0.0, "{duration}");
    line
}

#[tokio::test]
async fn a_line_has_everything_promised() {
    let (lines, _guard) = Lines::collect(Level::INFO);
    let server = echo("s", TraceLayer::new()).await;
    let channel = ready(builder([&server.addr], Tracing::new().log(CallLog::all()))).await;
    unary(&channel, EchoRequest::default()).await.unwrap();
    unary(&channel, failing(Code::NotFound)).await.unwrap_err();
    let written = lines.of(CALLS);
    let (ids, written): (Vec<Value>, Vec<Value>) = written
        .into_iter()
        .map(|mut line| (line.as_object_mut().unwrap().remove("trace_id").expect("its trace"), steady(line)))
        .unzip();
    assert!(ids.iter().all(|id| id.as_str().unwrap().len() == 32) && ids[0] != ids[1], "{ids:?}");
    let rate = |line: &Value| line["success_rate"].as_f64().unwrap();
    assert!(rate(&written[0]) == 1.0 && rate(&written[1]) < 1.0);
    let expected = |level: &str, status: &str, message: &str, line: &Value| {
        json!({
            "level": level, "target": CALLS, "message": message, "channel": format!("static:///{}", server.addr),
            "service": "evenkeel.echo.v1.Echo", "method": "Unary", "endpoint": server.addr.to_string(), "status": status,
            "attempts": 1, "connections": 0, "score": line["score"], "success_rate": rate(line),
        })
    };
    assert_eq!(written[0], expected("INFO", "OK", "call succeeded", &written[0]));
    let mut failed = expected("WARN", "NOT_FOUND", "call failed", &written[1]);
    failed["reason"] = "the request asked to fail".into();
    assert_eq!(written[1], failed);
    let score = channel.stats().endpoints[0].score;
    assert!(score.is_some() && written.iter().all(|line| line["score"].as_f64() == score), "{score:?} {written:?}");
}

#[tokio::test]
async fn which_calls_are_written_is_a_choice() {
    let (lines, _guard) = Lines::collect(Level::INFO);
    let server = echo("s", TraceLayer::new()).await;
    for (choice, successes) in [(CallLog::all(), 20), (CallLog::failures(), 0), (CallLog::one_in(5), 4)] {
        let before = lines.of(CALLS).len();
        let channel = ready(builder([&server.addr], log(choice))).await;
        for _ in 0..20 {
            unary(&channel, EchoRequest::default()).await.unwrap();
        }
        for _ in 0..3 {
            unary(&channel, failing(Code::Internal)).await.unwrap_err();
        }
        let written = lines.of(CALLS).split_off(before);
        let of = |status: &str| written.iter().filter(|line| line["status"] == status).count();
        assert_eq!((of("OK"), of("INTERNAL"), written.len()), (successes, 3, successes + 3));
    }
}

#[tokio::test]
async fn a_flood_of_failures_is_cut_off_and_counted() {
    let (lines, _guard) = Lines::collect(Level::INFO);
    let server = echo("s", TraceLayer::new()).await;
    let channel = ready(builder([&server.addr], log(CallLog::failures().max_per_second(2)))).await;
    let (mut calls, limit) = (0, Instant::now() + Duration::from_secs(40));
    while !lines.of(CALLS).iter().any(|line| line["lines"].is_u64()) {
        assert!(Instant::now() < limit, "it never said so");
        unary(&channel, failing(Code::Internal)).await.unwrap_err();
        calls += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let written = lines.of(CALLS);
    let left_out: u64 = written.iter().filter_map(|line| line["lines"].as_u64()).sum();
    let told = written.iter().filter(|line| line.get("lines").is_none()).count() as u64;
    assert_eq!(told + left_out, calls);
    assert!(left_out > 0 && told < calls);
}

#[tokio::test]
async fn a_call_that_was_retried_names_who_answered_and_one_without_an_endpoint_none() {
    let (lines, _guard) = Lines::collect(Level::INFO);
    let servers = [echo("a", TraceLayer::new()).await, echo("b", TraceLayer::new()).await];
    servers.iter().for_each(|server| server.control.fail_next(1, Code::Unavailable));
    let policy = RetryPolicy::default().with_max_attempts(3).unwrap().with_initial_backoff(Duration::from_millis(1)).unwrap();
    let channel = ready(builder(servers.iter().map(|server| &server.addr), log(CallLog::all())).retry(policy)).await;
    let reply = unary(&channel, EchoRequest::default()).await.unwrap();
    let line = &lines.of(CALLS)[0];
    let answered = servers.iter().find(|server| server.control.name() == reply.get_ref().server).unwrap();
    assert_eq!(
        (&line["endpoint"], &line["status"], &line["attempts"]),
        (&json!(answered.addr.to_string()), &json!("OK"), &json!(3))
    );

    let (resolver, handle) = FakeResolver::new("fake");
    handle.endpoints([]);
    let tracing = log(CallLog::failures());
    let channel = LbChannel::builder("fake:///none").resolver(resolver).call_observer(tracing).build().unwrap();
    unary(&channel, EchoRequest::default()).await.unwrap_err();
    let line = &lines.of(CALLS)[1];
    assert_eq!((line.get("endpoint"), &line["status"]), (None, &json!("UNAVAILABLE")));
    assert!(line["reason"].as_str().unwrap().contains("fake:///none"), "{line}");
}

#[tokio::test]
async fn every_change_is_one_line_that_can_be_read() {
    let (lines, _guard) = Lines::collect(Level::DEBUG);
    let mut server = EchoServer::start("s").await.unwrap();
    let endpoint = server.addr().to_string();
    let channel = ready(LbChannel::builder(server.target())).await;
    server.kill().await;
    until("it is down", || channel.stats().totals.transient_failure == 1).await;
    let mut events = channel.subscribe();
    drop(channel);
    while events.next().await.is_some() {}
    let states: Vec<[String; 3]> = lines
        .of("evenkeel")
        .into_iter()
        .filter(|line| line["event"] == "subchannel_state" && line["endpoint"] == endpoint.as_str())
        .map(|line| ["level", "from", "to"].map(|field| line[field].as_str().unwrap().to_owned()))
        .collect();
    let up = [["DEBUG", "IDLE", "CONNECTING"], ["DEBUG", "CONNECTING", "READY"]];
    assert_eq!(states[..2], up);
    let down = states.iter().find(|line| line[2] == "TRANSIENT_FAILURE").expect("it went down");
    assert_eq!(down[0], "WARN");
    let reasons =
        lines.of("evenkeel").into_iter().filter(|line| line["to"] == "TRANSIENT_FAILURE" && line["event"] == "subchannel_state");
    assert!(reasons.clone().count() > 0 && reasons.into_iter().all(|line| line["reason"].is_string()));
}
