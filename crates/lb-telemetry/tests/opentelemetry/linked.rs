//! Parents and children.

use std::time::Duration;

use lb_core::retry::{HedgingPolicy, RetryPolicy};
use lb_telemetry::trace::{Propagation, TraceContext, TraceLayer, Tracing};
use lb_testkit::RawServer;
use lb_testkit::pb::EchoRequest;
use lb_testkit::pb::echo_client::EchoClient;
use lb_tonic::PickedEndpoint;
use opentelemetry::trace::SpanKind;
use opentelemetry_sdk::trace::Sampler;
use tonic::{Code, Request};
use tracing::{Instrument, info_span};

use crate::collector::{Collector, attribute, named, tree};
use crate::support::{builder, echo, middle, ready, unary, until};

/// HTTP/2's code for a stream that nobody has worked on.
const REFUSED_STREAM: u32 = 7;

pub(crate) fn quick(attempts: u32) -> RetryPolicy {
    let policy = RetryPolicy::default().with_max_attempts(attempts).unwrap();
    policy.with_initial_backoff(Duration::from_millis(2)).unwrap()
}

#[tokio::test]
async fn a_call_an_attempt_and_its_server_are_one_trace_below_the_callers_span() {
    let collector = Collector::start();
    let server = echo("s", TraceLayer::new()).await;
    let channel = ready(builder([&server.addr], Tracing::new())).await;
    unary(&channel, EchoRequest::default()).instrument(info_span!(target: "test", "order")).await.unwrap();
    let spans = collector.spans(4).await;
    let expected = [
        "order",
        "  Sent.evenkeel.echo.v1.Echo.Unary ok",
        "    Attempt.evenkeel.echo.v1.Echo.Unary ok",
        "      Recv.evenkeel.echo.v1.Echo.Unary ok",
    ];
    assert_eq!(tree(&spans), expected);
    let trace = spans[0].span_context.trace_id();
    assert!(spans.iter().all(|span| span.span_context.trace_id() == trace));
    let kinds: Vec<&SpanKind> = spans.iter().map(|span| &span.span_kind).collect();
    assert_eq!(kinds, [&SpanKind::Internal, &SpanKind::Client, &SpanKind::Internal, &SpanKind::Server]);
    let remote: Vec<bool> = spans.iter().map(|span| span.parent_span_is_remote).collect();
    assert_eq!(remote, [false, false, false, true]);
    let attempt = named(&spans, "Attempt.evenkeel.echo.v1.Echo.Unary");
    for (name, value) in [
        ("previous-rpc-attempts", "0"),
        ("transparent-retry", "false"),
        ("evenkeel.attempt", "first"),
        ("evenkeel.endpoint", &server.addr.to_string()),
        ("evenkeel.policy", "round_robin"),
    ] {
        assert_eq!(attribute(attempt, name).as_deref(), Some(value), "{name}");
    }
    assert!(spans.iter().all(|span| attribute(span, "trace_id").is_none()), "ids of ours stay out of it");
}

#[tokio::test]
async fn two_retries_are_three_attempts_each_with_its_server() {
    let collector = Collector::start();
    let servers = [echo("a", TraceLayer::new()).await, echo("b", TraceLayer::new()).await, echo("c", TraceLayer::new()).await];
    let channel = ready(builder(servers.iter().map(|server| &server.addr), Tracing::new()).retry(quick(3))).await;
    servers[..2].iter().for_each(|server| server.control.fail(Code::Unavailable));
    // Round robin begins somewhere; whoever is asked first, calls end at the one that works.
    let asked_last = loop {
        let reply = unary(&channel, EchoRequest::default()).await.unwrap();
        if servers[0].control.calls() > 0 && servers[1].control.calls() > 0 {
            break reply;
        }
    };
    assert_eq!(asked_last.get_ref().server, "c");
    let calls = servers[2].control.calls() as usize;
    let attempts = servers.iter().map(|server| server.control.calls() as usize).sum::<usize>();
    let spans = collector.spans(calls + 2 * attempts).await;
    let all = tree(&spans);
    let expected = |first: &str, second: &str| {
        vec![
            "Sent.evenkeel.echo.v1.Echo.Unary ok".to_owned(),
            format!("  Attempt.evenkeel.echo.v1.Echo.Unary UNAVAILABLE, {first} was told to fail"),
            format!("    Recv.evenkeel.echo.v1.Echo.Unary UNAVAILABLE, {first} was told to fail"),
            format!("  Attempt.evenkeel.echo.v1.Echo.Unary UNAVAILABLE, {second} was told to fail"),
            format!("    Recv.evenkeel.echo.v1.Echo.Unary UNAVAILABLE, {second} was told to fail"),
            "  Attempt.evenkeel.echo.v1.Echo.Unary ok".to_owned(),
            "    Recv.evenkeel.echo.v1.Echo.Unary ok".to_owned(),
        ]
    };
    let found = [("a", "b"), ("b", "a")].iter().any(|(first, second)| all.windows(7).any(|part| part == expected(first, second)));
    assert!(found, "{all:#?}");
    let third =
        spans.iter().find(|span| attribute(span, "previous-rpc-attempts").as_deref() == Some("2")).expect("a third attempt");
    let call = spans.iter().filter(|span| span.parent_span_id == third.parent_span_id);
    let numbers: Vec<_> = call.map(|span| attribute(span, "previous-rpc-attempts").unwrap()).collect();
    assert_eq!(numbers, ["0", "1", "2"]);
}

