//! What the policies share that take the best of a few endpoints, or of all, by some measure of their load.
//!
//! A measure says what one more call would cost at an endpoint; the least wins. Endpoints of which no latency is known yet cost as
//! much as what they are compared with but for their load: so a new one gets its share of calls at once, neither all of them nor
//! none.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use super::petiole::{self, HasSlot, NotReady};
use crate::pick::{PickArgs, PickResult, Picker, Score};
use crate::policy::SubchannelView;
use crate::scratch::Scratch;
use crate::slot::Slot;
use crate::stats::EndpointStats;

/// How endpoints are judged.
pub(super) trait Measure: fmt::Debug + Copy + Send + Sync + 'static {
    /// The time in the form it needs.
    type Now: Copy;

    /// Once for each pick.
    fn at(self, now: Instant) -> Self::Now;

    /// What a call would cost there.
    fn cost(self, stats: &EndpointStats, now: Self::Now) -> Cost;

    /// Whether no endpoint can cost less: then there is no need to look at others, whose statistics lie in memory of their own.
    #[inline]
    fn is_least(self, _cost: Cost) -> bool {
        false
    }

    /// For people: what the cost is made of.
    fn explain(self, stats: &EndpointStats, now: Instant) -> (Vec<(&'static str, f64)>, String);
}

/// The product of both is the cost; neither is negative or NaN.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cost {
    /// In seconds, or whatever the measure has; 0 is not known.
    pub(super) latency: f32,
    /// By how much more it counts: from 1.
    pub(super) load: f32,
}

impl Cost {
    #[inline]
    fn compared_with(self, other: Self) -> (f32, f32) {
        if self.latency > 0.0 && other.latency > 0.0 {
            (self.latency * self.load, other.latency * other.load)
        } else {
            (self.load, other.load)
        }
    }
}

/// Among which endpoints the best is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Selection {
    /// So many drawn with replacement; the first of equals.
    Draws(u32),
    /// Two different ones at random: unlike two draws, this never leaves a bad one without a rival. The first of equals.
    Pair,
    /// All; any of equals.
    Scan,
}

/// Slot and statistics side by side: with many endpoints each table of its own would be a cache miss more per pick.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) slot: Slot,
    pub(super) stats: Arc<EndpointStats>,
}

impl Row {
    pub(super) fn of(view: &SubchannelView) -> Self {
        Self { slot: view.slot, stats: Arc::clone(&view.stats) }
    }
}

impl HasSlot for Row {
    #[inline]
    fn slot(&self) -> Slot {
        self.slot
    }
}

/// `rows` is never empty.
#[derive(Debug)]
pub(super) struct Sampler<M> {
    pub(super) rows: Box<[Row]>,
    pub(super) selection: Selection,
    pub(super) measure: M,
    pub(super) others: NotReady,
}

impl<M: Measure> Sampler<M> {
    #[inline]
    fn sample(&self, now: Instant, tried: &[Slot], scratch: &mut Scratch) -> usize {
        let (len, now) = (self.rows.len() as u32, self.measure.at(now));
        match self.selection {
            Selection::Draws(draws) => {
                let first = scratch.below(len) as usize;
                self.best(now, first, (1..draws).map(|_| scratch.below(len) as usize))
            }
            Selection::Pair => {
                let first = scratch.below(len);
                // One of the others: those from the first on are one further. Without a branch, which would be a toss-up.
                let second = scratch.below((len - 1).max(1));
                let second = (second + u32::from(second >= first)).min(len - 1);
                self.best(now, first as usize, [second as usize].into_iter())
            }
            Selection::Scan => self.scan(now, tried, scratch),
        }
    }

    #[inline]
    fn best(&self, now: M::Now, first: usize, others: impl Iterator<Item = usize>) -> usize {
        let mut best = (first, self.cost(first, now));
        for other in others {
            if self.measure.is_least(best.1) {
                break;
            }
            let cost = self.cost(other, now);
            let (less, more) = cost.compared_with(best.1);
            if less < more {
                best = (other, cost);
            }
        }
        best.0
    }

