//! One stream of reports per READY connection, for as long as anybody wants it.

use std::time::Duration;

use evenkeel::{Endpoint, LbChannel};
use lb_testkit::FakeResolver;

use super::listener::Listener;
use super::script::{Act, Script};
use crate::support::{call, quick_backoff, ready, soon, target, until};

fn secs(seconds: u64) -> Option<Duration> {
    Some(Duration::from_secs(seconds))
}

/// A channel over one server whose own policy is `listener`.
async fn channel(addr: std::net::SocketAddr, listener: &Listener) -> LbChannel {
    let builder = LbChannel::builder(target([addr])).policy(listener.policy("listener")).backoff(quick_backoff());
    let channel = builder.build().unwrap();
    ready(&channel, 1).await;
    channel
}

/// Long enough for a dozen rebuilds, which must not disturb a stream.
async fn a_while() {
    tokio::time::sleep(Duration::from_millis(80)).await;
}

#[tokio::test]
async fn the_shortest_period_counts_and_only_another_one_restarts_the_stream() {
    let script = Script::new(Act::Serve);
    let server = script.start().await;
    let (one, two) = (Listener::default(), Listener::default());
    one.every(secs(10));
    two.every(secs(5));
    let builder = LbChannel::builder(target([server.addr])).policy(one.policy("one")).further_policy(two.policy("two"));
    let channel = builder.build().unwrap();
    assert!(script.intervals().is_empty(), "nobody is asked before READY");
    ready(&channel, 1).await;
    let asked = |seconds: &[u64]| seconds.iter().copied().map(Duration::from_secs).collect::<Vec<_>>();
    until("the first stream", || script.intervals() == asked(&[5])).await;
    until("both policies hear of it", || [&one, &two].iter().all(|heard| heard.reported(false).len() == 1)).await;
    assert_eq!(one.reported(false)[0].cpu_utilization, 0.5);
    a_while().await;

    two.every(None);
    until("the stream is opened again with the longer period", || script.intervals() == asked(&[5, 10])).await;
    two.every(secs(20));
    a_while().await;
    assert_eq!(script.intervals(), asked(&[5, 10]), "a longer period changes nothing");
    one.every(None);
    until("the stream is opened again with what is left", || script.intervals() == asked(&[5, 10, 20])).await;
    two.every(None);
    until("nobody wants it any more", || script.open() == 0).await;
    a_while().await;
    assert_eq!(script.intervals(), asked(&[5, 10, 20]));
    two.every(secs(7));
    until("somebody wants it again", || script.intervals() == asked(&[5, 10, 20, 7]) && script.open() == 1).await;
    drop(channel);
    until("it ends with the channel", || script.open() == 0).await;
}

#[tokio::test]
async fn unimplemented_is_asked_once_per_connection() {
    let script = Script::new(Act::Unimplemented);
    let server = script.start().await;
    let listener = Listener::default();
    listener.every(secs(10));
    let channel = channel(server.addr, &listener).await;
    until("it is asked", || script.intervals().len() == 1).await;
    a_while().await;
    listener.every(secs(5));
    a_while().await;
    assert_eq!(script.intervals().len(), 1, "not even with another period");
    drop(channel);
    let _channel = self::channel(server.addr, &listener).await;
    until("a new connection is asked", || script.intervals().len() == 2).await;
    assert!(listener.reported(false).is_empty());
}

#[tokio::test]
async fn a_stream_that_ends_is_opened_again_with_the_period_of_then() {
    for reports in [0, 1] {
        let script = Script::new(Act::EndAfter(reports));
        let server = script.start().await;
        let listener = Listener::default();
        listener.every(secs(10));
        let _channel = channel(server.addr, &listener).await;
        until("it is opened again and again", || script.intervals().len() >= 4).await;
        assert_eq!(listener.reported(false).is_empty(), reports == 0);
        listener.every(secs(3));
        until("the new period is asked for", || script.intervals().last() == secs(3).as_ref()).await;
    }
}

#[tokio::test]
async fn both_kinds_of_streams_end_with_their_endpoint_and_with_no_other() {
    let scripts = [Script::new(Act::Serve), Script::new(Act::Serve)];
    let servers = [scripts[0].start().await, scripts[1].start().await];
    let endpoints = servers.each_ref().map(|server| Endpoint::new(server.addr));
    let listener = Listener::default().probing();
    listener.every(secs(10));
    let (resolver, handle) = FakeResolver::new("fake");
    let builder = LbChannel::builder("fake:///orders").resolver(resolver).policy(listener.policy("listener"));
    let channel = builder.build().unwrap();
    handle.endpoints(endpoints.to_vec());
    ready(&channel, 2).await;
    soon("both are probed and report", async {
        while scripts.iter().any(|script| script.open() < 2) {
            call(&channel).await.unwrap();
        }
    })
    .await;
    handle.endpoints(vec![endpoints[1].clone()]);
    until("the streams of the one that went have ended", || scripts[0].open() == 0).await;
    for _ in 0..20 {
        call(&channel).await.unwrap();
    }
    assert_eq!((scripts[0].open(), scripts[1].open()), (0, 2));
    assert_eq!((scripts[1].intervals().len(), scripts[1].probe_streams()), (1, 1));
}
