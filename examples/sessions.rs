//! Calls of one session go to one endpoint: in a table, by hash, and by a token that the caller carries. An endpoint is drained and keeps
//! its sessions; one is killed and loses them; the table is kept over a restart of the client.
//! Run it with `cargo run --example sessions`.

#[path = "support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use evenkeel::sessions::SessionLimits;
use evenkeel::{LbChannel, LbEvent, PickOptions, SessionConfig, SessionExport, SessionStore, SessionTokens};
use lb_testkit::pb::echo_client::EchoClient;
use lb_testkit::pb::{EchoReply, EchoRequest};
use tonic::{Request, Response};

use support::{Failure, PATIENCE, key, servers, serves, target, until};

const USERS: [&str; 6] = ["ann", "bob", "cleo", "dan", "eve", "finn"];

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let mut servers = servers(3).await?;
    let target = target(&servers);

    // A table: idle sessions are forgotten after 5 minutes, all after 30, and never are there more than 10 000.
    let limits = SessionLimits::try_new(Duration::from_secs(300), Duration::from_secs(1800), 10_000)?;
    let channel = LbChannel::builder(&*target).sessions(SessionConfig::table(limits)).build()?;
    channel.exit_idle();
    until(&channel, "all serve", |all| servers.iter().all(|server| serves(all, &key(server)))).await?;
    let sessions = channel.sessions().ok_or("the channel keeps sessions")?;

    let homes = places(&channel).await?;
    show("placed by round robin", &homes);
    assert_eq!(places(&channel).await?, homes);
    println!("{:<34} {:?}", "after a second call of each", sessions.stats());

    let s0 = key(&servers[0]);
    channel.drain(s0.clone());
    until(&channel, "s0 is drained", |all| !serves(all, &s0)).await?;
    assert_eq!(places(&channel).await?, homes);
    show("s0 is drained and keeps its own", &homes);
    println!("{:<34} {} sessions", "cleared from s0 by the operator", sessions.clear_endpoint(s0.as_str()));
    show("placed anew", &places(&channel).await?);

    let mut events = channel.subscribe();
    let s1 = key(&servers[1]);
    servers[1].kill().await;
    until(&channel, "s1 is out", |all| !serves(all, &s1)).await?;
    let homes = places(&channel).await?;
    show("s1 was killed", &homes);
    let moved = async {
        while let Some(event) = events.next().await {
            if let LbEvent::SessionMoved { .. } = event {
                return println!("{:<34} {event}", "an event");
            }
        }
    };
    tokio::time::timeout(PATIENCE, moved).await?;

    // A restart: what one process writes to a file, the next reads.
    let file = serde_json::to_string(&sessions.export())?;
    drop(channel);
    let store = SessionStore::new(limits);
    store.import(&serde_json::from_str::<SessionExport>(&file)?);
    let channel = LbChannel::builder(&*target).sessions(SessionConfig::shared(store)).build()?;
    assert_eq!(places(&channel).await?, homes);
    show("after a restart", &homes);

    // By hash nothing is remembered: every client that sees the same endpoints agrees.
    let [one, other] = [(); 2].map(|()| LbChannel::builder(&*target).sessions(SessionConfig::hash("rendezvous")).build());
    let (one, other) = (one?, other?);
    for channel in [&one, &other] {
        channel.exit_idle();
        until(channel, "two serve", |all| all.iter().filter(|endpoint| serves(all, &endpoint.key)).count() == 2).await?;
    }
    let hashed = places(&one).await?;
    assert_eq!(places(&other).await?, hashed);
    show("by hash, from two channels", &hashed);

    // By token the caller remembers: the response to the first call has a cookie, which later calls send back.
    let tokens = SessionTokens::new([b"32 bytes that nobody else may see"])?;
    let channel = LbChannel::builder(&*target).sessions(SessionConfig::token(tokens)).build()?;
    let first = call(&channel, Request::new(EchoRequest::default())).await?;
    let cookie = first.metadata().get("set-cookie").ok_or("the first response brings a cookie")?.to_str()?.to_owned();
    println!("{:<34} {}…", "a cookie", &cookie[..40]);
    for _ in 0..5 {
        let mut request = Request::new(EchoRequest::default());
        request.metadata_mut().insert("cookie", cookie.split(';').next().unwrap_or_default().parse()?);
        assert_eq!(call(&channel, request).await?.get_ref().server, first.get_ref().server);
    }
    println!("{:<34} {} again and again", "calls with it", first.get_ref().server);
    Ok(())
}

/// Which server answers for each user.
async fn places(channel: &LbChannel) -> Result<BTreeMap<&'static str, String>, Failure> {
    let mut places = BTreeMap::new();
    for user in USERS {
        let mut request = Request::new(EchoRequest::default());
        request.extensions_mut().insert(PickOptions::new().session(user));
        places.insert(user, call(channel, request).await?.into_inner().server);
    }
    Ok(places)
}

async fn call(channel: &LbChannel, request: Request<EchoRequest>) -> Result<Response<EchoReply>, Failure> {
    Ok(tokio::time::timeout(PATIENCE, EchoClient::new(channel.clone()).unary(request)).await??)
}

fn show(what: &str, places: &BTreeMap<&str, String>) {
    let places: Vec<String> = places.iter().map(|(user, server)| format!("{user}→{server}")).collect();
    println!("{what:<34} {}", places.join("  "));
}
