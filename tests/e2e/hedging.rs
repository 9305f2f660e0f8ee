//! Calls with several attempts at once.

use std::time::{Duration, Instant};

use evenkeel::retry::{HedgingPolicy, Surfaced, Throttling};
use evenkeel::{CallError, LbChannel, LbChannelBuilder, WaitingFor};
use lb_testkit::RawServer;
use lb_testkit::pb::EchoRequest;
use lb_testkit::pb::echo_client::EchoClient;
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Code, Request, Status};

use crate::scripted::{Act, Scripted, pushing_back, unavailable};
use crate::support::{call, call_error, in_flight, picked, ready, request, soon, target, until};

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn policy(attempts: u32, delay: u64) -> HedgingPolicy {
    HedgingPolicy::try_new(attempts, ms(delay)).unwrap().with_non_fatal([Code::Unavailable]).unwrap()
}

fn builder(servers: &[&Scripted], policy: HedgingPolicy) -> LbChannelBuilder {
    LbChannel::builder(target(servers.iter().map(|server| server.addr()))).hedging(policy)
}

async fn channel(servers: &[&Scripted], policy: HedgingPolicy) -> LbChannel {
    let channel = builder(servers, policy).build().unwrap();
    ready(&channel, servers.len()).await;
    channel
}

/// All servers have heard that nobody waits any more.
async fn quiet(channel: &LbChannel, servers: &[&Scripted]) {
    until("every server has heard of it", || servers.iter().all(|server| server.active() == 0)).await;
    assert_eq!(in_flight(channel), 0);
}

#[tokio::test]
async fn the_first_answer_counts_and_the_others_are_cancelled() {
    let (stuck, slow, quick) =
        (Scripted::start(|_| Act::Hang).await, Scripted::start(|_| Act::Hang).await, Scripted::doing([]).await);
    let servers = [&stuck, &slow, &quick];
    let channel = channel(&servers, policy(3, 0)).await;
    for _ in 0..6 {
        let reply = call(&channel).await.unwrap();
        assert_eq!(picked(&reply).0, quick.addr().to_string());
    }
    quiet(&channel, &servers).await;
    assert_eq!(quick.calls(), 6, "each attempt of a call goes elsewhere");
    let mut numbers: Vec<_> =
        servers.iter().flat_map(|server| server.seen()).map(|seen| seen.header("grpc-previous-rpc-attempts")).collect();
    numbers.sort();
    numbers.dedup();
    assert!(numbers.iter().all(|number| matches!(number.as_deref(), None | Some("1" | "2"))), "{numbers:?}");
}

#[tokio::test]
async fn hedges_are_sent_one_each_delay_until_there_are_enough() {
    let server = Scripted::start(|_| Act::Hang).await;
    let channel = channel(&[&server], policy(3, 100)).await;
    let mut asked = Request::new(request("x"));
    asked.set_timeout(ms(800));
    let status = soon("the deadline", EchoClient::new(channel.clone()).unary(asked)).await.unwrap_err();
    assert_eq!((status.code(), server.calls()), (Code::DeadlineExceeded, 3));
    assert!(
        matches!(call_error(&status), Some(CallError::DeadlineExceeded { waiting_for: WaitingFor::Response(_) })),
        "{status:?}"
    );
    let times: Vec<Instant> = server.seen().iter().map(|seen| seen.at).collect();
    // What was sent later may have come sooner after what was sent before by as much as that took.
    assert!(times[2] - times[0] >= ms(150), "{times:?}");
    let told: Vec<u64> =
        server.seen().iter().map(|seen| seen.header("grpc-timeout").unwrap().trim_end_matches('u').parse().unwrap()).collect();
    assert!(told[0] <= 800_000 && told[1] + 100_000 <= told[0] + 5_000 && told[2] < told[1], "what is left: {told:?}");
    quiet(&channel, &[&server]).await;
}

#[tokio::test]
async fn a_call_that_is_answered_in_time_is_sent_once() {
    let server = Scripted::doing([]).await;
    let channel = channel(&[&server], policy(3, 30_000)).await;
    for _ in 0..5 {
        call(&channel).await.unwrap();
    }
    assert_eq!(server.calls(), 5);
}

