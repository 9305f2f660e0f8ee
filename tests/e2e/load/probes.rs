//! Probes: one stream per connection, one at a time, no call waits.

use std::time::Duration;

use evenkeel::LbChannel;
use tokio::task::JoinSet;

use super::listener::Listener;
use super::script::{Act, Script};
use crate::support::{call, ready, soon, target, until};

const CALLS: usize = 200;

/// A channel that probes with every call over servers with this script, and so many calls over it.
async fn probed(script: &Script, servers: usize, listener: &Listener) -> (LbChannel, Vec<super::script::Scripted>) {
    let mut running = Vec::new();
    for _ in 0..servers {
        running.push(script.start().await);
    }
    let target = target(running.iter().map(|server| server.addr));
    let channel = LbChannel::builder(target).policy(listener.policy("listener")).build().unwrap();
    ready(&channel, servers).await;
    calls(&channel).await;
    (channel, running)
}

async fn calls(channel: &LbChannel) {
    let mut calls = JoinSet::new();
    for _ in 0..CALLS {
        let channel = channel.clone();
        calls.spawn(async move { call(&channel).await.unwrap() });
    }
    soon("the calls", async { while calls.join_next().await.is_some() {} }).await;
}

#[tokio::test]
async fn answers_arrive_over_one_stream_per_connection() {
    let (script, listener) = (Script::new(Act::Serve), Listener::default().probing());
    let (channel, _servers) = probed(&script, 2, &listener).await;
    until("an answer", || !listener.reported(true).is_empty()).await;
    let answer = &listener.reported(true)[0];
    assert_eq!((answer.in_flight, answer.latency), (Some(3), Some(Duration::from_millis(1))));
    for _ in 0..3 {
        let before = script.probes();
        calls(&channel).await;
        until("they are probed anew", || script.probes() > before).await;
    }
    assert_eq!(script.probe_streams(), 2);
    assert!(script.probes() <= 4 * CALLS, "never more than one per call: {}", script.probes());
    drop(channel);
    until("the streams end with the channel", || script.open() == 0).await;
}

#[tokio::test]
async fn a_server_that_does_not_answer_gets_one_probe_at_a_time() {
    let (script, listener) = (Script::new(Act::Silent), Listener::default().probing());
    let (channel, _servers) = probed(&script, 1, &listener).await;
    until("it is probed", || script.probes() == 1).await;
    let begun = tokio::time::Instant::now();
    calls(&channel).await;
    let (probes, took) = (script.probes(), begun.elapsed());
    // An answer is waited for a second; a machine that took longer for the calls may have sent more.
    assert!(probes == 1 || took > Duration::from_millis(900), "{probes} probes in {took:?}");
    until("it is probed again when the time for an answer is over", || {
        drop(tokio::spawn(call_once(channel.clone())));
        script.probes() >= 2
    })
    .await;
    assert_eq!((script.probe_streams(), listener.reported(true).len()), (1, 0));
}

async fn call_once(channel: LbChannel) {
    call(&channel).await.unwrap();
}

#[tokio::test]
async fn a_server_without_probes_is_asked_once_per_connection() {
    let (script, listener) = (Script::new(Act::Unimplemented), Listener::default().probing());
    let (channel, _servers) = probed(&script, 1, &listener).await;
    calls(&channel).await;
    until("it was asked", || script.probe_streams() == 1).await;
    calls(&channel).await;
    assert_eq!(script.probe_streams(), 1);
}

#[tokio::test]
async fn nobody_is_probed_unless_a_picker_asks() {
    let (script, listener) = (Script::new(Act::Serve), Listener::default());
    let (_channel, _servers) = probed(&script, 2, &listener).await;
    assert_eq!((script.probe_streams(), script.probes()), (0, 0));
}
