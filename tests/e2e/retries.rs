//! Calls that fail are sent again, as the policy says, elsewhere first; and only those.

mod when;

use std::sync::Arc;
use std::time::{Duration, Instant};

use evenkeel::retry::{RetryPolicy, Surfaced, Throttling};
use evenkeel::{CallError, ConnectivityState, LbChannel, LbChannelBuilder, WaitingFor};
use lb_testkit::pb::EchoRequest;
use lb_testkit::pb::echo_client::EchoClient;
use lb_testkit::{EchoServer, FakeResolver, RawServer, ReservedPort};
use serde_json::json;
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Code, Request, Status};

use crate::scripted::{Act, Scripted, pushing_back, unavailable};
use crate::support::{call, call_error, in_flight, picked, quick_backoff, ready, request, soon, target, until};

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// So many attempts, a few milliseconds apart.
fn quick(attempts: u32) -> RetryPolicy {
    let policy = RetryPolicy::default().with_max_attempts(attempts).unwrap();
    policy.with_initial_backoff(ms(2)).unwrap().with_max_backoff(ms(10)).unwrap()
}

fn builder(servers: &[&Scripted], policy: RetryPolicy) -> LbChannelBuilder {
    LbChannel::builder(target(servers.iter().map(|server| server.addr()))).retry(policy)
}

async fn build(builder: LbChannelBuilder, count: usize) -> LbChannel {
    let channel = builder.build().unwrap();
    ready(&channel, count).await;
    channel
}

async fn channel(servers: &[&Scripted], policy: RetryPolicy) -> LbChannel {
    build(builder(servers, policy), servers.len()).await
}

/// What `grpc-previous-rpc-attempts` said.
fn previous(server: &Scripted) -> Vec<Option<String>> {
    server.seen().iter().map(|seen| seen.header("grpc-previous-rpc-attempts")).collect()
}

#[tokio::test]
async fn a_retryable_failure_is_followed_by_another_attempt_and_another_failure_is_not() {
    let server = Scripted::doing([unavailable()]).await;
    let channel = channel(&[&server], quick(4)).await;
    let reply = call(&channel).await.unwrap();
    assert_eq!((server.calls(), picked(&reply).1), (2, 2));
    let endpoint = &channel.endpoints()[0];
    assert_eq!((endpoint.succeeded, endpoint.failed, endpoint.in_flight), (1, 1, 0), "each attempt is counted once");

    let server = Scripted::doing([Act::Fail(Status::internal("broken"))]).await;
    let channel = self::channel(&[&server], quick(4)).await;
    let status = call(&channel).await.unwrap_err();
    assert_eq!((status.code(), server.calls()), (Code::Internal, 1));
    assert!(call_error(&status).is_none(), "the status is the server's own: {status:?}");
}

#[tokio::test]
async fn the_last_failure_is_the_callers_with_all_that_came_along_and_a_list_of_attempts() {
    let server = Scripted::start(|call| {
        let mut status = Status::with_details(Code::Unavailable, format!("failure {call}"), vec![7].into());
        status.metadata_mut().insert("x-call", call.to_string().parse().unwrap());
        Act::Fail(status)
    })
    .await;
    let channel = channel(&[&server], quick(4)).await;
    let status = call(&channel).await.unwrap_err();
    assert_eq!((status.code(), status.message(), status.details()), (Code::Unavailable, "failure 3", &[7][..]));
    assert_eq!(status.metadata().get("x-call").unwrap(), "3");
    let Some(CallError::RetriesExhausted { attempts, why }) = call_error(&status) else { panic!("{status:?}") };
    assert_eq!(*why, Surfaced::LastAttempt);
    assert_eq!(attempts.len(), 4);
    for (index, attempt) in attempts.iter().enumerate() {
        assert_eq!(attempt.endpoint.as_ref().unwrap().as_str(), server.addr().to_string());
        assert_eq!((attempt.code, &*attempt.message), (Code::Unavailable, &*format!("failure {index}")));
    }
    assert_eq!(previous(&server), [None, Some("1".into()), Some("2".into()), Some("3".into())]);
    let endpoint = &channel.endpoints()[0];
    assert_eq!((endpoint.succeeded, endpoint.failed, endpoint.in_flight), (0, 4, 0));
}

#[tokio::test]
async fn attempts_are_limited_by_policy_channel_and_switch() {
    let from_json = json!({
        "maxAttempts": 6, "initialBackoff": "0.002s", "maxBackoff": "0.01s", "backoffMultiplier": 2,
        "retryableStatusCodes": ["unavailable"],
    });
    let policy = RetryPolicy::from_json(&from_json).unwrap();
    type Change = fn(LbChannelBuilder) -> LbChannelBuilder;
    let changes: [(usize, Change); 4] = [
        (5, |builder| builder),
        (3, |builder| builder.max_attempts(3)),
        (1, |builder| builder.max_attempts(1)),
        (1, LbChannelBuilder::disable_retries),
    ];
    for (attempts, change) in changes {
        let server = Scripted::start(|_| unavailable()).await;
        let channel = build(change(builder(&[&server], policy.clone())), 1).await;
        assert_eq!(call(&channel).await.unwrap_err().code(), Code::Unavailable);
        assert_eq!(server.calls(), attempts);
    }
}

