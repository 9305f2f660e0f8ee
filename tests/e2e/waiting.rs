//! Which calls wait and which fail, by the state of the channel (wait-for-ready against fail-fast).

use std::time::{Duration, Instant};

use evenkeel::{CallError, LbChannel, PickOptions, ResolveError, ResolveErrorKind, WaitingFor};
use lb_testkit::pb::echo_client::EchoClient;
use lb_testkit::{EchoServer, FakeResolver, FakeResolverHandle, HangingPort, ReservedPort};
use tonic::{Code, Request, Status};

use crate::support::{call_error, quick_backoff, ready, request, soon, until};

/// Long enough to tell a call that waits from one that fails.
const DEADLINE: Duration = Duration::from_millis(250);

fn channel() -> (LbChannel, FakeResolverHandle) {
    let (resolver, handle) = FakeResolver::new("fake");
    (LbChannel::builder("fake:///orders").resolver(resolver).backoff(quick_backoff()).build().unwrap(), handle)
}

async fn ask(channel: &LbChannel, wait: bool) -> Result<(), Status> {
    let mut asked = Request::new(request("x"));
    asked.set_timeout(DEADLINE);
    asked.extensions_mut().insert(PickOptions::new().wait_for_ready(wait));
    soon("the call", EchoClient::new(channel.clone()).unary(asked)).await.map(drop)
}

async fn waits(channel: &LbChannel, wait: bool) {
    let status = ask(channel, wait).await.unwrap_err();
    let error = call_error(&status);
    assert!(matches!(error, Some(CallError::DeadlineExceeded { waiting_for: WaitingFor::Endpoint(_) })), "{status:?}");
}

async fn fails(channel: &LbChannel, says: &str) {
    let status = ask(channel, false).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    assert!(matches!(call_error(&status), Some(CallError::NoEndpoint { .. })), "{status:?}");
    assert!(status.message().contains(says), "{status}");
}

#[tokio::test]
async fn before_the_first_answer_both_wait() {
    let (channel, _handle) = channel();
    waits(&channel, false).await;
    waits(&channel, true).await;
}

#[tokio::test]
async fn while_connecting_both_wait() {
    let hanging = HangingPort::new().unwrap();
    let (channel, handle) = channel();
    handle.endpoints([evenkeel::Endpoint::new(hanging.addr())]);
    waits(&channel, false).await;
    waits(&channel, true).await;
}

#[tokio::test]
async fn in_transient_failure_only_wait_for_ready_waits() {
    let dead = ReservedPort::new().unwrap();
    let (channel, handle) = channel();
    handle.endpoints([evenkeel::Endpoint::new(dead.addr())]);
    until("the attempt has failed", || {
        channel.exit_idle();
        channel.endpoints().first().is_some_and(|endpoint| endpoint.error.is_some())
    })
    .await;
    fails(&channel, "refused").await;
    waits(&channel, true).await;
    // Sticky: through every later attempt too.
    for _ in 0..20 {
        fails(&channel, "refused").await;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn with_a_resolver_that_fails_only_wait_for_ready_waits() {
    let (channel, handle) = channel();
    handle.error(ResolveError::new(ResolveErrorKind::Refused, "wrong password"));
    fails(&channel, "wrong password").await;
    waits(&channel, true).await;
}

#[tokio::test]
async fn with_an_empty_set_only_wait_for_ready_waits() {
    let (channel, handle) = channel();
    handle.endpoints([]);
    fails(&channel, "no endpoints").await;
    waits(&channel, true).await;
}

#[tokio::test]
async fn with_everything_drained_only_wait_for_ready_waits() {
    let server = EchoServer::start("s").await.unwrap();
    let (channel, handle) = channel();
    handle.endpoints([server.endpoint()]);
    ready(&channel, 1).await;
    channel.drain(&*server.addr().to_string());
    until("it is drained", || channel.endpoints()[0].excluded.is_some()).await;
    fails(&channel, "1 drained").await;
    waits(&channel, true).await;
    channel.undrain(&*server.addr().to_string());
    until("it is back", || channel.endpoints()[0].excluded.is_none()).await;
    ask(&channel, false).await.unwrap();
}

#[tokio::test]
async fn waiting_calls_go_as_soon_as_they_can() {
    let dead = ReservedPort::new().unwrap();
    let (channel, handle) = channel();
    handle.endpoints([evenkeel::Endpoint::new(dead.addr())]);
    let waiting: Vec<_> = (0..50)
        .map(|_| {
            let mut asked = Request::new(request("x"));
            asked.extensions_mut().insert(PickOptions::new().wait_for_ready(true));
            let mut client = EchoClient::new(channel.clone());
            tokio::spawn(async move { client.unary(asked).await })
        })
        .collect();
    until("the attempt has failed", || channel.endpoints().first().is_some_and(|endpoint| endpoint.error.is_some())).await;
    let server = EchoServer::builder().name("late").bind(dead.addr()).start().await.unwrap();
    for call in waiting {
        assert_eq!(soon("a waiting call", call).await.unwrap().unwrap().into_inner().server, "late");
    }
    assert_eq!(server.calls(), 50);
}

/// On one thread, and without a pause: the channel must get to run all the same.
#[tokio::test]
async fn a_loop_of_failing_calls_leaves_the_channel_time_to_recover() {
    let dead = ReservedPort::new().unwrap();
    let channel = LbChannel::builder(crate::support::target([dead.addr()])).backoff(quick_backoff()).build().unwrap();
    fails(&channel, "refused").await;
    let _late = EchoServer::builder().bind(dead.addr()).start().await.unwrap();
    let (mut client, begun) = (EchoClient::new(channel), Instant::now());
    while client.unary(request("x")).await.is_err() {
        assert!(begun.elapsed() < Duration::from_secs(20), "the calls that fail keep the channel from connecting");
    }
}

/// First answer late, empty, then dead, another policy, IDLE in between: the call outlives it all.
#[tokio::test]
async fn a_waiting_call_outlives_everything_but_its_deadline() {
    let dead = ReservedPort::new().unwrap();
    let (channel, handle) = channel();
    let mut asked = Request::new(request("x"));
    asked.extensions_mut().insert(PickOptions::new().wait_for_ready(true));
    let mut client = EchoClient::new(channel.clone());
    let waiting = tokio::spawn(async move { client.unary(asked).await });
    until("the channel resolves", || handle.watching() == 1).await;
    handle.unavailable("not yet");
    until("the failure is known", || channel.state() == evenkeel::ConnectivityState::TransientFailure).await;
    handle.endpoints([]);
    soon("the resolver is asked again", handle.asked_again(1)).await;
    handle.endpoints([evenkeel::Endpoint::new(dead.addr())]);
    until("the attempt has failed", || channel.endpoints().first().is_some_and(|endpoint| endpoint.error.is_some())).await;
    channel.set_policy("pick_first", &serde_json::json!({})).unwrap();
    until("the policy took over", || channel.policy() == "pick_first").await;
    assert!(!waiting.is_finished());
    let server = EchoServer::start("s").await.unwrap();
    handle.endpoints([server.endpoint()]);
    soon("the waiting call", waiting).await.unwrap().unwrap();
}

#[tokio::test]
async fn the_call_overrides_the_channel() {
    let dead = ReservedPort::new().unwrap();
    let target = crate::support::target([dead.addr()]);
    let channel = LbChannel::builder(target).wait_for_ready(true).timeout(DEADLINE).build().unwrap();
    let status = EchoClient::new(channel.clone()).unary(request("x")).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    fails(&channel, "refused").await;
}
