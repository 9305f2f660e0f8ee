//! Limits of attempts in flight, and calls that wait for a place.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use evenkeel::limits::ShedBy;
use evenkeel::queue::QueueConfig;
use evenkeel::resolver::ManualResolver;
use evenkeel::sessions::{SessionFate, SessionRules};
use evenkeel::{
    CallError, ConcurrencyLimit, Endpoint, LbChannel, Misfit, Outcome, PickHandle, PickOptions, SessionConfig, WaitingFor,
};
use lb_testkit::EchoServer;
use lb_testkit::pb::EchoReply;
use lb_testkit::pb::echo_client::EchoClient;
use tokio::task::{JoinHandle, JoinSet};
use tonic::{Code, Request, Response, Status};

use crate::support::{call, call_error, in_flight, ready, request, servers, soon, target_of, until};

/// Long enough that only a hang waits for it.
const LONG: Duration = Duration::from_secs(30);

pub(super) fn queue(max_pending: usize) -> QueueConfig {
    QueueConfig::new(max_pending).max_wait(LONG)
}

/// A channel to so many servers with so many places each.
async fn site(count: usize, places: u32, config: Option<QueueConfig>) -> (Vec<EchoServer>, LbChannel) {
    let servers = servers(count).await;
    let mut builder = LbChannel::builder(target_of(&servers)).max_requests_per_endpoint(ConcurrencyLimit::new(places));
    if let Some(config) = config {
        builder = builder.queue(config);
    }
    let channel = builder.build().unwrap();
    ready(&channel, count).await;
    (servers, channel)
}

/// Takes a place without a call.
pub(super) async fn take(channel: &LbChannel, options: PickOptions) -> PickHandle {
    soon("a place", channel.pick(options)).await.unwrap()
}

fn waiting(channel: &LbChannel) -> usize {
    channel.queue().unwrap().waiting
}

async fn ask(channel: &LbChannel, options: PickOptions) -> Result<Response<EchoReply>, Status> {
    let mut asked = Request::new(request("x"));
    asked.extensions_mut().insert(options);
    soon("a call", EchoClient::new(channel.clone()).unary(asked)).await
}

/// Begins a call and waits until it is in the queue; it answers with this name.
pub(super) async fn enqueue(channel: &LbChannel, options: PickOptions) -> JoinHandle<Result<Response<EchoReply>, Status>> {
    let before = waiting(channel);
    let (mut client, mut asked) = (EchoClient::new(channel.clone()), Request::new(request("x")));
    asked.extensions_mut().insert(options);
    let call = tokio::spawn(async move { client.unary(asked).await });
    until("the call waits", || waiting(channel) > before).await;
    call
}

fn key(server: &EchoServer) -> String {
    server.addr().to_string()
}

#[tokio::test]
async fn no_endpoint_ever_has_more_than_its_limit_and_nobody_is_refused() {
    let (servers, channel) = site(3, 2, Some(queue(1_000))).await;
    let mut calls = JoinSet::new();
    for _ in 0..200 {
        let mut client = EchoClient::new(channel.clone());
        let mut asked = request("x");
        asked.delay_ms = 1;
        calls.spawn(async move { client.unary(asked).await });
    }
    while let Some(done) = soon("the calls", calls.join_next()).await {
        done.unwrap().unwrap();
    }
    for server in &servers {
        assert!((1..=2).contains(&server.control().most_active()), "{:?}", server.control());
    }
    let stats = channel.queue().unwrap();
    assert_eq!((stats.waiting, stats.total_shed(), stats.gave_up), (0, 0, 0));
    assert!(stats.served >= 190, "six at most went straight through: {stats:?}");
    until("nothing is in flight", || in_flight(&channel) == 0).await;
}

