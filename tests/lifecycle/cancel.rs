//! A call that is dropped at any point leaves nothing in flight and nothing queued.
//!
//! "Any point" is every poll: the call is polled k times and dropped, for k = 1, 2, … until it ends by itself. Whether anything
//! is queued shows in that the channel can go IDLE, which neither a call in flight nor one that waits allows.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use evenkeel::retry::{HedgingPolicy, RetryPolicy};
use evenkeel::{ConnectivityState, LbChannel, PickOptions};
use lb_testkit::pb::EchoRequest;
use lb_testkit::pb::echo_client::EchoClient;
use lb_testkit::{EchoServer, HangingPort, Latency};
use tonic::{Request, Status};

use crate::support::{in_flight, request, soon, target, until};

/// A call that takes more polls than this is polled without need.
const MOST_POLLS: usize = 200;

/// Polls so many times and drops; whether the future ended by itself.
async fn poll_times(times: usize, future: impl Future) -> bool {
    let mut future = pin!(future);
    let mut left = times;
    let ended = poll_fn(|cx| {
        left -= 1;
        match future.as_mut().poll(cx) {
            Poll::Ready(_) => Poll::Ready(true),
            Poll::Pending if left == 0 => Poll::Ready(false),
            Poll::Pending => Poll::Pending,
        }
    });
    soon("so many polls", ended).await
}

/// Does this with 1, 2, … polls until it ends by itself; `after` looks after each.
async fn at_every_poll<F: Future>(make: impl Fn() -> F, after: impl AsyncFn()) {
    for times in 1.. {
        assert!(times < MOST_POLLS, "polled {times} times and not done");
        let ended = poll_times(times, make()).await;
        after().await;
        if ended {
            assert!(times > 1, "nothing was cut off");
            return;
        }
    }
}

async fn unary(channel: LbChannel) -> Result<(), Status> {
    EchoClient::new(channel).unary(EchoRequest { payload: vec![7; 100_000].into(), ..EchoRequest::default() }).await.map(drop)
}

async fn bidi(channel: LbChannel) -> Result<(), Status> {
    let messages = tokio_stream::iter((0..5).map(|_| request("ping")));
    let mut replies = EchoClient::new(channel).bidi(messages).await?.into_inner();
    while replies.message().await?.is_some() {}
    Ok(())
}

async fn server_stream(channel: LbChannel) -> Result<(), Status> {
    let asked = EchoRequest { count: 5, delay_ms: 1, ..request("x") };
    let mut replies = EchoClient::new(channel).server_stream(asked).await?.into_inner();
    while replies.message().await?.is_some() {}
    Ok(())
}

async fn client_stream(channel: LbChannel) -> Result<(), Status> {
    let messages = tokio_stream::iter((0..5).map(|_| request("ping")));
    EchoClient::new(channel).client_stream(messages).await.map(drop)
}

const IDLE: Duration = Duration::from_millis(150);

