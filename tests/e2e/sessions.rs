//! Calls that belong together, over real connections.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use evenkeel::sessions::{SessionFate, SessionLimits, SessionRules};
use evenkeel::{
    ConnectivityState, Endpoint, FillOptions, LbChannel, LbEvent, PickOptions, PickedEndpoint, SessionConfig, SessionStore,
    resolver::ManualResolver,
};
use lb_testkit::pb::EchoReply;
use lb_testkit::pb::echo_client::EchoClient;
use lb_testkit::{EchoServer, HangingPort};
use serde_json::json;
use tonic::{Code, Request, Response, Status};

use crate::support::{info, quick_backoff, ready, request, servers, soon, target, target_of, until};

async fn ask(channel: &LbChannel, options: PickOptions) -> Result<Response<EchoReply>, Status> {
    let mut asked = Request::new(request("x"));
    asked.extensions_mut().insert(options);
    soon("a call with a session", EchoClient::new(channel.clone()).unary(asked)).await
}

/// Who answers a call of this session.
pub(crate) async fn who(channel: &LbChannel, session: &str) -> String {
    ask(channel, PickOptions::new().session(session)).await.unwrap().into_inner().server
}

/// Who answers for each of so many sessions.
async fn all(channel: &LbChannel, sessions: usize) -> BTreeMap<String, String> {
    let mut answers = BTreeMap::new();
    for n in 0..sessions {
        let session = format!("user-{n}");
        let server = who(channel, &session).await;
        answers.insert(session, server);
    }
    answers
}

pub(crate) async fn three(config: SessionConfig) -> (Vec<EchoServer>, LbChannel) {
    let servers = servers(3).await;
    let channel = LbChannel::builder(target_of(&servers)).backoff(quick_backoff()).sessions(config).build().unwrap();
    ready(&channel, 3).await;
    (servers, channel)
}

fn rules(change: impl FnOnce(&mut SessionRules)) -> SessionRules {
    let mut rules = SessionRules::default();
    change(&mut rules);
    rules
}

#[tokio::test]
async fn a_session_sticks_under_every_policy_and_streams_count() {
    let (_servers, channel) = three(SessionConfig::default()).await;
    let home = who(&channel, "user-123").await;
    for policy in ["round_robin", "random", "least_request", "weighted_round_robin"] {
        for _ in 0..10 {
            let options = PickOptions::new().session("user-123").policy(policy);
            assert_eq!(ask(&channel, options).await.unwrap().into_inner().server, home, "{policy}");
        }
    }
    channel.set_policy("random", &json!({})).unwrap();
    assert_eq!(who(&channel, "user-123").await, home);

    let mut client = EchoClient::new(channel.clone());
    let mut asked = Request::new(tokio_stream::iter([request("x")]));
    asked.extensions_mut().insert(PickOptions::new().session("user-123"));
    let stream = soon("a stream", client.bidi(asked)).await.unwrap();
    let sessions = channel.sessions().unwrap();
    let seen = sessions.get("user-123").unwrap();
    assert_eq!((seen.in_flight, Some(&*seen.endpoint)), (1, picked(&stream).as_deref()));
    drop(stream);
    until("the stream has ended", || sessions.get("user-123").unwrap().in_flight == 0).await;
    let stats = sessions.stats();
    assert_eq!((stats.misses, stats.hits, stats.moved, stats.lent), (1, 42, 0, 0));
}

fn picked<T>(response: &Response<T>) -> Option<String> {
    response.extensions().get::<PickedEndpoint>().map(|picked| picked.endpoint().key().to_string())
}

#[tokio::test]
async fn sessions_are_spread_as_the_policy_says_and_calls_without_one_are_none_of_its_business() {
    let (_servers, channel) = three(SessionConfig::default()).await;
    let answers = all(&channel, 30).await;
    for server in ["s0", "s1", "s2"] {
        assert_eq!(answers.values().filter(|answer| *answer == server).count(), 10, "round robin over new sessions");
    }
    let without: BTreeSet<String> = {
        let mut seen = BTreeSet::new();
        for _ in 0..9 {
            seen.insert(ask(&channel, PickOptions::new()).await.unwrap().into_inner().server);
        }
        seen
    };
    assert_eq!((without.len(), channel.sessions().unwrap().len()), (3, 30));
    assert_eq!(all(&channel, 30).await, answers);
}