#[tokio::test]
async fn another_attempt_goes_to_another_endpoint() {
    let (bad, worse, good) =
        (Scripted::start(|_| unavailable()).await, Scripted::start(|_| unavailable()).await, Scripted::doing([]).await);
    for policy in ["round_robin", "least_request", "random", "peak_ewma"] {
        let channel = build(builder(&[&bad, &worse, &good], quick(3)).policy(policy), 3).await;
        for _ in 0..12 {
            let reply = call(&channel).await.unwrap_or_else(|status| panic!("{policy}: {status:?}"));
            assert_eq!(picked(&reply).0, good.addr().to_string());
        }
        assert_eq!(in_flight(&channel), 0);
    }
}

#[tokio::test]
async fn what_the_pick_gave_one_attempt_is_not_the_next_ones() {
    let server = async |name: &str| EchoServer::builder().name(name).record_requests().start().await.unwrap();
    let (blue, green) = (server("blue").await, server("green").await);
    let spec = format!("static:///{};hostname=blue.test,{};hostname=green.test", blue.addr(), green.addr());
    let channel = build(LbChannel::builder(spec).retry(quick(2)), 2).await;
    let mut again = 0;
    for failing in [&blue, &green] {
        failing.fail(Code::Unavailable);
        for _ in 0..4 {
            call(&channel).await.unwrap();
            for (server, name) in [(&blue, "blue.test"), (&green, "green.test")] {
                let Some(told) = server.last_request() else { continue };
                assert_eq!(told.uri.authority().map(|authority| authority.as_str()), Some(name), "each endpoint's own");
                let previous = told.headers.get_all("grpc-previous-rpc-attempts").iter().count();
                assert!(previous <= 1, "{:?}", told.headers);
                again += previous;
            }
        }
        failing.heal();
    }
    assert!(again >= 2, "second attempts were looked at");
}

async fn client_stream(channel: &LbChannel, messages: u32, size: usize) -> Result<u32, Status> {
    let messages = (0..messages).map(move |_| EchoRequest { payload: vec![7; size].into(), ..EchoRequest::default() });
    let mut client = EchoClient::new(channel.clone());
    Ok(soon("a client stream", Box::pin(client.client_stream(tokio_stream::iter(messages)))).await?.into_inner().received)
}

#[tokio::test]
async fn a_client_stream_is_replayed_whole_and_goes_on() {
    let server = Scripted::doing([Act::FailAt(2, Status::unavailable("enough"))]).await;
    let channel = channel(&[&server], quick(3)).await;
    let (messages, sent) = mpsc::unbounded_channel();
    let mut client = EchoClient::new(channel.clone());
    let call = tokio::spawn(async move { client.client_stream(UnboundedReceiverStream::new(sent)).await });
    for payload in ["one", "two"] {
        messages.send(request(payload)).unwrap();
    }
    until("the second attempt has begun", || server.calls() == 2).await;
    messages.send(request("three")).unwrap();
    drop(messages);
    let reply = soon("the reply", call).await.unwrap().unwrap();
    assert_eq!((reply.get_ref().received, &*reply.get_ref().payload), (3, &b"three"[..]), "all messages and the end");
    assert_eq!(in_flight(&channel), 0);

    // A stream that had ended before it failed ends again.
    let server = Scripted::doing([unavailable()]).await;
    assert_eq!(client_stream(&self::channel(&[&server], quick(3)).await, 5, 10).await.unwrap(), 5);
    assert_eq!(server.calls(), 2);
}

#[tokio::test]
async fn a_request_beyond_the_limit_of_call_or_channel_is_sent_once() {
    let kib = 1024;
    // A limit per call and per channel, messages and their size, and how often it is sent.
    for (per_call, per_channel, messages, size, attempts) in
        [(64 * kib, 1 << 30, 10, 4 * kib, 2), (64 * kib, 1 << 30, 10, 16 * kib, 1), (1 << 30, 64 * kib, 10, 16 * kib, 1)]
    {
        let server = Scripted::doing([unavailable()]).await;
        let channel = build(builder(&[&server], quick(3)).retry_buffer(per_call, per_channel), 1).await;
        let result = client_stream(&channel, messages, size).await;
        assert_eq!((server.calls(), result.is_ok()), (attempts, attempts == 2), "{per_call} {per_channel} {size}: {result:?}");
    }
    // The same holds for one message.
    for (size, attempts) in [(10 * kib, 2), (100 * kib, 1)] {
        let server = Scripted::doing([unavailable()]).await;
        let channel = build(builder(&[&server], quick(3)).retry_buffer(64 * kib, 1 << 30), 1).await;
        let asked = EchoRequest { payload: vec![7; size].into(), ..EchoRequest::default() };
        let result = soon("a call", EchoClient::new(channel).unary(asked)).await;
        assert_eq!((server.calls(), result.is_ok()), (attempts, attempts == 2), "{size}");
    }
}

