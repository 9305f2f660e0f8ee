//! Sessions whose endpoint is not connected just now.

use std::time::Duration;

use evenkeel::{ConnectivityState, LbChannel, SessionConfig, SessionStore};
use lb_testkit::EchoServer;
use serde_json::json;

use crate::sessions::{three, who};
use crate::support::{PATIENCE, info, quick_backoff, ready, servers, target_of, until};

/// A channel whose store has `user` at the last of three servers; the channel's policy has not connected it.
async fn placed_by_hand(policy: &str, patience: Duration) -> (Vec<EchoServer>, LbChannel) {
    let servers = servers(3).await;
    let store = SessionStore::default();
    let config = SessionConfig::shared(store.clone()).patience(patience);
    let builder = LbChannel::builder(target_of(&servers)).policy((policy, json!({}))).backoff(quick_backoff());
    let channel = builder.sessions(config).build().unwrap();
    channel.exit_idle();
    until("the endpoints are known", || channel.endpoints().len() == 3).await;
    store.place("user", &servers[2].addr().to_string());
    (servers, channel)
}

#[tokio::test]
async fn an_idle_endpoint_is_connected_for_its_session() {
    let (servers, channel) = placed_by_hand("ring_hash_experimental", PATIENCE).await;
    assert_eq!(info(&channel, servers[2].addr()).state, ConnectivityState::Idle, "this policy is lazy");
    assert_eq!(who(&channel, "user").await, "s2");
    assert_eq!(channel.sessions().unwrap().stats().hits, 1);
}

#[tokio::test]
async fn a_policy_that_wants_one_connection_only_gets_the_session_in_the_end() {
    let (_servers, channel) = placed_by_hand("pick_first", Duration::from_millis(100)).await;
    ready(&channel, 1).await;
    let server = who(&channel, "user").await;
    assert_eq!(who(&channel, "user").await, server, "whichever of the two it was");
}

#[tokio::test]
async fn a_connection_that_ends_is_waited_for_and_the_session_stays() {
    let (servers, channel) = three(SessionConfig::default().patience(PATIENCE)).await;
    let home = who(&channel, "user").await;
    let server = servers.iter().find(|server| server.name() == home).unwrap();
    for _ in 0..2 {
        let accepted = server.accepted();
        server.goaway();
        for _ in 0..3 {
            assert_eq!(who(&channel, "user").await, home, "there are two others that are READY");
        }
        until("it has reconnected", || server.accepted() > accepted).await;
    }
    let stats = channel.sessions().unwrap().stats();
    assert_eq!((stats.moved, stats.lent, stats.misses), (0, 0, 1));
}
