//! Contexts without OpenTelemetry: ids of our own, or the caller's handed on; and no subscriber at all.
#![allow(clippy::unwrap_used, reason = "a failing helper fails the test")]

#[path = "support/mod.rs"]
mod support;

use lb_telemetry::trace::{Propagation, TraceContext, TraceLayer, Tracing};
use lb_testkit::pb::EchoRequest;
use lb_testkit::pb::echo_client::EchoClient;
use tonic::Request;
use tracing::Level;

use support::spans::{Spans, header, recording};
use support::{builder, echo, middle, ready, soon, unary};

#[tokio::test]
async fn spans_have_ids_of_ours_that_link_over_servers() {
    let spans = Spans::default();
    let _subscriber = tracing::subscriber::set_default(spans.clone());
    let last = echo("last", TraceLayer::new()).await;
    let middle = middle(ready(builder([&last.addr], Tracing::new())).await, TraceLayer::new()).await;
    let channel = ready(builder([&middle.addr], Tracing::new())).await;
    unary(&channel, EchoRequest::default()).await.unwrap();
    let names = spans.field("otel.name");
    let kinds: Vec<&str> = names.iter().map(|name| name.as_deref().unwrap().split('.').next().unwrap()).collect();
    assert_eq!(kinds, ["Sent", "Attempt", "Recv", "Sent", "Attempt", "Recv"]);
    let (ids, parents, traces) = (spans.field("span_id"), spans.field("parent_span_id"), spans.field("trace_id"));
    assert_eq!(parents[0], None, "nobody has asked for the first");
    assert_eq!(parents[1..], ids[..5], "each is the child of the one before it");
    assert!(traces[0].as_ref().is_some_and(|id| id.len() == 32) && traces.iter().all(|id| *id == traces[0]));
    assert!(spans.field("otel.status_code").iter().all(|code| code.as_deref() == Some("OK")));
}

#[tokio::test]
async fn with_no_subscriber_what_came_is_handed_on_as_it_came() {
    let (last, control) = recording().await;
    let middle = middle(ready(builder([&last.addr()], Tracing::new())).await, TraceLayer::new()).await;
    // This one neither knows nor cares.
    let channel = ready(builder([&middle.addr], Tracing::new().propagation(Propagation::Off))).await;
    let mut request = Request::new(EchoRequest::default());
    let sent = [
        ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"),
        ("tracestate", "a=1,b=2"),
        ("baggage", "user=1"),
    ];
    sent.iter().for_each(|(name, value)| drop(request.metadata_mut().insert(*name, value.parse().unwrap())));
    soon("an answer", EchoClient::new(channel.clone()).unary(request)).await.unwrap();
    for (name, value) in sent {
        assert_eq!(header(&control, name).as_deref(), Some(value));
    }
    unary(&channel, EchoRequest::default()).await.unwrap();
    assert_eq!(header(&control, "traceparent"), None, "nobody began a trace, and nobody was told of one");
    assert_eq!(*middle.control.lock().unwrap(), [TraceContext::parse(sent[0].1).map(|_| context(&sent)), None]);
}

/// The context of these headers.
fn context(lines: &[(&'static str, &'static str)]) -> TraceContext {
    let headers = lines.iter().map(|(name, value)| (http::HeaderName::from_static(name), http::HeaderValue::from_static(value)));
    Propagation::W3c.extract(&headers.collect()).unwrap()
}

#[tokio::test]
async fn a_scope_is_the_parent_of_calls_and_its_state_travels() {
    let spans = Spans::default();
    let _subscriber = tracing::subscriber::set_default(spans.clone());
    let (server, control) = recording().await;
    let channel = ready(builder([&server.addr()], Tracing::new())).await;
    let outer = context(&[
        ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"),
        ("tracestate", "a=1"),
        ("baggage", "user=1"),
    ]);
    outer.clone().scope(unary(&channel, EchoRequest::default())).await.unwrap();
    let sent = TraceContext::parse(&header(&control, "traceparent").unwrap()).unwrap();
    assert_eq!((sent.trace_id(), sent.is_sampled()), (outer.trace_id(), false));
    assert_eq!(spans.field("span_id")[1], Some(sent.span_id().to_string()), "the attempt is the server's parent");
    assert_eq!(spans.field("parent_span_id")[0], Some(outer.span_id().to_string()));
    assert_eq!((header(&control, "tracestate").as_deref(), header(&control, "baggage").as_deref()), (Some("a=1"), Some("user=1")));
}

#[tokio::test]
async fn a_hostile_name_is_cut_and_stays_one_name() {
    let spans = Spans::default();
    let _subscriber = tracing::subscriber::set_default(spans.clone());
    let server = echo("s", TraceLayer::new()).await;
    let mut channel = ready(builder([&server.addr], Tracing::new())).await;
    let path = format!("/{}/{}", "a".repeat(5_000), "%0a%00..//".repeat(100));
    let request = http::Request::post(path).body(tonic::body::Body::empty()).unwrap();
    drop(soon("an answer", tower_service::Service::call(&mut channel, request)).await);
    let names = spans.field("otel.name");
    assert_eq!(names.len(), 3);
    assert!(names.iter().all(|name| name.as_ref().unwrap().len() <= 256 + "Attempt.".len()), "{names:?}");
}

#[tokio::test]
async fn log_lines_of_a_handler_are_in_its_span_and_no_others() {
    let (lines, _guard) = support::Lines::collect(Level::INFO);
    let last = echo("last", TraceLayer::new()).await;
    let middle = middle(ready(builder([&last.addr], Tracing::new())).await, TraceLayer::new()).await;
    let channel = ready(builder([&middle.addr], Tracing::new())).await;
    unary(&channel, EchoRequest::default()).await.unwrap();
    tracing::info!(target: "test", "afterwards");
    let [asked, afterwards] = &lines.of("test")[..] else { panic!("two lines: {:?}", lines.of("test")) };
    let seen = middle.control.lock().unwrap()[0].clone().unwrap();
    assert_eq!(asked["span"]["otel.name"], "Recv.evenkeel.echo.v1.Echo.Unary");
    assert_eq!(asked["span"]["trace_id"], seen.trace_id().to_string());
    assert_eq!(asked["span"]["span_id"], seen.span_id().to_string());
    assert_eq!(afterwards.get("span"), None, "no span is left entered");
}
