//! The state machine of a channel, without IO.
//!
//! [`Machine`] is told [`Event`]s and answers with [`Effect`]s. It owns every decision between the resolver and the pick: which
//! subchannels exist, when each may try to connect, what state each shows, which policy picks. It reads no clock and has no
//! randomness but the seed it is given, so the driver of a real channel, the policy laboratory and the tests run the same code.
//!
//! ```text
//!  resolver ─ Resolved ─┐                                ┌─ Connect, Close, WatchHealth ─> connections
//!  transport ─ Connected, ConnectFailed, Closed ─┐       ├─ StartResolver, ReResolve ─> resolver
//!  health ─ Health ─────┴─> handle() … settle() ─┴───────┼─ Publish(snapshot) ─> calls
//!  people ─ Command ────┘   (all ready events)  (once)   └─ WakeAt, Emit
//! ```
//!
//! **Two steps.** [`handle`](Machine::handle) takes one event and only changes subchannels; [`settle`](Machine::settle) then
//! starts what may start, asks stages and policies once, and publishes if anything a call can see has changed. A driver handles
//! all ready events before it settles, so a burst of a thousand updates costs one rebuild. A rebuild is linear in the endpoints.
//! Where nothing but time has passed, the stages that asked for it look first, and if they find everything as it was, that is all.
//!
//! **Invariants.** A slot names one endpoint for ever. News of an attempt that is no longer the subchannel's own is ignored. A
//! failing resolver never removes an endpoint. A subchannel that no policy wants is not reconnected. Nothing changes, nothing is
//! published.

mod balancer;
mod event;
mod publish;
mod removal;
mod settle;
mod subchannel;
mod table;
mod view;

use std::sync::Arc;
use std::time::{Duration, Instant};

pub use event::{AttemptId, Command, Effect, Event, NamedPolicy};

use crate::address::Address;
use crate::backoff::BackoffConfig;
use crate::endpoint::EndpointKey;
use crate::entropy::Entropy;
use crate::event::LbEvent;
use crate::gate::{GateSignal, Gatekeeper};
use crate::health::ServingStatus;
use crate::policy::Stage;
use crate::recovery::{DegradedConfig, RampConfig};
use crate::resolver::{ResolveError, ResolverUpdate};
use crate::slot::Slot;
use crate::stages::{FailoverConfig, OutlierConfig, PanicConfig, ReplicaConfig};

use balancer::{Balancer, StageConfigs};
use publish::Published;
use subchannel::{Outfit, Subchannel};
use table::Table;

/// The most endpoints one target may have; what a resolver lists beyond it is ignored and told as an event. Bounds what a hostile
/// registry can make a client hold: about 1 KiB per endpoint before it is connected.
pub const MAX_ENDPOINTS: usize = 100_000;

/// What a machine needs to know beside its policy.
#[derive(Debug)]
#[non_exhaustive]
pub struct MachineConfig {
    /// Pacing of connection attempts, per address.
    pub backoff: BackoffConfig,
    /// Whether connections serve only once a health check says so.
    pub watch_health: bool,
    /// Which endpoints are ejected for what becomes of their calls; the default ejects nobody.
    pub outlier_detection: OutlierConfig,
    /// How calls move between groups of endpoints; the default is gRPC's. [Check](FailoverConfig::check) it first: a time that cannot be
    /// counted never comes.
    pub failover: FailoverConfig,
    /// When replicas stand in for their primaries. [Check](ReplicaConfig::check) it first.
    pub replicas: ReplicaConfig,
    /// How endpoints that are new or come back get their calls; the default, `None`, is all at once.
    pub recovery: Option<RampConfig>,
    /// What endpoints get that serve with reservations.
    pub degraded: DegradedConfig,
    /// When endpoints are used whatever is thought of them; the default is never. [Check](PanicConfig::check) it first.
    pub panic: PanicConfig,
    /// How long calls in progress at an endpoint may take that the resolver lists no more; `None`, the default, is as long as they need.
    pub removal_deadline: Option<Duration>,
    /// Custom stages, run after the built-in ones.
    pub stages: Vec<Box<dyn Stage>>,
    /// What admits attempts to endpoints, asked in this order; see [`gate`](crate::gate).
    pub gatekeepers: Vec<Arc<dyn Gatekeeper>>,
    /// Who hears when gates change.
    pub gate_signal: GateSignal,
    /// Where randomness starts; give every channel another one.
    pub seed: u64,
}

