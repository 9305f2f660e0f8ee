//! Calls that categories drop (Envoy's and gRPC's `drop_overloads`).

use std::time::{Duration, Instant};

use evenkeel::drops::{Denominator, DropOverload, DropOverloads};
use evenkeel::retry::{HedgingPolicy, RetryPolicy};
use evenkeel::{
    CallError, ConcurrencyLimit, ConnectivityState, Endpoint, LbChannel, LbEvent, PickOptions, ResolverUpdate, ServiceConfigUpdate,
};
use lb_testkit::pb::echo_client::EchoClient;
use lb_testkit::{EchoServer, FakeResolver, ReservedPort};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tonic::{Code, Status};

use crate::scripted::{Act, Scripted, unavailable};
use crate::support::{call, call_error, quick_backoff, ready, request, servers, soon, target, target_of, until};

/// These, in percent.
fn percent<const N: usize>(categories: [(&str, u32); N]) -> DropOverloads {
    let drop = |(name, percent)| DropOverload::new(name, percent, Denominator::Hundred).unwrap();
    DropOverloads::new(categories.map(drop)).unwrap()
}

/// Which category dropped the call; fails the test if something else went wrong.
fn category(status: &Status) -> String {
    let Some(CallError::DroppedByCategory { drop }) = call_error(status) else { panic!("{status:?}") };
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains(&**drop.category()), "{status}");
    drop.category().to_string()
}

/// What the channel reports: all, and each category's.
fn report(channel: &LbChannel) -> (u64, Vec<(String, u64)>) {
    let drops = channel.stats().drops;
    (drops.total, drops.by_category.into_iter().map(|(name, count)| (name.to_string(), count)).collect())
}

/// So many calls, each through a clone of its own; how many passed.
async fn passing(channel: &LbChannel, calls: u64) -> u64 {
    let mut passed = 0;
    for _ in 0..calls {
        match call(channel).await {
            Ok(_) => passed += 1,
            Err(status) => drop(category(&status)),
        }
    }
    passed
}

#[tokio::test]
async fn half_is_dropped_and_the_report_has_each_category_and_all() {
    let servers = servers(2).await;
    let builder = LbChannel::builder(target_of(&servers)).seed(11).drop_overloads(percent([("lb", 50), ("throttle", 0)]));
    let channel = builder.build().unwrap();
    ready(&channel, 2).await;
    let passed = passing(&channel, 2_000).await;
    assert!((900..=1_100).contains(&passed), "{passed} of 2000");
    let dropped = 2_000 - passed;
    assert_eq!(report(&channel), (dropped, vec![("lb".into(), dropped), ("throttle".into(), 0)]));
    assert_eq!(servers.iter().map(|server| server.calls()).sum::<u64>(), passed, "what was dropped went nowhere");
    let selection = channel.stats().selection;
    assert_eq!(selection.failures_by_reason.get("dropped_by_category"), Some(&dropped));
    // A clone that is kept draws anew for each call, too.
    let mut kept = EchoClient::new(channel.clone());
    let mut dropped_of_kept = 0;
    for _ in 0..400 {
        dropped_of_kept += u64::from(soon("a call", kept.unary(request("x"))).await.is_err());
    }
    assert!((140..=260).contains(&dropped_of_kept), "{dropped_of_kept} of 400");
}

