//! Who observes calls is told of each and of its attempts, in order, exactly once, however they end.

mod recorder;

use std::time::Duration;

use evenkeel::drops::{Denominator, DropOverload, DropOverloads};
use evenkeel::limits::{RateLimit, RateLimits};
use evenkeel::retry::{HedgingPolicy, RetryPolicy};
use evenkeel::{LbChannel, LbChannelBuilder, PickOptions, ResolveError, ResolveErrorKind};
use lb_testkit::pb::EchoRequest;
use lb_testkit::pb::echo_client::EchoClient;
use lb_testkit::{EchoServer, FakeResolver, RawServer, ReservedPort};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Code, Request, Status};

use crate::scripted::{Act, Scripted, pushing_back, unavailable};
use crate::support::{call, quick_backoff, ready, request, soon, target, until};

use recorder::Recorder;

const UNARY: &str = "call evenkeel.echo.v1.Echo/Unary registered";

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn retries(attempts: u32, delay: u64) -> RetryPolicy {
    let policy = RetryPolicy::default().with_max_attempts(attempts).unwrap();
    policy.with_initial_backoff(ms(delay)).unwrap().with_max_backoff(ms(delay)).unwrap()
}

async fn build(builder: LbChannelBuilder, count: usize) -> (LbChannel, Recorder) {
    let recorder = Recorder::default();
    let channel = builder.call_observer(recorder.clone()).build().unwrap();
    ready(&channel, count).await;
    (channel, recorder)
}

fn to(server: &Scripted) -> LbChannelBuilder {
    LbChannel::builder(target([server.addr()]))
}

async fn all_ended(recorder: &Recorder, count: usize) {
    until("every call has ended for its observer", || recorder.ended(count)).await;
}

#[tokio::test]
async fn a_unary_call_is_one_attempt_with_a_message_each_way() {
    let server = Scripted::doing([]).await;
    let (channel, recorder) = build(to(&server), 1).await;
    let reply = call(&channel).await.unwrap();
    assert_eq!(reply.get_ref().payload, "x");
    let book = recorder.book(0);
    let sizes = [prost::Message::encoded_len(&request("x")), prost::Message::encoded_len(reply.get_ref())];
    let (sent, received) = (format!("0 sent 0 of {}", sizes[0]), format!("0 received 0 of {}", sizes[1]));
    let placed = "0 placed by round_robin";
    assert_eq!(book.lines, [UNARY, "0 first 0", placed, &sent, &received, "0 Ok", "end Ok of 1: 0 0 0"]);
    let (took, sent, received) = book.attempts[0];
    let (call_took, delay) = book.took.unwrap();
    assert_eq!([sent, received], sizes.map(|size| size as u64));
    assert!(!took.is_zero() && took <= call_took && delay.is_zero(), "{book:?}");
    assert_eq!((&*book.waited, book.resolved, &*book.delays), (&[None][..], None, &[ms(0)][..]));
    assert_eq!(server.seen()[0].header("x-attempt").as_deref(), Some("0"));
}

#[tokio::test]
async fn several_observers_hear_the_same_and_a_method_of_no_client_is_unregistered() {
    let server = Scripted::doing([]).await;
    let (one, other) = (Recorder::default(), Recorder::default());
    let channel = to(&server).call_observer(one.clone()).call_observer(other.clone()).build().unwrap();
    ready(&channel, 1).await;
    let mut grpc = tonic::client::Grpc::new(channel);
    grpc.ready().await.unwrap();
    let path = http::uri::PathAndQuery::from_static("/made/up");
    let codec = tonic_prost::ProstCodec::<EchoRequest, EchoRequest>::default();
    let status = grpc.unary(Request::new(request("x")), path, codec).await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
    assert_eq!(one.book(0).lines, other.book(0).lines);
    assert_eq!(one.book(0).lines[0], "call made/up unregistered");
    assert_eq!(one.book(0).lines.last().unwrap(), "end Unimplemented of 1: 0 0 0");
}