impl MachineConfig {
    /// gRPC's backoff, no health check, no custom stages, no gates.
    pub fn new(seed: u64) -> Self {
        Self {
            backoff: BackoffConfig::default(),
            watch_health: false,
            outlier_detection: OutlierConfig::default(),
            removal_deadline: None,
            failover: FailoverConfig::default(),
            replicas: ReplicaConfig::default(),
            recovery: None,
            degraded: DegradedConfig::default(),
            panic: PanicConfig::default(),
            stages: Vec::new(),
            gatekeepers: Vec::new(),
            gate_signal: GateSignal::default(),
            seed,
        }
    }
}

/// The decisions of one channel. See the module's essay.
#[derive(Debug)]
pub struct Machine {
    outfit: Outfit,
    removal_deadline: Option<Duration>,
    /// What commands want done, to be told with the next settling.
    wanted: Vec<Effect>,
    watch_health: bool,
    entropy: Entropy,
    phase: Phase,
    resolution: Resolution,
    table: Table,
    balancer: Balancer,
    attempts: u64,
    published: Published,
    wake_at: Option<Instant>,
    /// Whether the wake-up asked for last may have been used up.
    ticked: bool,
    policy_wake: Option<Instant>,
    /// Whether that time has come.
    due: bool,
    dirty: bool,
    /// Whether a subchannel may have changed since the last settling, so that attempts and times are to be looked at again.
    stirred: bool,
    re_resolve: bool,
    events: Vec<LbEvent>,
}

#[derive(Debug, PartialEq, Eq)]
enum Phase {
    Idle,
    Active,
    Shutdown,
}

/// What the resolver said last.
#[derive(Debug, Default)]
struct Resolution {
    /// Whether there was ever an answer since the channel left IDLE.
    resolved: bool,
    error: Option<ResolveError>,
    /// Why nothing it says is used, if so.
    withheld: Option<Arc<str>>,
    note: Option<Arc<str>>,
}

impl Machine {
    /// A machine in IDLE. Nothing happens before [`Event::ExitIdle`].
    pub fn new(config: MachineConfig, policy: NamedPolicy) -> Self {
        let MachineConfig { outlier_detection: outliers, recovery, degraded, replicas, failover, panic, stages: custom, .. } =
            config;
        let signal = config.gate_signal.clone();
        let stages = StageConfigs { outliers, recovery, degraded, replicas, failover, panic, custom, signal };
        Self {
            removal_deadline: config.removal_deadline,
            wanted: Vec::new(),
            outfit: Outfit { backoff: config.backoff, gatekeepers: config.gatekeepers, gate_signal: config.gate_signal },
            watch_health: config.watch_health,
            entropy: Entropy::from_seed(config.seed),
            phase: Phase::Idle,
            resolution: Resolution::default(),
            table: Table::default(),
            balancer: Balancer::new(stages, policy),
            attempts: 0,
            published: Published::default(),
            wake_at: None,
            ticked: false,
            policy_wake: None,
            due: false,
            dirty: true,
            stirred: true,
            re_resolve: false,
            events: Vec::new(),
        }
    }

    /// The name of the channel's own policy; a switch that has not finished does not count.
    pub fn policy(&self) -> &str {
        &self.balancer.current.name
    }