#[tokio::test]
async fn without_a_queue_a_call_fails_at_once_and_says_why_or_waits_for_ready() {
    let (_servers, channel) = site(2, 1, None).await;
    let held = [take(&channel, PickOptions::new()).await, take(&channel, PickOptions::new()).await];
    assert_ne!(held[0].key(), held[1].key());
    let status = call(&channel).await.unwrap_err();
    let Some(CallError::Shed { limit: ShedBy::Endpoints { at_limit: 2, .. }, .. }) = call_error(&status) else {
        panic!("{status:?}")
    };
    let explained = channel.explain(&PickOptions::new()).unwrap();
    assert!(explained.iter().all(|row| row.excluded == Some(Misfit::AtLimit)), "{explained:?}");
    let mut client = EchoClient::new(channel.clone());
    let mut asked = Request::new(request("x"));
    asked.extensions_mut().insert(PickOptions::new().wait_for_ready(true));
    let waits = tokio::spawn(async move { client.unary(asked).await });
    tokio::task::yield_now().await;
    let [first, _second] = held;
    let freed = first.key().to_string();
    first.report(Outcome::Success);
    let response = soon("the call that waits", waits).await.unwrap().unwrap();
    assert_eq!(crate::support::picked(&response).0, freed);
}

#[tokio::test]
async fn places_go_by_priority_and_then_by_age() {
    let (_servers, channel) = site(1, 1, Some(queue(100).oldest_every(0))).await;
    let place = take(&channel, PickOptions::new()).await;
    let order: Arc<Mutex<Vec<u8>>> = Arc::default();
    let mut calls = Vec::new();
    for (name, priority) in [(0_u8, 0_u8), (1, 5), (2, 0), (3, 9), (4, 5)] {
        let handle = {
            let (channel, order) = (channel.clone(), Arc::clone(&order));
            let before = waiting(&channel);
            let watched = channel.clone();
            let task = tokio::spawn(async move {
                let picked = channel.pick(PickOptions::new().priority(priority)).await.unwrap();
                order.lock().unwrap().push(name);
                picked.report(Outcome::Success);
            });
            until("it waits", || waiting(&watched) > before).await;
            task
        };
        calls.push(handle);
    }
    assert_eq!(channel.queue().unwrap().by_priority.into_iter().collect::<Vec<_>>(), [(0, 2), (5, 2), (9, 1)]);
    place.report(Outcome::Success);
    for call in calls {
        soon("a place", call).await.unwrap();
    }
    assert_eq!(*order.lock().unwrap(), [3, 1, 4, 0, 2]);
    assert_eq!(channel.queue().unwrap().served, 5);
}

#[tokio::test]
async fn who_finds_the_queue_full_hears_it_and_who_matters_more_takes_a_place_in_it() {
    let (_servers, channel) = site(1, 1, Some(queue(2))).await;
    let place = take(&channel, PickOptions::new()).await;
    let _first = enqueue(&channel, PickOptions::new()).await;
    let second = enqueue(&channel, PickOptions::new()).await;
    let status = call(&channel).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(matches!(call_error(&status), Some(CallError::QueueFull { waiting: 2, displaced: false, .. })), "{status:?}");
    assert_eq!(status.metadata().get("grpc-retry-pushback-ms").unwrap(), "30000", "the longest wait");
    let mut client = EchoClient::new(channel.clone());
    let mut asked = Request::new(request("x"));
    asked.extensions_mut().insert(PickOptions::new().priority(1));
    let third = tokio::spawn(async move { client.unary(asked).await });
    let status = soon("the newest of the lowest goes", second).await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(matches!(call_error(&status), Some(CallError::QueueFull { displaced: true, .. })), "{status:?}");
    place.report(Outcome::Success);
    soon("who matters more", third).await.unwrap().unwrap();
    let stats = channel.queue().unwrap();
    assert_eq!((stats.refused, stats.displaced, stats.shed[&0]), (1, 1, 2));
}

#[tokio::test]
async fn who_waits_too_long_hears_it() {
    let (_servers, channel) = site(1, 1, Some(QueueConfig::new(10).max_wait(Duration::from_millis(30)))).await;
    let _place = take(&channel, PickOptions::new()).await;
    let status = call(&channel).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    let Some(CallError::QueueTimeout { waited, place: 1, of: 1 }) = call_error(&status) else { panic!("{status:?}") };
    assert!(*waited >= Duration::from_millis(30));
    let stats = channel.queue().unwrap();
    assert_eq!((stats.waiting, stats.timed_out), (0, 1));
}

