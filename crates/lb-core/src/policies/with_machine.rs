//! Policies and the priority stage under the real machine, against a network that answers as told.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::testing::{Caller, start};
use crate::connectivity::ConnectivityState::{self, Connecting, Idle, Ready, TransientFailure};
use crate::endpoint::Endpoint;
use crate::event::LbEvent;
use crate::machine::{AttemptId, Effect, Event, Machine, MachineConfig, NamedPolicy};
use crate::pick::{PickResult, Picker};
use crate::registry::PolicyRegistry;
use crate::resolver::ResolverUpdate;
use crate::slot::Slot;
use crate::snapshot::Snapshot;

/// A channel without IO. Endpoint `n` is `10.0.0.n:1`, and named by that number here.
struct Channel {
    machine: Machine,
    now: Instant,
    wake_at: Option<Instant>,
    snapshot: Option<Arc<Snapshot>>,
    /// Attempts and connections that were started and neither failed nor were closed.
    open: Vec<(u8, Slot, AttemptId)>,
    /// Endpoints in the order their attempts were started.
    started: Vec<u8>,
    states: Vec<ConnectivityState>,
}

fn endpoint(number: u8, priority: u32) -> Endpoint {
    let mut endpoint = Endpoint::new(std::net::SocketAddr::from(([10, 0, 0, number], 1)));
    endpoint.attributes.priority = priority;
    endpoint
}

fn number(endpoint: &Endpoint) -> u8 {
    let text = endpoint.key().as_str();
    text["10.0.0.".len()..text.len() - ":1".len()].parse().unwrap()
}

impl Channel {
    fn new(policy: &str, endpoints: &[(u8, u32)]) -> Self {
        Self::with(policy, &Value::Null, endpoints)
    }

    fn with(policy: &str, config: &Value, endpoints: &[(u8, u32)]) -> Self {
        let named = NamedPolicy::new(policy, PolicyRegistry::default().build(policy, config).unwrap());
        let mut channel = Self {
            machine: Machine::new(MachineConfig::new(1), named),
            now: start(),
            wake_at: None,
            snapshot: None,
            open: Vec::new(),
            started: Vec::new(),
            states: Vec::new(),
        };
        channel.tell(Event::ExitIdle);
        channel.resolve(endpoints);
        channel
    }

    fn resolve(&mut self, endpoints: &[(u8, u32)]) {
        let endpoints = endpoints.iter().map(|(number, priority)| endpoint(*number, *priority)).collect();
        self.tell(Event::Resolved(ResolverUpdate::new(endpoints)));
    }

    fn tell(&mut self, event: Event) {
        let mut effects = Vec::new();
        self.machine.handle(self.now, event, &mut effects);
        self.machine.settle(self.now, &mut effects);
        for effect in effects {
            match effect {
                Effect::Connect { slot, attempt, endpoint, .. } => {
                    self.open.push((number(&endpoint), slot, attempt));
                    self.started.push(number(&endpoint));
                }
                Effect::Close { attempt, .. } => self.open.retain(|(_, _, other)| *other != attempt),
                Effect::WakeAt(at) => self.wake_at = at,
                Effect::Publish(snapshot) => self.snapshot = Some(snapshot),
                Effect::Emit(LbEvent::ChannelState { to, .. }) => self.states.push(to),
                _ => {}
            }
        }
    }

    fn find(&self, endpoint: u8) -> (Slot, AttemptId) {
        let found = self.open.iter().find(|(number, _, _)| *number == endpoint);
        found.map(|(_, slot, attempt)| (*slot, *attempt)).expect("an attempt or connection")
    }

    fn accept(&mut self, number: u8) {
        let (slot, attempt) = self.find(number);
        let address = endpoint(number, 0).addresses()[0].clone();
        self.tell(Event::Connected { slot, attempt, address });
    }

    fn refuse(&mut self, number: u8) {
        let (slot, attempt) = self.find(number);
        self.open.retain(|(_, _, other)| *other != attempt);
        self.tell(Event::ConnectFailed { slot, attempt, error: format!("refused by {number}").into() });
    }

    fn lose(&mut self, number: u8) {
        let (slot, attempt) = self.find(number);
        self.open.retain(|(_, _, other)| *other != attempt);
        self.tell(Event::Closed { slot, attempt, reason: "lost".into() });
    }

