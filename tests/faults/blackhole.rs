//! A connection that goes silent without being closed.

use std::time::{Duration, Instant};

use evenkeel::transport::TransportConfig;
use evenkeel::{CallError, ConnectivityState, LbChannel, PickOptions, WaitingFor};
use lb_testkit::pb::EchoRequest;
use lb_testkit::pb::echo_client::EchoClient;
use lb_testkit::{EchoServer, Fault, FaultProxy};
use tonic::{Code, Request, Status};

use crate::support::{Load, call_error, in_flight, quick_backoff, ready, request, soon, target, until, until_state};

/// For whatever else the machine does.
const SLACK: Duration = Duration::from_secs(3);

/// A server behind a proxy, beside one that is not.
async fn pair() -> (EchoServer, FaultProxy, EchoServer) {
    let hidden = EchoServer::start("hidden").await.unwrap();
    let proxy = FaultProxy::start(hidden.addr()).await.unwrap();
    (hidden, proxy, EchoServer::start("plain").await.unwrap())
}

/// A request that goes to this endpoint only, and has a deadline.
fn pinned(proxy: &FaultProxy, deadline: Duration, delay_ms: u32) -> Request<EchoRequest> {
    let mut request = Request::new(EchoRequest { delay_ms, count: 1000, ..request("x") });
    request.set_timeout(deadline);
    request.extensions_mut().insert(PickOptions::new().pin(&*proxy.addr().to_string()));
    request
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keepalive_finds_it_and_takes_it_out_of_rotation() {
    let (_hidden, proxy, plain) = pair().await;
    let (time, timeout) = (Duration::from_millis(300), Duration::from_millis(400));
    let transport = TransportConfig::new().keepalive_time_unchecked(time).keepalive_timeout(timeout).keepalive_without_calls(true);
    let channel =
        LbChannel::builder(target([proxy.addr(), plain.addr()])).transport(transport).backoff(quick_backoff()).build().unwrap();
    ready(&channel, 2).await;

    // A call that is in flight when it happens, with a deadline far away.
    let mut client = EchoClient::new(channel.clone());
    let asked = pinned(&proxy, Duration::from_secs(30), 20_000);
    let stuck = tokio::spawn(async move { client.unary(asked).await });
    until("the call is in flight", || in_flight(&channel) == 1).await;
    proxy.set(Fault::BlackHole);
    let begun = Instant::now();
    soon("the endpoint leaves READY", async {
        while channel.endpoints()[0].state == ConnectivityState::Ready {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
    let took = begun.elapsed();
    assert!(took < time + timeout + SLACK, "found after {took:?}");
    // What was in flight fails with it, not at its deadline.
    let status = soon("the call in flight fails", stuck).await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(matches!(call_error(&status), Some(CallError::Lost { endpoint, .. }) if endpoint.as_str() == proxy.addr().to_string()));
    assert!(status.message().contains("keepalive"), "{status}");

    // Out of rotation: everything goes to the other, although reconnecting goes on hanging.
    let load = Load::start(&channel, 4, &EchoRequest::default());
    load.goes_on(500).await;
    let tally = load.stop().await;
    tally.all_succeeded();
    assert_eq!(tally.by_server.keys().collect::<Vec<_>>(), ["plain"]);

    proxy.set(Fault::Pass);
    until_state(&channel, proxy.addr(), ConnectivityState::Ready).await;
}

/// The call ended at its deadline: not before, and not much later.
fn at_deadline(status: &Status, began: Instant, deadline: Duration) {
    let took = began.elapsed();
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
    assert!(took >= deadline, "ended {took:?} after its start, before its deadline of {deadline:?}");
    assert!(took < deadline + SLACK, "ended {took:?} after its start, long after its deadline of {deadline:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_keepalive_calls_end_at_their_deadline() {
    let (_hidden, proxy, plain) = pair().await;
    let channel = LbChannel::builder(target([proxy.addr(), plain.addr()]))
        .transport(TransportConfig::new().keepalive_time(None))
        .build()
        .unwrap();
    ready(&channel, 2).await;
    let mut client = EchoClient::new(channel.clone());
    let deadline = Duration::from_millis(700);

    // In the middle of a response.
    let began = Instant::now();
    let mut stream = client.server_stream(pinned(&proxy, deadline, 5)).await.unwrap().into_inner();
    soon("the first message", stream.message()).await.unwrap().unwrap();
    proxy.set(Fault::BlackHole);
    let status = loop {
        match soon("the stream ends", stream.message()).await {
            Ok(message) => assert!(message.is_some(), "the stream ended well"),
            Err(status) => break status,
        }
    };
    at_deadline(&status, began, deadline);
    assert!(matches!(call_error(&status), Some(CallError::DeadlineExceeded { waiting_for: WaitingFor::Body(_) })), "{status:?}");

    // Before it, several at once, and with nobody else to wake the connection up.
    let began = Instant::now();
    let calls = (0..8).map(|_| {
        let (mut client, request) = (client.clone(), pinned(&proxy, deadline, 0));
        tokio::spawn(async move { client.unary(request).await })
    });
    for call in calls.collect::<Vec<_>>() {
        let status = soon("the call ends", call).await.unwrap().unwrap_err();
        at_deadline(&status, began, deadline);
        let waiting = call_error(&status);
        assert!(
            matches!(waiting, Some(CallError::DeadlineExceeded { waiting_for: WaitingFor::Response(key) })
                if key.as_str() == proxy.addr().to_string()),
            "{status:?}"
        );
    }
    assert_eq!(in_flight(&channel), 0);
}