#[tokio::test]
async fn what_has_begun_to_answer_is_not_sent_again() {
    let late = Act::FailLate(Status::unavailable("late"));
    let server = Scripted::doing([late.clone(), late]).await;
    let channel = channel(&[&server], quick(3)).await;
    let mut client = EchoClient::new(channel.clone());
    let mut replies = client.server_stream(EchoRequest { count: 3, ..request("x") }).await.unwrap().into_inner();
    assert_eq!(soon("the end", replies.message()).await.unwrap_err().code(), Code::Unavailable);
    assert_eq!(server.calls(), 1);

    let (messages, sent) = mpsc::unbounded_channel();
    messages.send(request("one")).unwrap();
    let mut replies = client.bidi(UnboundedReceiverStream::new(sent)).await.unwrap().into_inner();
    assert_eq!(&*soon("a reply", replies.message()).await.unwrap().unwrap().payload, b"one");
    assert_eq!(soon("the end", replies.message()).await.unwrap_err().code(), Code::Unavailable);
    assert_eq!((server.calls(), in_flight(&channel)), (2, 0));
}

#[tokio::test]
async fn streams_are_retried_until_they_answer() {
    let server = Scripted::doing([unavailable(), Act::Reply, unavailable()]).await;
    let channel = channel(&[&server], quick(3)).await;
    let mut client = EchoClient::new(channel.clone());
    let mut replies = client.server_stream(EchoRequest { count: 3, ..request("x") }).await.unwrap().into_inner();
    let mut count = 0;
    while soon("a reply", replies.message()).await.unwrap().is_some() {
        count += 1;
    }
    let mut replies = client.bidi(tokio_stream::iter([request("one")])).await.unwrap().into_inner();
    assert_eq!(&*soon("a reply", replies.message()).await.unwrap().unwrap().payload, b"one");
    assert_eq!((count, server.calls()), (3, 4));
}

#[tokio::test]
async fn a_refused_call_goes_elsewhere_uncounted_with_or_without_retries() {
    let refusing = || {
        RawServer::start(|mut conn| async move {
            conn.handshake(&[]).await?;
            loop {
                let call = conn.next_call().await?;
                conn.reset(call, 7).await?;
            }
        })
    };
    for disabled in [false, true] {
        let (refusing, good) = (refusing().await.unwrap(), Scripted::doing([]).await);
        let builder = LbChannel::builder(target([refusing.addr(), good.addr()])).retry(quick(3));
        let channel = build(if disabled { builder.disable_retries() } else { builder }, 2).await;
        for _ in 0..4 {
            call(&channel).await.unwrap();
        }
        assert!(previous(&good).iter().all(Option::is_none), "{:?}", previous(&good));
    }
    // Refused twice, it is the policy's.
    let (one, two, good) = (refusing().await.unwrap(), refusing().await.unwrap(), Scripted::doing([]).await);
    let channel = build(LbChannel::builder(target([one.addr(), two.addr(), good.addr()])).retry(quick(3)), 3).await;
    for _ in 0..6 {
        call(&channel).await.unwrap();
    }
    assert!(previous(&good).iter().any(|header| header.as_deref() == Some("1")), "{:?}", previous(&good));
}

#[tokio::test]
async fn failures_of_other_calls_hold_retries_back_and_any_success_lets_them_go() {
    let server = Scripted::start(|call| if call < 5 || call == 9 { unavailable() } else { Act::Reply }).await;
    let throttling = Throttling::from_json(&json!({"maxTokens": 4, "tokenRatio": 1})).unwrap();
    let channel = build(builder(&[&server], quick(3)).retry_throttling(throttling), 1).await;
    // 3 is more than half of 4, and 2 is not.
    assert_eq!((call(&channel).await.unwrap_err().code(), server.calls()), (Code::Unavailable, 2));
    assert_eq!((call(&channel).await.unwrap_err().code(), server.calls()), (Code::Unavailable, 3), "denied by the calls before");
    for _ in 0..2 {
        call(&channel).await.unwrap_err();
    }
    // Another method's successes fill it again.
    for _ in 0..4 {
        client_stream(&channel, 1, 1).await.unwrap();
    }
    assert_eq!(server.calls(), 9);
    call(&channel).await.unwrap();
    assert_eq!(server.calls(), 11);
}