#[tokio::test]
async fn a_hedge_has_a_span_of_its_own_and_so_has_who_was_given_up() {
    let collector = Collector::start();
    let (stuck, quick) = (echo("stuck", TraceLayer::new()).await, echo("quick", TraceLayer::new()).await);
    let hedging = HedgingPolicy::try_new(2, Duration::from_millis(30)).unwrap();
    let channel = ready(builder([&stuck.addr, &quick.addr], Tracing::new()).hedging(hedging)).await;
    stuck.control.hang();
    // Round robin begins somewhere; a call that is sent to the quick one first needs no hedge.
    let mut before = 0;
    while unary(&channel, EchoRequest::default()).await.unwrap().extensions().get::<PickedEndpoint>().unwrap().attempts() == 1 {
        before += 3;
    }
    let spans = collector.spans(before + 5).await;
    let expected = [
        "Sent.evenkeel.echo.v1.Echo.Unary ok",
        "  Attempt.evenkeel.echo.v1.Echo.Unary CANCELLED, ",
        "    Recv.evenkeel.echo.v1.Echo.Unary CANCELLED, given up before its end",
        "  Attempt.evenkeel.echo.v1.Echo.Unary ok",
        "    Recv.evenkeel.echo.v1.Echo.Unary ok",
    ];
    assert_eq!(tree(&spans)[before..], expected);
    let attempts = spans[before..].iter().filter(|span| span.name.starts_with("Attempt"));
    let told: Vec<[String; 2]> =
        attempts.map(|span| ["previous-rpc-attempts", "evenkeel.attempt"].map(|name| attribute(span, name).unwrap())).collect();
    assert_eq!(told, [["0", "first"], ["1", "hedge"]]);
}

#[tokio::test]
async fn a_transparent_retry_says_so_and_does_not_count() {
    let collector = Collector::start();
    // Refuses every stream unprocessed.
    let refusing = RawServer::start(|mut conn| async move {
        conn.handshake(&[]).await?;
        loop {
            let call = conn.next_call().await?;
            conn.reset(call, REFUSED_STREAM).await?;
        }
    });
    let refusing = refusing.await.unwrap();
    let good = echo("good", TraceLayer::new()).await;
    let channel = ready(builder([&refusing.addr(), &good.addr], Tracing::new())).await;
    // Round robin begins somewhere; a call that is sent to the good one first is not retried.
    let mut before = 0;
    while unary(&channel, EchoRequest::default()).await.unwrap().extensions().get::<PickedEndpoint>().unwrap().attempts() == 1 {
        before += 3;
    }
    let spans = collector.spans(before + 4).await;
    let attempts = spans[before..].iter().filter(|span| span.name.starts_with("Attempt"));
    let told: Vec<[String; 2]> =
        attempts.map(|span| ["previous-rpc-attempts", "transparent-retry"].map(|name| attribute(span, name).unwrap())).collect();
    assert_eq!(told, [["0", "false"], ["0", "true"]]);
    assert_eq!(tree(&spans)[before], "Sent.evenkeel.echo.v1.Echo.Unary ok");
}

