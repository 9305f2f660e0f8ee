//! Least request among endpoints of different weights, as Envoy has it.
//!
//! An endpoint's dynamic weight is `weight / (calls in flight + 1)^bias`. Envoy keeps a queue of endpoints by it, under a lock.
//! Here `choiceCount` endpoints are drawn in proportion to their weights, and of these one in proportion to
//! `1 / (calls in flight + 1)^bias`: with more choices the shares come closer to those of the dynamic weights, and a pick needs
//! neither queue nor lock. A bias of 0 leaves the weights alone, a large one takes the least busy of those drawn.

use std::sync::Arc;
use std::time::Instant;

use crate::pick::{PickArgs, PickResult, Picker, Score};
use crate::policies::alias::Alias;
use crate::policies::failures::punishment;
use crate::policies::petiole::{self, HasSlot, NotReady};
use crate::policies::sampler::Row;
use crate::scratch::Scratch;
use crate::slot::Slot;
use crate::stats::{EndpointStats, ticks};

/// `rows` is never empty, and some weight is positive.
#[derive(Debug)]
pub(super) struct Biased {
    rows: Box<[Weighted]>,
    alias: Alias,
    choices: u32,
    bias: f32,
    others: NotReady,
}

#[derive(Debug, Clone)]
pub(super) struct Weighted {
    pub(super) row: Row,
    pub(super) weight: u32,
}

impl HasSlot for Weighted {
    #[inline]
    fn slot(&self) -> Slot {
        self.row.slot
    }
}

impl Biased {
    /// Weights that are all 0 count as all 1.
    pub(super) fn new(mut rows: Box<[Weighted]>, choices: u32, bias: f32, others: NotReady) -> Self {
        if rows.iter().all(|row| row.weight == 0) {
            rows.iter_mut().for_each(|row| row.weight = 1);
        }
        let weights: Vec<u32> = rows.iter().map(|row| row.weight).collect();
        Self { rows, alias: Alias::new(&weights), choices, bias, others }
    }

    #[inline]
    fn sample(&self, now: Instant, scratch: &mut Scratch) -> usize {
        let mut chosen = self.alias.draw(scratch);
        let mut total = self.ease(&self.rows[chosen].row.stats, now);
        for _ in 1..self.choices {
            let other = self.alias.draw(scratch);
            let ease = self.ease(&self.rows[other].row.stats, now);
            total += ease;
            // Each is kept in proportion to its part of the total: 24 random bits are what an `f32` holds.
            if (scratch.random() >> 40) as f32 * total < ease * (1 << 24) as f32 {
                chosen = other;
            }
        }
        chosen
    }

    /// 1 for an idle endpoint, less for a busy or failing one.
    #[inline]
    fn ease(&self, stats: &EndpointStats, now: Instant) -> f32 {
        let calls = stats.in_flight() as f32 + 1.0;
        let bias = self.bias;
        let busy = if bias == 1.0 { calls } else { calls.powf(bias) };
        // Not below the smallest number: with an enormous bias all may be, and one of them is to be chosen.
        (1.0 / (busy * punishment(stats, || ticks(now)))).max(f32::MIN_POSITIVE)
    }
}

impl Picker for Biased {
    #[inline]
    fn pick(&self, args: &mut PickArgs<'_>) -> PickResult {
        PickResult::Pick(petiole::draw_untried(&self.rows, args.tried, || self.sample(args.now, args.scratch)))
    }

    fn restrict(&self, keep: &dyn Fn(Slot) -> bool) -> Arc<dyn Picker> {
        let rows: Box<[Weighted]> = self.rows.iter().filter(|row| keep(row.slot())).cloned().collect();
        let others = self.others.restricted(keep);
        if rows.is_empty() { Arc::new(others) } else { Arc::new(Self::new(rows, self.choices, self.bias, others)) }
    }

