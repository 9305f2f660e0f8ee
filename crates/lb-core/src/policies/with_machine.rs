//! Policies and the priority stage under the real machine, against a network that answers as told.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::testing::{Caller, start};
use crate::connectivity::ConnectivityState::{self, Connecting, Idle, Ready, TransientFailure};
use crate::endpoint::Endpoint;
use crate::event::LbEvent;
use crate::machine::{AttemptId, Effect, Event, Machine, MachineConfig, NamedPolicy};
use crate::pick::PickResult;
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
        let named = NamedPolicy::new(policy, PolicyRegistry::default().build(policy, &Value::Null).unwrap());
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

    fn pick(&self) -> PickResult {
        Caller::new(1).pick(&*self.snapshot.as_ref().unwrap().pickers[0].picker)
    }

    fn picked(&self) -> u8 {
        let PickResult::Pick(slot) = self.pick() else { panic!("{:?}", self.pick()) };
        self.snapshot.as_ref().unwrap().rows.iter().find(|row| row.view.slot == slot).map(|row| number(&row.view.endpoint)).unwrap()
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