#[tokio::test]
async fn a_deadline_in_the_queue_names_the_place_and_whoever_goes_leaves_nothing() {
    let (_servers, channel) = site(1, 1, Some(queue(10))).await;
    let place = take(&channel, PickOptions::new()).await;
    let first = enqueue(&channel, PickOptions::new().priority(7)).await;
    let mut asked = Request::new(request("x"));
    asked.set_timeout(Duration::from_millis(50));
    let status = soon("the deadline", EchoClient::new(channel.clone()).unary(asked)).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    let Some(CallError::DeadlineExceeded { waiting_for: WaitingFor::Queue { place: 2, of: 2 } }) = call_error(&status) else {
        panic!("{status:?}")
    };
    assert!(status.message().contains("place 2 of 2"), "{status}");
    first.abort();
    until("nobody waits", || waiting(&channel) == 0).await;
    assert_eq!(channel.queue().unwrap().gave_up, 2);
    place.report(Outcome::Success);
    call(&channel).await.unwrap();
}

#[tokio::test]
async fn a_place_goes_to_who_can_use_it() {
    let (servers, channel) = site(2, 1, Some(queue(10))).await;
    let (a, b) = (key(&servers[0]), key(&servers[1]));
    let _held = take(&channel, PickOptions::new().pin(a.clone())).await;
    let place = take(&channel, PickOptions::new().pin(b.clone())).await;
    let mut bound = enqueue(&channel, PickOptions::new().priority(9).pin(a)).await;
    let free = enqueue(&channel, PickOptions::new()).await;
    place.report(Outcome::Success);
    let response = soon("the one that may go anywhere", free).await.unwrap().unwrap();
    assert_eq!(crate::support::picked(&response).0, b);
    let still = tokio::time::timeout(Duration::from_millis(20), &mut bound).await;
    assert!(still.is_err(), "the other one's endpoint has no place");
    // One who comes finds the free place, although somebody waits for another.
    call(&channel).await.unwrap();
    bound.abort();
}

#[tokio::test]
async fn an_endpoint_that_comes_lets_those_through_who_wait() {
    let servers = servers(2).await;
    let (resolver, endpoints) = ManualResolver::new("manual");
    endpoints.set([Endpoint::new(servers[0].addr())]);
    let builder = LbChannel::builder("manual:///x").resolver(resolver).max_requests_per_endpoint(ConcurrencyLimit::new(1));
    let channel = builder.queue(queue(10)).build().unwrap();
    ready(&channel, 1).await;
    let _place = take(&channel, PickOptions::new()).await;
    let waits = enqueue(&channel, PickOptions::new()).await;
    endpoints.set(servers.iter().map(|server| Endpoint::new(server.addr())));
    let response = soon("the new endpoint", waits).await.unwrap().unwrap();
    assert_eq!(crate::support::picked(&response).0, key(&servers[1]));
}

#[tokio::test]
async fn a_higher_limit_lets_those_through_who_wait() {
    let servers = servers(1).await;
    let limit = ConcurrencyLimit::new(0);
    let builder = LbChannel::builder(target_of(&servers)).max_requests_per_endpoint(limit.clone()).queue(queue(10));
    let channel = builder.build().unwrap();
    ready(&channel, 1).await;
    let mut quickest = Duration::MAX;
    for _ in 0..5 {
        let waits = enqueue(&channel, PickOptions::new()).await;
        let began = Instant::now();
        limit.set_max(1);
        soon("at once", waits).await.unwrap().unwrap();
        quickest = quickest.min(began.elapsed());
        limit.set_max(0);
    }
    assert!(quickest < Duration::from_millis(150), "nobody waits for the next look: {quickest:?}");
}