    /// Lets time pass, with the wake-ups that were asked for.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.wake_at.filter(|at| *at <= end) {
            self.now = at.max(self.now);
            self.tell(Event::Tick);
        }
        self.now = end;
    }

    fn picker(&self) -> &dyn Picker {
        &*self.snapshot.as_ref().unwrap().pickers[0].picker
    }

    fn pick(&self) -> PickResult {
        Caller::new(1).pick(self.picker())
    }

    /// A call with this hash key; whom it has connected, if it asks for that.
    fn call(&mut self, key: &str) -> PickResult {
        let result = Caller::new(1).with_key(key).pick(self.picker());
        if let PickResult::Connect(slot) = result {
            self.tell(Event::ConnectRequested(slot));
        }
        result
    }

    fn number_of(&self, slot: Slot) -> u8 {
        let row = self.snapshot.as_ref().unwrap().rows.iter().find(|row| row.view.slot == slot);
        row.map(|row| number(&row.view.endpoint)).unwrap()
    }

    fn picked(&self) -> u8 {
        let PickResult::Pick(slot) = self.pick() else { panic!("{:?}", self.pick()) };
        self.number_of(slot)
    }

    fn state(&self) -> ConnectivityState {
        self.snapshot.as_ref().unwrap().state
    }

    fn open(&self) -> BTreeSet<u8> {
        self.open.iter().map(|(number, _, _)| *number).collect()
    }
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn pick_first_connects_one_and_waits_for_a_call_after_losing_it() {
    let mut channel = Channel::new("pick_first", &[(1, 0), (2, 0)]);
    channel.accept(1);
    assert_eq!((channel.picked(), &channel.started[..]), (1, &[1][..]));
    channel.pass(60 * SECOND);
    channel.lose(1);
    channel.pass(60 * SECOND);
    assert_eq!((channel.state(), channel.started.len()), (Idle, 1), "nobody called");
    let PickResult::Connect(slot) = channel.pick() else { panic!("{:?}", channel.pick()) };
    channel.tell(Event::ConnectRequested(slot));
    assert_eq!((channel.state(), &channel.started[..]), (Connecting, &[1, 1][..]));
    channel.refuse(1);
    channel.accept(2);
    assert_eq!(channel.picked(), 2);
    assert_eq!(channel.states, [Connecting, Ready, Idle, Connecting, Ready]);
}

#[test]
fn pick_first_races_a_hanging_endpoint_and_lets_it_go() {
    let mut channel = Channel::new("pick_first", &[(1, 0), (2, 0), (3, 0)]);
    channel.pass(Duration::from_millis(249));
    assert_eq!(channel.started, [1]);
    channel.pass(Duration::from_millis(1));
    assert_eq!(channel.started, [1, 2]);
    channel.accept(2);
    assert_eq!((channel.picked(), channel.open()), (2, [2].into()));
    channel.pass(60 * SECOND);
    assert_eq!(channel.started, [1, 2]);
}

#[test]
fn pick_first_fails_until_one_answers() {
    let mut channel = Channel::new("pick_first", &[(1, 0), (2, 0)]);
    channel.refuse(1);
    channel.refuse(2);
    assert!(matches!(channel.pick(), PickResult::Fail(error) if error.to_string().ends_with("refused by 2")));
    channel.pass(2 * SECOND);
    assert_eq!(channel.open(), [1, 2].into(), "both are tried again without a call");
    channel.refuse(1);
    assert!(matches!(channel.pick(), PickResult::Fail(error) if error.to_string().ends_with("refused by 1")));
    channel.accept(2);
    assert_eq!((channel.picked(), channel.open()), (2, [2].into()));
    assert_eq!(channel.states, [Connecting, TransientFailure, Ready]);
}

#[test]
fn round_robin_reconnects_without_a_call() {
    let mut channel = Channel::new("round_robin", &[(1, 0), (2, 0)]);
    channel.accept(1);
    channel.accept(2);
    channel.pass(60 * SECOND);
    channel.lose(1);
    assert_eq!((channel.picked(), channel.open()), (2, [1, 2].into()));
    channel.accept(1);
    assert_eq!(channel.states, [Connecting, Ready]);
}

#[test]
fn priorities_fail_over_at_once_and_return_when_ready() {
    let mut channel = Channel::new("round_robin", &[(1, 0), (2, 1), (3, 2)]);
    assert_eq!(channel.open(), [1].into());
    channel.refuse(1);
    channel.accept(2);
    assert_eq!((channel.picked(), &channel.started[..]), (2, &[1, 2][..]));
    channel.pass(2 * SECOND);
    assert_eq!(channel.open(), [1, 2].into(), "the first group is tried again meanwhile");
    channel.accept(1);
    assert_eq!(channel.picked(), 1);
    channel.pass(14 * 60 * SECOND);
    assert_eq!(channel.open(), [1, 2].into());
    channel.pass(60 * SECOND);
    assert_eq!(channel.open(), [1].into(), "the second group's connection is closed after 15 minutes");
}

#[test]
fn a_priority_that_hangs_is_given_ten_seconds() {
    let mut channel = Channel::new("round_robin", &[(1, 0), (2, 7)]);
    channel.pass(10 * SECOND - Duration::from_millis(1));
    assert_eq!(channel.open(), [1].into());
    channel.pass(Duration::from_millis(1));
    assert_eq!(channel.open(), [1, 2].into());
    channel.accept(2);
    assert_eq!(channel.picked(), 2);
}

