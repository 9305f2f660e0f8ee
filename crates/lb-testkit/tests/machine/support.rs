//! What the tests of the machine share.

use std::sync::Arc;
use std::time::{Duration, Instant};

use lb_core::machine::{AttemptId, Effect, Event, MachineConfig, NamedPolicy};
use lb_core::policies::{PickFirst, RoundRobin};
use lb_core::{
    Address, Always, ConnectivityState, Endpoint, EndpointKey, LbEvent, LbState, Machine, PickResult, Plan, Policy, ResolverUpdate,
    Row, Slot, SubchannelView,
};
use lb_testkit::SimNet;
use lb_testkit::sim::{Record, What};

pub(crate) const A: &str = "10.0.0.1:1";
pub(crate) const B: &str = "10.0.0.2:1";
pub(crate) const C: &str = "10.0.0.3:1";
pub(crate) const D: &str = "10.0.0.4:1";

pub(crate) fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

pub(crate) fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub(crate) fn round_robin() -> NamedPolicy {
    NamedPolicy::new("round_robin", Box::new(RoundRobin::default()))
}

pub(crate) fn pick_first() -> NamedPolicy {
    NamedPolicy::new("pick_first", Box::new(PickFirst::default()))
}

/// A channel that uses `policy` and has left IDLE; all of `endpoints` accept. Without any the resolver has not answered yet.
pub(crate) fn running(policy: NamedPolicy, endpoints: &[&str]) -> SimNet {
    running_with(MachineConfig::new(1), policy, endpoints)
}

pub(crate) fn running_with(config: MachineConfig, policy: NamedPolicy, endpoints: &[&str]) -> SimNet {
    let mut net = SimNet::new(config, policy);
    endpoints.iter().for_each(|address| net.up(address));
    if !endpoints.is_empty() {
        net.resolve(endpoints.iter().copied());
    }
    net.exit_idle();
    net.run_for(secs(1));
    net
}

/// A configuration that watches health.
pub(crate) fn watching() -> MachineConfig {
    let mut config = MachineConfig::new(1);
    config.watch_health = true;
    config
}

pub(crate) fn endpoint(address: &str) -> Endpoint {
    endpoint_of(&[address])
}

pub(crate) fn endpoint_of(addresses: &[&str]) -> Endpoint {
    Endpoint::with_addresses(addresses.iter().map(|text| text.parse().unwrap())).unwrap()
}

pub(crate) fn with_priority(address: &str, priority: u32) -> Endpoint {
    let mut endpoint = endpoint(address);
    endpoint.attributes.priority = priority;
    endpoint
}

pub(crate) fn update(endpoints: impl IntoIterator<Item = Endpoint>) -> ResolverUpdate {
    ResolverUpdate::new(endpoints.into_iter().collect())
}

/// The row of the endpoint with this key.
pub(crate) fn row<'a>(net: &'a SimNet, key: &str) -> &'a Row {
    let found = net.snapshot().rows.iter().find(|row| row.view.endpoint.key().as_str() == key);
    found.unwrap_or_else(|| panic!("no row {key} in {:?}", net.snapshot().rows))
}

pub(crate) fn slot(net: &SimNet, key: &str) -> Slot {
    row(net, key).view.slot
}

/// The states of the rows, in their order.
pub(crate) fn states(net: &SimNet) -> Vec<ConnectivityState> {
    net.snapshot().rows.iter().map(|row| row.view.state).collect()
}

/// The endpoints of the rows, in their order.
pub(crate) fn keys(net: &SimNet) -> Vec<String> {
    net.snapshot().rows.iter().map(|row| row.view.endpoint.key().to_string()).collect()
}

/// The text a call fails with now.
pub(crate) fn failure(net: &mut SimNet) -> String {
    match net.pick_result() {
        PickResult::Fail(error) => error.to_string(),
        other => panic!("not a failure: {other:?}"),
    }
}

/// The latest attempt for an endpoint.
pub(crate) fn latest_attempt(net: &SimNet, key: &str) -> (Slot, AttemptId) {
    let of = |record: &Record| match &record.what {
        What::Connect { slot, attempt, endpoint, .. } if endpoint.as_str() == key => Some((*slot, *attempt)),
        _ => None,
    };
    net.records().iter().rev().find_map(of).unwrap_or_else(|| panic!("no attempt for {key}"))
}

