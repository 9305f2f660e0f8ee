//! Deadlines: who sets them, what the server is told of them, and when they end a call.

use std::time::{Duration, Instant};

use evenkeel::transport::TransportConfig;
use evenkeel::{CallError, LbChannel, PickOptions, WaitingFor};
use lb_testkit::pb::EchoRequest;
use lb_testkit::pb::echo_client::EchoClient;
use lb_testkit::{EchoServer, FakeResolver, ReservedPort};
use tonic::{Code, Request, Status};

use crate::support::{call_error, in_flight, quick_backoff, ready, request, soon, target, until};

/// For whatever else the machine does.
const SLACK: Duration = Duration::from_secs(3);

async fn recording() -> EchoServer {
    EchoServer::builder().name("s").record_requests().start().await.unwrap()
}

/// What the server was told of the deadline.
fn told(server: &EchoServer) -> Option<Duration> {
    let head = server.last_request().unwrap();
    let value = head.headers.get("grpc-timeout")?.to_str().unwrap();
    let (amount, unit) = value.split_at(value.len() - 1);
    assert!(amount.len() <= 8, "{value}");
    let nanos = match unit {
        "H" => 3_600_000_000_000,
        "M" => 60_000_000_000,
        "S" => 1_000_000_000,
        "m" => 1_000_000,
        "u" => 1_000,
        "n" => 1,
        _ => panic!("{value}"),
    };
    Some(Duration::from_nanos(amount.parse::<u64>().unwrap() * nanos))
}

fn with_timeout(timeout: impl Into<Option<Duration>>, delay_ms: u32) -> Request<EchoRequest> {
    let mut asked = Request::new(EchoRequest { delay_ms, ..request("x") });
    if let Some(timeout) = timeout.into() {
        asked.set_timeout(timeout);
    }
    asked
}

#[tokio::test]
async fn the_server_is_told_the_earlier_of_both() {
    let server = recording().await;
    let (five, nine) = (Duration::from_secs(50), Duration::from_secs(90));
    for (of_channel, of_call, expected) in [
        (None, None, None),
        (Some(five), None, Some(five)),
        (None, Some(nine), Some(nine)),
        (Some(five), Some(nine), Some(five)),
        (Some(nine), Some(five), Some(five)),
    ] {
        let mut builder = LbChannel::builder(target([server.addr()]));
        if let Some(timeout) = of_channel {
            builder = builder.timeout(timeout);
        }
        let mut client = EchoClient::new(builder.build().unwrap());
        client.unary(with_timeout(of_call, 0)).await.unwrap();
        match (told(&server), expected) {
            (Some(told), Some(expected)) => assert!(told <= expected && told + Duration::from_secs(20) > expected, "{told:?}"),
            (told, expected) => assert_eq!(told, expected),
        }
    }
}

#[tokio::test]
async fn time_spent_waiting_is_taken_off() {
    let server = recording().await;
    let (resolver, handle) = FakeResolver::new("fake");
    let channel = LbChannel::builder("fake:///orders").resolver(resolver).build().unwrap();
    let waited = Duration::from_millis(400);
    for of_channel in [false, true] {
        let (mut client, timeout) = (EchoClient::new(channel.clone()), Duration::from_secs(60));
        let waiting = tokio::spawn(async move { client.unary(with_timeout(timeout, 0)).await });
        if !of_channel {
            tokio::time::sleep(waited).await;
            handle.endpoints([server.endpoint()]);
        }
        soon("the call", waiting).await.unwrap().unwrap();
        let told = told(&server).unwrap();
        // The second call finds the endpoint at once and is told all but all of it.
        let most = if of_channel { timeout } else { timeout - waited };
        assert!(told <= most && told > Duration::from_secs(30), "{told:?}");
    }
}

