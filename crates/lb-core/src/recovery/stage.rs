//! Follows every endpoint from its first call to its full share.

use std::collections::BTreeMap;
use std::time::Instant;

use super::climb::{Climb, Look};
use super::config::RampConfig;
use super::degraded::DegradedConfig;
use super::{Levers, Recovering};
use crate::attributes::{RegistryHealth, RegistryState};
use crate::connectivity::ConnectivityState::{Connecting, Idle, Ready, Shutdown, TransientFailure};
use crate::endpoint::EndpointKey;
use crate::event::LbEvent;
use crate::policy::{Plan, SubchannelView};
use crate::share;
use crate::slot::Slot;

/// Why the share of an endpoint is reduced while it recovers.
const RECOVERING: &str = "recovering";

/// Sets the share of every endpoint. Runs after the stages that say who may take calls at all, and before those that choose a group,
/// so that what it does not see was taken out.
#[derive(Debug)]
pub(crate) struct RecoveryStage {
    ramp: Option<RampConfig>,
    degraded: DegradedConfig,
    pub(crate) levers: Levers,
    /// By subchannel: an endpoint that is listed anew is a new one.
    records: BTreeMap<Slot, Record>,
    /// The last that was told of degraded endpoints, in per cent.
    told: BTreeMap<Slot, (EndpointKey, u32)>,
}

#[derive(Debug)]
struct Record {
    phase: Phase,
    endpoint: EndpointKey,
}

#[derive(Debug)]
enum Phase {
    /// Not READY yet since it was listed; `true` if the list was empty before.
    New(bool),
    /// It failed or was hidden.
    Away,
    Climbing(Climb),
    /// Its share is the full one.
    Full,
}

impl RecoveryStage {
    pub(crate) fn new(ramp: Option<RampConfig>, degraded: DegradedConfig) -> Self {
        let (levers, records, told) = (Levers::default(), BTreeMap::new(), BTreeMap::new());
        Self { ramp, degraded, levers, records, told }
    }

    /// Gives an endpoint that recovers its full share; whether it was recovering.
    pub(crate) fn force(&mut self, endpoint: &EndpointKey) -> bool {
        let climbing = |record: &&mut Record| matches!(record.phase, Phase::Climbing(_)) && record.endpoint == *endpoint;
        let found = self.records.values_mut().find(climbing);
        found.map(|record| record.phase = Phase::Full).is_some()
    }

    /// The endpoints on their way to the full share, in no particular order.
    pub(crate) fn recovering(&self) -> Box<[Recovering]> {
        let of = |record: &Record| match &record.phase {
            Phase::Climbing(Climb { share, since, next, .. }) => {
                Some(Recovering { endpoint: record.endpoint.clone(), share: *share, since: *since, next_step: *next })
            }
            Phase::New(_) | Phase::Away | Phase::Full => None,
        };
        self.records.values().filter_map(of).collect()
    }

    /// Sets the shares of the rows. `listed` are all subchannels there are, hidden ones included.
    pub(crate) fn apply<'l>(
        &mut self,
        now: Instant,
        listed: impl Iterator<Item = (Slot, &'l EndpointKey)>,
        view: &mut [SubchannelView],
        plan: &mut Plan,
    ) {
        if self.ramp.is_some() {
            self.follow(listed, view);
        }
        let mut degraded = BTreeMap::new();
        for row in view.iter_mut() {
            self.climb(now, row, plan);
            if let Some((share, reason)) = self.reservation(row).filter(|(share, _)| *share < 1.0) {
                if share < row.share {
                    (row.share, row.limited) = (share, Some(reason));
                }
                degraded.insert(row.slot, (row.endpoint.key().clone(), percent(share)));
            }
        }
        if view.iter().any(|row| row.share < 1.0) {
            plan.wake_at(now + share::PERIOD);
        }
        self.tell(degraded, &mut plan.events);
    }