    fn explain(&self, args: &mut PickArgs<'_>) -> Vec<Score> {
        let dynamic = |row: &Weighted| f64::from(row.weight) * f64::from(self.ease(&row.row.stats, args.now));
        let total: f64 = self.rows.iter().map(dynamic).sum();
        let score = |row: &Weighted| {
            let calls = row.row.stats.in_flight();
            let reason = format!("weight {}, {calls} calls in flight", row.weight);
            let mut score = Score::new(row.slot(), dynamic(row) / total, reason);
            score.parts.extend([
                ("weight", f64::from(row.weight)),
                ("in_flight", f64::from(calls)),
                ("dynamic_weight", dynamic(row)),
            ]);
            score
        };
        self.rows.iter().map(score).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::policies::LeastRequest;
    use crate::policies::testing::{Caller, rebuild, slot, weighted};
    use crate::policy::SubchannelView;

    fn picker(bias: f64, view: &[SubchannelView]) -> Arc<dyn Picker> {
        rebuild(&mut LeastRequest::from_config(&json!({"activeRequestBias": bias})).unwrap(), view).picker
    }

    fn load(view: &[SubchannelView], index: usize, calls: u32) {
        (0..calls).for_each(|_| view[index].stats.begin());
    }

    fn close(counts: &[usize], shares: &[f64]) -> bool {
        let all: usize = counts.iter().sum();
        // Five sigma of a binomial with n = 60 000 are at most 612.
        counts.iter().zip(shares).all(|(count, share)| count.abs_diff((share * all as f64) as usize) < 620)
    }

    #[test]
    fn idle_endpoints_get_their_weights_whatever_the_bias() {
        for bias in [0.0, 0.5, 1.0, 8.0] {
            let counts = Caller::new(1).count(&*picker(bias, &weighted(&[1, 2, 0, 3])), 4, 60_000);
            assert!(close(&counts, &[1.0 / 6.0, 2.0 / 6.0, 0.0, 3.0 / 6.0]), "{bias}: {counts:?}");
        }
    }

    #[test]
    fn calls_in_flight_weigh_as_the_bias_says() {
        // Of a pair of both, the busy one (three calls, so 1/4, 1/16 …) wins less than half.
        for (bias, wins) in [(0.0, 0.5), (0.5, 1.0 / 3.0), (1.0, 0.2), (2.0, 1.0 / 17.0), (1e6, 0.0)] {
            let view = weighted(&[1, 3]);
            load(&view, 1, 3);
            let counts = Caller::new(1).count(&*picker(bias, &view), 2, 60_000);
            // Both draws hit it: 9/16; one of them: 6/16.
            let share = 9.0 / 16.0 + 6.0 / 16.0 * wins;
            assert!(close(&counts, &[1.0 - share, share]), "{bias}: {counts:?}");
        }
    }

    #[test]
    fn without_a_bias_or_with_equal_weights_it_is_the_least_busy_of_two() {
        let (unbiased, equal) = (weighted(&[1, 3]), weighted(&[3, 3]));
        for (view, picker) in [(&unbiased, rebuild(&mut LeastRequest::default(), &unbiased).picker), (&equal, picker(1.0, &equal))]
        {
            load(view, 1, 1);
            let counts = Caller::new(1).count(&*picker, 2, 60_000);
            assert!(close(&counts, &[0.75, 0.25]), "{counts:?}");
        }
    }

    #[test]
    fn a_restriction_weighs_the_rest_anew() {
        let picker = picker(1.0, &weighted(&[1, 3, 0, 50]));
        let counts = Caller::new(1).count(&*picker.restrict(&|s| s != slot(3)), 4, 60_000);
        assert!(close(&counts, &[0.25, 0.75, 0.0, 0.0]), "{counts:?}");
        assert_eq!(Caller::new(1).count(&*picker.restrict(&|s| s == slot(2)), 4, 5), [0, 0, 5, 0]);
        assert!(Caller::new(1).error(&*picker.restrict(&|_| false)).contains("restrictions"));
    }

    #[test]
    fn explained_shares_are_those_of_the_dynamic_weights() {
        let view = weighted(&[1, 3]);
        load(&view, 1, 2);
        let scores = Caller::new(1).explain(&*picker(1.0, &view));
        assert!((scores[0].total - 0.5).abs() < 1e-6 && scores[1].reason == "weight 3, 2 calls in flight", "{scores:?}");
    }
}