#[tokio::test]
async fn a_fatal_failure_ends_the_call_and_cancels_the_others() {
    let (stuck, broken) =
        (Scripted::start(|_| Act::Hang).await, Scripted::start(|_| Act::FailAfter(ms(50), Status::internal("broken"))).await);
    let channel = channel(&[&stuck, &broken], policy(2, 0)).await;
    for _ in 0..3 {
        let status = call(&channel).await.unwrap_err();
        assert_eq!((status.code(), status.message()), (Code::Internal, "broken"));
        let Some(CallError::RetriesExhausted { attempts, why }) = call_error(&status) else { panic!("{status:?}") };
        let ends: Vec<_> = attempts.iter().map(|attempt| (attempt.endpoint.as_ref().unwrap().to_string(), attempt.code)).collect();
        let expected = [(stuck.addr().to_string(), Code::Cancelled), (broken.addr().to_string(), Code::Internal)];
        assert_eq!(
            (ends.as_slice(), *why),
            (expected.as_slice(), Surfaced::OtherCode),
            "where each ended, and why no other followed"
        );
    }
    quiet(&channel, &[&stuck, &broken]).await;
}

#[tokio::test]
async fn a_non_fatal_failure_brings_the_next_at_once_and_the_last_one_is_the_callers() {
    let server = Scripted::doing([unavailable(), unavailable()]).await;
    let channel = channel(&[&server], policy(3, 30_000)).await;
    call(&channel).await.unwrap();
    assert_eq!(server.calls(), 3);

    let server = Scripted::start(|call| Act::Fail(Status::unavailable(format!("failure {call}")))).await;
    let channel = self::channel(&[&server], policy(3, 30_000)).await;
    let status = call(&channel).await.unwrap_err();
    assert_eq!((status.code(), status.message(), server.calls()), (Code::Unavailable, "failure 2", 3));
    assert!(
        matches!(call_error(&status), Some(CallError::RetriesExhausted { attempts, why: Surfaced::LastAttempt }) if attempts.len() == 3),
        "{status:?}"
    );
    let endpoint = &channel.endpoints()[0];
    assert_eq!((endpoint.failed, endpoint.in_flight), (3, 0));
}

#[tokio::test]
async fn a_server_can_forbid_further_hedges_or_put_them_off() {
    let server = Scripted::start(|_| Act::Fail(pushing_back(Code::Unavailable, &["-1"]))).await;
    let status = call(&channel(&[&server], policy(3, 30_000)).await).await.unwrap_err();
    assert_eq!((status.code(), server.calls()), (Code::Unavailable, 1));
    assert!(matches!(call_error(&status), Some(CallError::RetriesExhausted { why: Surfaced::Forbidden, .. })), "{status:?}");

    let server = Scripted::doing([Act::Fail(pushing_back(Code::Unavailable, &["300"]))]).await;
    let began = Instant::now();
    call(&channel(&[&server], policy(3, 30_000)).await).await.unwrap();
    assert!(began.elapsed() >= ms(300) && server.calls() == 2);
}

#[tokio::test]
async fn the_throttle_stops_hedges_and_not_calls() {
    let server = Scripted::start(|_| Act::Fail(Status::unavailable("overloaded"))).await;
    let throttling = Throttling::try_new(10.0, 0.1).unwrap();
    let channel = builder(&[&server], policy(5, 0)).retry_throttling(throttling).build().unwrap();
    ready(&channel, 1).await;
    for _ in 0..3 {
        call(&channel).await.unwrap_err();
    }
    let calls = server.calls();
    for _ in 0..10 {
        call(&channel).await.unwrap_err();
    }
    assert_eq!(server.calls(), calls + 10, "once each");
}

#[tokio::test]
async fn a_stream_is_sent_to_several_at_once_and_goes_on_with_the_first_to_answer() {
    let (stuck, good) = (Scripted::start(|_| Act::Hang).await, Scripted::doing([]).await);
    let channel = channel(&[&stuck, &good], policy(2, 0)).await;
    for _ in 0..2 {
        let begun = (stuck.calls(), good.calls());
        let (messages, sent) = mpsc::unbounded_channel();
        let mut client = EchoClient::new(channel.clone());
        let call = tokio::spawn(async move { client.client_stream(UnboundedReceiverStream::new(sent)).await });
        messages.send(request("one")).unwrap();
        until("both have the call", || (stuck.calls(), good.calls()) == (begun.0 + 1, begun.1 + 1)).await;
        for payload in ["two", "three"] {
            messages.send(request(payload)).unwrap();
        }
        drop(messages);
        let reply = soon("the reply", call).await.unwrap().unwrap().into_inner();
        assert_eq!((reply.received, &*reply.payload), (3, &b"three"[..]));

        // Both ways: the answer commits the call, and the request goes on.
        let (messages, sent) = mpsc::unbounded_channel();
        let mut replies = EchoClient::new(channel.clone()).bidi(UnboundedReceiverStream::new(sent)).await.unwrap().into_inner();
        for payload in ["one", "two", "three"] {
            messages.send(request(payload)).unwrap();
            assert_eq!(&*soon("a reply", replies.message()).await.unwrap().unwrap().payload, payload.as_bytes());
        }
        drop(messages);
        assert!(soon("the end", replies.message()).await.unwrap().is_none());
    }
    quiet(&channel, &[&stuck, &good]).await;
}

