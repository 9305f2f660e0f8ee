//! Another policy at run time, and policies of one's own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use evenkeel::policies::RoundRobin;
use evenkeel::{
    Always, CallError, ConfigError, ConnectivityState, LbChannel, LbEvent, LbState, PickError, PickOptions, PickResult, Plan,
    Policy, PolicyBuilder, PolicyChoice, PolicyRegistry, SubchannelView,
};
use lb_testkit::pb::EchoRequest;
use lb_testkit::pb::echo_client::EchoClient;
use serde_json::{Value, json};
use tonic::{Code, Request};

use crate::support::{Load, call, call_error, quick_backoff, ready, request, servers, soon, target_of, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn there_and_back_under_load_without_a_failed_call() {
    let servers = servers(4).await;
    let channel = LbChannel::builder(target_of(&servers)).policy("pick_first").backoff(quick_backoff()).build().unwrap();
    ready(&channel, 1).await;
    let load = Load::start(&channel, 16, &EchoRequest::default());
    for policy in ["round_robin", "pick_first", "least_request", "pick_first", "random", "weighted_round_robin"].repeat(4) {
        load.goes_on(30).await;
        channel.set_policy(policy, &json!({})).unwrap();
        until("the policy took over", || channel.policy() == policy).await;
    }
    load.goes_on(30).await;
    load.stop().await.all_succeeded();
    // The last one connects to all of them.
    ready(&channel, 4).await;
}

#[tokio::test]
async fn a_policy_that_cannot_be_built_changes_nothing() {
    let servers = servers(1).await;
    let channel = LbChannel::builder(target_of(&servers)).build().unwrap();
    call(&channel).await.unwrap();
    let error = channel.set_policy("nonesuch", &json!({})).unwrap_err();
    assert!(error.to_string().contains("nonesuch") && error.to_string().contains("round_robin"), "{error}");
    let error = channel.set_policy("least_request", &json!({"choiceCount": -1})).unwrap_err();
    assert!(error.to_string().contains("choiceCount"), "{error}");
    assert_eq!(channel.policy(), "round_robin");
}

/// Round robin that says CONNECTING until its gate is open.
#[derive(Debug, Default)]
struct Gated {
    gate: Arc<AtomicBool>,
    inner: RoundRobin,
}

impl Policy for Gated {
    fn rebuild(&mut self, now: Instant, view: &[SubchannelView], plan: &mut Plan) -> LbState {
        let state = self.inner.rebuild(now, view, plan);
        if self.gate.load(Ordering::Relaxed) {
            return state;
        }
        plan.wake_at(now + Duration::from_millis(5));
        LbState::new(ConnectivityState::Connecting, Always::queue())
    }
}

impl PolicyBuilder for Gated {
    fn name(&self) -> &str {
        "gated"
    }

    fn build(&self, _config: &Value, _registry: &PolicyRegistry) -> Result<Box<dyn Policy>, ConfigError> {
        Ok(Box::new(Self { gate: Arc::clone(&self.gate), inner: RoundRobin::default() }))
    }
}

#[tokio::test]
async fn the_old_policy_serves_until_the_new_one_can() {
    let servers = servers(2).await;
    let gated = Gated::default();
    let gate = Arc::clone(&gated.gate);
    let channel = LbChannel::builder(target_of(&servers)).register_policy(gated).build().unwrap();
    ready(&channel, 2).await;
    let mut events = channel.subscribe();
    channel.set_policy("gated", &json!({})).unwrap();
    // Many looks later it is still pending.
    for _ in 0..50 {
        tokio::time::sleep(Duration::from_millis(2)).await;
        call(&channel).await.unwrap();
        assert_eq!((channel.policy().as_str(), channel.state()), ("round_robin", ConnectivityState::Ready));
    }
    gate.store(true, Ordering::Relaxed);
    let event = soon("the switch", events.next()).await.unwrap();
    assert_eq!(event, LbEvent::PolicyChanged { policy: "gated".into() });
    until("the policy took over", || channel.policy() == "gated").await;
    call(&channel).await.unwrap();
    assert!(servers.iter().all(|server| server.accepted() == 1), "the connections stayed");
}

#[tokio::test]
async fn the_new_policy_takes_over_when_the_old_one_cannot_serve_any_more() {
    let mut servers = servers(1).await;
    let channel =
        LbChannel::builder(target_of(&servers)).register_policy(Gated::default()).backoff(quick_backoff()).build().unwrap();
    ready(&channel, 1).await;
    channel.set_policy("gated", &json!({})).unwrap();
    servers[0].kill().await;
    until("the policy took over", || channel.policy() == "gated").await;
}

/// Refuses every call, or does what breaks a channel that is not careful.
#[derive(Debug)]
enum Odd {
    Drops,
    Panics,
    PicksTheGone(Option<evenkeel::Slot>),
}

impl Policy for Odd {
    fn rebuild(&mut self, _now: Instant, view: &[SubchannelView], plan: &mut Plan) -> LbState {
        plan.connect.extend(view.iter().map(|row| row.slot));
        let result = match (self, view.first()) {
            (Self::Panics, _) => panic!("a policy of the user's own panics, as this test wants it to"),
            (Self::PicksTheGone(first), Some(row)) => PickResult::Pick(*first.get_or_insert(row.slot)),
            (Self::Drops | Self::PicksTheGone(_), _) => PickResult::Drop(PickError::new("not today")),
        };
        LbState::new(ConnectivityState::Ready, Arc::new(Always(result)))
    }
}

#[tokio::test]
async fn a_policy_that_drops_fails_calls_that_wait_for_ready_too() {
    let servers = servers(1).await;
    let channel = LbChannel::builder(target_of(&servers)).policy(PolicyChoice::custom("odd", Odd::Drops)).build().unwrap();
    for wait in [false, true] {
        let mut asked = Request::new(request("x"));
        asked.extensions_mut().insert(PickOptions::new().wait_for_ready(wait));
        let status = soon("the drop", EchoClient::new(channel.clone()).unary(asked)).await.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable);
        assert!(matches!(call_error(&status), Some(CallError::Dropped { reason }) if &**reason == "not today"), "{status:?}");
    }
    assert_eq!(servers[0].calls(), 0);
}