    /// Takes one event. Call [`settle`](Self::settle) after the last one that is ready.
    pub fn handle(&mut self, now: Instant, event: Event, effects: &mut Vec<Effect>) {
        if self.phase == Phase::Shutdown {
            return;
        }
        // What an answer of the resolver changes makes the view anew.
        self.stirred |= !matches!(event, Event::Resolved(_) | Event::ResolveFailed(_) | Event::Tick);
        match event {
            Event::ExitIdle => self.exit_idle(effects),
            Event::EnterIdle => self.enter_idle(effects),
            Event::Resolved(update) if self.phase == Phase::Active => self.resolved(update, effects),
            Event::ResolveFailed(error) if self.phase == Phase::Active => self.resolve_failed(error),
            Event::Resolved(_) | Event::ResolveFailed(_) => {}
            Event::ConnectRequested(slot) => self.connect_requested(slot),
            Event::Connected { slot, attempt, address } => self.connected(slot, attempt, &address, effects),
            Event::ConnectFailed { slot, attempt, error } => self.connect_failed(slot, attempt, error),
            Event::Closed { slot, attempt, reason } => self.closed(slot, attempt, reason),
            Event::Health { slot, attempt, status } => self.health(slot, attempt, status),
            Event::Command(command) => self.command(command),
            Event::Tick => self.tick(now),
            Event::Shutdown => self.shutdown(effects),
        }
    }

    /// The one outstanding wake-up is used up; settling asks for the next, even if that is for the same time.
    fn tick(&mut self, now: Instant) {
        self.ticked = true;
        self.due |= self.policy_wake.is_some_and(|at| at <= now);
    }

    fn exit_idle(&mut self, effects: &mut Vec<Effect>) {
        if self.phase == Phase::Idle {
            self.phase = Phase::Active;
            self.dirty = true;
            effects.push(Effect::StartResolver);
        }
    }

    fn enter_idle(&mut self, effects: &mut Vec<Effect>) {
        if self.phase == Phase::Active {
            self.phase = Phase::Idle;
            self.give_up(effects);
        }
    }

    fn shutdown(&mut self, effects: &mut Vec<Effect>) {
        if self.phase == Phase::Active {
            self.give_up(effects);
        }
        self.phase = Phase::Shutdown;
        self.dirty = true;
    }

    /// Drops the resolver and every subchannel.
    fn give_up(&mut self, effects: &mut Vec<Effect>) {
        effects.push(Effect::StopResolver);
        self.resolution = Resolution::default();
        for subchannel in self.table.clear() {
            self.let_go(&subchannel, None, effects);
        }
        self.policy_wake = None;
        self.dirty = true;
    }

    fn resolved(&mut self, mut update: ResolverUpdate, effects: &mut Vec<Effect>) {
        let recovered = self.recovered();
        if update.endpoints.len() > MAX_ENDPOINTS {
            let listed = update.endpoints.len();
            update.endpoints.truncate(MAX_ENDPOINTS);
            let message = format!("the resolver lists {listed} endpoints, the first {MAX_ENDPOINTS} are used");
            self.events.push(LbEvent::ResolverFailed(message.into()));
        }
        let difference = self.table.apply(update.endpoints, &self.outfit);
        // An answer without endpoints may be a registry's moment of confusion: look again (spec/01 §4).
        self.re_resolve |= self.table.len() == 0;
        self.dirty |= recovered && self.table.len() == 0;
        self.dirty |= !difference.is_empty() || !self.resolution.resolved || self.resolution.note != update.note;
        self.resolution.resolved = true;
        self.resolution.note = update.note;
        for subchannel in difference.removed {
            self.let_go(&subchannel, self.removal_deadline, effects);
        }
        self.events.extend(difference.added.into_iter().map(LbEvent::EndpointAdded));
        self.events.extend(difference.updated.into_iter().map(LbEvent::EndpointUpdated));
        self.events.extend(difference.health);
    }

    /// Forgets the resolver's error; whether there was one.
    fn recovered(&mut self) -> bool {
        let recovered = self.resolution.error.take().is_some();
        self.events.extend(recovered.then_some(LbEvent::ResolverRecovered));
        recovered
    }

    fn resolve_failed(&mut self, error: ResolveError) {
        let text = error.to_string();
        // Only a channel that has nothing shows the error; any other keeps its last good set.
        self.dirty |= self.table.len() == 0 && self.resolution.error.as_ref().is_none_or(|shown| shown.to_string() != text);
        self.events.push(LbEvent::ResolverFailed(text.into()));
        self.resolution.error = Some(error);
    }

