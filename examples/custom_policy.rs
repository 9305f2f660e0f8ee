//! A policy of your own: `in_order` sends every call to the first endpoint of the list that is READY, and keeps a few
//! spare connections behind it. Three servers in this process; the first is killed and comes back.
//! Run it with `cargo run --example custom_policy`.

#[path = "support/mod.rs"]
mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use evenkeel::{
    Always, BackoffConfig, ConfigError, ConnectivityState, LbChannel, LbState, PickArgs, PickResult, Picker, Plan, Policy,
    PolicyBuilder, PolicyRegistry, Score, Slot, SubchannelView,
};
use lb_testkit::pb::EchoRequest;
use lb_testkit::pb::echo_client::EchoClient;
use serde_json::{Value, json};

use support::{Failure, PATIENCE, key, servers, serves, target, tell, until};

/// Step 1, the policy: looks at all subchannels on every change of any, and answers with a picker. It runs on the channel's own
/// task, so it may think and allocate; it must be deterministic.
#[derive(Debug)]
struct InOrder {
    spares: usize,
}

impl Policy for InOrder {
    fn rebuild(&mut self, _now: Instant, view: &[SubchannelView], plan: &mut Plan) -> LbState {
        let mut ready = Vec::new();
        for row in view {
            if ready.len() > self.spares {
                break;
            }
            // A subchannel is connected, and reconnected, only as long as some policy asks for it.
            plan.connect.push(row.slot);
            if row.state == ConnectivityState::Ready {
                ready.push(row.slot);
            }
        }
        if !ready.is_empty() {
            return LbState::new(ConnectivityState::Ready, Arc::new(FirstOf { ready: ready.into() }));
        }
        // Nothing to pick: calls wait while there is hope, and fail with a reason once there is none.
        match ConnectivityState::aggregate(view.iter().map(|row| row.state)) {
            ConnectivityState::TransientFailure => {
                let reason = view.iter().find_map(|row| row.error.clone()).unwrap_or_else(|| "there are no endpoints".into());
                LbState::new(ConnectivityState::TransientFailure, Always::fail(reason))
            }
            waiting => LbState::new(waiting, Always::queue()),
        }
    }
}

/// Step 2, the picker: a value that does not change, asked by every call on the caller's task. No lock, no allocation.
#[derive(Debug)]
struct FirstOf {
    /// Never empty.
    ready: Box<[Slot]>,
}

impl Picker for FirstOf {
    fn pick(&self, args: &mut PickArgs<'_>) -> PickResult {
        // A second attempt of the same call goes elsewhere if it can.
        let untried = self.ready.iter().find(|slot| !args.was_tried(**slot));
        PickResult::Pick(*untried.unwrap_or(&self.ready[0]))
    }

    /// The same choice for calls that pin or exclude endpoints.
    fn restrict(&self, keep: &dyn Fn(Slot) -> bool) -> Arc<dyn Picker> {
        let ready: Box<[Slot]> = self.ready.iter().copied().filter(|slot| keep(*slot)).collect();
        if ready.is_empty() { Always::fail("no READY endpoint passes the call's restrictions") } else { Arc::new(Self { ready }) }
    }

    /// Why, for people.
    fn explain(&self, _args: &mut PickArgs<'_>) -> Vec<Score> {
        let reason = |place| if place == 0 { "first in the list".to_owned() } else { format!("spare number {place}") };
        let score = |(place, slot): (usize, &Slot)| Score::new(*slot, f64::from(u8::from(place == 0)), reason(place));
        self.ready.iter().enumerate().map(score).collect()
    }
}

/// Step 3, the builder: gives the policy a name and reads its configuration, as a service config would have it.
#[derive(Debug)]
struct InOrderBuilder;

impl PolicyBuilder for InOrderBuilder {
    fn name(&self) -> &str {
        "in_order"
    }

    fn build(&self, config: &Value, _registry: &PolicyRegistry) -> Result<Box<dyn Policy>, ConfigError> {
        let spares = match config.get("spares") {
            None => 1,
            Some(value) => value
                .as_u64()
                .filter(|spares| *spares <= 10)
                .ok_or_else(|| ConfigError::new("in_order.spares", value, "a whole number from 0 to 10"))?,
        };
        Ok(Box::new(InOrder { spares: spares as usize }))
    }
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let mut servers = servers(3).await?;
    let first = key(&servers[0]);

    // Step 4: register it and ask for it by name. (`PolicyChoice::custom` takes a policy as a value and needs no builder.)
    let backoff = BackoffConfig::default().with_max(Duration::from_millis(200))?;
    let builder = LbChannel::builder(target(&servers)).backoff(backoff).register_policy(InOrderBuilder);
    let channel = builder.policy(("in_order", json!({ "spares": 1 }))).connect(PATIENCE).await?;
    until(&channel, "s0 serves", |endpoints| serves(endpoints, &first)).await?;

    let mut client = EchoClient::new(channel.clone());
    let response = client.unary(EchoRequest::default()).await?;
    tell("all three are there", &response);
    assert_eq!(response.get_ref().server, "s0");

    servers[0].kill().await;
    until(&channel, "s0 is out", |endpoints| !serves(endpoints, &first)).await?;
    let response = client.unary(EchoRequest::default()).await?;
    tell("s0 was killed, its spare takes over", &response);
    assert_eq!(response.get_ref().server, "s1");

    servers[0].restart().await?;
    until(&channel, "s0 is back", |endpoints| serves(endpoints, &first)).await?;
    let response = client.unary(EchoRequest::default()).await?;
    tell("s0 is back", &response);
    assert_eq!(response.get_ref().server, "s0");

    // A configuration that cannot be used is an error that names field, value and range, and changes nothing.
    let Err(error) = channel.set_policy("in_order", &json!({ "spares": 99 })) else { return Err("99 spares were accepted".into()) };
    println!("a wrong configuration: {error}");
    Ok(())
}
