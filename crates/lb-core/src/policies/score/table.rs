//! What a picker knows of its endpoints before a call comes.

use std::sync::Arc;

use crate::advice::Prediction;
use crate::affinity::{AffinityRules, Experience};
use crate::attributes::RegistryHealth;
use crate::endpoint::Endpoint;
use crate::feedback::Feedback;
use crate::policies::petiole::HasSlot;
use crate::policy::SubchannelView;
use crate::slot::Slot;
use crate::stats::EndpointStats;

use super::factor::{Factor, Factors};
use super::tier::{Mask, Tiers, Words};

/// What a policy was configured to do; shared by its pickers.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) factors: Factors,
    /// Those that must be measured for each pick, with their weights.
    pub(super) measured: Box<[(Factor, f64)]>,
    /// Whether any of them asks how fast endpoints are.
    pub(super) needs_speed: bool,
    /// 0 compares all.
    pub(super) choices: u32,
    pub(super) tiers: Tiers,
    pub(super) rules: AffinityRules,
    pub(super) experience: Option<Arc<Experience>>,
    /// The same as its pickers offer it.
    pub(super) feedback: Option<Arc<dyn Feedback>>,
}

/// One READY endpoint.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) slot: Slot,
    pub(super) stats: Arc<EndpointStats>,
    /// What its fixed factors add up to.
    pub(super) fixed: f64,
    /// 0 is unknown.
    pub(super) capacity: f64,
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) weight: u32,
    pub(super) offered: u32,
    pub(super) offers: Mask,
    /// The load to expect.
    pub(super) expected: Option<Expected>,
}

/// A load that is not yet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Expected {
    pub(super) in_flight: Prediction,
    pub(super) utilization: Option<Prediction>,
}

/// What fixed factors are relative to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Best {
    pub(super) heaviest: u32,
    /// `None` if no endpoint says what it costs.
    pub(super) cheapest: Option<f64>,
}

impl Settings {
    pub(super) fn new(factors: Factors, choices: u32, tiers: Tiers, rules: AffinityRules, learn: bool) -> Self {
        let measured = factors.iter().filter(|(factor, _)| !factor.is_fixed()).collect();
        let needs_speed = [Factor::Latency, Factor::Performance].iter().any(|factor| factors.weight(*factor) > 0.0);
        let experience = learn.then(Experience::new);
        let feedback = experience.clone().map(|experience| experience as Arc<dyn Feedback>);
        Self { factors, measured, needs_speed, choices, tiers, rules, experience, feedback }
    }

    pub(super) fn uses(&self, factor: Factor) -> bool {
        self.factors.weight(factor) > 0.0
    }
}

impl HasSlot for Row {
    #[inline]
    fn slot(&self) -> Slot {
        self.slot
    }
}

impl Row {
    pub(super) fn new(view: &SubchannelView, expected: Option<Expected>) -> Self {
        let attributes = &view.endpoint.attributes;
        Self {
            slot: view.slot,
            stats: Arc::clone(&view.stats),
            fixed: 0.0,
            capacity: attributes.capacity.map_or(0.0, f64::from),
            endpoint: Arc::clone(&view.endpoint),
            weight: view.weight,
            offered: attributes.capabilities.len() as u32,
            offers: Mask::default(),
            expected,
        }
    }

    /// The value of a fixed factor.
    pub(super) fn fixed_value(&self, factor: Factor, best: &Best) -> f64 {
        match factor {
            Factor::Weight => f64::from(self.weight) / f64::from(best.heaviest),
            Factor::Health if self.endpoint.attributes.health == RegistryHealth::Degraded => 0.5,
            Factor::Health => 1.0,
            _ => match (self.cost(), best.cheapest) {
                (Some(cost), Some(cheapest)) if cost > cheapest => cheapest / cost,
                (Some(_), Some(_)) => 1.0,
                _ => 0.5,
            },
        }
    }

    pub(super) fn cost(&self) -> Option<f64> {
        self.endpoint.attributes.cost.filter(|cost| cost.is_finite() && *cost >= 0.0)
    }
}

/// Leaves out what has no weight while weights count and others have one, and fills in what rows owe to each other.
pub(super) fn relate(settings: &Settings, rows: &mut Vec<Row>) -> (Words, Best) {
    if settings.uses(Factor::Weight) && rows.iter().any(|row| row.weight > 0) {
        rows.retain(|row| row.weight > 0);
    }
    let words =
        if settings.tiers != Tiers::None || settings.uses(Factor::Specialisation) { Words::of(rows) } else { Words::default() };
    let heaviest = rows.iter().map(|row| row.weight).max().unwrap_or(0).max(1);
    let cheapest = rows.iter().filter_map(Row::cost).min_by(f64::total_cmp);
    let best = Best { heaviest, cheapest };
    let fixed: Vec<(Factor, f64)> = settings.factors.iter().filter(|(factor, _)| factor.is_fixed()).collect();
    for row in rows.iter_mut() {
        row.fixed = fixed.iter().map(|(factor, weight)| weight * row.fixed_value(*factor, &best)).sum();
        row.offers = words.mask(row.endpoint.attributes.capabilities.iter().map(|word| &**word));
    }
    (words, best)
}
