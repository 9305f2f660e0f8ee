//! Whether an endpoint meets the conditions of a call.

use std::sync::Arc;

use crate::attributes::Locality;
use crate::connectivity::ConnectivityState;
use crate::endpoint::{Endpoint, EndpointKey};
use crate::gate::{Entry, Refusal};
use crate::hints::PickHints;
use crate::pick::PickArgs;
use crate::snapshot::Row;
use crate::stats::EndpointStats;

use super::unfit::Misfit;

/// Whether this name is the endpoint's key or its id.
pub(super) fn is_called(endpoint: &Endpoint, name: &EndpointKey) -> bool {
    endpoint.key() == name || endpoint.attributes.id.as_deref() == Some(name.as_str())
}

/// Whether the endpoint is there; an empty part of `wanted` matches any.
pub(super) fn is_within(locality: &Locality, wanted: &Locality) -> bool {
    let matches = |wanted: &str, part: &str| wanted.is_empty() || wanted == part;
    matches(&wanted.region, &locality.region)
        && matches(&wanted.zone, &locality.zone)
        && matches(&wanted.sub_zone, &locality.sub_zone)
}

impl PickHints {
    /// Whether the endpoint meets the conditions that depend neither on its load nor on its state: pin, exclusions, capabilities.
    pub fn allows(&self, endpoint: &Endpoint) -> bool {
        unlike(self, endpoint).is_none()
    }

    /// Whether the endpoint meets the conditions that depend on its load now: the threshold, and room for what the call costs.
    pub fn finds_room(&self, endpoint: &Endpoint, stats: &EndpointStats) -> bool {
        Limits::of(self).misfit(stats, endpoint.attributes.capacity).is_none()
    }
}

/// The first condition, of those that do not depend on load, that the endpoint does not meet.
pub(super) fn misfit(hints: &PickHints, row: &Row) -> Option<Misfit> {
    unlike(hints, &row.view.endpoint).or_else(|| row.excluded.map(Misfit::Hidden))
}

fn unlike(hints: &PickHints, endpoint: &Endpoint) -> Option<Misfit> {
    if let Some(pin) = hints.pin.as_ref().filter(|pin| !is_called(endpoint, pin)) {
        return Some(Misfit::NotPinned(pin.clone()));
    }
    if hints.exclude.iter().any(|name| is_called(endpoint, name)) {
        return Some(Misfit::Excluded);
    }
    let lacks = |word: &&Arc<str>| !word.is_empty() && !endpoint.attributes.capabilities.contains(&***word);
    hints.require.iter().find(lacks).map(|word| Misfit::Lacks(Arc::clone(word)))
}

/// How busy an endpoint is, from 0: the greater of what its calls take over its capacity and the utilisation its server reports;
/// `None` if neither is known.
#[inline]
pub(crate) fn load_of(stats: &EndpointStats, capacity: Option<u32>) -> Option<f64> {
    let share = capacity.map(|capacity| match capacity {
        0 => f64::INFINITY,
        capacity => stats.taken() as f64 / f64::from(capacity),
    });
    match (share, stats.utilization()) {
        (Some(share), Some(utilization)) => Some(share.max(utilization)),
        (share, utilization) => share.or(utilization),
    }
}

/// The conditions of a call that depend on load.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    threshold: Option<Threshold>,
    cost: u32,
}

/// A load that is not to be exceeded.
#[derive(Debug, Clone, Copy)]
struct Threshold {
    wished: f64,
    /// At the precision utilisation is kept with: 0.8 reported is not above 0.8.
    reported: f32,
    /// The greatest share that is not above it at that precision: half-way to the next number. For capacities below 2^24 it says exactly what
    /// dividing, rounding and comparing would.
    share: f64,
}

impl Threshold {
    #[inline]
    fn new(wished: f64) -> Self {
        let reported = wished as f32;
        let next = f32::from_bits(reported.to_bits() + 1);
        Self { wished, reported, share: f64::midpoint(reported.into(), next.into()) }
    }
}

impl Limits {
    #[inline]
    pub(super) fn of(hints: &PickHints) -> Self {
        Self { threshold: hints.threshold().map(Threshold::new), cost: hints.cost }
    }

    #[inline]
    pub(super) fn any(self) -> bool {
        self.threshold.is_some() || self.cost > 0
    }

    /// Whether an endpoint with these counters meets them now. What depends on the capacity alone is reckoned apart, so that it need not
    /// wait for the counters to come from memory.
    #[inline]
    pub(super) fn admits(self, stats: &EndpointStats, capacity: Option<u32>) -> bool {
        let Some(most) = self.beside_cost(capacity).min(self.below_threshold(capacity)) else { return false };
        stats.taken() <= most && !self.is_reported_above(stats)
    }

    /// The first of them that an endpoint with these counters does not meet now.
    #[inline]
    pub(super) fn misfit(self, stats: &EndpointStats, capacity: Option<u32>) -> Option<Misfit> {
        let within = |most: Option<u64>| most.is_some_and(|most| stats.taken() <= most);
        if let Some(threshold) = self.threshold
            && (self.is_reported_above(stats) || !within(self.below_threshold(capacity)))
        {
            return Some(Misfit::AboveLoad(threshold.wished));
        }
        (!within(self.beside_cost(capacity))).then_some(Misfit::NoRoom(self.cost))
    }

    /// How much of a capacity may be taken for the call's cost to have room; `None` if nothing leaves enough.
    #[inline]
    fn beside_cost(self, capacity: Option<u32>) -> Option<u64> {
        match capacity {
            Some(capacity) if self.cost > 0 => u64::from(capacity).checked_sub(self.cost.into()),
            _ => Some(u64::MAX),
        }
    }

    /// How much of a capacity may be taken at the threshold; `None` if it may not even be free, which is a capacity of nothing.
    #[inline]
    fn below_threshold(self, capacity: Option<u32>) -> Option<u64> {
        match (self.threshold, capacity) {
            (Some(_), Some(0)) => None,
            (Some(threshold), Some(capacity)) => Some((f64::from(capacity) * threshold.share) as u64),
            _ => Some(u64::MAX),
        }
    }

    #[inline]
    fn is_reported_above(self, stats: &EndpointStats) -> bool {
        self.threshold.is_some_and(|threshold| stats.utilization().is_some_and(|load| load as f32 > threshold.reported))
    }
}

/// The first condition of any kind that the endpoint does not meet now, but for its gates.
pub(super) fn misfit_now(hints: &PickHints, row: &Row) -> Option<Misfit> {
    let not_ready = || Some(row.view.state).filter(|state| *state != ConnectivityState::Ready).map(Misfit::NotReady);
    let busy = || Limits::of(hints).misfit(&row.view.stats, row.view.endpoint.attributes.capacity);
    misfit(hints, row).or_else(not_ready).or_else(busy)
}

/// What its gates would say to the call now.
pub(super) fn refusal(args: &PickArgs<'_>, row: &Row) -> Option<Refusal> {
    row.view.gates.as_ref().and_then(|gates| gates.refusal(&Entry::new(args, &row.view.endpoint)))
}