/// The call ended at its deadline: not before, and not much later.
fn at_deadline(status: &Status, began: Instant, deadline: Duration) -> WaitingFor {
    let took = began.elapsed();
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
    assert!(took >= deadline, "ended {took:?} after its start, before its deadline of {deadline:?}");
    assert!(took < deadline + SLACK, "ended {took:?} after its start, long after its deadline of {deadline:?}");
    match call_error(status) {
        Some(CallError::DeadlineExceeded { waiting_for }) => waiting_for.clone(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_slow_answer_ends_at_the_deadline_and_names_the_endpoint() {
    let server = recording().await;
    let deadline = Duration::from_millis(150);
    for of_channel in [true, false] {
        let mut builder = LbChannel::builder(target([server.addr()]));
        if of_channel {
            builder = builder.timeout(deadline);
        }
        let channel = builder.build().unwrap();
        ready(&channel, 1).await;
        let asked = with_timeout((!of_channel).then_some(deadline), 30_000);
        let began = Instant::now();
        let status = soon("the deadline", EchoClient::new(channel.clone()).unary(asked)).await.unwrap_err();
        let waiting_for = at_deadline(&status, began, deadline);
        assert!(matches!(waiting_for, WaitingFor::Response(key) if key.as_str() == server.addr().to_string()));
        assert_eq!((in_flight(&channel), channel.endpoints()[0].failed), (0, 1));
        // The server hears that nobody waits any more.
        until("the server has given up", || server.active() == 0).await;
    }
}

#[tokio::test]
async fn a_stream_ends_at_the_deadline_in_the_middle() {
    let server = recording().await;
    let channel = LbChannel::builder(target([server.addr()])).build().unwrap();
    ready(&channel, 1).await;
    let deadline = Duration::from_millis(300);
    let mut asked = Request::new(EchoRequest { delay_ms: 20, count: 100_000, ..request("x") });
    asked.set_timeout(deadline);
    let began = Instant::now();
    let mut stream = EchoClient::new(channel.clone()).server_stream(asked).await.unwrap().into_inner();
    let mut messages = 0;
    let status = loop {
        match soon("a message or the deadline", stream.message()).await {
            Ok(_) => messages += 1,
            Err(status) => break status,
        }
    };
    assert!(matches!(at_deadline(&status, began, deadline), WaitingFor::Body(_)));
    assert!(messages > 0);
    assert_eq!(in_flight(&channel), 0);
}

#[tokio::test]
async fn a_deadline_while_waiting_for_an_endpoint_says_the_last_failure() {
    let dead = ReservedPort::new().unwrap();
    let channel = LbChannel::builder(target([dead.addr()])).backoff(quick_backoff()).build().unwrap();
    let deadline = Duration::from_millis(300);
    let mut asked = with_timeout(deadline, 0);
    asked.extensions_mut().insert(PickOptions::new().wait_for_ready(true));
    let began = Instant::now();
    let status = soon("the deadline", EchoClient::new(channel).unary(asked)).await.unwrap_err();
    let WaitingFor::Endpoint(Some(last)) = at_deadline(&status, began, deadline) else { panic!("{status:?}") };
    for part in [dead.addr().to_string().as_str(), "refused"] {
        assert!(last.contains(part) && status.message().contains(part), "{status}");
    }
}

#[tokio::test]
async fn a_deadline_before_the_resolver_has_answered_says_so() {
    let (resolver, _handle) = FakeResolver::new("fake");
    let channel = LbChannel::builder("fake:///orders").resolver(resolver).build().unwrap();
    let deadline = Duration::from_millis(100);
    let began = Instant::now();
    let status = soon("the deadline", EchoClient::new(channel).unary(with_timeout(deadline, 0))).await.unwrap_err();
    assert!(matches!(at_deadline(&status, began, deadline), WaitingFor::Endpoint(None)), "{status:?}");
    assert!(status.message().contains("waiting for an endpoint"), "{status}");
}

#[tokio::test]
async fn times_beyond_all_reason_are_no_deadline() {
    let server = recording().await;
    let builder = LbChannel::builder(server.target()).timeout(Duration::MAX).idle_timeout(Duration::MAX);
    let channel = builder.connect(Duration::MAX).await.unwrap();
    let mut client = EchoClient::new(channel.clone());
    client.unary(with_timeout(None, 0)).await.unwrap();
    let mut asked = with_timeout(None, 0);
    asked.metadata_mut().insert("grpc-timeout", "99999999H".parse().unwrap());
    client.unary(asked).await.unwrap();
    // What is no timeout is ignored, or refused by the server.
    for text in ["", "S", "1", "-1S", "123456789S", "1x"] {
        let mut asked = with_timeout(None, 0);
        asked.metadata_mut().insert("grpc-timeout", text.parse().unwrap());
        let _ = soon("a call whose timeout cannot be read", client.unary(asked)).await;
    }
    assert_eq!(in_flight(&channel), 0);
    for config in [TransportConfig::new().keepalive_timeout(Duration::MAX), TransportConfig::new().tcp_keepalive(Duration::MAX)] {
        // Refused, or cut to what the system takes.
        if let Ok(channel) = LbChannel::builder(server.target()).transport(config).build() {
            EchoClient::new(channel).unary(with_timeout(None, 0)).await.unwrap();
        }
    }
    let longest = TransportConfig::new().connect_timeout(Duration::MAX).keepalive_time(Duration::MAX);
    let channel = LbChannel::builder(server.target()).transport(longest).build().unwrap();
    EchoClient::new(channel).unary(with_timeout(None, 0)).await.unwrap();
}

#[tokio::test]
async fn a_deadline_that_has_passed_already_sends_nothing() {
    let server = recording().await;
    let channel = LbChannel::builder(target([server.addr()])).build().unwrap();
    ready(&channel, 1).await;
    for _ in 0..20 {
        let status = EchoClient::new(channel.clone()).unary(with_timeout(Duration::ZERO, 0)).await.unwrap_err();
        assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
    }
    assert_eq!(in_flight(&channel), 0);
}
