//! Who gets which piece of work: a batch, or a queue that is put in order first.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::endpoint::EndpointKey;

use super::load::Load;
use super::seconds;

/// A piece of work that waits for an endpoint. Everything but its name may stay unset.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Work {
    /// What the caller calls it.
    pub id: Arc<str>,
    /// How much matters that it is done, from 0.
    #[serde(default)]
    pub priority: u8,
    /// What it takes of an endpoint's capacity; 0, the default, counts as 1.
    #[serde(default)]
    pub cost: u32,
    /// Only endpoints with all these capabilities.
    #[serde(default)]
    pub require: BTreeSet<Arc<str>>,
    /// Rather these endpoints.
    #[serde(default)]
    pub prefer: BTreeSet<EndpointKey>,
    /// Never these.
    #[serde(default)]
    pub avoid: BTreeSet<EndpointKey>,
    /// Since when it waits, in seconds since any fixed moment.
    #[serde(default, with = "seconds", rename = "sinceSeconds")]
    pub since: Duration,
}

/// Where a piece of work should go.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Assignment {
    /// Which work.
    pub work: Arc<str>,
    /// Where to; `None` if nobody can take it now.
    pub endpoint: Option<EndpointKey>,
    /// How well it fits there, 0 to 1.
    pub fit: f64,
    /// In words: what speaks for it, or what is wrong with how many endpoints.
    pub reason: String,
}

/// A place in a queue.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Queued {
    /// Its priority with what waiting added to it.
    pub priority: u64,
    /// Where it would go if the queue were worked off now.
    pub assignment: Assignment,
}

/// Why an endpoint takes no work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Obstacle {
    Unhealthy,
    Avoided,
    Incapable,
    Full,
}

/// The loads, with what was assigned meanwhile.
struct Placing<'a> {
    loads: &'a [Load],
    /// Calls in flight, queued and assigned, by endpoint.
    calls: Vec<f64>,
    busiest: f64,
    fastest: Option<Duration>,
}

/// Assigns a batch: by priority, and in the order given among equals, each assignment counted before the next.
///
/// Work goes where it fits best: capacity left 0.4, performance (success times speed) 0.3, preference 0.2, success 0.1, as the policy
/// `task` weighs them; what is unknown counts as good. An endpoint takes it only if it is healthy, capable, not avoided, and if its calls
/// plus the cost stay within its capacity. Costs endpoints times work.
pub fn assign_batch(loads: &[Load], batch: &[Work]) -> Vec<Assignment> {
    let mut placing = Placing::new(loads);
    let mut order: Vec<&Work> = batch.iter().collect();
    order.sort_by_key(|work| Reverse(work.priority));
    order.into_iter().map(|work| placing.assign(work)).collect()
}

/// Puts a queue in the order in which it should be worked off, and says where each piece would go, each counted before the next.
///
/// By priority; among equals what fits best first, of those the oldest. Every `aging` of waiting counts as one more of priority, so that
/// nothing waits for ever behind more important work; zero turns that off. Where work goes is as in [`assign_batch`].
pub fn reorder_queue(loads: &[Load], queue: &[Work], now: Duration, aging: Duration) -> Vec<Queued> {
    let mut placing = Placing::new(loads);
    let fit = |work: &Work| placing.best(work).map_or(0.0, |(_, fit)| fit);
    let mut order: Vec<(u64, f64, &Work)> = queue.iter().map(|work| (work.priority_at(now, aging), fit(work), work)).collect();
    order.sort_by(|(priority, fit, work), (other_priority, other_fit, other)| {
        let by_priority = other_priority.cmp(priority);
        by_priority.then_with(|| other_fit.total_cmp(fit)).then_with(|| work.since.cmp(&other.since))
    });
    order.into_iter().map(|(priority, _, work)| Queued { priority, assignment: placing.assign(work) }).collect()
}

impl Work {
    /// Work without wishes.
    pub fn new(id: impl Into<Arc<str>>) -> Self {
        Self {
            id: id.into(),
            priority: 0,
            cost: 0,
            require: BTreeSet::new(),
            prefer: BTreeSet::new(),
            avoid: BTreeSet::new(),
            since: Duration::ZERO,
        }
    }

    fn priority_at(&self, now: Duration, aging: Duration) -> u64 {
        let waited = now.saturating_sub(self.since).as_nanos();
        let aged = waited.checked_div(aging.as_nanos()).unwrap_or(0);
        u64::from(self.priority).saturating_add(u64::try_from(aged).unwrap_or(u64::MAX))
    }