#[tokio::test]
async fn messages_of_streams_are_numbered_in_each_direction() {
    let server = Scripted::doing([]).await;
    let (channel, recorder) = build(to(&server), 1).await;
    let (say, heard) = mpsc::unbounded_channel();
    let mut replies = EchoClient::new(channel).bidi(UnboundedReceiverStream::new(heard)).await.unwrap().into_inner();
    for _ in 0..3 {
        say.send(request("x")).unwrap();
        soon("a reply", replies.message()).await.unwrap().unwrap();
    }
    assert!(!recorder.ended(1), "not before the trailers");
    drop(say);
    assert!(soon("the end", replies.message()).await.unwrap().is_none());
    let lines = recorder.book(0).lines;
    let passed = |way: &str| -> Vec<String> {
        let passed = lines.iter().filter_map(|line| line.strip_prefix("0 ")?.strip_prefix(way));
        passed.map(|rest| rest.split(' ').next().unwrap().to_owned()).collect()
    };
    assert_eq!(
        (passed("sent "), passed("received ")),
        (vec!["0", "1", "2"].into_iter().map(Into::into).collect(), passed("sent "))
    );
    assert_eq!(lines.last().unwrap(), "end Ok of 1: 0 0 0");
    // Three bytes of payload, and the number of requests so far from the server.
    assert_eq!((recorder.book(0).attempts[0].1, recorder.book(0).attempts[0].2), (9, 15));
}

#[tokio::test]
async fn each_retry_is_an_attempt_with_its_number_its_delay_and_a_header_of_its_own() {
    let server = Scripted::doing([unavailable(), Act::Fail(pushing_back(Code::Unavailable, &["60"]))]).await;
    let (channel, recorder) = build(to(&server).retry(retries(3, 1)), 1).await;
    call(&channel).await.unwrap();
    let book = recorder.book(0);
    let told: Vec<&str> =
        book.lines.iter().map(String::as_str).filter(|line| !line.contains("sent") && !line.contains("received")).collect();
    let placed = |attempt: usize| format!("{attempt} placed by round_robin");
    let placed = [placed(0), placed(1), placed(2)];
    let [first, second, third] = placed.each_ref().map(String::as_str);
    let second_ended = "1 Unavailable pushed back";
    let (one, two, three) =
        (["0 first 0", first, "0 Unavailable"], ["1 retry 1", second, second_ended], ["2 retry 2", third, "2 Ok"]);
    assert_eq!(told, [&[UNARY], &one[..], &two, &three, &["end Ok of 3: 2 0 0"]].concat());
    assert_eq!(book.messages, ["not now", "pushed back", "", ""]);
    assert!(book.delays[0].is_zero() && !book.delays[1].is_zero() && book.delays[2] >= ms(60), "{book:?}");
    assert_eq!(book.took.unwrap().1, book.delays.iter().sum::<Duration>());
    let headers: Vec<_> = server.seen().iter().map(|seen| seen.header("x-attempt").unwrap()).collect();
    assert_eq!(headers, ["0", "1", "2"]);
    let all = server.seen().iter().map(|seen| seen.metadata.get_all("x-attempt").iter().count()).max();
    assert_eq!(all, Some(1), "what was added to one attempt is not sent with the next");
}

#[tokio::test]
async fn a_call_that_a_category_drops_is_one_attempt_that_went_nowhere() {
    let server = Scripted::doing([]).await;
    let drops = DropOverload::new("lb", 100, Denominator::Hundred).and_then(|drop| DropOverloads::new([drop])).unwrap();
    let (channel, recorder) = build(to(&server).drop_overloads(drops), 1).await;
    call(&channel).await.unwrap_err();
    let book = recorder.book(0);
    assert_eq!(book.lines, [UNARY, "0 first 0", "0 Unavailable nowhere", "end Unavailable of 1: 0 0 0"]);
    assert_eq!(book.messages, ["dropped by the category \"lb\", 100 % of all calls"; 2]);
}

