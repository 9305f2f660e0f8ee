//! Any events in any order: what must hold after each of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use lb_core::machine::{AttemptId, Command, Effect, Event, MachineConfig, NamedPolicy};
use lb_core::policies::{LeastRequest, PickFirst, RoundRobin};
use lb_core::{
    Address, ConnectivityState, Endpoint, EndpointKey, EndpointStats, ResolveError, ResolveErrorKind, ResolverUpdate,
    ServingStatus, Slot, Snapshot,
};
use lb_testkit::SimClock;
use proptest::prelude::*;

use crate::support::{Bare, endpoint, endpoint_of, millis, update};

/// How many endpoints there can be.
const ENDPOINTS: usize = 6;

/// What may happen. Numbers choose among what there is when it happens.
#[derive(Debug, Clone)]
enum Step {
    ExitIdle,
    EnterIdle,
    Resolve(Vec<(usize, u32, bool)>),
    ResolveError,
    /// The resolver repeats itself, and other things nobody can see.
    Repeat,
    /// An attempt or connection of any age: came up, failed, was lost, health told.
    News(u8, usize, usize),
    ConnectRequested(usize),
    Policy(u8, bool),
    Drain(usize, bool),
    ResetBackoff,
    /// Lets time pass, with the wake-ups asked for.
    Pass(u64),
    /// A tick nobody asked for.
    Tick,
    Shutdown,
}

fn step() -> impl Strategy<Value = Step> {
    let listed = proptest::collection::vec((0..ENDPOINTS, 0..3_u32, any::<bool>()), 0..8);
    prop_oneof![
        6 => Just(Step::ExitIdle),
        1 => Just(Step::EnterIdle),
        8 => listed.prop_map(Step::Resolve),
        2 => Just(Step::ResolveError),
        4 => Just(Step::Repeat),
        30 => (0..6_u8, any::<usize>(), 0..3_usize).prop_map(|(kind, which, status)| Step::News(kind, which, status)),
        6 => any::<usize>().prop_map(Step::ConnectRequested),
        2 => (0..3_u8, any::<bool>()).prop_map(|(policy, further)| Step::Policy(policy, further)),
        3 => (0..ENDPOINTS, any::<bool>()).prop_map(|(which, drained)| Step::Drain(which, drained)),
        1 => Just(Step::ResetBackoff),
        16 => (0..30_000_u64).prop_map(Step::Pass),
        2 => Just(Step::Tick),
        // Rare: everything after it is ignored.
        1 => prop_oneof![9 => Just(Step::Tick), 1 => Just(Step::Shutdown)],
    ]
}

/// What became of an attempt, as the driver of a channel knows it.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fate {
    Trying,
    Connected,
    Over,
}

#[derive(Debug)]
struct Link {
    slot: Slot,
    attempt: AttemptId,
    address: Address,
    fate: Fate,
}

/// The driver's part, which checks everything the machine says.
#[derive(Debug)]
struct Checker {
    bare: Bare,
    watched: bool,
    links: Vec<Link>,
    /// Every slot ever seen, and whose it was.
    slots: BTreeMap<Slot, EndpointKey>,
    /// Counters with one call in flight, never ended.
    counters: Vec<Arc<EndpointStats>>,
    /// The resolver's latest set without repetitions, while it runs.
    listed: Vec<EndpointKey>,
    /// Its latest update, until it fails.
    latest: Option<ResolverUpdate>,
    resolver_runs: bool,
    shut: bool,
    snapshot: Arc<Snapshot>,
}