#[tokio::test]
async fn a_call_without_an_endpoint_is_retried_until_there_is_one() {
    let (dead, good) = (ReservedPort::new().unwrap(), Scripted::doing([]).await);
    let (resolver, handle) = FakeResolver::new("fake");
    let policy = quick(5).with_initial_backoff(ms(200)).unwrap().with_max_backoff(ms(30_000)).unwrap();
    let channel = LbChannel::builder("fake:///x").resolver(resolver).retry(policy).backoff(quick_backoff()).build().unwrap();
    handle.endpoints([evenkeel::Endpoint::new(dead.addr())]);
    channel.exit_idle();
    until("it has failed", || channel.state() == ConnectivityState::TransientFailure).await;
    let calling = tokio::spawn({
        let channel = channel.clone();
        async move { call(&channel).await }
    });
    tokio::time::sleep(ms(50)).await;
    assert!(!calling.is_finished(), "it waits for its next attempt, not for ready");
    handle.endpoints([evenkeel::Endpoint::new(good.addr())]);
    let reply = soon("the call", calling).await.unwrap().unwrap();
    assert!(picked(&reply).1 > 1);

    let channel = LbChannel::builder(target([dead.addr()])).retry(quick(3)).backoff(quick_backoff()).build().unwrap();
    let status = call(&channel).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    let Some(CallError::RetriesExhausted { attempts, .. }) = call_error(&status) else { panic!("{status:?}") };
    assert!(attempts.len() == 3 && attempts.iter().all(|attempt| attempt.endpoint.is_none()), "{attempts:?}");
    assert!(status.message().contains(&dead.addr().to_string()), "{status}");
}

#[tokio::test]
async fn a_page_of_a_proxy_is_retried_as_its_code_and_a_lost_connection_as_unavailable() {
    let proxy = RawServer::start(|mut conn| async move {
        conn.handshake(&[]).await?;
        loop {
            let call = conn.next_call().await?;
            conn.headers(call, &[(":status", "503"), ("content-type", "text/html")], true).await?;
        }
    })
    .await
    .unwrap();
    let cutting = RawServer::start(|mut conn| async move {
        conn.handshake(&[]).await?;
        conn.next_call().await?;
        conn.abort();
        Ok(())
    })
    .await
    .unwrap();
    let good = Scripted::doing([]).await;
    for bad in [proxy.addr(), cutting.addr()] {
        let channel = build(LbChannel::builder(target([bad, good.addr()])).retry(quick(3)).backoff(quick_backoff()), 2).await;
        for _ in 0..4 {
            assert_eq!(picked(&call(&channel).await.unwrap()).0, good.addr().to_string());
        }
    }
}

#[tokio::test]
async fn no_attempt_comes_before_its_delay() {
    let server = Scripted::start(|_| unavailable()).await;
    let policy = quick(5).with_initial_backoff(ms(40)).unwrap().with_max_backoff(ms(160)).unwrap();
    call(&channel(&[&server], policy).await).await.unwrap_err();
    let times: Vec<Instant> = server.seen().iter().map(|seen| seen.at).collect();
    for (pair, nominal) in times.windows(2).zip([40, 80, 160, 160]) {
        // A server notes a call some time after it was sent, so the least of the jitter is no exact bound.
        assert!(pair[1] - pair[0] >= ms(nominal).mul_f64(0.7), "{times:?}");
    }
}

#[tokio::test]
async fn a_pick_that_is_dropped_is_not_retried() {
    #[derive(Debug)]
    struct Dropping;

    impl evenkeel::Policy for Dropping {
        fn rebuild(&mut self, _now: Instant, _view: &[evenkeel::SubchannelView], _plan: &mut evenkeel::Plan) -> evenkeel::LbState {
            let drops = evenkeel::PickResult::Drop(evenkeel::PickError::new("enough"));
            evenkeel::LbState::new(ConnectivityState::Ready, Arc::new(evenkeel::Always(drops)))
        }
    }

    impl evenkeel::PolicyBuilder for Dropping {
        fn name(&self) -> &'static str {
            "dropping"
        }

        fn build(
            &self,
            _config: &serde_json::Value,
            _registry: &evenkeel::PolicyRegistry,
        ) -> Result<Box<dyn evenkeel::Policy>, evenkeel::ConfigError> {
            Ok(Box::new(Self))
        }
    }

    let server = Scripted::doing([]).await;
    let slow = RetryPolicy::default().with_initial_backoff(ms(60_000)).unwrap().with_max_backoff(ms(60_000)).unwrap();
    let channel = builder(&[&server], slow).register_policy(Dropping).policy("dropping").build().unwrap();
    let status = call(&channel).await.unwrap_err();
    assert!(matches!(call_error(&status), Some(CallError::Dropped { .. })), "{status:?}");
}