#[tokio::test]
async fn a_transparent_retry_is_told_apart_and_counts_for_no_number() {
    let refusing = RawServer::start(|mut conn| async move {
        conn.handshake(&[]).await?;
        loop {
            let call = conn.next_call().await?;
            conn.reset(call, 7).await?;
        }
    });
    let (refusing, good) = (refusing.await.unwrap(), Scripted::doing([]).await);
    let (channel, recorder) = build(LbChannel::builder(target([refusing.addr(), good.addr()])), 2).await;
    for _ in 0..4 {
        call(&channel).await.unwrap();
    }
    let books: Vec<_> = (0..4).map(|call| recorder.book(call)).collect();
    let twice: Vec<_> = books.iter().filter(|book| book.attempts.len() == 2).collect();
    assert!(!twice.is_empty(), "{books:?}");
    for book in twice {
        for line in ["0 first 0", "0 Unavailable", "1 transparent 0", "1 Ok", "end Ok of 2: 0 1 0"] {
            assert!(book.lines.iter().any(|told| told == line), "{line}: {book:?}");
        }
        assert_eq!((&*book.delays, book.took.unwrap().1), (&[ms(0); 2][..], ms(0)));
    }
}

#[tokio::test]
async fn hedges_run_side_by_side_and_those_that_lose_are_cancelled() {
    let (stuck, quick) = (Scripted::start(|_| Act::Hang).await, Scripted::doing([]).await);
    let hedging = HedgingPolicy::try_new(3, ms(0)).unwrap();
    let (channel, recorder) = build(LbChannel::builder(target([stuck.addr(), quick.addr()])).hedging(hedging), 2).await;
    call(&channel).await.unwrap();
    all_ended(&recorder, 1).await;
    let book = recorder.book(0);
    let has = |line: &str| book.lines.iter().any(|told| told == line);
    assert!(has("0 first 0") && has("1 hedge 1"), "{book:?}");
    let cancelled = book.lines.iter().filter(|line| line.ends_with("Cancelled")).count();
    let begun = book.attempts.len();
    assert_eq!(cancelled, begun - 1, "{book:?}");
    assert!(has(&format!("end Ok of {begun}: 0 0 {}", begun - 1)), "{book:?}");
    assert!(book.took.unwrap().1.is_zero());
}

#[tokio::test]
async fn the_deadline_ends_attempt_and_call_wherever_they_are() {
    let server = Scripted::start(|_| Act::Hang).await;
    let (channel, recorder) = build(to(&server), 1).await;
    let asked = || {
        let mut asked = Request::new(request("x"));
        asked.set_timeout(ms(60));
        asked
    };
    soon("the deadline", EchoClient::new(channel).unary(asked())).await.unwrap_err();
    let lines = recorder.book(0).lines;
    assert_eq!(lines[lines.len() - 2..], ["0 DeadlineExceeded", "end DeadlineExceeded of 1: 0 0 0"]);
    let (took, _) = recorder.book(0).took.unwrap();
    assert!(took >= ms(60), "{took:?}");

    // While it waits for an endpoint; and between two attempts.
    let dead = ReservedPort::new().unwrap();
    let recorder = Recorder::default();
    let builder = LbChannel::builder(target([dead.addr()])).backoff(quick_backoff());
    let channel = builder.call_observer(recorder.clone()).wait_for_ready(true).build().unwrap();
    soon("the deadline", EchoClient::new(channel).unary(asked())).await.unwrap_err();
    let lines = recorder.book(0).lines;
    assert_eq!(lines[lines.len() - 2..], ["0 DeadlineExceeded nowhere", "end DeadlineExceeded of 1: 0 0 0"]);

    let server = Scripted::doing([Act::Fail(pushing_back(Code::Unavailable, &["30000"]))]).await;
    let (channel, recorder) = build(to(&server).retry(retries(3, 1)), 1).await;
    soon("the deadline", EchoClient::new(channel).unary(asked())).await.unwrap_err();
    let lines = recorder.book(0).lines;
    assert_eq!(lines[lines.len() - 2..], ["0 Unavailable pushed back", "end DeadlineExceeded of 1: 0 0 0"]);
}

