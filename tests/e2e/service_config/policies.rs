//! Policies by config: of the channel, and of single methods.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, OnceLock};

use evenkeel::{LbChannel, LbEvent, Observer, PickOptions, WeakChannel};
use lb_testkit::EchoServer;
use lb_testkit::pb::echo_client::EchoClient;
use lb_testkit::pb::{EchoReply, EchoRequest};
use serde_json::{Value, json};
use tonic::{Request, Response, Status, Streaming};

use super::{fake, for_all, listing, policy, until_changed, until_policy};
use crate::support::{Load, call, in_flight, ready, request, servers, soon, target_of, until};

const SERVICE: &str = "evenkeel.echo.v1.Echo";

fn of_unary(policy: &str, config: Value) -> Value {
    json!({"methodConfig": [{"name": [{"service": SERVICE, "method": "Unary"}], "loadBalancingConfig": [{policy: config}]}]})
}

async fn unary(channel: &LbChannel, options: Option<PickOptions>) -> Result<Response<EchoReply>, Status> {
    let mut asked = Request::new(request("x"));
    options.into_iter().for_each(|options| {
        asked.extensions_mut().insert(options);
    });
    soon("a call", EchoClient::new(channel.clone()).unary(asked)).await
}

async fn stream(channel: &LbChannel, count: u32) -> Streaming<EchoReply> {
    let asked = EchoRequest { count, ..request("x") };
    soon("a stream", EchoClient::new(channel.clone()).server_stream(asked)).await.unwrap().into_inner()
}

/// Which servers answer so many unary calls with these options.
async fn answering(channel: &LbChannel, options: Option<PickOptions>, calls: usize) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for _ in 0..calls {
        names.insert(unary(channel, options.clone()).await.unwrap().into_inner().server);
    }
    names
}

#[tokio::test]
async fn a_method_has_a_policy_of_its_own_and_the_calls_wish_wins() {
    let servers = servers(3).await;
    let builder = LbChannel::builder(target_of(&servers)).service_config(of_unary("pick_first", json!({})));
    let channel = builder.build().unwrap();
    ready(&channel, 3).await;
    assert_eq!(answering(&channel, None, 12).await.len(), 1, "its method's");
    assert_eq!(answering(&channel, Some(PickOptions::new().cost(1)), 12).await.len(), 1, "other wishes beside it");
    let own = PickOptions::new().policy("round_robin");
    assert_eq!(answering(&channel, Some(own), 12).await.len(), 3, "the call's own");
    let mut others = BTreeSet::new();
    for _ in 0..12 {
        others.insert(stream(&channel, 1).await.message().await.unwrap().unwrap().server);
    }
    assert_eq!(others.len(), 3, "another method has the channel's");
    assert_eq!(channel.policy(), "round_robin");
    assert!(channel.explain(&PickOptions::new()).unwrap().iter().all(|row| row.excluded.is_none()));
}

/// Notes whether the config in use says anything of methods, at the moment it hears that another config counts.
#[derive(Debug, Default, Clone)]
struct Looks {
    channel: Arc<OnceLock<WeakChannel>>,
    seen: Arc<Mutex<Vec<bool>>>,
}

impl Observer for Looks {
    fn on_event(&self, event: &LbEvent) {
        if matches!(event, LbEvent::ConfigChanged(_)) {
            let channel = self.channel.get().and_then(WeakChannel::upgrade).expect("it is open");
            self.seen.lock().unwrap().push(channel.service_config().is_some_and(|config| !config.methods.is_empty()));
        }
    }
}

