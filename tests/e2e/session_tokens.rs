//! Callers that carry where they belong.

use std::collections::BTreeSet;

use evenkeel::{LbChannel, SessionConfig, SessionTokens};
use lb_testkit::EchoServer;
use lb_testkit::pb::EchoReply;
use lb_testkit::pb::echo_client::EchoClient;
use tonic::{Request, Response};

use crate::support::{info, quick_backoff, ready, request, servers, soon, target_of, until};

const KEY: [u8; 32] = [7; 32];

async fn channel(servers: &[EchoServer], tokens: SessionTokens) -> LbChannel {
    let builder = LbChannel::builder(target_of(servers)).backoff(quick_backoff());
    let channel = builder.sessions(SessionConfig::token(tokens)).build().unwrap();
    ready(&channel, servers.len()).await;
    channel
}

/// A call with these cookies.
async fn ask(channel: &LbChannel, cookies: &str) -> Response<EchoReply> {
    let mut asked = Request::new(request("x"));
    if !cookies.is_empty() {
        asked.metadata_mut().insert("cookie", cookies.parse().unwrap());
    }
    soon("a call with a cookie", EchoClient::new(channel.clone()).unary(asked)).await.unwrap()
}

/// The cookie a response sets, as a browser would send it back.
fn cookie(response: &Response<EchoReply>) -> Option<String> {
    let set = response.metadata().get("set-cookie")?.to_str().unwrap();
    Some(set.split(';').next().unwrap().to_owned())
}

#[tokio::test]
async fn the_first_response_brings_a_cookie_and_the_second_call_sticks() {
    let servers = servers(3).await;
    let channel = channel(&servers, SessionTokens::new([KEY]).unwrap()).await;
    let first = ask(&channel, "").await;
    let carried = format!("theme=dark; {}", cookie(&first).unwrap());
    let home = first.into_inner().server;
    for _ in 0..10 {
        let next = ask(&channel, &carried).await;
        assert_eq!((cookie(&next), next.into_inner().server), (None, home.clone()), "no new cookie while nothing changes");
    }
    let others: BTreeSet<String> = {
        let mut seen = BTreeSet::new();
        for _ in 0..6 {
            seen.insert(ask(&channel, "theme=dark").await.into_inner().server);
        }
        seen
    };
    assert_eq!(others.len(), 3, "calls without it are spread");
    let stats = channel.session_tokens().unwrap();
    assert_eq!((stats.misses, stats.hits, stats.moved, stats.refused), (7, 10, 0, 0));
}

#[tokio::test]
async fn another_process_with_the_key_agrees_also_while_keys_rotate() {
    let servers = servers(5).await;
    let one = channel(&servers, SessionTokens::new([KEY]).unwrap()).await;
    let other = channel(&servers, SessionTokens::new([[8; 32], KEY]).unwrap()).await;
    for _ in 0..10 {
        let first = ask(&one, "").await;
        let again = ask(&other, &cookie(&first).unwrap()).await;
        assert_eq!((cookie(&again), again.into_inner().server), (None, first.into_inner().server));
    }
}

#[tokio::test]
async fn a_killed_endpoint_costs_a_new_cookie() {
    let mut servers = servers(3).await;
    let channel = channel(&servers, SessionTokens::new([KEY]).unwrap()).await;
    let first = ask(&channel, "").await;
    let (old, home) = (cookie(&first).unwrap(), first.into_inner().server);
    let server = servers.iter_mut().find(|server| server.name() == home).unwrap();
    server.kill().await;
    until("it is out", || info(&channel, server.addr()).state == evenkeel::ConnectivityState::TransientFailure).await;
    let moved = ask(&channel, &old).await;
    let new = cookie(&moved).unwrap();
    assert!(new != old && moved.get_ref().server != home);
    let next = ask(&channel, &new).await;
    assert_eq!((cookie(&next), next.into_inner().server), (None, moved.into_inner().server));
    assert_eq!(channel.session_tokens().unwrap().moved, 1);
}

#[tokio::test]
async fn a_token_that_is_not_genuine_is_ignored_counted_and_replaced() {
    let servers = servers(3).await;
    let channel = channel(&servers, SessionTokens::new([KEY]).unwrap()).await;
    let good = cookie(&ask(&channel, "").await).unwrap();
    for bad in ["evenkeel-session=garbage".to_owned(), format!("{good}A"), good.replace('=', "=A")] {
        assert!(cookie(&ask(&channel, &bad).await).is_some(), "{bad}");
    }
    assert_eq!(channel.session_tokens().unwrap().refused, 3);
}

#[tokio::test]
async fn calls_of_another_path_neither_follow_a_token_nor_get_one() {
    let servers = servers(3).await;
    let covered = channel(&servers, SessionTokens::new([KEY]).unwrap().path("/evenkeel.echo.v1.Echo").unwrap()).await;
    let good = cookie(&ask(&covered, "").await).unwrap();
    let other = channel(&servers, SessionTokens::new([KEY]).unwrap().path("/evenkeel.echo").unwrap()).await;
    let mut seen = BTreeSet::new();
    for _ in 0..6 {
        let reply = ask(&other, &good).await;
        assert_eq!(cookie(&reply), None);
        seen.insert(reply.into_inner().server);
    }
    assert_eq!((seen.len(), other.session_tokens()), (3, Some(Default::default())));
}

#[tokio::test]
async fn tokens_can_ride_in_metadata_and_bind_streams() {
    let servers = servers(3).await;
    let channel = channel(&servers, SessionTokens::new([KEY]).unwrap().metadata("x-room").unwrap()).await;
    let first = ask(&channel, "").await;
    let token = first.metadata().get("x-room").unwrap().clone();
    let home = first.into_inner().server;
    for _ in 0..5 {
        let mut asked = Request::new(tokio_stream::iter([request("x")]));
        asked.metadata_mut().insert("x-room", token.clone());
        let mut stream = soon("a stream", EchoClient::new(channel.clone()).bidi(asked)).await.unwrap().into_inner();
        assert_eq!(soon("a reply", stream.message()).await.unwrap().unwrap().server, home);
    }
}