    /// The best of those not tried; if all were, of all.
    fn scan(&self, now: M::Now, tried: &[Slot], scratch: &mut Scratch) -> usize {
        let mut best: Option<(usize, Cost)> = None;
        let mut alike = 1;
        for index in (0..self.rows.len()).filter(|index| !tried.contains(&self.rows[*index].slot)) {
            let cost = self.cost(index, now);
            let (this, least) = best.map_or((0.0, 1.0), |(_, best)| cost.compared_with(best));
            alike = if this < least { 1 } else { alike + u32::from(this == least) };
            // Of `k` alike the last one is kept once in `k` times: so each is as likely.
            if this < least || this == least && scratch.below(alike) == 0 {
                best = Some((index, cost));
            }
        }
        best.map_or_else(|| self.scan(now, &[], scratch), |(index, _)| index)
    }

    #[inline]
    fn cost(&self, index: usize, now: M::Now) -> Cost {
        self.measure.cost(&self.rows[index].stats, now)
    }

    /// What each costs, with the least known latency where none is known.
    fn costs(&self, now: M::Now) -> Vec<f32> {
        let costs: Vec<Cost> = (0..self.rows.len()).map(|index| self.cost(index, now)).collect();
        let known = costs.iter().map(|cost| cost.latency).filter(|latency| *latency > 0.0);
        let least = known.fold(f32::INFINITY, f32::min);
        let least = if least.is_finite() { least } else { 1.0 };
        costs.iter().map(|cost| cost.load * if cost.latency > 0.0 { cost.latency } else { least }).collect()
    }

    /// The chance of an endpoint with this cost; `sorted` has all costs.
    fn chance(&self, cost: f32, sorted: &[f32]) -> f64 {
        let all = sorted.len() as f64;
        let cheaper = sorted.partition_point(|other| *other < cost) as f64;
        let dearer = all - sorted.partition_point(|other| *other <= cost) as f64;
        let alike = all - cheaper - dearer;
        match self.selection {
            // All draws hit it and its like or dearer ones, not all hit dearer ones, and those alike share it.
            Selection::Draws(draws) => (((all - cheaper) / all).powi(draws as i32) - (dearer / all).powi(draws as i32)) / alike,
            Selection::Pair if all < 2.0 => 1.0,
            // It wins the pairs with dearer ones and half of those with its like.
            Selection::Pair => (2.0 * dearer + alike - 1.0) / (all * (all - 1.0)),
            Selection::Scan if cheaper > 0.0 => 0.0,
            Selection::Scan => 1.0 / alike,
        }
    }
}

impl<M: Measure> Picker for Sampler<M> {
    #[inline]
    fn pick(&self, args: &mut PickArgs<'_>) -> PickResult {
        PickResult::Pick(petiole::draw_untried(&self.rows, args.tried, || self.sample(args.now, args.tried, args.scratch)))
    }

    fn restrict(&self, keep: &dyn Fn(Slot) -> bool) -> Arc<dyn Picker> {
        let rows: Box<[Row]> = self.rows.iter().filter(|row| keep(row.slot)).cloned().collect();
        let others = self.others.restricted(keep);
        if rows.is_empty() { Arc::new(others) } else { Arc::new(Self { rows, others, ..*self }) }
    }