#[tokio::test]
async fn none_drops_none_and_all_drops_all_even_those_that_wait_for_ready() {
    let servers = servers(1).await;
    let none = LbChannel::builder(target_of(&servers)).drop_overloads(percent([("none", 0)])).build().unwrap();
    ready(&none, 1).await;
    assert_eq!(passing(&none, 200).await, 200);
    assert_eq!(report(&none), (0, vec![("none".into(), 0)]));

    let builder = LbChannel::builder(target_of(&servers)).drop_overloads(percent([("none", 0), ("all", 100), ("late", 100)]));
    let all = builder.wait_for_ready(true).build().unwrap();
    ready(&all, 1).await;
    let mut events = all.subscribe();
    for _ in 0..50 {
        assert_eq!(category(&call(&all).await.unwrap_err()), "all", "the first that hits");
    }
    let error = soon("a pick", all.pick(PickOptions::new())).await.unwrap_err();
    assert!(matches!(error, CallError::DroppedByCategory { .. }), "{error}");
    assert_eq!(report(&all), (51, vec![("all".into(), 51), ("late".into(), 0), ("none".into(), 0)]));
    assert_eq!(servers[0].calls(), 200);
    let told = soon("it is told", async {
        loop {
            if let LbEvent::SelectionFailed { reason, .. } = events.next().await.unwrap() {
                return reason;
            }
        }
    })
    .await;
    assert_eq!(&*told, "dropped by the category \"all\", 100 % of all calls");
}

#[tokio::test]
async fn a_drop_is_not_retried_and_neither_is_a_retry_that_is_dropped() {
    let slow = RetryPolicy::default().with_initial_backoff(Duration::from_secs(60)).unwrap();
    let server = Scripted::doing([]).await;
    let builder = LbChannel::builder(target([server.addr()])).retry(slow.with_max_backoff(Duration::from_secs(60)).unwrap());
    let channel = builder.drop_overloads(percent([("lb", 100)])).build().unwrap();
    ready(&channel, 1).await;
    let started = Instant::now();
    assert_eq!(category(&call(&channel).await.unwrap_err()), "lb");
    assert!(started.elapsed() < Duration::from_secs(40), "no backoff was waited for");
    assert_eq!((server.calls(), report(&channel).0), (0, 1));

    // The first attempt passes and fails; those after it are tried, too, and the first that is dropped ends the call.
    let server = Scripted::start(|_| unavailable()).await;
    let quick = RetryPolicy::default().with_max_attempts(5).unwrap().with_initial_backoff(Duration::from_millis(1)).unwrap();
    let quick = quick.with_max_backoff(Duration::from_millis(2)).unwrap();
    let builder = LbChannel::builder(target([server.addr()])).retry(quick).seed(5);
    let channel = builder.drop_overloads(percent([("lb", 50)])).build().unwrap();
    ready(&channel, 1).await;
    let (mut dropped, mut exhausted, mut late) = (0, 0, 0);
    for _ in 0..60 {
        let before = server.calls();
        let status = call(&channel).await.unwrap_err();
        match call_error(&status) {
            Some(CallError::RetriesExhausted { attempts, .. }) => {
                exhausted += 1;
                assert_eq!(attempts.len(), 5, "nobody else ends it early: {status:?}");
            }
            _ => {
                dropped += 1;
                category(&status);
                late += u64::from(server.calls() > before);
            }
        }
    }
    assert!(late > 5 && dropped > late, "{dropped} dropped, {late} of them after an attempt, {exhausted} exhausted");
    assert_eq!(report(&channel).0, dropped, "one drop ends one call");
}

#[tokio::test]
async fn a_hedge_that_is_dropped_leaves_the_attempt_in_flight() {
    let fatal = || Act::FailAfter(Duration::from_millis(20), Status::data_loss("the server's own"));
    let server = Scripted::start(move |_| fatal()).await;
    let policy = HedgingPolicy::try_new(2, Duration::ZERO).unwrap();
    let builder = LbChannel::builder(target([server.addr()])).hedging(policy).seed(2);
    let channel = builder.drop_overloads(percent([("lb", 50)])).build().unwrap();
    ready(&channel, 1).await;
    let (mut first, mut hedge) = (0, 0);
    for _ in 0..60 {
        let before = server.calls();
        let status = call(&channel).await.unwrap_err();
        match server.calls() - before {
            0 => first += u64::from(category(&status) == "lb"),
            1 => {
                hedge += 1;
                assert_eq!(status.code(), Code::DataLoss, "{status:?}");
            }
            _ => assert_eq!(status.code(), Code::DataLoss, "{status:?}"),
        }
    }
    assert!(first > 5 && hedge > 2, "{first} calls and {hedge} hedges dropped");
    assert_eq!(report(&channel).0, first + hedge, "each is counted once");
}

