//! The breakers of one endpoint, as a gate; and of all endpoints of a channel.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use super::change::{BreakerChange, BreakerInfo, BreakerReason};
use super::config::BreakerConfig;
use super::groups::GroupTable;
use super::one::{Breaker, Effect, instant};
use super::remote::{RemoteReport, RemoteUpdate};
use super::state::{Admission, EPOCH_BITS, Order, Pass, PassKind, Verdict};
use crate::endpoint::{Endpoint, EndpointKey};
use crate::entropy::Entropy;
use crate::feedback::Done;
use crate::gate::{Entry, Gate, GateSignal, Gatekeeper, Refusal};
use crate::policy::ConfigError;
use crate::stats::Outcome;

/// What somebody wants of a breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerForce {
    /// No calls, until further notice.
    Open,
    /// All calls, however they end, until further notice.
    Closed,
    /// As configured again: closed, with everything forgotten.
    Reset,
}

/// What all breakers of a channel have in common.
#[derive(Debug)]
struct Rules {
    config: BreakerConfig,
    groups: Arc<GroupTable>,
    /// Of the groups: calls that began under others are not known here.
    version: u16,
    /// Whether outcomes are counted for a remote breaker.
    report: bool,
    seed: AtomicU64,
}

/// Makes the breakers of a channel's endpoints; a [`Gatekeeper`].
#[derive(Debug, Clone)]
pub struct Breakers(Arc<Rules>);

impl Breakers {
    /// Breakers of this configuration; jitter starts at `seed`. With `report` outcomes are counted for
    /// [`take_reports`](EndpointBreakers::take_reports).
    ///
    /// # Errors
    /// A value of the configuration is not allowed.
    pub fn try_new(config: BreakerConfig, seed: u64, report: bool) -> Result<Self, ConfigError> {
        config.validate()?;
        let groups = Arc::new(GroupTable::new(config.groups.clone(), config.max_groups));
        Ok(Self(Arc::new(Rules { config, groups, version: 0, report, seed: AtomicU64::new(seed) })))
    }

    /// Breakers of another configuration, for the same channel; see [`EndpointBreakers::by`] for those there are.
    ///
    /// # Errors
    /// A value of the configuration is not allowed.
    pub fn by(&self, config: BreakerConfig) -> Result<Self, ConfigError> {
        config.validate()?;
        let Rules { groups, version, report, seed, .. } = &*self.0;
        let (groups, version) = match groups.is_by(&config.groups, config.max_groups) {
            true => (Arc::clone(groups), *version),
            false => (Arc::new(GroupTable::new(config.groups.clone(), config.max_groups)), version.wrapping_add(1)),
        };
        let seed = AtomicU64::new(seed.load(Ordering::Relaxed));
        Ok(Self(Arc::new(Rules { config, groups, version, report: *report, seed })))
    }

    /// Whether one was made [by](Self::by) the other, perhaps over several steps, with methods in the same groups all the time.
    pub fn are_grouped_as(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0.groups, &other.0.groups)
    }

    /// Their configuration.
    pub fn config(&self) -> &BreakerConfig {
        &self.0.config
    }

    /// The breakers of an endpoint, all closed.
    pub fn endpoint(&self, endpoint: &Endpoint, signal: &GateSignal) -> Arc<EndpointBreakers> {
        let seed = Entropy::mix(self.0.seed.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed));
        Arc::new(self.fresh(endpoint.key().clone(), signal.clone(), seed))
    }

    fn fresh(&self, endpoint: EndpointKey, signal: GateSignal, seed: u64) -> EndpointBreakers {
        let breakers = (0..self.0.groups.size()).map(|_| OnceLock::new()).collect();
        EndpointBreakers { endpoint, rules: Arc::clone(&self.0), breakers, signal, seed }
    }
}

impl Gatekeeper for Breakers {
    fn gate(&self, endpoint: &Endpoint, signal: &GateSignal) -> Option<Arc<dyn Gate>> {
        Some(self.endpoint(endpoint, signal))
    }
}

/// The breakers of one endpoint, one per group of methods, each made by its first call.
#[derive(Debug)]
pub struct EndpointBreakers {
    endpoint: EndpointKey,
    rules: Arc<Rules>,
    /// By the number of the group.
    breakers: Box<[OnceLock<Box<Breaker>>]>,
    signal: GateSignal,
    seed: u64,
}