/// Who heard of a config before it was published would make calls by the one before.
#[tokio::test]
async fn who_hears_of_a_config_finds_it_in_use() {
    let servers = servers(3).await;
    let looks = Looks::default();
    let channel = LbChannel::builder(target_of(&servers)).observer(looks.clone()).build().unwrap();
    looks.channel.set(channel.downgrade()).unwrap();
    ready(&channel, 3).await;
    let mut events = channel.subscribe();
    for config in [of_unary("pick_first", json!({})), json!({}), of_unary("random", json!({}))] {
        channel.set_service_config(config).unwrap();
        until_changed(&mut events).await;
    }
    channel.set_service_config(of_unary("pick_first", json!({}))).unwrap();
    channel.announce(LbEvent::ConfigChanged(lb_core::service_config::ConfigSource::Program));
    until_changed(&mut events).await;
    until_changed(&mut events).await;
    assert_eq!(*looks.seen.lock().unwrap(), [true, false, true, true, true]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changed_under_load_without_a_failed_call_and_nothing_is_forgotten() {
    let servers = servers(3).await;
    let (builder, resolver) = fake();
    let channel = builder.build().unwrap();
    resolver.update(listing(&servers, json!({})));
    ready(&channel, 3).await;
    let open = stream(&channel, 1_000_000).await;
    let load = Load::start(&channel, 8, &EchoRequest::default());
    for round in 0..24_u32 {
        let method = ["random", "least_request", "pick_first", "peak_ewma"][round as usize % 4];
        let mut config = of_unary(method, json!({"round": round}));
        config["loadBalancingConfig"] = json!([{["random", "round_robin"][round as usize % 2]: {}}]);
        let mut events = channel.subscribe();
        resolver.update(listing(&servers, config));
        until_changed(&mut events).await;
        load.goes_on(20).await;
        assert!(in_flight(&channel) >= 1, "the stream is still counted");
    }
    load.stop().await.all_succeeded();
    assert!(in_flight(&channel) == 1, "{} calls are in flight", in_flight(&channel));
    drop(open);
    until("nothing is in flight", || in_flight(&channel) == 0).await;
}

#[tokio::test]
async fn a_call_that_waits_while_its_methods_policy_goes_takes_the_channels() {
    let server = EchoServer::start("s").await.unwrap();
    let (builder, resolver) = fake();
    let channel = builder.service_config(json!({})).build().unwrap();
    resolver.update(listing([], of_unary("random", json!({}))));
    let mut events = channel.subscribe();
    channel.exit_idle();
    until_changed(&mut events).await;
    for options in [None, Some(PickOptions::new().cost(1))] {
        resolver.update(listing([], of_unary("random", json!({}))));
        until("the method has a policy", || channel.service_config().is_some_and(|config| !config.methods.is_empty())).await;
        let waiting = tokio::spawn({
            let (channel, options) = (channel.clone(), options.unwrap_or_default().wait_for_ready(true));
            async move { unary(&channel, Some(options)).await }
        });
        until("it waits", || channel.stats().waiting == 1).await;
        resolver.update(listing([&server], json!({})));
        soon("the call that waits", waiting).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn the_same_policy_keeps_what_it_has_learnt() {
    let servers = servers(2).await;
    let (builder, resolver) = fake();
    let channel = builder.build().unwrap();
    resolver.update(listing(&servers, policy("round_robin")));
    ready(&channel, 2).await;
    let mut events = channel.subscribe();
    let mut more = policy("round_robin");
    more["methodConfig"] = for_all(json!({"timeout": "30s"}))["methodConfig"].clone();
    resolver.update(listing(&servers, more));
    until_changed(&mut events).await;
    resolver.update(listing(&servers, policy("random")));
    // The only switch there was.
    loop {
        match super::next(&mut events).await {
            LbEvent::PolicyChanged { policy } => break assert_eq!(&*policy, "random"),
            LbEvent::ConfigRefused(reason) => panic!("{reason}"),
            _ => {}
        }
    }
    call(&channel).await.unwrap();
}

#[tokio::test]
async fn calls_in_flight_are_known_to_the_policy_that_comes() {
    let servers = servers(2).await;
    let channel = LbChannel::builder(target_of(&servers)).policy("pick_first").build().unwrap();
    ready(&channel, 1).await;
    let mut open = Vec::new();
    for _ in 0..4 {
        open.push(stream(&channel, 1_000_000).await);
    }
    let busy = open[0].message().await.unwrap().unwrap().server;
    let full = json!({"selectionMethod": "FULL_SCAN"});
    channel.set_service_config(of_unary("least_request", full)).unwrap();
    until("the method has a policy", || channel.service_config().is_some()).await;
    ready(&channel, 2).await;
    let answering = answering(&channel, None, 10).await;
    assert!(!answering.contains(&busy) && answering.len() == 1, "{answering:?} answer, {busy} is busy");
}

#[tokio::test]
async fn from_the_resolver_at_run_time() {
    let servers = servers(2).await;
    let (builder, resolver) = fake();
    let channel = builder.build().unwrap();
    for name in ["random", "least_request", "random", "pick_first"] {
        resolver.update(listing(&servers, policy(name)));
        channel.exit_idle();
        until_policy(&channel, name).await;
        call(&channel).await.unwrap();
    }
}