#[tokio::test]
async fn while_the_channel_is_not_ready_calls_wait_and_none_is_dropped() {
    let (dead, server) = (ReservedPort::new().unwrap(), EchoServer::start("s").await.unwrap());
    let (resolver, handle) = FakeResolver::new("fake");
    let builder = LbChannel::builder("fake:///x").resolver(resolver).backoff(quick_backoff());
    let channel = builder.drop_overloads(percent([("all", 100)])).build().unwrap();
    let mut waiting = JoinSet::new();
    let ask = |waiting: &mut JoinSet<Result<(), Status>>, options: PickOptions| {
        let (mut client, mut asked) = (EchoClient::new(channel.clone()), tonic::Request::new(request("x")));
        asked.extensions_mut().insert(options);
        waiting.spawn(async move { client.unary(asked).await.map(drop) });
    };
    // Before the resolver has answered.
    (0..5).for_each(|_| ask(&mut waiting, PickOptions::new().wait_for_ready(true)));
    until("they wait", || channel.stats().waiting == 5).await;
    assert_eq!(report(&channel), (0, vec![("all".into(), 0)]));
    // While nobody can be reached.
    handle.endpoints([Endpoint::new(dead.addr())]);
    until("it has failed", || channel.state() == ConnectivityState::TransientFailure).await;
    let status = call(&channel).await.unwrap_err();
    assert!(matches!(call_error(&status), Some(CallError::NoEndpoint { .. })), "{status:?}");
    assert_eq!((channel.stats().waiting, report(&channel).0), (5, 0));
    // READY: now they are tried, as any other.
    handle.endpoints([server.endpoint()]);
    while let Some(ended) = soon("those that waited", waiting.join_next()).await {
        assert_eq!(category(&ended.unwrap().unwrap_err()), "all");
    }
    assert_eq!((server.calls(), report(&channel)), (0, (5, vec![("all".into(), 5)])));
}

#[tokio::test]
async fn a_call_is_tried_once_however_often_it_looks_for_an_endpoint() {
    let servers = servers(2).await;
    let builder = LbChannel::builder(target_of(&servers)).seed(3).wait_for_ready(true);
    let places = ConcurrencyLimit::new(0);
    let builder = builder.max_requests_per_endpoint(places.clone()).drop_overloads(percent([("lb", 50)]));
    let channel = builder.build().unwrap();
    ready(&channel, 2).await;
    let mut calls = JoinSet::new();
    for _ in 0..200 {
        let mut client = EchoClient::new(channel.clone());
        calls.spawn(async move { client.unary(request("x")).await });
    }
    let dropped = || report(&channel).0;
    until("each is dropped or waits", || dropped() + channel.stats().waiting as u64 == 200).await;
    let first = dropped();
    assert!((60..=140).contains(&first), "{first} of 200");
    // Every generation lets all of them look again.
    for round in 0..10 {
        let generation = channel.stats().generation;
        if round % 2 == 0 {
            channel.drain(servers[0].addr().to_string())
        } else {
            channel.undrain(servers[0].addr().to_string())
        }
        until("there is another generation", || channel.stats().generation > generation).await;
    }
    assert_eq!((dropped(), channel.stats().waiting as u64), (first, 200 - first));
    places.set_max(u32::MAX);
    let mut passed = 0;
    while let Some(ended) = soon("every call", calls.join_next()).await {
        passed += u64::from(ended.unwrap().is_ok());
    }
    assert_eq!((passed, dropped()), (200 - first, first));
}