    fn explain(&self, args: &mut PickArgs<'_>) -> Vec<Score> {
        let costs = self.costs(self.measure.at(args.now));
        let mut sorted = costs.clone();
        sorted.sort_unstable_by(f32::total_cmp);
        let score = |(row, cost): (&Row, &f32)| {
            let (parts, reason) = self.measure.explain(&row.stats, args.now);
            let reason = match self.selection {
                Selection::Draws(draws) => format!("{reason}; best of {draws}"),
                Selection::Pair => format!("{reason}; better of two"),
                Selection::Scan => format!("{reason}; best of all"),
            };
            let mut score = Score::new(row.slot, self.chance(*cost, &sorted), reason);
            score.parts = parts;
            score
        };
        self.rows.iter().zip(&costs).map(score).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policies::testing::{Caller, ready, slot, start};

    /// An endpoint's cost is what it holds in flight: tens are its latency in seconds, ones its load.
    #[derive(Debug, Clone, Copy)]
    struct Digits;

    impl Measure for Digits {
        type Now = ();

        fn at(self, _now: Instant) {}

        fn cost(self, stats: &EndpointStats, (): ()) -> Cost {
            Cost { latency: (stats.in_flight() / 10) as f32, load: (stats.in_flight() % 10) as f32 }
        }

        fn explain(self, _stats: &EndpointStats, _now: Instant) -> (Vec<(&'static str, f64)>, String) {
            (Vec::new(), "digits".into())
        }
    }

    fn sampler(selection: Selection, costs: &[u32]) -> Sampler<Digits> {
        let view = ready(costs.len());
        let fill = |(row, calls): (&SubchannelView, &u32)| (0..*calls).for_each(|_| row.stats.begin());
        view.iter().zip(costs).for_each(fill);
        Sampler { rows: view.iter().map(Row::of).collect(), selection, measure: Digits, others: NotReady::new(Box::default()) }
    }

    const SELECTIONS: [Selection; 4] = [Selection::Draws(2), Selection::Draws(3), Selection::Pair, Selection::Scan];

    #[test]
    fn explained_shares_are_those_picked() {
        for selection in SELECTIONS {
            for costs in [&[11, 11, 12, 13, 11][..], &[11], &[12, 11], &[21, 11, 12], &[1, 1, 2], &[31, 1, 22]] {
                let (sampler, mut caller) = (sampler(selection, costs), Caller::new(5));
                let shares: Vec<f64> = caller.explain(&sampler).iter().map(|score| score.total).collect();
                assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-9, "{shares:?}");
                if costs.iter().any(|cost| *cost < 10) && costs.iter().any(|cost| *cost >= 10) {
                    continue;
                }
                let counts = caller.count(&sampler, costs.len(), 40_000);
                // Five sigma of a binomial with n = 40 000 are at most 500.
                let close = |(count, share): (&usize, &f64)| count.abs_diff((share * 40_000.0).round() as usize) < 500;
                assert!(counts.iter().zip(&shares).all(close), "{selection:?} {costs:?}: {counts:?} {shares:?}");
            }
        }
    }

    #[test]
    fn a_pair_is_never_one_endpoint_twice() {
        assert_eq!(Caller::new(1).count(&sampler(Selection::Pair, &[12, 11]), 2, 1_000), [0, 1_000]);
        let counts = Caller::new(1).count(&sampler(Selection::Pair, &[15, 12, 11]), 3, 3_000);
        assert!(counts[0] == 0 && counts[1].abs_diff(1_000) < 130, "{counts:?}");
    }

    #[test]
    fn without_a_latency_only_load_counts() {
        for (costs, winner) in [([99, 1], 1), ([2, 91], 1), ([11, 2], 0), ([2, 1], 1)] {
            assert_eq!(Caller::new(1).slot(&sampler(Selection::Pair, &costs)), slot(winner), "{costs:?}");
        }
    }

    #[test]
    fn later_attempts_and_restrictions_go_elsewhere() {
        for selection in SELECTIONS {
            let (sampler, mut caller) = (sampler(selection, &[11, 12, 13]), Caller::new(1));
            assert!((0..200).all(|_| caller.slot_after(&sampler, &[slot(0)]) != slot(0)), "{selection:?}");
            let rest = sampler.restrict(&|s| s == slot(2));
            assert!((0..20).all(|_| caller.slot(&*rest) == slot(2)));
            assert!(caller.error(&*sampler.restrict(&|_| false)).contains("restrictions"));
        }
    }

    #[test]
    fn first_of_equals_by_replay() {
        let sampler = sampler(Selection::Draws(2), &[13, 11, 10, 10]);
        // Every pair of draws occurs; replay the generator to know which it was.
        for seed in 0..200 {
            let mut replay = Scratch::new(seed);
            let (first, second) = (replay.below(4) as usize, replay.below(4) as usize);
            let loads = [3, 1, 0, 0];
            let expected = if loads[second] < loads[first] { second } else { first };
            assert_eq!(sampler.sample(start(), &[], &mut Scratch::new(seed)), expected, "draws {first}, {second}");
        }
    }
}