#[tokio::test]
async fn a_policy_that_panics_closes_the_channel_and_no_more() {
    let servers = servers(1).await;
    let channel = LbChannel::builder(target_of(&servers)).policy(PolicyChoice::custom("odd", Odd::Panics)).build().unwrap();
    for _ in 0..3 {
        let mut asked = Request::new(request("x"));
        asked.extensions_mut().insert(PickOptions::new().wait_for_ready(true));
        let status = soon("the end", EchoClient::new(channel.clone()).unary(asked)).await.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable);
        assert!(matches!(call_error(&status), Some(CallError::Closed)), "{status:?}");
    }
    assert_eq!(channel.state(), ConnectivityState::Shutdown);
}

/// A slot names one endpoint for ever: a policy that remembers one that is gone never hits its successor.
#[tokio::test]
async fn a_pick_of_what_is_gone_waits_and_never_goes_elsewhere() {
    let servers = servers(2).await;
    let (resolver, handle) = lb_testkit::FakeResolver::new("fake");
    let odd = PolicyChoice::custom("odd", Odd::PicksTheGone(None));
    let channel = LbChannel::builder("fake:///x").resolver(resolver).policy(odd).build().unwrap();
    handle.endpoints([servers[0].endpoint()]);
    assert_eq!(call(&channel).await.unwrap().into_inner().server, "s0");
    handle.endpoints([servers[1].endpoint()]);
    until("the new set is taken over", || channel.endpoints()[0].key == *servers[1].endpoint().key()).await;
    let mut asked = Request::new(request("x"));
    asked.set_timeout(Duration::from_millis(200));
    let status = soon("the deadline", EchoClient::new(channel.clone()).unary(asked)).await.unwrap_err();
    assert_eq!((status.code(), servers[1].calls()), (Code::DeadlineExceeded, 0));
}