/// Headers are an answer: the others are cancelled while the messages are still to come.
#[tokio::test]
async fn headers_alone_decide_for_an_attempt() {
    let stuck = Scripted::start(|_| Act::Hang).await;
    let (answer, answering) = tokio::sync::watch::channel(false);
    let slow = RawServer::start(move |mut conn| {
        let mut answering = answering.clone();
        async move {
            conn.handshake(&[]).await?;
            let call = conn.next_call().await?;
            conn.begin(call).await?;
            let _ = answering.wait_for(|now| *now).await;
            conn.message(call, b"").await?;
            conn.trailers(call, 0).await?;
            conn.drain().await
        }
    })
    .await
    .unwrap();
    let builder = LbChannel::builder(target([stuck.addr(), slow.addr()])).hedging(policy(2, 0));
    let channel = builder.build().unwrap();
    ready(&channel, 2).await;
    let mut replies = soon("the headers", EchoClient::new(channel.clone()).server_stream(request("x"))).await.unwrap().into_inner();
    until("the other is cancelled", || stuck.calls() == 1 && stuck.active() == 0).await;
    assert_eq!(in_flight(&channel), 1, "the one that has begun to answer");
    answer.send(true).unwrap();
    assert!(soon("the message", replies.message()).await.unwrap().is_some());
    assert!(soon("the end", replies.message()).await.unwrap().is_none());
    quiet(&channel, &[&stuck]).await;
}

#[tokio::test]
async fn a_request_too_large_to_be_kept_stays_with_one_attempt() {
    let servers = [Scripted::doing([]).await, Scripted::doing([]).await];
    let channel = builder(&[&servers[0], &servers[1]], policy(2, 0)).retry_buffer(64 * 1024, 1 << 30).build().unwrap();
    ready(&channel, 2).await;
    for _ in 0..3 {
        let messages = (0..20).map(|_| EchoRequest { payload: vec![7; 16 * 1024].into(), ..EchoRequest::default() });
        let mut client = EchoClient::new(channel.clone());
        let reply = soon("the call", Box::pin(client.client_stream(tokio_stream::iter(messages)))).await.unwrap();
        assert_eq!(reply.get_ref().received, 20);
    }
    quiet(&channel, &[&servers[0], &servers[1]]).await;
}

#[tokio::test]
async fn a_hedge_that_nobody_has_worked_on_is_replaced() {
    let refusing = RawServer::start(|mut conn| async move {
        conn.handshake(&[]).await?;
        loop {
            let call = conn.next_call().await?;
            conn.reset(call, 7).await?;
        }
    })
    .await
    .unwrap();
    let good = Scripted::doing([]).await;
    // Refused is not among the codes that are not fatal.
    let hedging = HedgingPolicy::try_new(2, ms(30_000)).unwrap();
    let channel = LbChannel::builder(target([refusing.addr(), good.addr()])).hedging(hedging).build().unwrap();
    ready(&channel, 2).await;
    for _ in 0..4 {
        call(&channel).await.unwrap();
    }
    assert!(good.seen().iter().all(|seen| seen.header("grpc-previous-rpc-attempts").is_none()));
    assert_eq!(in_flight(&channel), 0);
}

#[tokio::test]
async fn a_hedged_call_that_is_dropped_is_cancelled_everywhere() {
    let servers = [Scripted::start(|_| Act::Hang).await, Scripted::start(|_| Act::Hang).await];
    let channel = channel(&[&servers[0], &servers[1]], policy(2, 0)).await;
    let calling = tokio::spawn({
        let channel = channel.clone();
        async move { call(&channel).await }
    });
    until("both have the call", || servers.iter().all(|server| server.active() == 1)).await;
    calling.abort();
    quiet(&channel, &[&servers[0], &servers[1]]).await;
}