impl EndpointBreakers {
    /// Whose they are.
    pub fn endpoint(&self) -> &EndpointKey {
        &self.endpoint
    }

    /// The same breakers by another configuration, which [`Breakers::by`] has made. What is open, half-open or forced goes on being so,
    /// calls under way end at the new ones, and windows begin empty; by one that [is off](BreakerConfig::is_off) only what is forced,
    /// or what a remote breaker said, stays open. Where methods are grouped otherwise all begins anew, forced states too. What the old ones do from now on
    /// is lost, so [read their changes](Self::changes) before.
    pub fn by(&self, next: &Breakers, now: Instant) -> Arc<Self> {
        let (rules, mut changed) = (&next.0, false);
        let fresh = next.fresh(self.endpoint.clone(), self.signal.clone(), self.seed);
        if Arc::ptr_eq(&rules.groups, &self.rules.groups) {
            for (place, before) in fresh.breakers.iter().zip(&self.breakers) {
                let Some(before) = before.get() else { continue };
                let breaker = place.get_or_init(|| Box::new(before.successor(&rules.config)));
                changed |= rules.config.is_off() && breaker.switch_off(now, &rules.config);
            }
        }
        // Those that wait for a trial need wait no longer.
        if changed {
            self.signal.changed();
        }
        Arc::new(fresh)
    }

    /// Every breaker that has been asked so far, by group.
    pub fn info(&self, now: Instant) -> Vec<BreakerInfo> {
        self.made().map(|breaker| breaker.info(now)).collect()
    }

    /// Forces the breaker of this group, or all there are now and the one for all groups if `None`. `false` if there is no room for
    /// the group.
    pub fn force(&self, group: Option<&str>, force: BreakerForce, now: Instant) -> bool {
        let order = match force {
            BreakerForce::Open => Order::ForceOpen,
            BreakerForce::Closed => Order::ForceClosed,
            BreakerForce::Reset => Order::Reset(BreakerReason::Reset),
        };
        self.each(group, now, |breaker| breaker.order(order, now, &self.rules.config))
    }

    /// Does what a remote breaker says. `false` if there is no room for its group.
    pub fn told(&self, update: &RemoteUpdate, now: Instant) -> bool {
        let open = update.open_for.unwrap_or(self.rules.config.open_time);
        self.each(update.group.as_deref(), now, |breaker| breaker.told(update.state, open, now, &self.rules.config))
    }

    /// Every change since the last time, in order for each group. There may be one who asks.
    pub fn changes(&self, mut tell: impl FnMut(BreakerChange)) {
        for breaker in self.made() {
            breaker.changes(|from, to, reason| {
                let (endpoint, group) = (self.endpoint.clone(), Arc::clone(breaker.group()));
                tell(BreakerChange { endpoint, group, from, to, reason });
            });
        }
    }

    /// What became of calls since the last time, of every breaker that had some. Needs `report` in [`Breakers::try_new`].
    pub fn take_reports(&self, reports: &mut Vec<RemoteReport>) {
        for breaker in self.made() {
            let (succeeded, failed) = breaker.take_reports();
            if succeeded > 0 || failed > 0 {
                let (endpoint, group, state) = (self.endpoint.clone(), Arc::clone(breaker.group()), breaker.state());
                reports.push(RemoteReport { endpoint, group, succeeded, failed, state });
            }
        }
    }

    /// Takes back a report that could not be delivered; its counts are in the next one.
    pub fn put_back(&self, report: &RemoteReport) {
        if let Some(breaker) = self.rules.groups.of_name(&report.group).and_then(|number| self.breakers[number].get()) {
            breaker.put_back(report.succeeded, report.failed);
        }
    }

    fn made(&self) -> impl Iterator<Item = &Breaker> {
        self.breakers.iter().filter_map(|breaker| breaker.get()).map(|breaker| &**breaker)
    }

    /// Does something to the breaker of a group, or to all there are; tells the channel if one changed. `false` without the group.
    fn each(&self, group: Option<&str>, now: Instant, mut change: impl FnMut(&Breaker) -> bool) -> bool {
        let mut changed = false;
        match group {
            Some(name) => match self.rules.groups.made(name) {
                Some(number) => changed |= change(self.breaker(number, now)),
                None => return false,
            },
            None => {
                self.breaker(GroupTable::ALL, now);
                self.made().for_each(|breaker| changed |= change(breaker));
            }
        }
        if changed {
            self.signal.changed();
        }
        true
    }

