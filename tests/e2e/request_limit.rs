//! A limit of attempts at once over all endpoints (gRFC A32).

use evenkeel::{CallError, LbChannel, Outcome, PickOptions, RequestLimit};
use lb_testkit::pb::echo_client::EchoClient;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};

use crate::queueing::{enqueue, queue, take};
use crate::support::{call, call_error, request, servers, soon, target_of, until};

/// Opens a stream and keeps it open until the sender is dropped.
async fn open(channel: &LbChannel) -> Result<tokio::sync::mpsc::Sender<lb_testkit::pb::EchoRequest>, Status> {
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    let response = soon("a stream", EchoClient::new(channel.clone()).bidi(ReceiverStream::new(receiver))).await?;
    let mut replies = response.into_inner();
    tokio::spawn(async move { while let Ok(Some(_)) = replies.message().await {} });
    Ok(sender)
}

#[tokio::test]
async fn fifty_streams_pass_the_next_fails_at_once_and_closing_one_admits_one() {
    let servers = servers(2).await;
    let limit = RequestLimit::new(50);
    let channel = LbChannel::builder(target_of(&servers)).max_requests(limit.clone()).wait_for_ready(true).build().unwrap();
    let mut streams = Vec::new();
    for _ in 0..50 {
        streams.push(open(&channel).await.unwrap());
    }
    let status = open(&channel).await.unwrap_err();
    assert_eq!((status.code(), limit.in_flight(), limit.dropped()), (Code::Unavailable, 50, 1), "even if it waits for ready");
    assert!(matches!(call_error(&status), Some(CallError::TooManyRequests { max: 50 })), "{status:?}");
    streams.pop();
    until("one has ended", || limit.in_flight() == 49).await;
    streams.push(open(&channel).await.unwrap());
    assert!(call(&channel).await.is_err());
    limit.set_max(10);
    assert_eq!(streams.len(), 50, "a lower limit ends nothing");
    streams.truncate(10);
    until("forty have ended", || limit.in_flight() == 10).await;
    assert!(call(&channel).await.is_err());
    streams.clear();
    until("all have ended", || limit.in_flight() == 0).await;
    for _ in 0..20 {
        let mut asked = request("x");
        asked.fail_with = 13;
        let status = soon("a failing call", EchoClient::new(channel.clone()).unary(asked)).await.unwrap_err();
        assert_eq!(status.code(), Code::Internal, "those that fail let go, too");
    }
    limit.set_max(0);
    let served: u64 = servers.iter().map(|server| server.calls()).sum();
    for _ in 0..3 {
        let status = call(&channel).await.unwrap_err();
        assert!(matches!(call_error(&status), Some(CallError::TooManyRequests { max: 0 })), "0 blocks all: {status:?}");
    }
    assert_eq!(servers.iter().map(|server| server.calls()).sum::<u64>(), served);
}

#[tokio::test]
async fn two_channels_share_a_limit_and_wake_each_other() {
    let servers = servers(1).await;
    let limit = RequestLimit::new(2);
    let build = || LbChannel::builder(target_of(&servers)).max_requests(limit.clone());
    let (one, other) = (build().queue(queue(10)).build().unwrap(), build().build().unwrap());
    let held = [take(&other, PickOptions::new()).await, take(&one, PickOptions::new()).await];
    assert!(matches!(call_error(&call(&other).await.unwrap_err()), Some(CallError::TooManyRequests { max: 2 })));
    let waits = enqueue(&one, PickOptions::new()).await;
    let [first, _second] = held;
    first.report(Outcome::Success);
    soon("the other channel's place", waits).await.unwrap().unwrap();
    assert_eq!(limit.dropped(), 1);
    assert_eq!(RequestLimit::default().max(), 1024);
}

#[tokio::test]
async fn a_call_that_finds_no_endpoint_counts_nowhere() {
    let port = lb_testkit::ReservedPort::new().unwrap();
    let limit = RequestLimit::new(1);
    let target = crate::support::target([port.addr()]);
    let channel = LbChannel::builder(target).max_requests(limit.clone()).wait_for_ready(true).build().unwrap();
    let calls: Vec<_> = (0..3)
        .map(|_| {
            let mut client = EchoClient::new(channel.clone());
            tokio::spawn(async move { client.unary(request("x")).await })
        })
        .collect();
    // Each has looked for an endpoint, and looks again when the only one there is has failed.
    until("the calls wait", || channel.stats().waiting == 3).await;
    until("it has failed", || channel.state() == evenkeel::ConnectivityState::TransientFailure).await;
    assert_eq!((limit.in_flight(), limit.dropped()), (0, 0));
    calls.iter().for_each(JoinHandle::abort);
}