    fn connect_requested(&mut self, slot: Slot) {
        if let Some(subchannel) = self.table.get_mut(slot) {
            subchannel.wanted = true;
        }
    }

    fn connected(&mut self, slot: Slot, attempt: AttemptId, address: &Address, effects: &mut Vec<Effect>) {
        let Some(subchannel) = self.table.current_mut(slot, attempt) else {
            // The endpoint went while its connection came up.
            effects.push(Effect::Close { slot, attempt });
            return;
        };
        let connected = subchannel.connected(self.watch_health);
        self.dirty |= connected;
        if connected {
            let (endpoint, address) = (subchannel.endpoint.key().clone(), address.to_string().into());
            self.events.push(LbEvent::Connected { endpoint, address });
        }
        if connected && self.watch_health {
            let stats = Arc::clone(&subchannel.stats);
            effects.push(Effect::WatchHealth { slot, attempt, stats });
        }
    }

    fn connect_failed(&mut self, slot: Slot, attempt: AttemptId, error: Arc<str>) {
        if let Some(subchannel) = self.table.current_mut(slot, attempt) {
            let failed = subchannel.failed(Arc::clone(&error));
            self.dirty |= failed;
            self.re_resolve |= failed;
            if failed {
                self.events.push(LbEvent::ConnectFailed { endpoint: subchannel.endpoint.key().clone(), reason: error });
            }
        }
    }

    fn closed(&mut self, slot: Slot, attempt: AttemptId, reason: Arc<str>) {
        if let Some(subchannel) = self.table.current_mut(slot, attempt) {
            if subchannel.is_connected() {
                self.events.push(LbEvent::Disconnected { endpoint: subchannel.endpoint.key().clone(), reason: Some(reason) });
            }
            subchannel.closed(self.outfit.backoff.nominal(0));
            self.dirty = true;
            self.re_resolve = true;
        }
    }

    fn health(&mut self, slot: Slot, attempt: AttemptId, status: ServingStatus) {
        if let Some(subchannel) = self.table.current_mut(slot, attempt) {
            self.dirty |= subchannel.health(status);
            self.events.extend(subchannel.health_news());
        }
    }

    /// Follows a command; the same as handling [`Event::Command`], for use before the machine runs.
    pub fn command(&mut self, command: Command) {
        self.stirred = true;
        match command {
            Command::SetPolicy(policy) => self.balancer.switch(policy),
            Command::AddPolicy(policy) => self.balancer.keep(policy),
            Command::ForceGroup(priority) => self.balancer.force_group(priority),
            Command::RemovePolicy(name) => self.balancer.forget(&name),
            Command::Withhold(reason) => self.resolution.withheld = reason,
            Command::WatchHealth(watch) => self.watch_health(watch),
            Command::Drain(endpoint, drained) => return self.drain(endpoint, drained),
            Command::Rebuild => {}
            Command::DrainWithin(endpoint, within) => return self.drain_within(endpoint, within),
            Command::Disable(endpoint, disabled) => return self.disable(endpoint, disabled),
            Command::Degrade(endpoint, share) => {
                self.dirty |= self.balancer.recovery.levers.set(endpoint, share);
                return;
            }
            Command::ForceRecovery(endpoint) => return self.force_recovery(endpoint),
            Command::ResetBackoff => return self.table.iter_mut().for_each(Subchannel::reset_backoff),
        }
        self.dirty = true;
    }

    fn watch_health(&mut self, watch: bool) {
        self.watch_health = watch;
        if !watch {
            self.table.iter_mut().for_each(|subchannel| {
                subchannel.health(ServingStatus::Serving);
            });
        }
    }

    fn disable(&mut self, endpoint: EndpointKey, disabled: bool) {
        if self.balancer.disable.set(endpoint.clone(), disabled) {
            self.dirty |= self.table.contains(&endpoint);
            self.events.push(LbEvent::Disabled { endpoint, disabled });
        }
    }

    fn force_recovery(&mut self, endpoint: EndpointKey) {
        if self.balancer.recovery.force(&endpoint) {
            self.dirty = true;
            self.events.push(LbEvent::RecoveryFinished { endpoint, forced: true });
        }
    }
}