/// How often the machine closed an attempt or its connection.
pub(crate) fn closes(net: &SimNet, attempt: AttemptId) -> usize {
    net.records().iter().filter(|record| record.what == What::Close(attempt)).count()
}

/// The states the channel went through.
pub(crate) fn channel_states(net: &SimNet) -> Vec<ConnectivityState> {
    let of = |record: &Record| match &record.what {
        What::Event(LbEvent::ChannelState { to, .. }) => Some(*to),
        _ => None,
    };
    net.records().iter().filter_map(of).collect()
}

/// What observers were told.
pub(crate) fn events(net: &SimNet) -> Vec<&LbEvent> {
    let mut events = Vec::new();
    for record in net.records() {
        if let What::Event(event) = &record.what {
            events.push(event);
        }
    }
    events
}

pub(crate) fn generation(net: &SimNet) -> u64 {
    net.snapshot().generation
}

/// A machine without a world: every effect is looked at by the test.
#[derive(Debug)]
pub(crate) struct Bare {
    machine: Machine,
    pub(crate) now: Instant,
    pub(crate) wake_at: Option<Instant>,
}

/// An attempt the machine asked for.
#[derive(Debug, Clone)]
pub(crate) struct Attempt {
    pub(crate) slot: Slot,
    pub(crate) attempt: AttemptId,
    pub(crate) key: EndpointKey,
    pub(crate) addresses: Vec<Address>,
}

impl Bare {
    pub(crate) fn new(policy: NamedPolicy, now: Instant) -> Self {
        Self::with(MachineConfig::new(1), policy, now)
    }

    pub(crate) fn with(config: MachineConfig, policy: NamedPolicy, now: Instant) -> Self {
        Self { machine: Machine::new(config, policy), now, wake_at: None }
    }

    /// Handles the events and settles once.
    pub(crate) fn tell(&mut self, events: impl IntoIterator<Item = Event>) -> Vec<Effect> {
        let mut effects = Vec::new();
        for event in events {
            self.machine.handle(self.now, event, &mut effects);
        }
        self.machine.settle(self.now, &mut effects);
        for effect in &effects {
            if let Effect::WakeAt(at) = effect {
                self.wake_at = *at;
            }
        }
        effects
    }

    /// Lets the time of the wake-up come.
    pub(crate) fn wake(&mut self) -> Vec<Effect> {
        let at = self.wake_at.take().expect("a wake-up is outstanding");
        self.now = self.now.max(at);
        self.tell([Event::Tick])
    }

    pub(crate) fn connect(&mut self, attempt: &Attempt) -> Vec<Effect> {
        let Attempt { slot, attempt, addresses, .. } = attempt;
        self.tell([Event::Connected { slot: *slot, attempt: *attempt, address: addresses[0].clone() }])
    }

    pub(crate) fn fail(&mut self, attempt: &Attempt) -> Vec<Effect> {
        self.tell([Event::ConnectFailed { slot: attempt.slot, attempt: attempt.attempt, error: "refused".into() }])
    }
}

/// The attempts among some effects.
pub(crate) fn connects(effects: &[Effect]) -> Vec<Attempt> {
    let of = |effect: &Effect| match effect {
        Effect::Connect { slot, attempt, endpoint, addresses, .. } => {
            Some(Attempt { slot: *slot, attempt: *attempt, key: endpoint.key().clone(), addresses: addresses.clone() })
        }
        _ => None,
    };
    effects.iter().filter_map(of).collect()
}

/// Wants every endpoint connected and reports what it is told to.
#[derive(Debug)]
pub(crate) struct Fixed(pub(crate) ConnectivityState);

impl Policy for Fixed {
    fn rebuild(&mut self, _now: Instant, view: &[SubchannelView], plan: &mut Plan) -> LbState {
        plan.connect.extend(view.iter().map(|row| row.slot));
        match (self.0, view.first()) {
            (ConnectivityState::Ready, Some(row)) => LbState::new(self.0, Arc::new(Always(PickResult::Pick(row.slot)))),
            (ConnectivityState::TransientFailure, _) => LbState::new(self.0, Always::fail("fixed")),
            _ => LbState::new(self.0, Always::queue()),
        }
    }
}

pub(crate) fn fixed(name: &str, state: ConnectivityState) -> NamedPolicy {
    NamedPolicy::new(name, Box::new(Fixed(state)))
}