#[tokio::test]
async fn a_call_that_fails_before_names_are_known_has_no_attempt_and_one_that_waits_for_them_says_so() {
    let (resolver, handle) = FakeResolver::new("fake");
    let recorder = Recorder::default();
    let builder = LbChannel::builder("fake:///orders").resolver(resolver).call_observer(recorder.clone());
    let channel = builder.timeout(ms(80)).build().unwrap();
    let calling = || async { call(&channel).await.map(drop) };
    assert_eq!(calling().await.unwrap_err().code(), Code::DeadlineExceeded);
    assert_eq!(recorder.book(0).lines, [UNARY, "end DeadlineExceeded of 0: 0 0 0"]);

    let server = EchoServer::start("s").await.unwrap();
    let (resolver, late) = FakeResolver::new("late");
    let builder = LbChannel::builder("late:///orders").resolver(resolver).call_observer(recorder.clone());
    let channel = builder.build().unwrap();
    let waiting = tokio::spawn({
        let channel = channel.clone();
        async move { call(&channel).await.map(drop) }
    });
    until("it has begun", || recorder.calls() == 2).await;
    late.endpoints([server.endpoint()]);
    soon("the call", waiting).await.unwrap().unwrap();
    call(&channel).await.unwrap();
    let book = recorder.book(1);
    assert_eq!(book.lines[..4], [UNARY, "resolved", "0 first 0", "0 placed by round_robin"]);
    assert!(book.resolved.is_some_and(|waited| !waited.is_zero()) && book.waited[0].is_some(), "{book:?}");
    let second = recorder.book(2);
    assert_eq!((second.resolved, second.waited[0]), (None, None), "only the first");
    drop(handle);
}

#[tokio::test]
async fn a_call_without_an_endpoint_is_an_attempt_that_went_nowhere_and_one_that_is_shed_is_none() {
    let (resolver, handle) = FakeResolver::new("fake");
    let recorder = Recorder::default();
    let builder = LbChannel::builder("fake:///orders").resolver(resolver).call_observer(recorder.clone());
    let channel = builder.build().unwrap();
    handle.error(ResolveError::new(ResolveErrorKind::Unavailable, "the registry is away"));
    assert_eq!(call(&channel).await.unwrap_err().code(), Code::Unavailable);
    let book = recorder.book(0);
    assert_eq!(book.lines[book.lines.len() - 3..], ["0 first 0", "0 Unavailable nowhere", "end Unavailable of 1: 0 0 0"]);
    assert!(book.messages.iter().all(|message| message.contains("the registry is away")), "{book:?}");

    let server = Scripted::doing([]).await;
    let limits = RateLimits::new().channel(RateLimit::per_second(0.001).unwrap().with_burst(1).unwrap());
    let (channel, recorder) = build(to(&server).rate_limits(limits), 1).await;
    call(&channel).await.unwrap();
    let code = call(&channel).await.unwrap_err().code();
    assert_eq!(recorder.book(1).lines, [UNARY, &format!("end {code:?} of 0: 0 0 0")]);
}