#[tokio::test]
async fn a_server_that_calls_on_passes_the_trace_on() {
    let collector = Collector::start();
    let last = echo("last", TraceLayer::new()).await;
    let middle = middle(ready(builder([&last.addr], Tracing::new())).await, TraceLayer::new()).await;
    let channel = ready(builder([&middle.addr], Tracing::new())).await;
    unary(&channel, EchoRequest::default()).await.unwrap();
    let spans = collector.spans(6).await;
    let expected = [
        "Sent.evenkeel.echo.v1.Echo.Unary ok",
        "  Attempt.evenkeel.echo.v1.Echo.Unary ok",
        "    Recv.evenkeel.echo.v1.Echo.Unary ok",
        "      Sent.evenkeel.echo.v1.Echo.Unary ok",
        "        Attempt.evenkeel.echo.v1.Echo.Unary ok",
        "          Recv.evenkeel.echo.v1.Echo.Unary ok",
    ];
    assert_eq!(tree(&spans), expected);
    let seen = middle.control.lock().unwrap()[0].clone().unwrap();
    assert_eq!(seen.span_id().to_string(), spans[2].span_context.span_id().to_string());
}

#[tokio::test]
async fn opencensus_headers_link_as_well() {
    let collector = Collector::start();
    let binary = Propagation::GrpcTraceBin;
    let server = echo("s", TraceLayer::new().propagation(binary)).await;
    let channel = ready(builder([&server.addr], Tracing::new().propagation(binary))).await;
    unary(&channel, EchoRequest::default()).await.unwrap();
    assert_eq!(tree(&collector.spans(3).await)[2], "    Recv.evenkeel.echo.v1.Echo.Unary ok");
}

#[tokio::test]
async fn without_propagation_a_server_begins_a_trace_of_its_own() {
    let collector = Collector::start();
    let server = echo("s", TraceLayer::new()).await;
    let channel = ready(builder([&server.addr], Tracing::new().propagation(Propagation::Off))).await;
    unary(&channel, EchoRequest::default()).await.unwrap();
    let spans = collector.spans(3).await;
    let expected =
        ["Sent.evenkeel.echo.v1.Echo.Unary ok", "  Attempt.evenkeel.echo.v1.Echo.Unary ok", "Recv.evenkeel.echo.v1.Echo.Unary ok"];
    assert_eq!(tree(&spans), expected);
}

#[tokio::test]
async fn a_callers_own_header_is_the_parent_where_nothing_else_is() {
    let collector = Collector::start();
    let server = echo("s", TraceLayer::new()).await;
    let channel = ready(builder([&server.addr], Tracing::new())).await;
    let parent = TraceContext::root();
    let mut request = Request::new(EchoRequest::default());
    request.metadata_mut().insert("traceparent", parent.traceparent().parse().unwrap());
    request.metadata_mut().insert("tracestate", "vendor=1".parse().unwrap());
    EchoClient::new(channel.clone()).unary(request).await.unwrap();
    let spans = collector.spans(3).await;
    let call = named(&spans, "Sent.evenkeel.echo.v1.Echo.Unary");
    assert_eq!(call.parent_span_id.to_string(), parent.span_id().to_string());
    assert!(spans.iter().all(|span| span.span_context.trace_id().to_string() == parent.trace_id().to_string()));
    assert!(spans.iter().all(|span| span.span_context.trace_state().header() == "vendor=1"), "{spans:?}");
}

#[tokio::test]
async fn who_does_not_sample_says_so_to_the_server() {
    let collector = Collector::sampling(Sampler::ParentBased(Box::new(Sampler::AlwaysOff)));
    let last = echo("last", TraceLayer::new()).await;
    let middle = middle(ready(builder([&last.addr], Tracing::new())).await, TraceLayer::new()).await;
    let channel = ready(builder([&middle.addr], Tracing::new())).await;
    unary(&channel, EchoRequest::default()).await.unwrap();
    until("the server has seen it", || !middle.control.lock().unwrap().is_empty()).await;
    let seen = middle.control.lock().unwrap()[0].clone();
    assert!(!seen.expect("ids there are all the same").is_sampled());
    assert!(collector.spans(0).await.is_empty());
}
