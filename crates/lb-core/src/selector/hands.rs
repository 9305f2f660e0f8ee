//! What is set by hand, and the machine kept going without a network.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use crate::endpoint::{Endpoint, EndpointKey};
use crate::event::LbEvent;
use crate::health::ServingStatus;
use crate::hints::DEFAULT_LOAD_THRESHOLD;
use crate::load::LoadReport;
use crate::machine::{AttemptId, Effect, Event, MAX_ENDPOINTS};
use crate::policy::ConfigError;
use crate::resolver::ResolverUpdate;
use crate::slot::Slot;
use crate::snapshot::Row;

use super::Selector;
use super::error::SelectorError;
use super::record::{EndpointRecord, HealthReport, Stamped};

/// How many rounds of effects one change may have; each subchannel connects and serves once, and a policy may want another then.
const ROUNDS: usize = 16;

/// What was said of every endpoint.
#[derive(Debug, Default)]
pub(super) struct Hands {
    by_key: BTreeMap<EndpointKey, Hand>,
    by_id: BTreeMap<Arc<str>, EndpointKey>,
    /// The attempt each subchannel has, and whose it is.
    links: BTreeMap<Slot, (AttemptId, EndpointKey)>,
    added: u64,
}

#[derive(Debug)]
pub(super) struct Hand {
    endpoint: Endpoint,
    /// Its place in the order of adding.
    order: u64,
    /// How often its connections were set.
    epoch: u64,
    load: Option<Stamped<f64>>,
    connections: Option<Stamped<u32>>,
    health: Option<Stamped<HealthReport>>,
}

impl Hand {
    fn status(&self) -> ServingStatus {
        match &self.health {
            Some(health) if !health.value.healthy => ServingStatus::NotServing(health.value.reason()),
            _ => ServingStatus::Serving,
        }
    }
}

impl Hands {
    pub(super) fn len(&self) -> usize {
        self.by_key.len()
    }

    pub(super) fn epoch(&self, key: &EndpointKey) -> u64 {
        self.by_key.get(key).map_or(0, |hand| hand.epoch)
    }

    pub(super) fn key(&self, name: &str) -> Result<EndpointKey, SelectorError> {
        let key = EndpointKey::from(name);
        let known = if self.by_key.contains_key(&key) { Some(key) } else { self.by_id.get(name).cloned() };
        known.ok_or_else(|| SelectorError::UnknownEndpoint(name.to_owned()))
    }

    fn get_mut(&mut self, name: &str) -> Result<(EndpointKey, &mut Hand), SelectorError> {
        let unknown = || SelectorError::UnknownEndpoint(name.to_owned());
        let key = self.key(name)?;
        let hand = self.by_key.get_mut(&key).ok_or_else(unknown)?;
        Ok((key, hand))
    }

    /// Whether another endpoint than `key` has the id of this one.
    fn is_id_taken(&self, endpoint: &Endpoint) -> bool {
        let taken = |id: &Arc<str>| self.by_id.get(id).is_some_and(|key| key != endpoint.key());
        endpoint.attributes.id.as_ref().is_some_and(taken)
    }

    fn add(&mut self, endpoint: Endpoint) -> Result<(), SelectorError> {
        if self.by_key.contains_key(endpoint.key()) || self.is_id_taken(&endpoint) {
            return Err(SelectorError::Exists(endpoint.to_string()));
        }
        if self.len() >= MAX_ENDPOINTS {
            return Err(SelectorError::Full(MAX_ENDPOINTS));
        }
        self.added += 1;
        let key = endpoint.key().clone();
        self.by_id.extend(endpoint.attributes.id.iter().map(|id| (Arc::clone(id), key.clone())));
        self.by_key.insert(key, Hand { endpoint, order: self.added, epoch: 0, load: None, connections: None, health: None });
        Ok(())
    }

    fn in_order(&self) -> Vec<Endpoint> {
        let mut hands: Vec<&Hand> = self.by_key.values().collect();
        hands.sort_unstable_by_key(|hand| hand.order);
        hands.into_iter().map(|hand| hand.endpoint.clone()).collect()
    }
}

impl Selector {
    /// Adds an endpoint. It is healthy until somebody says otherwise. Linear in the endpoints there are; see
    /// [`add_all`](Self::add_all).
    ///
    /// # Errors
    /// One of its key or its id is there already, or there are 100 000.
    pub fn add(&mut self, now: Instant, endpoint: Endpoint) -> Result<(), SelectorError> {
        self.add_all(now, [endpoint])
    }