#[tokio::test]
async fn whatever_is_dropped_ends_cancelled() {
    let server = Scripted::start(|call| if call == 0 { Act::Hang } else { Act::Fail(Status::unavailable("again")) }).await;
    // Never polled: it has an endpoint, but is no attempt yet.
    let (mut channel, recorder) = build(to(&server).retry(retries(5, 20_000)), 1).await;
    drop(tower::Service::call(&mut channel, http::Request::new(tonic::body::Body::empty())));
    assert_eq!(recorder.book(0).lines, ["call  unregistered", "end Cancelled of 0: 0 0 0"]);

    // Waiting for the response.
    let (channel, recorder) = build(to(&server).retry(retries(5, 20_000)), 1).await;
    let calling = tokio::spawn(async move { call(&channel).await.map(drop) });
    until("the server has it", || server.active() == 1).await;
    calling.abort();
    all_ended(&recorder, 1).await;
    let lines = recorder.book(0).lines;
    assert_eq!(lines[lines.len() - 2..], ["0 Cancelled", "end Cancelled of 1: 0 0 0"]);

    // Between two attempts.
    let (channel, recorder) = build(to(&server).retry(retries(5, 20_000)), 1).await;
    let calling = tokio::spawn({
        let channel = channel.clone();
        async move { call(&channel).await.map(drop) }
    });
    until("the first has failed", || recorder.calls() == 1 && !recorder.book(0).attempts.is_empty()).await;
    calling.abort();
    all_ended(&recorder, 1).await;
    let lines = recorder.book(0).lines;
    assert_eq!(lines[lines.len() - 2..], ["0 Unavailable", "end Cancelled of 1: 0 0 0"]);

    // Seeking an endpoint.
    let dead = ReservedPort::new().unwrap();
    let recorder = Recorder::default();
    let builder = LbChannel::builder(target([dead.addr()])).call_observer(recorder.clone()).wait_for_ready(true);
    let channel = builder.build().unwrap();
    let calling = tokio::spawn(async move { call(&channel).await.map(drop) });
    until("it seeks", || recorder.calls() == 1 && recorder.book(0).lines.len() == 3).await;
    calling.abort();
    all_ended(&recorder, 1).await;
    let lines = recorder.book(0).lines;
    assert_eq!(lines[lines.len() - 2..], ["0 Cancelled nowhere", "end Cancelled of 1: 0 0 0"]);
}

#[tokio::test]
async fn a_body_that_is_dropped_ends_its_call_cancelled_and_a_failure_after_messages_is_told() {
    let server = Scripted::doing([Act::Reply, Act::FailLate(Status::aborted("late"))]).await;
    let (channel, recorder) = build(to(&server), 1).await;
    let mut client = EchoClient::new(channel.clone());
    let (say, heard) = mpsc::unbounded_channel();
    let replies = client.bidi(UnboundedReceiverStream::new(heard)).await.unwrap();
    assert!(!recorder.ended(1));
    drop(replies);
    drop(say);
    all_ended(&recorder, 1).await;
    let lines = recorder.book(0).lines;
    assert_eq!(lines[lines.len() - 2..], ["0 Cancelled", "end Cancelled of 1: 0 0 0"]);

    let (say, heard) = mpsc::unbounded_channel();
    let mut replies = client.bidi(UnboundedReceiverStream::new(heard)).await.unwrap().into_inner();
    say.send(request("x")).unwrap();
    soon("a reply", replies.message()).await.unwrap().unwrap();
    assert_eq!(soon("the end", replies.message()).await.unwrap_err().code(), Code::Aborted);
    let book = recorder.book(1);
    assert_eq!(book.lines[book.lines.len() - 2..], ["0 Aborted", "end Aborted of 1: 0 0 0"]);
    assert_eq!(book.messages, ["late", "late"]);
}

#[tokio::test]
async fn a_pick_without_a_call_is_none_and_the_policy_that_picked_is_the_calls_own() {
    let server = Scripted::doing([]).await;
    let (channel, recorder) = build(to(&server).further_policy("random"), 1).await;
    drop(channel.pick(PickOptions::new()).await.unwrap());
    assert_eq!(recorder.calls(), 0);
    let mut asked = Request::new(request("x"));
    asked.extensions_mut().insert(PickOptions::new().policy("random"));
    EchoClient::new(channel).unary(asked).await.unwrap();
    assert_eq!(recorder.book(0).lines[2], "0 placed by random");
}
