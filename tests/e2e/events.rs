//! What a channel tells about itself, and the levers it has.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use evenkeel::ConnectivityState::{Connecting, Idle, Ready, TransientFailure};
use evenkeel::{Endpoint, LbChannel, LbEvent, Observer};
use lb_testkit::pb::EchoRequest;
use lb_testkit::{EchoServer, FakeResolver, Latency, ReservedPort};

use crate::support::{Load, call, in_flight, info, quick_backoff, ready, servers, soon, target, target_of, until, until_state};

#[derive(Debug, Default, Clone)]
struct Recorder(Arc<Mutex<Vec<LbEvent>>>);

impl Observer for Recorder {
    fn on_event(&self, event: &LbEvent) {
        self.0.lock().unwrap().push(event.clone());
    }
}

#[tokio::test]
async fn the_life_of_an_endpoint_in_the_order_it_happened() {
    let server = EchoServer::start("s").await.unwrap();
    let (resolver, handle) = FakeResolver::new("fake");
    let recorder = Recorder::default();
    let builder = LbChannel::builder("fake:///orders").resolver(resolver).observer(recorder.clone());
    let channel = builder.backoff(quick_backoff()).build().unwrap();
    let mut events = channel.subscribe();
    handle.endpoints([server.endpoint()]);
    ready(&channel, 1).await;
    handle.endpoints([server.endpoint().with_weight(2)]);
    until("the weight is taken over", || channel.endpoints()[0].weight == 2).await;
    handle.endpoints([]);
    until("it is gone", || channel.endpoints().is_empty()).await;
    drop(channel);

    let mut seen = Vec::new();
    soon("the events end with the channel", async {
        while let Some(event) = events.next().await {
            seen.push(event);
        }
    })
    .await;
    assert_eq!(seen, *recorder.0.lock().unwrap());
    let key = server.endpoint().key().clone();
    let moved = |from, to| LbEvent::SubchannelState { endpoint: key.clone(), from, to, reason: None };
    let of_endpoint: Vec<LbEvent> = seen.iter().filter(|event| !matches!(event, LbEvent::ChannelState { .. })).cloned().collect();
    assert_eq!(
        of_endpoint,
        [
            LbEvent::EndpointAdded(key.clone()),
            moved(Idle, Connecting),
            LbEvent::Connected { endpoint: key.clone(), address: server.addr().to_string().into() },
            moved(Connecting, Ready),
            LbEvent::EndpointUpdated(key.clone()),
            LbEvent::Disconnected { endpoint: key.clone(), reason: None },
            LbEvent::EndpointRemoved(key.clone()),
        ]
    );
    let of_channel: Vec<_> = seen
        .iter()
        .filter_map(|event| match event {
            LbEvent::ChannelState { from, to } => Some((*from, *to)),
            _ => None,
        })
        .collect();
    assert_eq!(of_channel[..2], [(Idle, Connecting), (Connecting, Ready)]);
    assert!(of_channel.windows(2).all(|pair| pair[0].1 == pair[1].0), "{of_channel:?}");
}

#[derive(Debug)]
struct Panics;

impl Observer for Panics {
    fn on_event(&self, event: &LbEvent) {
        panic!("an observer of the user's own panics at {event}, as this test wants it to");
    }
}

#[tokio::test]
async fn an_observer_that_panics_closes_the_channel_and_no_more() {
    let server = EchoServer::start("s").await.unwrap();
    let channel = LbChannel::builder(server.target()).observer(Panics).build().unwrap();
    for _ in 0..2 {
        assert_eq!(call(&channel).await.unwrap_err().code(), tonic::Code::Unavailable);
    }
}

#[tokio::test]
async fn failures_come_with_their_reason() {
    let dead = ReservedPort::new().unwrap();
    let channel = LbChannel::builder(target([dead.addr()])).build().unwrap();
    let mut events = channel.subscribe();
    channel.exit_idle();
    let reason = soon("the failure", async {
        loop {
            if let LbEvent::SubchannelState { to: TransientFailure, reason, .. } = events.next().await.unwrap() {
                return reason;
            }
        }
    })
    .await;
    assert!(reason.unwrap().contains("refused"));
    let shown = info(&channel, dead.addr());
    assert_eq!((shown.state, shown.in_flight, shown.excluded), (TransientFailure, 0, None));
    assert!(shown.error.unwrap().contains("refused"));
}

#[tokio::test]
async fn a_subscriber_that_sleeps_loses_the_oldest_and_is_told_how_many() {
    let (resolver, handle) = FakeResolver::new("fake");
    let channel = LbChannel::builder("fake:///orders").resolver(resolver).policy("pick_first").build().unwrap();
    let mut events = channel.subscribe();
    handle.endpoints(
        (1..=3_000_u32).map(|n| Endpoint::new(std::net::SocketAddr::from(([127, 1, (n / 250) as u8, (n % 250) as u8], 1)))),
    );
    channel.exit_idle();
    until("the set is taken over", || channel.endpoints().len() == 3_000).await;
    let LbEvent::Lagged(lost) = soon("the first event", events.next()).await.unwrap() else { panic!("nothing was lost") };
    assert!(lost >= 1_900, "{lost} lost");
    // What is left is in order and whole.
    assert!(matches!(soon("the next", events.next()).await, Some(LbEvent::EndpointAdded(_))));
}

