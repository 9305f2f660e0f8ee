//! A simulated network and clock that drive the real [`Machine`].
//!
//! [`SimNet`] stands where the driver of a channel stands: it executes the machine's effects as events at simulated times, records
//! everything, and answers picks from the latest snapshot. Hours pass in milliseconds, and every run with the same inputs is
//! the same run. It simulates no bytes and no calls; for those there are real sockets.
//!
//! ```
//! use std::time::Duration;
//! use lb_core::machine::{MachineConfig, NamedPolicy};
//! use lb_core::policies::RoundRobin;
//! use lb_core::ConnectivityState;
//! use lb_testkit::SimNet;
//!
//! let policy = NamedPolicy::new("round_robin", Box::new(RoundRobin::default()));
//! let mut net = SimNet::new(MachineConfig::new(1), policy);
//! net.up("10.0.0.1:1");
//! net.resolve(["10.0.0.1:1", "10.0.0.2:1"]);
//! net.exit_idle();
//! net.run_for(Duration::from_secs(60));
//! assert_eq!(net.state(), ConnectivityState::Ready);
//! assert_eq!(net.pick(), Some("10.0.0.1:1".into()));
//! ```

mod clock;
mod record;
mod run;
mod world;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::HeaderMap;
use lb_core::machine::{Command, Event, MachineConfig, NamedPolicy};
use lb_core::{
    ConnectivityState, Endpoint, EndpointKey, Machine, PickArgs, PickHints, PickResult, ResolveError, ResolverUpdate, Scratch,
    ServingStatus, Slot, Snapshot,
};

pub use self::clock::SimClock;
pub use self::record::{Record, What};
use self::world::{Happening, Next, World};

/// More steps than this without time passing is a machine that talks to itself.
const MAX_STEPS_AT_ONE_TIME: usize = 10_000;

/// How many of the latest records a failure shows.
const SHOWN: usize = 20;

/// A machine with a simulated world around it. Addresses refuse connections until the world is told otherwise.
#[derive(Debug)]
pub struct SimNet {
    clock: SimClock,
    machine: Machine,
    world: World,
    /// What will happen; the number keeps things that happen at one time in order.
    agenda: BTreeMap<(Instant, u64), Happening>,
    planned: u64,
    wake_at: Option<Instant>,
    resolver: Resolver,
    snapshot: Arc<Snapshot>,
    scratch: Scratch,
    records: Vec<Record>,
}

/// The simulated resolver.
#[derive(Debug, Default)]
struct Resolver {
    running: bool,
    latest: Option<Result<ResolverUpdate, ResolveError>>,
    /// How long after it is asked to look again it repeats its latest answer; `None` is never.
    answers_after: Option<Duration>,
    asked_again: u64,
}

impl SimNet {
    /// A world around a new machine, at time zero. The machine is IDLE.
    pub fn new(config: MachineConfig, policy: NamedPolicy) -> Self {
        let scratch = Scratch::new(config.seed);
        Self {
            clock: SimClock::new(),
            machine: Machine::new(config, policy),
            world: World::default(),
            agenda: BTreeMap::new(),
            planned: 0,
            wake_at: None,
            resolver: Resolver::default(),
            snapshot: Arc::new(Snapshot::initial()),
            scratch,
            records: Vec::new(),
        }
    }

    /// The clock.
    pub fn clock(&self) -> &SimClock {
        &self.clock
    }

    /// The latest snapshot.
    pub fn snapshot(&self) -> &Arc<Snapshot> {
        &self.snapshot
    }

    /// The channel's state.
    pub fn state(&self) -> ConnectivityState {
        self.snapshot.state
    }

    /// Everything that happened so far.
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// What happened, without the times, since the records were last forgotten.
    pub fn take_records(&mut self) -> Vec<Record> {
        std::mem::take(&mut self.records)
    }

    /// When the attempts for an endpoint began.
    pub fn attempts(&self, endpoint: &str) -> Vec<Duration> {
        let key = EndpointKey::from(endpoint);
        let is_one = |record: &&Record| matches!(&record.what, What::Connect { endpoint, .. } if *endpoint == key);
        self.records.iter().filter(is_one).map(|record| record.at).collect()
    }

    /// Addresses connected now, in the order of their connections.
    pub fn connected(&self) -> Vec<String> {
        self.world.connections().map(ToString::to_string).collect()
    }

    /// How often the machine asked the resolver to look again.
    pub fn asked_again(&self) -> u64 {
        self.resolver.asked_again
    }

    /// Lets the machine leave IDLE, at once.
    pub fn exit_idle(&mut self) {
        self.tell(Event::ExitIdle);
    }

    /// Pulls a lever, at once.
    pub fn command(&mut self, command: Command) {
        self.tell(Event::Command(command));
    }

    /// Tells the machine anything, at once.
    pub fn tell(&mut self, event: Event) {
        self.tell_all([event]);
    }

    /// Tells the machine several things before it settles once, as a driver does with all that is ready.
    pub fn tell_all(&mut self, events: impl IntoIterator<Item = Event>) {
        let (now, mut effects) = (self.clock.now(), Vec::new());
        for event in events {
            self.machine.handle(now, event, &mut effects);
        }
        self.machine.settle(now, &mut effects);
        for effect in effects {
            self.execute(effect);
        }
    }

