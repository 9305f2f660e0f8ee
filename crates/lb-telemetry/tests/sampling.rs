//! Which calls are traced, as a subscriber and a server see it.
#![allow(clippy::unwrap_used, reason = "a failing helper fails the test")]

#[path = "support/mod.rs"]
mod support;

use lb_telemetry::trace::{CallLog, Sampling, TraceContext, TraceLayer, Tracing};
use lb_testkit::pb::EchoRequest;
use lb_testkit::pb::echo_client::EchoClient;
use tonic::Request;
use tracing::Level;

use support::spans::{Spans, header, recording};
use support::{Lines, builder, echo, middle, ready, soon, unary};

const SAMPLED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const UNSAMPLED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";

fn sampling(share: f64) -> Sampling {
    Sampling::ratio(share).unwrap()
}

fn traced(share: f64) -> Tracing {
    Tracing::new().sampling(sampling(share))
}

fn kinds(spans: &Spans) -> Vec<String> {
    spans.field("otel.name").into_iter().map(|name| name.unwrap().split('.').next().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn of_calls_that_begin_a_trace_a_share_has_spans() {
    const CALLS: usize = 400;
    let spans = Spans::default();
    let _subscriber = tracing::subscriber::set_default(spans.clone());
    let (server, control) = recording().await;
    let channel = ready(builder([&server.addr()], traced(0.5))).await;
    let mut told = 0;
    for _ in 0..CALLS {
        unary(&channel, EchoRequest::default()).await.unwrap();
        let parent = header(&control, "traceparent").map(|header| TraceContext::parse(&header).unwrap());
        assert!(parent.as_ref().is_none_or(TraceContext::is_sampled));
        told += usize::from(parent.is_some());
    }
    let kinds = kinds(&spans);
    // Ten standard deviations of a fair coin.
    assert!((100..=300).contains(&told), "{told} of {CALLS}");
    for kind in ["Sent", "Attempt"] {
        assert_eq!(kinds.iter().filter(|found| *found == kind).count(), told, "whole, or not at all: {kind}");
    }
}

#[tokio::test]
async fn the_flag_of_the_parent_decides_wherever_it_comes_from() {
    for (parent, is_sampled) in [(SAMPLED, true), (UNSAMPLED, false)] {
        // The opposite is what would become of a call without a parent.
        let share = if is_sampled { 0.0 } else { 1.0 };
        let spans = Spans::default();
        let _subscriber = tracing::subscriber::set_default(spans.clone());
        let (server, control) = recording().await;
        let channel = ready(builder([&server.addr()], traced(share))).await;
        TraceContext::parse(parent).unwrap().scope(unary(&channel, EchoRequest::default())).await.unwrap();
        let by_scope = header(&control, "traceparent").unwrap();
        let mut request = Request::new(EchoRequest::default());
        request.metadata_mut().insert("traceparent", parent.parse().unwrap());
        soon("an answer", EchoClient::new(channel.clone()).unary(request)).await.unwrap();
        let by_header = header(&control, "traceparent").unwrap();
        for sent in [&by_scope, &by_header] {
            assert_eq!(sent == parent, !is_sampled, "an unsampled parent is handed on as it came");
            let sent = TraceContext::parse(sent).unwrap();
            assert_eq!((sent.trace_id(), sent.is_sampled()), (TraceContext::parse(parent).unwrap().trace_id(), is_sampled));
        }
        assert_eq!(kinds(&spans).len(), if is_sampled { 4 } else { 0 });
        // What has no parent goes its own way.
        unary(&channel, EchoRequest::default()).await.unwrap();
        assert_eq!(header(&control, "traceparent").is_some(), !is_sampled);
    }
}

#[tokio::test]
async fn servers_hear_of_unsampled_calls_only_if_asked_for() {
    let spans = Spans::default();
    let _subscriber = tracing::subscriber::set_default(spans.clone());
    let (server, control) = recording().await;
    let silent = ready(builder([&server.addr()], traced(0.0))).await;
    unary(&silent, EchoRequest::default()).await.unwrap();
    assert_eq!(header(&control, "traceparent"), None);
    let telling = Tracing::new().sampling(sampling(0.0).tell_unsampled());
    let telling = ready(builder([&server.addr()], telling)).await;
    let mut traces = std::collections::HashSet::new();
    for _ in 0..3 {
        unary(&telling, EchoRequest::default()).await.unwrap();
        let sent = TraceContext::parse(&header(&control, "traceparent").unwrap()).unwrap();
        assert!(!sent.is_sampled() && traces.insert(sent.trace_id()), "each has a trace of its own");
    }
    assert!(kinds(&spans).is_empty());
}

#[tokio::test]
async fn a_server_follows_its_client_and_its_handlers_calls_follow_it() {
    for (share, expected) in [(1.0, &["Sent", "Attempt", "Recv", "Sent", "Attempt", "Recv"][..]), (0.0, &[])] {
        let spans = Spans::default();
        let _subscriber = tracing::subscriber::set_default(spans.clone());
        let others = 1.0 - share;
        let last = echo("last", TraceLayer::new().sampling(sampling(others))).await;
        // Its server decides for calls without a parent, and so for all that comes of them.
        let layer = TraceLayer::new().sampling(sampling(share));
        let middle = middle(ready(builder([&last.addr], traced(others))).await, layer).await;
        let channel = ready(builder([&middle.addr], traced(share))).await;
        unary(&channel, EchoRequest::default()).await.unwrap();
        assert_eq!(kinds(&spans), expected, "share {share}");
        let seen = middle.control.lock().unwrap()[0].clone();
        assert_eq!(seen.map(|context| context.is_sampled()), Some(share == 1.0));
    }
}

#[tokio::test]
async fn a_line_is_written_whether_sampled_or_not() {
    let (lines, _guard) = Lines::collect(Level::INFO);
    let (server, _) = recording().await;
    let channel = ready(builder([&server.addr()], traced(0.0).log(CallLog::all()))).await;
    unary(&channel, EchoRequest::default()).await.unwrap();
    TraceContext::parse(UNSAMPLED).unwrap().scope(unary(&channel, EchoRequest::default())).await.unwrap();
    let ids: Vec<Option<String>> =
        lines.of("evenkeel::calls").iter().map(|line| line["trace_id"].as_str().map(str::to_owned)).collect();
    assert_eq!(ids, [None, Some(UNSAMPLED[3..35].to_owned())]);
}