#[tokio::test]
async fn a_killed_endpoint_s_sessions_move_once_and_the_others_stay() {
    let (mut servers, channel) = three(SessionConfig::default()).await;
    let before = all(&channel, 30).await;
    let mut events = channel.subscribe();
    servers[1].kill().await;
    until("s1 is out", || info(&channel, servers[1].addr()).state != ConnectivityState::Ready).await;
    let after = all(&channel, 30).await;
    for (session, server) in &before {
        assert!(if server == "s1" { after[session] != "s1" } else { after[session] == *server }, "{session}");
    }
    assert_eq!(channel.sessions().unwrap().stats().moved, 10);
    let mut moves = Vec::new();
    while moves.len() < 10 {
        if let LbEvent::SessionMoved { session, from, .. } = soon("ten moves are told", events.next()).await.unwrap() {
            assert_eq!(*from, servers[1].addr().to_string());
            moves.push(session);
        }
    }
    assert_eq!(BTreeSet::from_iter(moves).len(), 10, "each once");
    // It comes back, and nobody goes back.
    let addr = servers[1].addr();
    drop(servers);
    let _again = EchoServer::builder().name("again").bind(addr).start().await;
    assert_eq!(channel.sessions().unwrap().by_endpoint().len(), 2);
}

#[tokio::test]
async fn a_drained_endpoint_keeps_its_sessions_and_takes_no_new_ones_until_they_are_cleared() {
    let (servers, channel) = three(SessionConfig::default()).await;
    let before = all(&channel, 30).await;
    let drained = servers[0].endpoint().key().clone();
    channel.drain(drained.clone());
    until("s0 is drained", || info(&channel, servers[0].addr()).excluded.is_some()).await;
    assert_eq!(all(&channel, 30).await, before);
    for n in 0..30 {
        assert_ne!(who(&channel, &format!("new-{n}")).await, "s0");
    }
    let sessions = channel.sessions().unwrap();
    assert_eq!(sessions.clear_endpoint(drained.as_str()), 10);
    assert!(all(&channel, 30).await.values().all(|server| server != "s0"));
    assert_eq!(sessions.stats().moved, 0, "cleared ones are new");
}

#[tokio::test]
async fn sessions_survive_a_restart_by_export_and_import() {
    let (servers, channel) = three(SessionConfig::default()).await;
    let before = all(&channel, 30).await;
    let text = serde_json::to_string(&channel.sessions().unwrap().export()).unwrap();
    drop(channel);
    let store = SessionStore::default();
    assert_eq!(store.import(&serde_json::from_str(&text).unwrap()), 30);
    let channel = LbChannel::builder(target_of(&servers)).policy("random").sessions(SessionConfig::shared(store)).build().unwrap();
    // The first calls of a cold channel wait for their own endpoints and take no other that is READY sooner.
    assert_eq!(all(&channel, 30).await, before);
    assert_eq!(channel.sessions().unwrap().stats().hits, 30);
}

#[tokio::test]
async fn a_call_whose_wishes_exclude_the_endpoint_is_lent_to_one_guest_and_the_next_goes_home() {
    let (servers, channel) = three(SessionConfig::default()).await;
    let home = who(&channel, "user").await;
    let home_key = servers.iter().find(|server| server.name() == home).unwrap().endpoint().key().clone();
    let mut guests = BTreeSet::new();
    for _ in 0..6 {
        let options = PickOptions::new().session("user").exclude(home_key.clone());
        guests.insert(ask(&channel, options).await.unwrap().into_inner().server);
        assert_eq!(who(&channel, "user").await, home);
    }
    assert!(guests.len() == 1 && !guests.contains(&home), "{guests:?}");
    let stats = channel.sessions().unwrap().stats();
    assert_eq!((stats.lent, stats.moved), (6, 0));
}

#[tokio::test]
async fn a_call_that_finds_its_endpoint_too_busy_is_lent_until_there_is_room() {
    let servers = servers(3).await;
    let (resolver, handle) = ManualResolver::new("small");
    handle.set(servers.iter().map(|server| {
        let mut endpoint = server.endpoint();
        endpoint.attributes.capacity = Some(2);
        endpoint
    }));
    let config = SessionConfig::default();
    let channel = LbChannel::builder("small:///x").policy("random").resolver(resolver).sessions(config).build().unwrap();
    ready(&channel, 3).await;
    let wishes = || PickOptions::new().session("user").cost(2);
    let held = soon("a place for the session", channel.pick(wishes())).await.unwrap();
    let home = held.key().to_string();
    let elsewhere = |reply: Response<EchoReply>| picked(&reply).unwrap();
    let guest = elsewhere(ask(&channel, wishes()).await.unwrap());
    assert_ne!(guest, home);
    assert_eq!(elsewhere(ask(&channel, wishes()).await.unwrap()), guest);
    assert_eq!(elsewhere(ask(&channel, PickOptions::new().session("user")).await.unwrap()), home, "a call that costs nothing may");
    held.report(evenkeel::Outcome::Success);
    assert_eq!(elsewhere(ask(&channel, wishes()).await.unwrap()), home);
    assert_eq!(channel.sessions().unwrap().stats().lent, 2);
}