    /// The resolver's full set from now on, one endpoint per address.
    ///
    /// # Panics
    /// If a text is not an address.
    pub fn resolve<'a>(&mut self, addresses: impl IntoIterator<Item = &'a str>) {
        let endpoints = addresses.into_iter().map(|text| Endpoint::new(world::address(text)));
        self.resolve_to(ResolverUpdate::new(endpoints.collect()));
    }

    /// The resolver's answer from now on; told at once if it runs, and otherwise when it is started.
    pub fn resolve_to(&mut self, update: ResolverUpdate) {
        self.answer(Ok(update));
    }

    /// The resolver's failure from now on.
    pub fn fail_resolution(&mut self, error: ResolveError) {
        self.answer(Err(error));
    }

    /// Lets the resolver repeat its latest answer so long after it is asked to look again. Unless set it only counts.
    pub fn answer_re_resolution(&mut self, after: Duration) {
        self.resolver.answers_after = Some(after);
    }

    /// From now on the address accepts connections.
    pub fn up(&mut self, address: &str) {
        self.world.place(address).next = Next::Accept;
    }

    /// From now on the address refuses connections; open ones stay.
    pub fn refuse(&mut self, address: &str) {
        self.world.place(address).next = Next::Refuse;
    }

    /// From now on attempts to connect to the address hang; open connections stay.
    pub fn hang(&mut self, address: &str) {
        self.world.place(address).next = Next::Hang;
    }

    /// Accepting or refusing takes this long; default 1 ms.
    pub fn latency(&mut self, address: &str, latency: Duration) {
        self.world.place(address).latency = latency;
    }

    /// Connections made from now on end after this long; `None`, the default, is never.
    pub fn lifetime(&mut self, address: &str, lifetime: Option<Duration>) {
        self.world.place(address).lifetime = lifetime;
    }

    /// Ends the open connections to the address, at once.
    pub fn close(&mut self, address: &str) {
        let closed = self.world.close(address);
        let events: Vec<Event> = closed.into_iter().map(|attempt| self.lost(attempt)).collect();
        if !events.is_empty() {
            self.tell_all(events);
        }
    }

    /// What a killed server does: refuses, and its connections end.
    pub fn kill(&mut self, address: &str) {
        self.refuse(address);
        self.close(address);
    }

    /// The health of the address; told at once on watched connections, and as soon as one is watched. Unless set nothing is told.
    pub fn health(&mut self, address: &str, status: &ServingStatus) {
        self.world.place(address).health = Some(status.clone());
        let events: Vec<Event> =
            self.world.watched(address).into_iter().map(|(slot, attempt)| self.healthy(slot, attempt, status)).collect();
        if !events.is_empty() {
            self.tell_all(events);
        }
    }

    /// Picks once, by the channel's own policy; follows a wish to connect. The endpoint, or `None` if the call would wait or fail.
    pub fn pick(&mut self) -> Option<EndpointKey> {
        match self.pick_result() {
            PickResult::Pick(slot) => self.endpoint_of(slot),
            PickResult::Connect(slot) => {
                self.tell(Event::ConnectRequested(slot));
                None
            }
            PickResult::Queue | PickResult::Fail(_) | PickResult::Drop(_) => None,
        }
    }

    /// Picks once, by the channel's own policy, and does nothing about it.
    pub fn pick_result(&mut self) -> PickResult {
        let (headers, hints) = (HeaderMap::new(), PickHints::default());
        let mut args = PickArgs::new(self.clock.now(), "/sim/Call", &headers, &hints, &mut self.scratch);
        self.snapshot.picker(None).map_or(PickResult::Queue, |picker| picker.pick(&mut args))
    }

    /// The endpoint of a slot in the latest snapshot.
    pub fn endpoint_of(&self, slot: Slot) -> Option<EndpointKey> {
        let row = self.snapshot.rows.iter().find(|row| row.view.slot == slot)?;
        Some(row.view.endpoint.key().clone())
    }

    /// Lets the next thing happen, with everything else of the same time. `false` if nothing ever will.
    pub fn step(&mut self) -> bool {
        let Some(at) = self.next_at() else { return false };
        self.clock.advance_to(at);
        let mut events = Vec::new();
        if self.wake_at.is_some_and(|wake_at| wake_at <= at) {
            self.wake_at = None;
            events.push(Event::Tick);
        }
        while let Some(entry) = self.agenda.first_entry().filter(|entry| entry.key().0 <= at) {
            let happening = entry.remove();
            events.extend(self.happen(happening));
        }
        self.tell_all(events);
        true
    }

    /// Lets so much time pass.
    ///
    /// # Panics
    /// If the machine does not come to rest at one time; the message shows its latest records.
    pub fn run_for(&mut self, time: Duration) {
        let end = self.clock.now() + time;
        let (mut at, mut steps) = (self.clock.now(), 0);
        while self.next_at().is_some_and(|next| next <= end) {
            self.step();
            steps = if self.clock.now() == at { steps + 1 } else { 0 };
            at = self.clock.now();
            assert!(steps < MAX_STEPS_AT_ONE_TIME, "no rest at {:?}:\n{}", self.clock.elapsed(), self.latest());
        }
        self.clock.advance_to(end);
    }

    fn latest(&self) -> String {
        let from = self.records.len().saturating_sub(SHOWN);
        self.records[from..].iter().map(|record| format!("{record}\n")).collect()
    }

    fn next_at(&self) -> Option<Instant> {
        let planned = self.agenda.first_key_value().map(|((at, _), _)| *at);
        planned.into_iter().chain(self.wake_at).min()
    }
}