impl Checker {
    fn new(seed: u64, watched: bool, policy: NamedPolicy) -> Self {
        let mut config = MachineConfig::new(seed);
        config.watch_health = watched;
        Self {
            bare: Bare::with(config, policy, SimClock::new().now()),
            watched,
            links: Vec::new(),
            slots: BTreeMap::new(),
            counters: Vec::new(),
            listed: Vec::new(),
            latest: None,
            resolver_runs: false,
            shut: false,
            snapshot: Arc::new(Snapshot::initial()),
        }
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Pass(time) => return self.pass(time),
            Step::Repeat => return self.repeat(),
            Step::Shutdown => self.shut = true,
            Step::Resolve(_) | Step::ResolveError if !self.resolver_runs => return,
            _ => {}
        }
        let events = self.events(step);
        self.tell(events);
    }

    fn events(&mut self, step: Step) -> Vec<Event> {
        let event = match step {
            Step::ExitIdle => Event::ExitIdle,
            Step::EnterIdle => Event::EnterIdle,
            Step::Resolve(listed) => self.resolve(&listed),
            Step::ResolveError => {
                self.latest = None;
                Event::ResolveFailed(ResolveError::new(ResolveErrorKind::Unavailable, "away"))
            }
            Step::News(kind, which, status) => return self.news(kind, which, status),
            Step::ConnectRequested(which) => {
                let slots: Vec<Slot> = self.slots.keys().copied().collect();
                let Some(slot) = slots.get(which % slots.len().max(1)) else { return Vec::new() };
                Event::ConnectRequested(*slot)
            }
            Step::Policy(which, true) => Event::Command(Command::AddPolicy(policy(which))),
            Step::Policy(which, false) => Event::Command(Command::SetPolicy(policy(which))),
            Step::Drain(which, drained) => Event::Command(Command::Drain(any_endpoint(which).key().clone(), drained)),
            Step::ResetBackoff => Event::Command(Command::ResetBackoff),
            Step::Tick => Event::Tick,
            Step::Shutdown => Event::Shutdown,
            Step::Pass(_) | Step::Repeat => unreachable!("taken elsewhere"),
        };
        vec![event]
    }

    fn resolve(&mut self, listed: &[(usize, u32, bool)]) -> Event {
        let endpoints: Vec<Endpoint> = listed
            .iter()
            .map(|(which, priority, renamed)| {
                let mut endpoint = any_endpoint(*which).with_weight(priority + 1);
                endpoint.attributes.priority = *priority;
                endpoint.attributes.hostname = renamed.then(|| "renamed.example".into());
                endpoint
            })
            .collect();
        self.listed.clear();
        for endpoint in &endpoints {
            if !self.listed.contains(endpoint.key()) {
                self.listed.push(endpoint.key().clone());
            }
        }
        self.latest = Some(update(endpoints.clone()));
        Event::Resolved(update(endpoints))
    }

    /// Nothing changes, nothing is published.
    fn repeat(&mut self) {
        let before = self.snapshot.generation;
        let mut events = vec![Event::Tick];
        if self.resolver_runs {
            events.push(Event::ExitIdle);
            events.extend(self.latest.clone().map(Event::Resolved));
        } else {
            events.push(Event::EnterIdle);
        }
        if let Some(over) = self.links.iter().find(|link| link.fate == Fate::Over) {
            let (slot, attempt, reason) = (over.slot, over.attempt, Arc::from("late"));
            events.push(Event::Closed { slot, attempt, reason });
        }
        self.tell(events);
        assert_eq!(self.snapshot.generation, before);
    }

    /// News of an attempt: the right kind for its fate, or now and then of one that is long over.
    fn news(&mut self, kind: u8, which: usize, status: usize) -> Vec<Event> {
        let count = self.links.len();
        if count == 0 {
            return Vec::new();
        }
        // Mostly the latest ones, which are mostly alive.
        let index = count - 1 - which % if kind == 5 { count } else { count.min(8) };
        let link = &mut self.links[index];
        let (slot, attempt, address) = (link.slot, link.attempt, link.address.clone());
        let status = [ServingStatus::Serving, ServingStatus::Unknown, ServingStatus::NotServing("sick".into())][status].clone();
        let (event, fate) = match (kind, link.fate) {
            (0 | 1, Fate::Trying) | (1, Fate::Over) => (Event::Connected { slot, attempt, address }, Fate::Connected),
            (2, Fate::Trying | Fate::Over) => (Event::ConnectFailed { slot, attempt, error: "refused".into() }, Fate::Over),
            (3, _) => (Event::Closed { slot, attempt, reason: "gone".into() }, Fate::Over),
            (4 | 5, fate) if self.watched || fate == Fate::Over => (Event::Health { slot, attempt, status }, fate),
            _ => return Vec::new(),
        };
        // A channel that has ended has ended its connections itself.
        link.fate = if self.shut { Fate::Over } else { fate };
        vec![event]
    }

    fn pass(&mut self, time: u64) {
        let end = self.bare.now + millis(time);
        for _ in 0..10_000 {
            let Some(at) = self.bare.wake_at.take_if(|at| *at <= end) else {
                self.bare.now = end;
                return;
            };
            self.bare.now = self.bare.now.max(at);
            self.tell(vec![Event::Tick]);
        }
        panic!("the machine does not come to rest");
    }

    fn tell(&mut self, events: Vec<Event>) {
        let text = format!("{events:?}");
        let effects = self.bare.tell(events);
        let mut wakes = 0;
        let mut published = 0;
        for effect in effects {
            match effect {
                Effect::Publish(snapshot) => {
                    published += 1;
                    self.published(snapshot);
                }
                Effect::WakeAt(_) => wakes += 1,
                other => self.effect(other),
            }
        }
        assert!(wakes <= 1 && published <= 1, "{wakes} wake-ups and {published} publications after {text}");
        self.check(&text);
        assert!(self.bare.wake_at.is_none_or(|at| at > self.bare.now), "a wake-up that is due already after {text}");
        let more = self.bare.tell([]);
        assert!(more.is_empty(), "{more:?} without events after {text}");
    }

    /// The end, after which nothing is left open.
    fn end(mut self) {
        self.take(Step::Shutdown);
        assert!(self.links.iter().all(|link| link.fate == Fate::Over), "{:?}", self.links);
        assert_eq!((self.resolver_runs, self.bare.wake_at), (false, None));
    }

    fn effect(&mut self, effect: Effect) {
        match effect {
            Effect::StartResolver => {
                assert!(!self.resolver_runs && !self.shut);
                self.resolver_runs = true;
            }
            Effect::StopResolver => {
                assert!(self.resolver_runs);
                self.resolver_runs = false;
                self.latest = None;
                self.listed.clear();
            }
            Effect::ReResolve => assert!(self.resolver_runs),
            Effect::Connect { slot, attempt, endpoint, addresses, timeout } => {
                assert!(!addresses.is_empty() && !timeout.is_zero());
                assert!(addresses.iter().all(|address| endpoint.addresses().contains(address)));
                let busy = self.links.iter().find(|link| link.slot == slot && link.fate != Fate::Over);
                assert!(busy.is_none(), "{slot} has {busy:?} already");
                assert!(self.links.iter().all(|link| link.attempt < attempt), "an attempt's name is used once");
                self.name(slot, endpoint.key());
                self.links.push(Link { slot, attempt, address: addresses[0].clone(), fate: Fate::Trying });
            }
            Effect::Spare(_) => {}
            Effect::Close { slot, attempt } | Effect::Retire { slot, attempt, .. } => {
                let link = self.links.iter_mut().find(|link| link.attempt == attempt).expect("only what was asked for is closed");
                assert!(link.slot == slot && link.fate != Fate::Over, "closed twice: {link:?}");
                link.fate = Fate::Over;
            }
            Effect::WatchHealth { attempt, .. } => {
                let connected = self.links.iter().any(|link| link.attempt == attempt && link.fate == Fate::Connected);
                assert!(self.watched && connected);
            }
            _ => {}
        }
    }

    /// A slot names one endpoint for ever.
    fn name(&mut self, slot: Slot, key: &EndpointKey) {
        let named = self.slots.entry(slot).or_insert_with(|| key.clone());
        assert_eq!(named, key, "{slot} names two endpoints");
    }

    fn published(&mut self, snapshot: Arc<Snapshot>) {
        assert_eq!(snapshot.generation, self.snapshot.generation + 1);
        for row in &snapshot.rows {
            self.name(row.view.slot, row.view.endpoint.key());
            // A call that never ends, on every endpoint ever seen.
            if !self.counters.iter().any(|counters| Arc::ptr_eq(counters, &row.view.stats)) {
                row.view.stats.begin();
                self.counters.push(Arc::clone(&row.view.stats));
            }
        }
        self.snapshot = snapshot;
    }

    /// What holds after every event.
    fn check(&self, after: &str) {
        let rows: Vec<&EndpointKey> = self.snapshot.rows.iter().map(|row| row.view.endpoint.key()).collect();
        assert!(rows.iter().copied().eq(&self.listed), "{rows:?} is not {:?} after {after}", self.listed);
        for row in &self.snapshot.rows {
            self.check_row(row.view.slot, row.view.state, after);
        }
        for link in self.links.iter().filter(|link| link.fate != Fate::Over) {
            let listed = self.snapshot.rows.iter().any(|row| row.view.slot == link.slot);
            assert!(listed, "{link:?} belongs to nobody after {after}");
        }
        assert!(self.counters.iter().all(|counters| counters.in_flight() == 1));
        self.check_picker(after);
    }

    fn check_row(&self, slot: Slot, state: ConnectivityState, after: &str) {
        let fate = self.links.iter().rev().find(|link| link.slot == slot).map_or(Fate::Over, |link| link.fate);
        let legal = match state {
            ConnectivityState::Ready => fate == Fate::Connected,
            ConnectivityState::Connecting => fate == Fate::Trying || (self.watched && fate == Fate::Connected),
            ConnectivityState::Idle => fate == Fate::Over,
            ConnectivityState::TransientFailure => fate != Fate::Connected || self.watched,
            ConnectivityState::Shutdown => false,
        };
        assert!(legal, "{slot} is {state} and its latest attempt is {fate:?} after {after}");
    }

    fn check_picker(&self, after: &str) {
        use lb_core::{PickArgs, PickHints, PickResult, Scratch};
        let (headers, hints, mut scratch) = (http::HeaderMap::new(), PickHints::default(), Scratch::new(7));
        for named in &self.snapshot.pickers {
            let mut args = PickArgs::new(SimClock::new().now(), "/sim/Call", &headers, &hints, &mut scratch);
            match named.picker.pick(&mut args) {
                PickResult::Pick(slot) => {
                    let row = self.snapshot.rows.iter().find(|row| row.view.slot == slot).expect("a pick names a row");
                    assert!(row.view.state == ConnectivityState::Ready && row.excluded.is_none(), "{row:?} after {after}");
                }
                PickResult::Connect(slot) => assert!(self.snapshot.rows.iter().any(|row| row.view.slot == slot)),
                PickResult::Queue | PickResult::Fail(_) | PickResult::Drop(_) => {}
            }
        }
        if self.shut {
            assert_eq!(self.snapshot.state, ConnectivityState::Shutdown);
        }
    }
}

fn any_endpoint(which: usize) -> Endpoint {
    match which {
        0 => endpoint_of(&["10.1.0.1:1", "10.1.0.2:1"]),
        n => endpoint(&format!("10.0.0.{n}:1")),
    }
}

fn policy(which: u8) -> NamedPolicy {
    match which {
        0 => NamedPolicy::new("pick_first", Box::new(PickFirst::default().shuffled())),
        1 => NamedPolicy::new("round_robin", Box::new(RoundRobin::default())),
        _ => NamedPolicy::new("least_request", Box::new(LeastRequest::default())),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_events_in_any_order(
        seed in any::<u64>(),
        watched in any::<bool>(),
        first in 0..3_u8,
        steps in proptest::collection::vec(step(), 1..150),
    ) {
        let mut checker = Checker::new(seed, watched, policy(first));
        checker.take(Step::ExitIdle);
        steps.into_iter().for_each(|step| checker.take(step));
        checker.end();
    }
}