#[tokio::test]
async fn the_id_can_come_out_of_a_cookie_or_a_token() {
    let (_servers, channel) = three(SessionConfig::default()).await;
    let home = who(&channel, "user-7").await;
    // {"alg":"none"} and {"sub":"user-7"}
    let bearer = "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJ1c2VyLTcifQ.";
    for (interceptor, header, value) in [
        (FillOptions::session().by_cookie("sid"), "cookie", "theme=dark; sid=user-7"),
        (FillOptions::session().by_jwt("authorization", "sub"), "authorization", bearer),
    ] {
        let mut client = EchoClient::with_interceptor(channel.clone(), interceptor);
        for _ in 0..5 {
            let mut asked = Request::new(request("x"));
            asked.metadata_mut().insert(header, value.parse().unwrap());
            assert_eq!(soon(header, client.unary(asked)).await.unwrap().into_inner().server, home);
        }
    }
    assert_eq!(channel.sessions().unwrap().len(), 1);
}

#[tokio::test]
async fn a_session_that_must_stay_fails_with_the_reason_or_waits_for_its_endpoint() {
    let strict = SessionConfig::default().rules(rules(|rules| rules.failing = SessionFate::Keep));
    let (mut servers, channel) = three(strict).await;
    let home = who(&channel, "user").await;
    let server = servers.iter_mut().find(|server| server.name() == home).unwrap();
    let addr = server.addr();
    server.kill().await;
    until("it is failing", || info(&channel, addr).state == ConnectivityState::TransientFailure).await;
    let status = ask(&channel, PickOptions::new().session("user")).await.unwrap_err();
    assert!(status.code() == Code::Unavailable && status.message().contains(&addr.to_string()), "{status}");
    let waiting = tokio::spawn({
        let channel = channel.clone();
        async move { ask(&channel, PickOptions::new().session("user").wait_for_ready(true)).await }
    });
    let _again = EchoServer::builder().name("again").bind(addr).start().await.unwrap();
    assert_eq!(soon("it is back", waiting).await.unwrap().unwrap().into_inner().server, "again");
    assert_eq!(channel.sessions().unwrap().stats().moved, 0);
}

#[tokio::test]
async fn a_session_waits_for_an_endpoint_that_hangs_no_longer_than_its_patience() {
    let good = EchoServer::start("good").await.unwrap();
    let hanging = HangingPort::new().unwrap();
    let store = SessionStore::default();
    store.place("user", &hanging.addr().to_string());
    let config = SessionConfig::shared(store).patience(Duration::from_millis(50));
    let channel = LbChannel::builder(target([hanging.addr(), good.addr()])).sessions(config).build().unwrap();
    ready(&channel, 1).await;
    assert_eq!(info(&channel, hanging.addr()).state, ConnectivityState::Connecting, "for 20 s, if nobody gave up");
    assert_eq!(who(&channel, "user").await, "good");
    assert_eq!(channel.sessions().unwrap().stats().moved, 1);
}

#[tokio::test]
async fn two_channels_agree_by_hash_and_keep_nothing() {
    let mut servers = servers(5).await;
    let target = target_of(&servers);
    let channel = || {
        let config = SessionConfig::hash(HASHING);
        LbChannel::builder(&*target).policy("random").sessions(config).build().unwrap()
    };
    let (one, other) = (channel(), channel());
    ready(&one, 5).await;
    ready(&other, 5).await;
    let answers = all(&one, 40).await;
    assert_eq!(all(&other, 40).await, answers);
    assert!(answers.values().collect::<BTreeSet<_>>().len() > 1, "{answers:?}");
    assert!(one.sessions().is_none());
    // A removed endpoint moves its own sessions, and both agree on where.
    servers[2].kill().await;
    for channel in [&one, &other] {
        until("s2 is out", || info(channel, servers[2].addr()).state == ConnectivityState::TransientFailure).await;
    }
    let moved = all(&one, 40).await;
    assert_eq!(all(&other, 40).await, moved);
    assert!(answers.iter().filter(|(_, server)| *server != "s2").all(|(session, server)| moved[session] == *server));
}