    /// Notes who is new, who has left and who is away.
    fn follow<'l>(&mut self, listed: impl Iterator<Item = (Slot, &'l EndpointKey)>, view: &[SubchannelView]) {
        let mut old = std::mem::take(&mut self.records);
        let first = old.is_empty();
        let mut seen = view.iter().map(|row| row.slot).peekable();
        for (slot, endpoint) in listed {
            let record = old.remove(&slot);
            let mut record = record.unwrap_or_else(|| Record { phase: Phase::New(first), endpoint: endpoint.clone() });
            // Stages keep the order of endpoints.
            if seen.next_if_eq(&slot).is_none() {
                record.phase = Phase::Away;
            }
            self.records.insert(slot, record);
        }
    }

    fn climb(&mut self, now: Instant, row: &mut SubchannelView, plan: &mut Plan) {
        let (Some(config), Some(record)) = (&self.ramp, self.records.get_mut(&row.slot)) else { return };
        let endpoint = || row.endpoint.key().clone();
        match (row.state, &mut record.phase) {
            (TransientFailure | Shutdown, phase) => *phase = Phase::Away,
            // A ramp goes on while a lost connection is replaced.
            (Idle | Connecting, _) | (Ready, Phase::Full) => return,
            (Ready, phase @ Phase::New(true)) => *phase = Phase::Full,
            (Ready, phase @ (Phase::New(false) | Phase::Away)) => {
                let climb = Climb::begin(now, config, &row.stats);
                plan.events.push(LbEvent::RecoveryStarted { endpoint: endpoint(), percent: percent(climb.share) });
                *phase = Phase::Climbing(climb);
            }
            (Ready, phase) => {
                let Phase::Climbing(climb) = phase else { return };
                match climb.look(now, config, &row.stats) {
                    Look::Climbing => {}
                    Look::FellBack(reason) => {
                        let percent = percent(climb.share);
                        plan.events.push(LbEvent::RecoveryFellBack { endpoint: endpoint(), percent, reason });
                    }
                    Look::Finished => {
                        plan.events.push(LbEvent::RecoveryFinished { endpoint: endpoint(), forced: false });
                        *phase = Phase::Full;
                    }
                }
            }
        }
        if let Phase::Climbing(climb) = &record.phase {
            plan.wake_at(climb.next);
            (row.share, row.limited) = (climb.share, Some(RECOVERING));
        }
    }

    /// The least share anybody grants it for what is known against it, and who.
    fn reservation(&self, row: &SubchannelView) -> Option<(f64, &'static str)> {
        let attributes = &row.endpoint.attributes;
        let by_registry = attributes.registry_share().or_else(|| {
            let warned = self.degraded.registry_health && attributes.health == RegistryHealth::Degraded;
            (warned || attributes.registry_state() == RegistryState::Degraded).then_some(self.degraded.share)
        });
        let reasons = [
            (self.levers.get(row.endpoint.key()), "degraded by hand"),
            (row.degraded.as_ref().map(|_| self.degraded.share), "degraded by its health check"),
            (by_registry, "degraded in the registry"),
        ];
        let reasons = reasons.into_iter().filter_map(|(share, reason)| Some((share?, reason)));
        reasons.min_by(|(one, _), (other, _)| one.total_cmp(other))
    }

    /// Tells who became degraded, more or less so, or no more.
    fn tell(&mut self, degraded: BTreeMap<Slot, (EndpointKey, u32)>, events: &mut Vec<LbEvent>) {
        if degraded == self.told {
            return;
        }
        let over = self.told.iter().filter(|(slot, _)| !degraded.contains_key(slot));
        let over = over.map(|(_, (endpoint, _))| LbEvent::Degraded { endpoint: endpoint.clone(), percent: 100 });
        events.extend(over);
        let news = degraded.iter().filter(|(slot, told)| self.told.get(slot) != Some(*told));
        events.extend(news.map(|(_, (endpoint, percent))| LbEvent::Degraded { endpoint: endpoint.clone(), percent: *percent }));
        self.told = degraded;
    }
}

fn percent(share: f64) -> u32 {
    (share * 100.0).round() as u32
}