#[tokio::test]
async fn categories_come_before_the_limit_of_attempts_whose_drops_are_in_the_total_alone() {
    let servers = servers(1).await;
    let builder = LbChannel::builder(target_of(&servers)).max_requests(0).seed(3);
    let channel = builder.drop_overloads(percent([("lb", 50)])).build().unwrap();
    ready(&channel, 1).await;
    let mut by_category = 0;
    for _ in 0..100 {
        let status = call(&channel).await.unwrap_err();
        match call_error(&status) {
            Some(CallError::TooManyRequests { max: 0 }) => {}
            _ => by_category += u64::from(category(&status) == "lb"),
        }
    }
    assert!((25..=75).contains(&by_category), "{by_category} of 100");
    assert_eq!(report(&channel), (100, vec![("lb".into(), by_category)]));
    assert_eq!(channel.stats().client.dropped, 100 - by_category);
}

#[tokio::test]
async fn a_resolver_changes_them_while_calls_go_on_and_no_count_is_lost() {
    let servers = servers(1).await;
    let (resolver, handle) = FakeResolver::new("fake");
    let channel = LbChannel::builder("fake:///x").resolver(resolver).drop_overloads(percent([("own", 100)])).build().unwrap();
    let mut events = channel.subscribe();
    let mut taken = async |drops: Option<Value>| {
        let config = drops.map_or_else(|| json!({}), |drops| json!({"evenkeel": {"dropOverloads": drops}}));
        let endpoints = servers.iter().map(EchoServer::endpoint).collect();
        handle.update(ResolverUpdate::new(endpoints).with_service_config(ServiceConfigUpdate::Json(config)));
        channel.exit_idle();
        soon("a config is taken or refused", async {
            loop {
                match events.next().await.unwrap() {
                    LbEvent::ConfigChanged(_) => return Ok(()),
                    LbEvent::ConfigRefused(reason) => return Err(reason.to_string()),
                    _ => {}
                }
            }
        })
        .await
    };
    let all = |name: &str| json!([{"category": name, "dropPercentage": {"numerator": 1_000_000, "denominator": "MILLION"}}]);
    let named = |name: &str, count: u64| (name.to_owned(), count);
    // One without the list leaves the builder's.
    taken(None).await.unwrap();
    ready(&channel, 1).await;
    assert_eq!((passing(&channel, 3).await, report(&channel)), (0, (3, vec![named("own", 3)])));
    taken(Some(all("lb"))).await.unwrap();
    until("it counts", || channel.service_config().is_some_and(|config| config.limits.drops.is_some())).await;
    assert_eq!((passing(&channel, 4).await, report(&channel)), (0, (7, vec![named("lb", 4), named("own", 3)])));
    // What is wrong changes nothing.
    let share = json!({"numerator": 1, "denominator": "THOUSAND"});
    let reason = taken(Some(json!([{"category": "lb", "dropPercentage": share}]))).await.unwrap_err();
    assert!(reason.contains("evenkeel.dropOverloads[0].dropPercentage.denominator is \"THOUSAND\""), "{reason}");
    assert_eq!(passing(&channel, 1).await, 0);
    // An empty list drops nothing, in place of the builder's.
    taken(Some(json!([]))).await.unwrap();
    until("it counts", || channel.service_config().unwrap().limits.drops.as_ref().unwrap().is_empty()).await;
    assert_eq!((passing(&channel, 20).await, report(&channel)), (20, (8, vec![named("lb", 5), named("own", 3)])));
    taken(None).await.unwrap();
    until("it is the builder's again", || channel.service_config().unwrap().limits.drops.is_none()).await;
    assert_eq!((passing(&channel, 2).await, report(&channel)), (0, (10, vec![named("lb", 5), named("own", 5)])));
    // And the program's comes before both.
    let program = json!({"evenkeel": {"dropOverloads": [{"category": "program", "dropPercentage": {"numerator": 100}}]}});
    channel.set_service_config(program).unwrap();
    until("it drops", || report(&channel).1.iter().any(|(name, _)| name == "program")).await;
    assert_eq!((passing(&channel, 1).await, report(&channel).0), (0, 11));
}