/// Picks by hash and needs no configuration.
const HASHING: &str = "rendezvous";

#[tokio::test]
async fn many_callers_at_once_agree_on_every_session() {
    let (_servers, channel) = three(SessionConfig::default()).await;
    let callers: Vec<_> = (0..16)
        .map(|_| {
            let channel = channel.clone();
            tokio::spawn(async move { all(&channel, 50).await })
        })
        .collect();
    let mut answers = BTreeSet::new();
    for caller in callers {
        answers.insert(soon("a caller", caller).await.unwrap());
    }
    assert_eq!(answers.len(), 1, "the first calls of all sessions came sixteen at a time");
    let stats = channel.sessions().unwrap().stats();
    assert_eq!((stats.misses, stats.hits), (50, 15 * 50));
}

#[tokio::test]
async fn two_services_put_a_session_on_the_same_machine() {
    let (orders, carts) = (servers(3).await, servers(3).await);
    let store = SessionStore::default();
    let channel = |servers: &[EchoServer]| {
        let (resolver, handle) = ManualResolver::new("machines");
        handle.set(servers.iter().map(|server| {
            let mut endpoint: Endpoint = server.endpoint();
            endpoint.attributes.id = Some(format!("machine-{}", server.name()).into());
            endpoint
        }));
        let config = SessionConfig::shared(store.clone()).across_services();
        (LbChannel::builder("machines:///x").policy("random").resolver(resolver).sessions(config).build().unwrap(), handle)
    };
    let ((orders, _orders), (carts, carts_handle)) = (channel(&orders), channel(&carts));
    ready(&orders, 3).await;
    ready(&carts, 3).await;
    let answers = all(&orders, 20).await;
    assert_eq!(all(&carts, 20).await, answers, "both servers on a machine have one name here");
    // Gone for one service is not gone for the other.
    let left: Vec<Endpoint> =
        carts.endpoints().iter().filter(|info| info.attributes.id.as_deref() != Some("machine-s0")).map(endpoint).collect();
    carts_handle.set(left);
    until("carts has two", || carts.endpoints().len() == 2).await;
    let lent = all(&carts, 20).await;
    assert!(answers.iter().all(|(session, server)| if server == "s0" { lent[session] != "s0" } else { lent[session] == *server }));
    assert_eq!(all(&carts, 20).await, lent, "a guest is the same each time");
    assert_eq!((all(&orders, 20).await, store.stats().moved), (answers, 0));
}

fn endpoint(info: &evenkeel::EndpointInfo) -> Endpoint {
    Endpoint::new(info.key.as_str().parse::<evenkeel::Address>().unwrap()).with_attributes(info.attributes.clone())
}

#[tokio::test]
async fn a_cold_channel_waits_for_its_endpoints_also_if_sessions_may_not_leave_them() {
    let servers = servers(3).await;
    let store = SessionStore::default();
    store.place("user", &servers[1].addr().to_string());
    let strict = rules(|rules| {
        rules.gone = SessionFate::Keep;
        rules.failing = SessionFate::Keep;
    });
    let channel = LbChannel::builder(target_of(&servers)).sessions(SessionConfig::shared(store).rules(strict)).build().unwrap();
    assert_eq!(who(&channel, "user").await, "s1");
    channel.sessions().unwrap().place("user", "10.0.0.1:1");
    let status = ask(&channel, PickOptions::new().session("user")).await.unwrap_err();
    assert!(status.code() == Code::Unavailable && status.message().contains("gone"), "{status}");
}

#[tokio::test]
async fn an_empty_id_is_no_session() {
    let (_servers, channel) = three(SessionConfig::default()).await;
    let mut seen = BTreeSet::new();
    for _ in 0..3 {
        seen.insert(who(&channel, "").await);
    }
    assert_eq!((seen.len(), channel.sessions().unwrap().len()), (3, 0));
}

#[tokio::test]
async fn sessions_end_by_themselves_without_traffic() {
    let limits = SessionLimits::try_new(Duration::from_millis(10), None, 1000).unwrap();
    let (_servers, channel) = three(SessionConfig::table(limits)).await;
    all(&channel, 20).await;
    let sessions = channel.sessions().unwrap();
    until("the channel's own task has cleaned up", || sessions.is_empty()).await;
    assert_eq!(sessions.stats().expired, sessions.stats().misses);
}