#[tokio::test]
async fn a_session_that_may_not_leave_a_full_endpoint_waits_its_turn_there() {
    let servers = servers(2).await;
    let mut rules = SessionRules::default();
    rules.unfit = SessionFate::Keep;
    let sessions = || SessionConfig::default().rules(rules);
    let build = || LbChannel::builder(target_of(&servers)).max_requests_per_endpoint(1_u32).sessions(sessions());
    let with = |session: &str| PickOptions::new().session(session);
    // Without a queue it fails with the reason, or waits for ready.
    let channel = build().build().unwrap();
    ready(&channel, 2).await;
    let place = take(&channel, with("user")).await;
    let status = ask(&channel, with("user")).await.unwrap_err();
    assert!(status.code() == Code::Unavailable && status.message().contains("which is at its limit"), "{status}");
    let waits = tokio::spawn({
        let channel = channel.clone();
        async move { ask(&channel, with("user").wait_for_ready(true)).await }
    });
    place.report(Outcome::Success);
    soon("it is ready", waits).await.unwrap().unwrap();

    let channel = build().queue(queue(10)).build().unwrap();
    ready(&channel, 2).await;
    let place = take(&channel, with("user")).await;
    let home = place.key().clone();
    let waits = enqueue(&channel, with("user")).await;
    // The other endpoint takes other calls meanwhile, which changes nothing.
    for _ in 0..3 {
        ask(&channel, PickOptions::new()).await.unwrap();
    }
    assert_eq!(channel.queue().unwrap().waiting, 1);
    place.report(Outcome::Success);
    let response = soon("its turn", waits).await.unwrap().unwrap();
    assert_eq!(crate::support::picked(&response).0, home.to_string());
    assert_eq!((channel.queue().unwrap().waiting, channel.sessions().unwrap().stats().moved), (0, 0));
}

#[tokio::test]
async fn the_capacity_of_an_endpoint_is_its_limit_where_asked_for() {
    let servers = servers(2).await;
    let (resolver, endpoints) = ManualResolver::new("manual");
    let endpoint = |(server, capacity): (&EchoServer, u32)| {
        let mut endpoint = Endpoint::new(server.addr());
        endpoint.attributes.capacity = Some(capacity);
        endpoint
    };
    endpoints.set(servers.iter().zip([1, 3]).map(endpoint));
    let builder = LbChannel::builder("manual:///x").resolver(resolver).max_requests_per_endpoint(ConcurrencyLimit::of_capacity());
    let channel = builder.build().unwrap();
    ready(&channel, 2).await;
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(take(&channel, PickOptions::new()).await);
    }
    let at_first = held.iter().filter(|picked| picked.key().as_str() == key(&servers[0])).count();
    assert_eq!(at_first, 1);
    assert!(channel.pick(PickOptions::new()).await.is_err());
}

/// Three times what the servers can do, in a closed loop of callers: what they do is what they can, the high ones are served, nothing grows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_overload_is_shed_at_the_bottom() {
    let (servers, channel) = site(2, 4, Some(QueueConfig::new(16).max_wait(Duration::from_secs(5)))).await;
    let mut callers = JoinSet::new();
    // 8 places and 16 that wait; 48 callers, of whom 4 matter.
    for caller in 0..48_u8 {
        let (channel, high) = (channel.clone(), caller < 4);
        callers.spawn(async move {
            let (mut ok, mut shed, mut slowest) = (0_u32, 0_u32, Duration::ZERO);
            let mut client = EchoClient::new(channel);
            for _ in 0..40 {
                let mut asked = request("x");
                asked.delay_ms = 5;
                let mut asked = Request::new(asked);
                asked.extensions_mut().insert(PickOptions::new().priority(u8::from(high) * 9));
                let started = Instant::now();
                match client.unary(asked).await {
                    Ok(_) => {
                        ok += 1;
                        slowest = slowest.max(started.elapsed());
                    }
                    Err(status) => {
                        assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
                        shed += 1;
                        tokio::time::sleep(Duration::from_millis(5)).await;
                    }
                }
            }
            (high, ok, shed, slowest)
        });
    }
    let (mut highs, mut lows) = ((0, 0), (0, 0));
    while let Some(done) = soon("the callers", callers.join_next()).await {
        let (high, ok, shed, slowest) = done.unwrap();
        let tally = if high { &mut highs } else { &mut lows };
        *tally = (tally.0 + ok, tally.1 + shed);
        assert!(slowest < LONG, "{slowest:?}");
    }
    assert_eq!(highs, (160, 0), "nobody who matters is shed");
    assert!(lows.0 > 0 && lows.1 > 0, "{lows:?}: some are served and some are shed");
    for server in &servers {
        assert_eq!(server.control().most_active(), 4, "as much as it can, and no more");
    }
    let stats = channel.queue().unwrap();
    assert_eq!((stats.waiting, stats.total_shed()), (0, u64::from(lows.1)));
    until("nothing is in flight", || in_flight(&channel) == 0).await;
}