    #[inline]
    fn breaker(&self, number: usize, now: Instant) -> &Breaker {
        self.breakers[number].get_or_init(|| {
            let (group, config) = (Arc::clone(self.rules.groups.name(number)), &self.rules.config);
            let breaker = Box::new(Breaker::new(group, config, self.seed ^ Entropy::mix(number as u64)));
            if let Some(all) = self.breakers[GroupTable::ALL].get() {
                breaker.inherit(all, now, config);
            }
            breaker
        })
    }

    fn refuse(&self, admission: Admission, now: Instant) -> Option<Refusal> {
        match admission {
            Admission::Pass(_) => None,
            Admission::Refused(until) => Some(Refusal::breaker_open(until.and_then(|until| instant(now, until)))),
            Admission::Full(overdue) => Some(Refusal::breaker_open(instant(now, overdue))),
        }
    }

    #[inline]
    fn tell(&self, effect: Effect) {
        match effect {
            Effect::Nothing => {}
            Effect::Room => self.signal.opened(),
            Effect::Changed => self.signal.changed(),
        }
    }

    /// An attempt that ended so. A code that is no failure of the endpoint is its success.
    #[inline]
    fn verdict(&self, done: &Done<'_>) -> Verdict {
        match done.outcome {
            Outcome::Success => Verdict::Success,
            Outcome::Cancelled => Verdict::Neither,
            Outcome::Failure if self.rules.config.failures.contains(done.code.unwrap_or(UNAVAILABLE)) => Verdict::Failure,
            Outcome::Failure => Verdict::Success,
        }
    }
}

/// What a failure without a code is: the connection was lost.
const UNAVAILABLE: i32 = 14;

impl Gate for EndpointBreakers {
    #[inline]
    fn enter(&self, entry: &Entry<'_>) -> Result<u64, Refusal> {
        let number = self.rules.groups.of_path(entry.method);
        let answer = self.breaker(number, entry.now).enter(entry.now, &self.rules.config);
        if answer.news {
            self.signal.changed();
        }
        match answer.admission {
            Admission::Pass(pass) => Ok(pack(self.rules.version, number, pass)),
            refused => Err(self.refuse(refused, entry.now).unwrap_or_else(|| Refusal::breaker_open(None))),
        }
    }

    #[inline]
    fn left(&self, token: u64, done: &Done<'_>) {
        let Some((number, pass)) = self.unpack(token) else { return };
        let (config, report) = (&self.rules.config, self.rules.report);
        self.tell(self.breaker(number, done.now).leave(pass, self.verdict(done), done.now, config, report));
    }

    fn unused(&self, token: u64) {
        let Some((number, pass)) = self.unpack(token) else { return };
        if let Some(breaker) = self.breakers.get(number).and_then(OnceLock::get) {
            self.tell(breaker.give_back(pass, &self.rules.config));
        }
    }

    fn refusal(&self, entry: &Entry<'_>) -> Option<Refusal> {
        let number = self.rules.groups.of_path(entry.method);
        self.refuse(self.breaker(number, entry.now).look(entry.now, &self.rules.config), entry.now)
    }
}

/// Where the version of the groups begins in a token; there are far fewer groups than fit below it.
const VERSION_SHIFT: u32 = 48;

fn pack(version: u16, number: usize, pass: Pass) -> u64 {
    let pass = u64::from(pass.epoch) << 2 | pass.kind as u64;
    u64::from(version) << VERSION_SHIFT | (number as u64) << (EPOCH_BITS + 2) | pass
}

impl EndpointBreakers {
    /// The number of the group and the pass; `None` for a call that began when methods were grouped otherwise.
    #[inline]
    fn unpack(&self, token: u64) -> Option<(usize, Pass)> {
        if (token >> VERSION_SHIFT) as u16 != self.rules.version {
            return None;
        }
        let kind = match token & 3 {
            0 => PassKind::Counted,
            1 => PassKind::Trial,
            _ => PassKind::Ignored,
        };
        let epoch = (token >> 2 & ((1 << EPOCH_BITS) - 1)) as u16;
        let number = token >> (EPOCH_BITS + 2) & ((1 << (VERSION_SHIFT - EPOCH_BITS - 2)) - 1);
        Some((number as usize, Pass { kind, epoch }))
    }
}