    /// Adds many endpoints at the price of one.
    ///
    /// # Errors
    /// As for [`add`](Self::add); those before the one that is refused have been added.
    pub fn add_all(&mut self, now: Instant, endpoints: impl IntoIterator<Item = Endpoint>) -> Result<(), SelectorError> {
        let result = endpoints.into_iter().try_for_each(|endpoint| self.hands.add(endpoint));
        self.resolve(now);
        result
    }

    /// Changes the attributes of the endpoint with the same key. Its counters and what was set stay.
    ///
    /// # Errors
    /// There is none with that key, or another one has its id.
    pub fn update(&mut self, now: Instant, endpoint: Endpoint) -> Result<(), SelectorError> {
        if self.hands.is_id_taken(&endpoint) {
            return Err(SelectorError::Exists(endpoint.to_string()));
        }
        let (key, hand) = self.hands.get_mut(endpoint.key().as_str())?;
        let id = endpoint.attributes.id.clone();
        let old = std::mem::replace(&mut hand.endpoint, endpoint).attributes.id;
        old.iter().for_each(|id| drop(self.hands.by_id.remove(id)));
        self.hands.by_id.extend(id.map(|id| (id, key)));
        self.resolve(now);
        Ok(())
    }

    /// Removes an endpoint, by its key or id. Its open selections may still be reported.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn remove(&mut self, now: Instant, name: &str) -> Result<Endpoint, SelectorError> {
        let key = self.hands.key(name)?;
        let hand = self.hands.by_key.remove(&key).ok_or_else(|| SelectorError::UnknownEndpoint(name.to_owned()))?;
        hand.endpoint.attributes.id.iter().for_each(|id| drop(self.hands.by_id.remove(id)));
        self.resolve(now);
        Ok(hand.endpoint)
    }

    /// An endpoint, by its key or id.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn get(&self, now: Instant, name: &str) -> Result<EndpointRecord, SelectorError> {
        let key = self.hands.key(name)?;
        let row = self.snapshot.find(&key).next();
        row.and_then(|row| self.record(now, row)).ok_or_else(|| SelectorError::UnknownEndpoint(name.to_owned()))
    }

    /// Every endpoint, in the order they were added.
    pub fn list(&self, now: Instant) -> Vec<EndpointRecord> {
        self.snapshot.rows.iter().filter_map(|row| self.record(now, row)).collect()
    }

    /// Sets how loaded an endpoint is, as a share from 0 to 1. Holds until it is set again. Observers are told when it crosses
    /// [0.8](crate::DEFAULT_LOAD_THRESHOLD).
    ///
    /// # Errors
    /// There is none of that name, or it is no such share.
    pub fn set_load(&mut self, now: Instant, name: &str, load: f64) -> Result<(), SelectorError> {
        if !(0.0..=1.0).contains(&load) {
            return Err(ConfigError::new("load", load, "from 0 to 1").into());
        }
        let (key, hand) = self.hands.get_mut(name)?;
        let before = hand.load.replace(Stamped::new(load, now)).map_or(0.0, |before| before.value);
        // To a report, 0 is nothing said; the least number above it means the same and is said.
        let report = LoadReport { application_utilization: load.max(f32::MIN_POSITIVE.into()), ..LoadReport::default() };
        self.stats_of(&key, |stats| stats.report(now, &report));
        let percent = (load * 100.0).round() as u32;
        self.emit(LbEvent::LoadUpdated { endpoint: key.clone(), percent });
        let overloaded = load > DEFAULT_LOAD_THRESHOLD;
        if overloaded != (before > DEFAULT_LOAD_THRESHOLD) {
            self.emit(LbEvent::Overloaded { endpoint: key, overloaded, percent });
        }
        Ok(())
    }

    /// Sets how many connections, or calls in flight, an endpoint has now. Selections made later count on top, those made before no more.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn set_connections(&mut self, now: Instant, name: &str, connections: u32) -> Result<(), SelectorError> {
        let (key, hand) = self.hands.get_mut(name)?;
        hand.epoch += 1;
        hand.connections = Some(Stamped::new(connections, now));
        self.stats_of(&key, |stats| stats.set_in_flight(connections));
        Ok(())
    }

    /// Sets what is known of an endpoint's health. One that is not healthy is not selected.
    ///
    /// # Errors
    /// There is none of that name, or its error rate is not from 0 to 1.
    pub fn set_health(&mut self, now: Instant, name: &str, health: HealthReport) -> Result<(), SelectorError> {
        if let Some(rate) = health.error_rate.filter(|rate| !(0.0..=1.0).contains(rate)) {
            return Err(ConfigError::new("health.errorRate", rate, "from 0 to 1").into());
        }
        let (key, hand) = self.hands.get_mut(name)?;
        let (healthy, before) = (health.healthy, hand.status());
        let (time, rate) = (health.response_time, health.error_rate);
        hand.health = Some(Stamped::new(health, now));
        let status = hand.status();
        self.stats_of(&key, |stats| stats.set_estimates(now, time, rate));
        if status != before {
            self.emit(LbEvent::HealthChanged { endpoint: key.clone(), healthy, reason: None });
        }
        let slot = self.snapshot.find(&key).next().map(|row| row.view.slot);
        if let Some((slot, attempt)) = slot.and_then(|slot| Some((slot, self.hands.links.get(&slot)?.0))) {
            self.tell(now, Event::Health { slot, attempt, status });
        }
        Ok(())
    }

    fn stats_of(&self, key: &EndpointKey, change: impl FnOnce(&crate::stats::EndpointStats)) {
        if let Some(row) = self.snapshot.find(key).next() {
            change(&row.view.stats);
        }
    }

    fn record(&self, now: Instant, row: &Row) -> Option<EndpointRecord> {
        let (endpoint, stats) = (&row.view.endpoint, &row.view.stats);
        let hand = self.hands.by_key.get(endpoint.key())?;
        Some(EndpointRecord {
            key: endpoint.key().clone(),
            addresses: endpoint.addresses().iter().map(ToString::to_string).collect(),
            attributes: endpoint.attributes.clone(),
            state: row.view.state,
            excluded: row.excluded,
            share: row.view.share,
            load: hand.load.clone().map(|load| load.read(now)),
            connections_set: hand.connections.clone().map(|connections| connections.read(now)),
            health: hand.health.clone().map(|health| health.read(now)),
            connections: stats.in_flight(),
            succeeded: stats.succeeded(),
            failed: stats.failed(),
            latency: stats.latency(),
            success_rate: stats.success_rate(),
        })
    }

    /// Tells the machine the set.
    fn resolve(&mut self, now: Instant) {
        let mut effects = Vec::new();
        // Both are for the first endpoint and do nothing later.
        self.machine.handle(now, Event::ExitIdle, &mut effects);
        self.machine.handle(now, Event::Resolved(ResolverUpdate::new(self.hands.in_order())), &mut effects);
        self.follow(now, effects);
    }

    pub(super) fn tell(&mut self, now: Instant, event: Event) {
        let mut effects = Vec::new();
        self.machine.handle(now, event, &mut effects);
        self.follow(now, effects);
    }

    pub(super) fn settle(&mut self, now: Instant) {
        self.follow(now, Vec::new());
    }

    /// Lets a policy look again that asked to.
    pub(super) fn advance(&mut self, now: Instant) {
        if self.wake_at.is_some_and(|at| at <= now) {
            self.wake_at = None;
            self.tell(now, Event::Tick);
        }
    }

    /// Does what the machine says until it says nothing more: every attempt succeeds at once, and health is what was set.
    fn follow(&mut self, now: Instant, mut effects: Vec<Effect>) {
        for _ in 0..ROUNDS {
            self.machine.settle(now, &mut effects);
            let mut events = Vec::new();
            for effect in effects.drain(..) {
                self.perform(effect, &mut events);
            }
            if events.is_empty() {
                return;
            }
            for event in events {
                self.machine.handle(now, event, &mut effects);
            }
        }
    }

    fn perform(&mut self, effect: Effect, events: &mut Vec<Event>) {
        match effect {
            Effect::Connect { slot, attempt, endpoint, addresses, .. } => {
                self.hands.links.insert(slot, (attempt, endpoint.key().clone()));
                let address = addresses.into_iter().next().unwrap_or_else(|| endpoint.addresses()[0].clone());
                events.push(Event::Connected { slot, attempt, address });
            }
            Effect::WatchHealth { slot, attempt, .. } => {
                let hand = self.hands.links.get(&slot).and_then(|(_, key)| self.hands.by_key.get(key));
                events.push(Event::Health { slot, attempt, status: hand.map_or(ServingStatus::Serving, Hand::status) });
            }
            Effect::Close { slot, .. } | Effect::Retire { slot, .. } => drop(self.hands.links.remove(&slot)),
            Effect::WakeAt(at) => self.wake_at = at,
            Effect::Publish(snapshot) => self.snapshot = snapshot,
            // It is told when it is set.
            Effect::Emit(LbEvent::HealthChanged { .. }) => {}
            Effect::Emit(event) => self.emit(event),
            Effect::StartResolver | Effect::StopResolver | Effect::ReResolve | Effect::Spare(_) | Effect::Measured(_) => {}
        }
    }
}