async fn nothing_is_left(channel: &LbChannel, server: &EchoServer) {
    until("nothing is in flight", || in_flight(channel) as usize + server.active() == 0).await;
    until("nothing is queued, so that the channel can go IDLE", || channel.state() == ConnectivityState::Idle).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_channel_that_is_ready() {
    let server = EchoServer::builder().latency(Latency::Fixed(Duration::from_millis(1))).start().await.unwrap();
    let channel = LbChannel::builder(server.target()).idle_timeout(IDLE).build().unwrap();
    unary(channel.clone()).await.unwrap();
    let quiet = async || until("nothing is in flight", || in_flight(&channel) == 0).await;
    at_every_poll(|| unary(channel.clone()), quiet).await;
    at_every_poll(|| server_stream(channel.clone()), quiet).await;
    at_every_poll(|| client_stream(channel.clone()), quiet).await;
    at_every_poll(|| bidi(channel.clone()), quiet).await;
    unary(channel.clone()).await.unwrap();
    nothing_is_left(&channel, &server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn between_and_in_its_attempts() {
    let ms = Duration::from_millis;
    let retry = RetryPolicy::default().with_initial_backoff(ms(1)).unwrap().with_max_backoff(ms(2)).unwrap();
    let hedging = HedgingPolicy::try_new(3, Duration::ZERO).unwrap().with_non_fatal([tonic::Code::Unavailable]).unwrap();
    for hedged in [false, true] {
        let server = EchoServer::builder().latency(Latency::Fixed(ms(1))).start().await.unwrap();
        let builder = LbChannel::builder(server.target()).idle_timeout(IDLE);
        let builder = if hedged { builder.hedging(hedging.clone()) } else { builder.retry(retry.clone()) };
        let channel = builder.build().unwrap();
        unary(channel.clone()).await.unwrap();
        let quiet = async || until("nothing is in flight", || in_flight(&channel) == 0).await;
        let failing = |channel: &LbChannel| {
            server.fail_next(2, tonic::Code::Unavailable);
            channel.clone()
        };
        at_every_poll(|| unary(failing(&channel)), quiet).await;
        at_every_poll(|| client_stream(failing(&channel)), quiet).await;
        at_every_poll(|| bidi(failing(&channel)), quiet).await;
        server.heal();
        unary(channel.clone()).await.unwrap();
        nothing_is_left(&channel, &server).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_channel_that_has_just_been_built() {
    let server = EchoServer::start("s").await.unwrap();
    at_every_poll(
        || unary(LbChannel::builder(server.target()).build().unwrap()),
        async || until("the channel has gone with its only call", || server.connections() == 0).await,
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn before_it_was_polled_at_all() {
    let server = EchoServer::start("s").await.unwrap();
    let channel = LbChannel::builder(server.target()).idle_timeout(IDLE).build().unwrap();
    unary(channel.clone()).await.unwrap();
    let mut service = channel.clone();
    for _ in 0..10 {
        let body = tonic::body::Body::empty();
        let call = tower::Service::call(&mut service, http::Request::post("/evenkeel.echo.v1.Echo/Unary").body(body).unwrap());
        // Picked, and counted from there on.
        assert_eq!(in_flight(&channel), 1);
        drop(call);
        assert_eq!(in_flight(&channel), 0);
    }
    assert_eq!(server.calls(), 1);
    nothing_is_left(&channel, &server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_it_waits_for_an_endpoint() {
    let hanging = HangingPort::new().unwrap();
    let channel = LbChannel::builder(target([hanging.addr()])).idle_timeout(IDLE).build().unwrap();
    for times in 1..4 {
        let mut asked = Request::new(request("x"));
        asked.extensions_mut().insert(PickOptions::new().wait_for_ready(true));
        let mut client = EchoClient::new(channel.clone());
        // The wait has no news to be polled for; its time is what ends it.
        let waiting = poll_times(times, async { tokio::time::timeout(Duration::from_millis(30), client.unary(asked)).await });
        waiting.await;
    }
    until("nothing is queued, so that the channel can go IDLE", || channel.state() == ConnectivityState::Idle).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_at_random_moments() {
    let server = EchoServer::builder().latency(Latency::Exponential(Duration::from_millis(2))).start().await.unwrap();
    let channel = LbChannel::builder(server.target()).idle_timeout(IDLE).build().unwrap();
    unary(channel.clone()).await.unwrap();
    let mut dice = crate::support::Dice(13);
    for _ in 0..40 {
        let calls: Vec<_> = (0..16)
            .map(|kind| {
                let channel = channel.clone();
                match kind % 4 {
                    0 => tokio::spawn(unary(channel)),
                    1 => tokio::spawn(bidi(channel)),
                    2 => tokio::spawn(server_stream(channel)),
                    _ => tokio::spawn(client_stream(channel)),
                }
            })
            .collect();
        tokio::time::sleep(Duration::from_micros(dice.below(8_000) as u64)).await;
        calls.iter().for_each(tokio::task::JoinHandle::abort);
    }
    nothing_is_left(&channel, &server).await;
    assert_eq!(server.accepted(), 1, "cancelling calls costs no connection");
    unary(channel).await.unwrap();
}