#[tokio::test]
async fn a_change_of_state_can_be_awaited() {
    let mut server = EchoServer::start("s").await.unwrap();
    let channel = LbChannel::builder(target([server.addr()])).backoff(quick_backoff()).build().unwrap();
    assert_eq!(channel.wait_for_state_change(Ready).await, Idle, "another one than seen, already");
    let waiting = tokio::spawn({
        let channel = channel.clone();
        async move {
            let mut state = Idle;
            let mut seen = Vec::new();
            while seen.last() != Some(&TransientFailure) {
                state = channel.wait_for_state_change(state).await;
                seen.push(state);
            }
            seen
        }
    });
    ready(&channel, 1).await;
    server.kill().await;
    let seen = soon("the states", waiting).await.unwrap();
    // States in between may be missed, but none is invented.
    assert!(seen.contains(&Ready) && seen.windows(2).all(|pair| pair[0] != pair[1]), "{seen:?}");
}

#[tokio::test]
async fn endpoints_show_what_the_resolver_knows_and_what_happened() {
    let servers = servers(2).await;
    let spec = format!("static:///{};weight=3;id=blue,{};hostname=green.example", servers[0].addr(), servers[1].addr());
    let channel = LbChannel::builder(spec).build().unwrap();
    ready(&channel, 2).await;
    for _ in 0..10 {
        call(&channel).await.unwrap();
    }
    servers[1].fail(tonic::Code::Internal);
    for _ in 0..10 {
        let _ = call(&channel).await;
    }
    let shown = channel.endpoints();
    assert_eq!(shown.iter().map(|endpoint| (endpoint.succeeded, endpoint.failed)).collect::<Vec<_>>(), [(10, 0), (5, 5)]);
    assert_eq!((shown[0].weight, shown[0].attributes.id.as_deref()), (3, Some("blue")));
    assert_eq!(shown[1].attributes.hostname.as_deref(), Some("green.example"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn draining_under_load_loses_no_call_and_gives_no_new_one() {
    let servers = servers(3).await;
    servers.iter().for_each(|server| server.set_latency(Latency::Fixed(Duration::from_millis(3))));
    let channel = LbChannel::builder(target_of(&servers)).build().unwrap();
    ready(&channel, 3).await;
    let load = Load::start(&channel, 16, &EchoRequest::default());
    load.goes_on(50).await;
    let drained = servers[1].addr();
    channel.drain(&*drained.to_string());
    until("it is drained and its calls have finished", || {
        let shown = info(&channel, drained);
        shown.excluded == Some("drained") && shown.in_flight == 0
    })
    .await;
    let calls = servers[1].calls();
    load.goes_on(300).await;
    assert_eq!((servers[1].calls(), servers[1].connections()), (calls, 1), "no new calls, and the connection stays");
    channel.undrain(&*drained.to_string());
    until("it gets calls again", || servers[1].calls() > calls + 20).await;
    load.stop().await.all_succeeded();
    assert_eq!((in_flight(&channel), servers[1].accepted()), (0, 1));
}

#[tokio::test]
async fn a_drain_is_remembered_while_the_endpoint_is_not_listed() {
    let servers = servers(2).await;
    let (resolver, handle) = FakeResolver::new("fake");
    let channel = LbChannel::builder("fake:///orders").resolver(resolver).build().unwrap();
    channel.drain(&*servers[1].addr().to_string());
    handle.endpoints([servers[0].endpoint()]);
    ready(&channel, 1).await;
    handle.endpoints([servers[0].endpoint(), servers[1].endpoint()]);
    until_state(&channel, servers[0].addr(), Ready).await;
    until("both are listed", || channel.endpoints().len() == 2).await;
    for _ in 0..10 {
        assert_eq!(call(&channel).await.unwrap().into_inner().server, "s0");
    }
    assert_eq!(info(&channel, servers[1].addr()).excluded, Some("drained"));
}

#[tokio::test]
async fn ending_the_backoff_connects_at_once() {
    let dead = ReservedPort::new().unwrap();
    let hour = Duration::from_secs(3600);
    let slow = evenkeel::BackoffConfig::try_new(hour, 1.0, hour, 0.0, Duration::from_secs(5)).unwrap();
    let channel = LbChannel::builder(target([dead.addr()])).backoff(slow).build().unwrap();
    channel.exit_idle();
    until("the attempt has failed", || channel.endpoints().first().is_some_and(|endpoint| endpoint.error.is_some())).await;
    let _late = EchoServer::builder().bind(dead.addr()).start().await.unwrap();
    channel.reset_connect_backoff();
    until_state(&channel, dead.addr(), Ready).await;
    call(&channel).await.unwrap();
}
