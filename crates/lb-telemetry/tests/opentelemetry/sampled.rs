//! Calls that a sampling takes are whole traces at a collector, and those it does not take are nothing there.

use lb_telemetry::trace::{Sampling, TraceContext, TraceLayer, Tracing};
use lb_testkit::pb::EchoRequest;
use tonic::Code;
use tracing::{Instrument, info_span};

use crate::collector::{Collector, named, tree};
use crate::linked::quick;
use crate::support::{builder, echo, middle, ready, unary};

fn sampling(share: f64) -> Sampling {
    Sampling::ratio(share).unwrap()
}

#[tokio::test]
async fn a_sampled_call_is_one_trace_with_its_attempts_and_servers() {
    let collector = Collector::start();
    let server = || async { echo("s", TraceLayer::new().sampling(sampling(0.0))).await };
    let servers = [server().await, server().await];
    servers.iter().for_each(|server| server.control.fail(Code::Unavailable));
    let tracing = Tracing::new().sampling(sampling(1.0));
    let channel = ready(builder(servers.iter().map(|server| &server.addr), tracing).retry(quick(2))).await;
    unary(&channel, EchoRequest::default()).await.unwrap_err();
    let spans = collector.spans(5).await;
    let lines: Vec<String> =
        tree(&spans).iter().map(|line| line.split(',').next().unwrap().replace(".evenkeel.echo.v1.Echo", "")).collect();
    let expected = [
        "Sent.Unary UNAVAILABLE",
        "  Attempt.Unary UNAVAILABLE",
        "    Recv.Unary UNAVAILABLE",
        "  Attempt.Unary UNAVAILABLE",
        "    Recv.Unary UNAVAILABLE",
    ];
    assert_eq!(lines, expected, "servers that begin no traces follow those of others");
    let trace = spans[0].span_context.trace_id();
    assert!(spans.iter().all(|span| span.span_context.trace_id() == trace && span.span_context.is_sampled()));
}

#[tokio::test]
async fn a_call_that_is_not_sampled_makes_no_span_on_either_side() {
    let collector = Collector::start();
    let last = echo("last", TraceLayer::new().sampling(sampling(1.0))).await;
    let tracing = || Tracing::new().sampling(sampling(0.0).tell_unsampled());
    let layer = TraceLayer::new().sampling(sampling(1.0));
    let middle = middle(ready(builder([&last.addr], tracing())).await, layer).await;
    let channel = ready(builder([&middle.addr], tracing())).await;
    unary(&channel, EchoRequest::default()).await.unwrap();
    assert_eq!(last.control.calls(), 1);
    let seen = middle.control.lock().unwrap()[0].clone();
    assert!(!seen.expect("it is told of it").is_sampled());
    assert!(collector.spans(0).await.is_empty());
}

#[tokio::test]
async fn a_call_follows_the_span_it_is_made_in() {
    let collector = Collector::start();
    let server = echo("s", TraceLayer::new().sampling(sampling(0.0))).await;
    let channel = ready(builder([&server.addr], Tracing::new().sampling(sampling(0.0)))).await;
    unary(&channel, EchoRequest::default()).instrument(info_span!(target: "test", "order")).await.unwrap();
    unary(&channel, EchoRequest::default()).await.unwrap();
    // Another program's, which came with a message from a queue.
    let elsewhere = TraceContext::root();
    elsewhere.clone().scope(unary(&channel, EchoRequest::default())).await.unwrap();
    let spans = collector.spans(7).await;
    assert_eq!(named(&spans, "order").parent_span_id.to_string(), "0000000000000000");
    let of = |trace: &str| spans.iter().filter(|span| span.span_context.trace_id().to_string() == trace).count();
    let order = named(&spans, "order").span_context.trace_id().to_string();
    assert_eq!((of(&order), of(&elsewhere.trace_id().to_string())), (4, 3), "and the call between them has none");
}
