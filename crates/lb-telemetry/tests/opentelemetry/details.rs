//! What spans say: status, delays, messages.

use bytes::Bytes;
use http_body_util::Full;
use lb_telemetry::trace::{TraceLayer, Tracing};
use lb_testkit::FakeResolver;
use lb_testkit::pb::EchoRequest;
use lb_testkit::pb::echo_client::EchoClient;
use lb_tonic::LbChannel;
use tonic::body::Body;
use tonic::{Code, Request};
use tower_service::Service;

use crate::collector::{Collector, attribute, events, named, tree};
use crate::support::{builder, echo, ready, soon, unary};

fn payload(bytes: usize) -> EchoRequest {
    EchoRequest { payload: vec![7; bytes].into(), ..EchoRequest::default() }
}

#[tokio::test]
async fn a_failure_is_described_by_code_and_message() {
    let collector = Collector::start();
    let server = echo("s", TraceLayer::new()).await;
    let channel = ready(builder([&server.addr], Tracing::new())).await;
    let request = EchoRequest { fail_with: Code::InvalidArgument as u32, ..EchoRequest::default() };
    unary(&channel, request).await.unwrap_err();
    let lines = tree(&collector.spans(3).await);
    assert!(lines.iter().all(|line| line.ends_with(" INVALID_ARGUMENT, the request asked to fail")), "{lines:#?}");
}

#[tokio::test]
async fn a_call_without_an_endpoint_has_an_attempt_that_says_why() {
    let collector = Collector::start();
    let (resolver, handle) = FakeResolver::new("fake");
    handle.endpoints([]);
    let channel = LbChannel::builder("fake:///none").resolver(resolver).call_observer(Tracing::new()).build().unwrap();
    let status = unary(&channel, EchoRequest::default()).await.unwrap_err();
    let spans = collector.spans(2).await;
    let attempt = named(&spans, "Attempt.evenkeel.echo.v1.Echo.Unary");
    assert!(tree(&spans)[1].contains(&format!(" UNAVAILABLE, {}", status.message())), "{:?} {status:?}", tree(&spans));
    assert_eq!(attribute(attempt, "evenkeel.endpoint"), None);
}

#[tokio::test]
async fn a_call_that_is_dropped_is_cancelled() {
    let collector = Collector::start();
    let server = echo("s", TraceLayer::new()).await;
    let channel = ready(builder([&server.addr], Tracing::new())).await;
    server.control.hang();
    let mut client = EchoClient::new(channel.clone());
    tokio::select! {
        _ = client.unary(EchoRequest::default()) => panic!("nobody answers"),
        () = crate::support::until("it has come", || server.control.active() == 1) => {}
    }
    let lines = tree(&collector.spans(3).await);
    assert!(lines.iter().all(|line| line.contains(" CANCELLED, ")), "{lines:#?}");
}

#[tokio::test]
async fn only_the_first_call_waits_for_names_and_says_so() {
    let collector = Collector::start();
    let server = echo("s", TraceLayer::new()).await;
    let (resolver, handle) = FakeResolver::new("fake");
    let channel = LbChannel::builder("fake:///orders").resolver(resolver).call_observer(Tracing::new()).build().unwrap();
    let answers = async {
        soon("a call waits", async {
            while channel.stats().waiting == 0 {
                tokio::task::yield_now().await;
            }
        })
        .await;
        handle.endpoints([lb_core::Endpoint::new(server.addr)]);
    };
    let (first, ()) = tokio::join!(unary(&channel, EchoRequest::default()), answers);
    first.unwrap();
    unary(&channel, EchoRequest::default()).await.unwrap();
    let spans = collector.spans(6).await;
    let delays = |name: &str| -> Vec<Vec<String>> {
        let of_name = spans.iter().filter(|span| span.name.starts_with(name));
        of_name.map(|span| events(span).into_iter().filter(|event| event.starts_with("Delayed")).collect()).collect()
    };
    assert_eq!(delays("Sent"), [vec!["Delayed name resolution complete"], vec![]]);
    assert_eq!(delays("Attempt"), [vec!["Delayed LB pick complete"], vec![]]);
}

#[tokio::test]
async fn messages_are_numbered_per_direction_with_their_sizes() {
    let collector = Collector::start();
    let server = echo("s", TraceLayer::new()).await;
    let channel = ready(builder([&server.addr], Tracing::new())).await;
    let requests = tokio_stream::iter([payload(10), payload(0), payload(300)]);
    let replies = soon("an answer", EchoClient::new(channel.clone()).bidi(requests)).await.unwrap();
    let mut replies = replies.into_inner();
    while soon("a reply", replies.message()).await.unwrap().is_some() {}
    let spans = collector.spans(3).await;
    let (sent, received) = (["12", "0", "303"], ["19", "7", "310"]);
    for (name, out, back) in [("Attempt", sent, received), ("Recv", received, sent)] {
        let span = named(&spans, &format!("{name}.evenkeel.echo.v1.Echo.Bidi"));
        let of = |way: &str| events(span).into_iter().filter(|event| event.starts_with(way)).collect::<Vec<_>>();
        let expected = |way: &str, sizes: [&str; 3]| -> Vec<String> {
            sizes.iter().enumerate().map(|(n, size)| format!("{way} message sequence-number={n} message-size={size}")).collect()
        };
        assert_eq!(of("Outbound"), expected("Outbound", out), "{name}");
        assert_eq!(of("Inbound"), expected("Inbound", back), "{name}");
    }
}

#[tokio::test]
async fn of_a_compressed_message_the_compressed_size_is_told() {
    let collector = Collector::start();
    let server = echo("s", TraceLayer::new()).await;
    let mut channel = ready(builder([&server.addr], Tracing::new())).await;
    // No codec is needed to send one, and what the server thinks of it does not matter.
    let message = Bytes::from_static(&[1, 0, 0, 0, 4, 9, 9, 9, 9]);
    let request = http::Request::post("/evenkeel.echo.v1.Echo/Unary").header("content-type", "application/grpc");
    let response = soon("an answer", channel.call(request.body(Body::new(Full::new(message))).unwrap())).await.unwrap();
    drop(response);
    let spans = collector.spans(3).await;
    let attempt = named(&spans, "Attempt.evenkeel.echo.v1.Echo.Unary");
    assert_eq!(events(attempt)[0], "Outbound message sequence-number=0 message-size-compressed=4");
    let recv = named(&spans, "Recv.evenkeel.echo.v1.Echo.Unary");
    assert_eq!(events(recv)[0], "Inbound message sequence-number=0 message-size-compressed=4");
}

#[tokio::test]
async fn hostile_contexts_begin_a_trace_of_the_servers_own() {
    let collector = Collector::start();
    let server = echo("s", TraceLayer::new()).await;
    // A client that passes on whatever it is given.
    let channel = ready(builder([&server.addr], Tracing::new().without_spans())).await;
    let hostile = [
        "",
        "00-x",
        "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        &"0".repeat(8_000),
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
    ];
    for value in hostile {
        let mut request = Request::new(EchoRequest::default());
        request.metadata_mut().insert("traceparent", value.parse().unwrap());
        request.metadata_mut().insert("tracestate", "=,=,=".parse().unwrap());
        EchoClient::new(channel.clone()).unary(request).await.unwrap();
    }
    let spans = collector.spans(hostile.len()).await;
    assert!(tree(&spans).iter().all(|line| line == "Recv.evenkeel.echo.v1.Echo.Unary ok"));
    assert!(spans.iter().all(|span| span.span_context.trace_state().header().is_empty()));
}