#[test]
fn pick_first_moves_between_priorities() {
    let mut channel = Channel::new("pick_first", &[(1, 0), (2, 0), (3, 1), (4, 1)]);
    channel.refuse(1);
    channel.refuse(2);
    channel.accept(3);
    assert_eq!(channel.picked(), 3);
    channel.pass(2 * SECOND);
    channel.accept(2);
    assert_eq!(channel.picked(), 2);
    channel.resolve(&[(3, 1), (4, 1)]);
    assert_eq!(channel.picked(), 3, "its connection was kept");
}

#[test]
fn ring_hash_connects_what_calls_need_and_nothing_else() {
    let mut channel = Channel::new("ring_hash", &[(1, 0), (2, 0), (3, 0)]);
    channel.pass(60 * SECOND);
    assert_eq!((channel.state(), channel.open()), (Idle, [].into()), "nobody called");
    let PickResult::Connect(home) = channel.call("user-1") else { panic!("nothing is connected") };
    let home = channel.number_of(home);
    assert_eq!((channel.state(), channel.open()), (Connecting, [home].into()));
    assert!(matches!(channel.call("user-1"), PickResult::Queue));
    channel.accept(home);
    assert!(matches!(channel.call("user-1"), PickResult::Pick(slot) if channel.number_of(slot) == home));
    channel.pass(60 * SECOND);
    channel.lose(home);
    channel.pass(60 * SECOND);
    assert_eq!((channel.state(), channel.open()), (Idle, [].into()), "no call needs it");
    assert!(matches!(channel.call("user-1"), PickResult::Connect(slot) if channel.number_of(slot) == home));
}

#[test]
fn ring_hash_goes_on_by_itself_until_one_is_ready() {
    let mut channel = Channel::new("ring_hash", &[(1, 0), (2, 0), (3, 0)]);
    let PickResult::Connect(home) = channel.call("user-1") else { panic!("nothing is connected") };
    let home = channel.number_of(home);
    channel.refuse(home);
    let second = *channel.open().iter().find(|number| **number != home).expect("another one is tried without a call");
    channel.refuse(second);
    assert_eq!(channel.state(), TransientFailure, "two failed");
    let third = 6 - home - second;
    channel.accept(third);
    assert!(matches!(channel.call("user-1"), PickResult::Pick(slot) if channel.number_of(slot) == third));
    channel.pass(2 * SECOND);
    assert_eq!(channel.open(), [1, 2, 3].into(), "those that failed are tried again");
    channel.accept(home);
    assert!(matches!(channel.call("user-1"), PickResult::Pick(slot) if channel.number_of(slot) == home));
}

#[test]
fn random_subsetting_keeps_connections_to_its_subset_only() {
    let config = json!({"subsetSize": 2, "childPolicy": [{"round_robin": {}}]});
    let all = [(1, 0), (2, 0), (3, 0), (4, 0), (5, 0)];
    let mut channel = Channel::with("random_subsetting", &config, &all);
    let first = channel.open();
    assert_eq!(first.len(), 2);
    first.iter().for_each(|number| channel.accept(*number));
    let gone = *first.first().unwrap();
    let rest: Vec<(u8, u32)> = all.into_iter().filter(|(number, _)| *number != gone).collect();
    channel.resolve(&rest);
    let second = channel.open();
    assert!(second.len() == 2 && !second.contains(&gone) && second.intersection(&first).count() == 1);
    channel.resolve(&all);
    assert_eq!(channel.open(), first, "the one that had come in for it is let go");
}

#[test]
fn priority_spillover_uses_the_next_group_for_what_is_too_much() {
    let config = json!({"childPolicy": [{"round_robin": {}}]});
    let mut channel = Channel::with("priority_spillover", &config, &[(1, 0), (2, 0), (3, 1), (4, 1)]);
    assert_eq!(channel.open(), [1, 2].into());
    channel.accept(1);
    channel.accept(2);
    channel.pass(60 * SECOND);
    channel.lose(2);
    assert_eq!(channel.open(), [1, 2].into(), "connecting is not failing");
    channel.refuse(2);
    assert!(channel.open().is_superset(&[1, 3, 4].into()), "half of it left can take 70 %");
    channel.accept(3);
    channel.accept(4);
    let mut caller = Caller::new(1);
    let picks: Vec<u8> = (0..1_000).map(|_| channel.number_of(caller.slot(channel.picker()))).collect();
    let first = picks.iter().filter(|number| **number == 1).count();
    // Binomial: five sigma of 1000 at 0.7 are 72.
    assert!(first.abs_diff(700) < 72 && !picks.contains(&2), "{first}");
}
