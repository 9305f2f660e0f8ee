//! Replicas stand in for endpoints that fail.
//!
//! An endpoint may say whose [replica](crate::Attributes::replica_of) it is. It then gets no calls while that one, its primary, can take
//! them, but is kept connected (`hot_standby`), and takes the primary's place when that fails: in TRANSIENT_FAILURE, not serving by its
//! health check, ejected, its circuit breaker open, drained, unhealthy in the registry, not listed, or CONNECTING for longer than `promote_after`. Every replica of
//! a primary takes over at once; for one after the other let the second be the replica of the first.
//!
//! **The way back.** A primary that has been READY for `hand_back_after` without a break takes its place again; until then its replica
//! serves in its stead and it gets no calls, so that the two never work at the same time. If the replica fails meanwhile the primary is
//! back at once.
//!
//! **Odd names.** A replica whose primary is not listed serves. Endpoints that are each other's replicas in a circle all serve.
//!
//! **Hooks.** [`LbEvent::Promoted`] and [`LbEvent::Demoted`] tell every change: a deployment manager that listens with an
//! [`Observer`](crate::Observer) can start another replica, or repair the primary. The registry stays the one who says who is whose.
//!
//! **Bound.** Linear in the endpoints where nobody is a replica, else n log n. No cost per call.
//!
//! **When not.** Whole sites that stand in for each other: that is what priorities are for. Both may be used; a group counts as
//! READY while a replica serves in it.
//!
//! Source: ours; gRPC has nothing like it.

mod config;
mod links;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

pub use config::ReplicaConfig;
use links::Links;

use crate::connectivity::ConnectivityState::{Connecting, Idle, Ready, Shutdown, TransientFailure};
use crate::endpoint::EndpointKey;
use crate::event::LbEvent;
use crate::gate::breaker_open;
use crate::policy::{Plan, Stage, SubchannelView};
use crate::slot::Slot;

/// Hides replicas while their primaries can take calls, and primaries while they prove themselves.
#[derive(Debug, Default)]
pub struct ReplicaStage {
    config: ReplicaConfig,
    links: Links,
    primaries: BTreeMap<Slot, Primary>,
    promotions: BTreeMap<Slot, Promotion>,
}

/// A replica that serves in place of its primary.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Promotion {
    /// The replica.
    pub replica: EndpointKey,
    /// Its primary, as the replica calls it.
    pub primary: Arc<str>,
    /// Since when it serves.
    pub since: Instant,
    /// Why, in words.
    pub reason: Arc<str>,
}

/// Whose turn it is.
#[derive(Debug)]
struct Turns {
    /// Replicas nobody above whom holds their place.
    uncovered: BTreeSet<Slot>,
    /// Endpoints that could serve and must prove themselves first.
    waiting: BTreeSet<Slot>,
}

/// What is remembered of an endpoint that has replicas.
#[derive(Debug, Default)]
struct Primary {
    /// Whether it could take calls at the last look.
    able: bool,
    /// Whether it failed and has not yet proved itself.
    displaced: bool,
    /// While READY, since when without a break.
    ready_since: Option<Instant>,
    /// While CONNECTING, since when.
    connecting_since: Option<Instant>,
    /// While its circuit breaker is open, when it lets a call in again.
    trial_at: Option<Instant>,
    /// Why it is not able, in words.
    reason: String,
}

impl Primary {
    /// `row` is `None` if an earlier stage hides it.
    fn observe(&mut self, now: Instant, row: Option<&SubchannelView>, config: &ReplicaConfig) {
        let state = row.map(|row| row.state);
        let open = row.filter(|row| row.state == Ready).and_then(|row| breaker_open(now, row));
        self.trial_at = open.as_ref().and_then(|refusal| refusal.until);
        self.ready_since = (state == Some(Ready) && open.is_none()).then(|| self.ready_since.unwrap_or(now));
        self.connecting_since = (state == Some(Connecting)).then(|| self.connecting_since.unwrap_or(now));
        let hangs = || self.hangs_at(config).is_some_and(|at| at <= now);
        self.able = match state {
            Some(Ready) => open.is_none(),
            Some(Idle) => true,
            Some(Connecting) => !hangs(),
            Some(TransientFailure | Shutdown) | None => false,
        };
        if !self.able {
            self.displaced = true;
            self.reason = match (state, row.and_then(|row| row.error.as_ref())) {
                (None, _) => "drained, or unhealthy in the registry".into(),
                (Some(Ready), _) => "its circuit breaker is open".into(),
                (Some(Connecting), _) => "CONNECTING for too long".into(),
                (Some(state), None) => state.to_string(),
                (Some(_), Some(error)) => error.to_string(),
            };
        }
        if self.proves_itself_at(config).is_some_and(|at| at <= now) {
            self.displaced = false;
        }
    }

    fn hangs_at(&self, config: &ReplicaConfig) -> Option<Instant> {
        self.connecting_since?.checked_add(config.promote_after)
    }

    fn proves_itself_at(&self, config: &ReplicaConfig) -> Option<Instant> {
        self.ready_since?.checked_add(config.hand_back_after)
    }

    /// Whether its replicas need not serve.
    fn holds(&self) -> bool {
        self.able && !self.displaced
    }
}

impl ReplicaStage {
    /// A stage that has seen nothing yet.
    pub fn new(config: ReplicaConfig) -> Self {
        Self { config, ..Self::default() }
    }

    /// Reads who is whose replica, from all listed endpoints: a chain leads over one that an earlier stage hides. To be called before
    /// those stages, for every view that this one is then shown.
    pub fn list(&mut self, rows: &[SubchannelView]) {
        self.links = Links::of(rows);
    }