    fn cost(&self) -> f64 {
        f64::from(self.cost.max(1))
    }
}

impl<'a> Placing<'a> {
    fn new(loads: &'a [Load]) -> Self {
        let calls: Vec<f64> = loads.iter().map(Load::calls).collect();
        let busiest = calls.iter().copied().fold(0.0, f64::max);
        let fastest = loads.iter().filter_map(|load| load.latency).filter(|latency| !latency.is_zero()).min();
        Self { loads, calls, busiest, fastest }
    }

    fn assign(&mut self, work: &Work) -> Assignment {
        let Some((at, fit)) = self.best(work) else {
            return Assignment { work: work.id.clone(), endpoint: None, fit: 0.0, reason: self.obstacles(work) };
        };
        self.calls[at] += work.cost();
        self.busiest = self.busiest.max(self.calls[at]);
        let reason = self.praise(at, work);
        Assignment { work: work.id.clone(), endpoint: Some(self.loads[at].endpoint.clone()), fit, reason }
    }

    /// The endpoint where work fits best, the first of equals.
    fn best(&self, work: &Work) -> Option<(usize, f64)> {
        let able = (0..self.loads.len()).filter(|at| self.obstacle(*at, work).is_none());
        able.map(|at| (at, self.fit(at, work))).reduce(|best, other| if other.1 > best.1 { other } else { best })
    }

    fn obstacle(&self, at: usize, work: &Work) -> Option<Obstacle> {
        let load = &self.loads[at];
        match () {
            () if !load.healthy => Some(Obstacle::Unhealthy),
            () if work.avoid.contains(&load.endpoint) => Some(Obstacle::Avoided),
            () if !load.capabilities.is_superset(&work.require) => Some(Obstacle::Incapable),
            () if load.room_of_one().is_some_and(|whole| self.calls[at] + work.cost() > whole) => Some(Obstacle::Full),
            () => None,
        }
    }

    fn fit(&self, at: usize, work: &Work) -> f64 {
        let load = &self.loads[at];
        let success = load.success_rate.map_or(1.0, |rate| if rate.is_nan() { 0.0 } else { rate.clamp(0.0, 1.0) });
        let speed = match (self.fastest, load.latency) {
            (Some(fastest), Some(latency)) if latency > fastest => fastest.as_secs_f64() / latency.as_secs_f64(),
            _ => 1.0,
        };
        let preferred = f64::from(u8::from(work.prefer.contains(&load.endpoint)));
        0.4 * self.free(at, work.cost()) + 0.3 * success * speed + 0.2 * preferred + 0.1 * success
    }

    /// The share of an endpoint that is left after this cost.
    fn free(&self, at: usize, cost: f64) -> f64 {
        let whole = self.loads[at].room_of_one().unwrap_or(self.busiest + cost);
        (1.0 - (self.calls[at] + cost) / whole.max(1.0)).clamp(0.0, 1.0)
    }

    fn praise(&self, at: usize, work: &Work) -> String {
        let load = &self.loads[at];
        let room = match load.room_of_one() {
            Some(whole) => format!("{:.0} of {whole:.0} taken with it", self.calls[at]),
            None => format!("{:.0} calls with it", self.calls[at]),
        };
        let preferred = if work.prefer.contains(&load.endpoint) { ", preferred" } else { "" };
        format!("{room}{preferred}")
    }

    /// How many endpoints cannot take work for which reason.
    fn obstacles(&self, work: &Work) -> String {
        let obstacles: Vec<Obstacle> = (0..self.loads.len()).filter_map(|at| self.obstacle(at, work)).collect();
        let count = |(obstacle, word): (Obstacle, &str)| {
            let count = obstacles.iter().filter(|other| **other == obstacle).count();
            (count > 0).then(|| format!("{count} {word}"))
        };
        let words = [
            (Obstacle::Unhealthy, "not healthy"),
            (Obstacle::Avoided, "avoided"),
            (Obstacle::Incapable, "not capable"),
            (Obstacle::Full, "full"),
        ];
        let counts: Vec<String> = words.into_iter().filter_map(count).collect();
        if counts.is_empty() {
            "there are no endpoints".to_owned()
        } else {
            format!("of {}: {}", obstacles.len(), counts.join(", "))
        }
    }
}