    /// Lets every primary that is READY take its place again without proving itself.
    pub fn hand_back(&mut self) {
        for primary in self.primaries.values_mut().filter(|primary| primary.ready_since.is_some()) {
            primary.displaced = false;
        }
    }

    /// The replicas that serve in place of their primaries.
    pub fn promotions(&self) -> impl Iterator<Item = &Promotion> {
        self.promotions.values()
    }

    fn observe(&mut self, now: Instant, rows: &BTreeMap<Slot, &SubchannelView>, plan: &mut Plan) {
        let primaries = self.links.primaries();
        self.primaries.retain(|slot, _| primaries.contains(slot));
        for slot in primaries {
            let primary = self.primaries.entry(*slot).or_default();
            primary.observe(now, rows.get(slot).copied(), &self.config);
            let due = if primary.displaced { primary.proves_itself_at(&self.config) } else { primary.hangs_at(&self.config) };
            let due = [due, primary.trial_at].into_iter().flatten();
            due.filter(|at| *at > now).for_each(|at| plan.wake_at(at));
        }
    }

    /// The replicas whose turn it is: nobody above them holds their place. Every replica is looked at once.
    fn uncovered(&self) -> BTreeSet<Slot> {
        let mut known: BTreeMap<Slot, bool> = BTreeMap::new();
        for (start, _) in self.links.replicas() {
            let (mut path, mut at) = (vec![start], start);
            let covered = loop {
                let Some(above) = self.links.above(at) else { break false };
                if self.primaries.get(&above).is_some_and(Primary::holds) {
                    break true;
                }
                if let Some(covered) = known.get(&above) {
                    break *covered;
                }
                path.push(above);
                at = above;
            };
            settle(&mut known, &path, covered);
        }
        known.retain(|slot, covered| !*covered && self.links.is_replica(*slot));
        known.into_keys().collect()
    }

    /// Those above a replica that serves: they have to prove themselves first.
    fn relieved(&self, uncovered: &BTreeSet<Slot>, rows: &BTreeMap<Slot, &SubchannelView>) -> BTreeSet<Slot> {
        let mut relieved = BTreeSet::new();
        for slot in uncovered.iter().filter(|slot| rows.get(slot).is_some_and(|row| row.state == Ready)) {
            let mut at = *slot;
            while let Some(above) = self.links.above(at).filter(|above| relieved.insert(*above)) {
                at = above;
            }
        }
        relieved
    }

    /// Whose turn it is. A primary in whose place nobody serves need not prove anything.
    fn decide(&mut self, rows: &BTreeMap<Slot, &SubchannelView>) -> Turns {
        let mut uncovered = self.uncovered();
        let relieved = self.relieved(&uncovered, rows);
        let mut changed = false;
        for (slot, primary) in &mut self.primaries {
            if primary.able && primary.displaced && !relieved.contains(slot) {
                (primary.displaced, changed) = (false, true);
            }
        }
        if changed {
            uncovered = self.uncovered();
        }
        let mut waiting = relieved;
        waiting.retain(|slot| self.primaries.get(slot).is_some_and(|primary| primary.able && primary.displaced));
        Turns { uncovered, waiting }
    }

    /// Notes and tells who serves in whose place now.
    fn note(&mut self, now: Instant, turns: &Turns, rows: &BTreeMap<Slot, &SubchannelView>, plan: &mut Plan) {
        let (links, primaries, promotions) = (&self.links, &self.primaries, &mut self.promotions);
        promotions.retain(|slot, promotion| {
            let (listed, serves) = (links.is_replica(*slot), turns.uncovered.contains(slot));
            if listed && !serves {
                let (endpoint, primary) = (promotion.replica.clone(), Arc::clone(&promotion.primary));
                plan.events.push(LbEvent::Demoted { endpoint, primary });
            }
            listed && serves
        });
        for (slot, link) in links.replicas().filter(|(slot, _)| turns.uncovered.contains(slot) && !turns.waiting.contains(slot)) {
            let Some(row) = rows.get(&slot).filter(|row| row.state == Ready) else { continue };
            promotions.entry(slot).or_insert_with(|| {
                let failed = link.primary.and_then(|primary| primaries.get(&primary));
                let reason: Arc<str> = failed.map_or("not listed", |primary| &primary.reason).into();
                let (replica, primary) = (row.endpoint.key().clone(), Arc::clone(&link.name));
                plan.events.push(LbEvent::Promoted {
                    endpoint: replica.clone(),
                    primary: Arc::clone(&primary),
                    reason: Arc::clone(&reason),
                });
                Promotion { replica, primary, since: now, reason }
            });
        }
    }
}

/// Notes the answer for everybody on the way to it, from the top down.
fn settle(known: &mut BTreeMap<Slot, bool>, path: &[Slot], covered: bool) {
    known.extend(path.iter().map(|slot| (*slot, covered)));
}

impl Stage for ReplicaStage {
    fn name(&self) -> &'static str {
        "standby"
    }

    fn apply(&mut self, now: Instant, view: &mut Vec<SubchannelView>, plan: &mut Plan) {
        if self.links.is_empty() && self.promotions.is_empty() {
            self.primaries.clear();
            return;
        }
        let rows: BTreeMap<Slot, &SubchannelView> = view.iter().map(|row| (row.slot, row)).collect();
        self.observe(now, &rows, plan);
        let turns = self.decide(&rows);
        self.note(now, &turns, &rows, plan);
        view.retain(|row| {
            let stands_by = self.links.is_replica(row.slot) && !turns.uncovered.contains(&row.slot);
            let waits = turns.waiting.contains(&row.slot);
            if waits || (stands_by && self.config.hot_standby) {
                plan.connect.push(row.slot);
            }
            !stands_by && !waits
        });
    }
}

#[cfg(test)]
mod tests;
