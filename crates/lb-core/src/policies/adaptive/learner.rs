//! How much each child is trusted, per kind of call: multiplicative weights with sharing.
//!
//! A call that a child placed has a *loss* from 0 to 1: 1 if it failed, else how far its latency is in the tail, with the least of the children's
//! mean latencies as the unit. The child's weight is multiplied by `exp(-RATE · (loss - usual loss) / (its share + CAUTION))`: dividing
//! by the share makes up for children that are seldom asked (Exp3, Auer et al. 2002), `CAUTION` keeps one unlucky call of such a one from
//! deciding (Exp3-IX, Neu 2015). Then all weights move a little towards what they were at first (fixed share, Herbster and Warmuth
//! 1998). So no weight ever gets so small that its child could not come back within a few hundred calls, whatever was learned before; and
//! as long as the children do equally well the first one is asked.
//!
//! Weights are read, changed and written without a lock. Of two calls that end at the same moment one may not be learned from.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// More children than this learn too slowly to be of use, and do not fit in a token.
pub(super) const MOST: usize = 8;

/// Kinds of calls told apart, half of them with a key: those of odd numbers. More share the weights of others, by chance of their hash.
pub(super) const KINDS: usize = 64;

/// The policies that hash: without a key they place a call anywhere.
const HASHING: [&str; 5] = ["ring_hash", "ring_hash_experimental", "maglev", "maglev_experimental", "rendezvous"];

/// How fast evidence counts: a child that is worse by half the range of losses is left within some 30 calls.
const RATE: f32 = 0.2;

/// See the module's essay; about the share of a child that is seldom asked.
const CAUTION: f32 = 0.05;

/// The largest step of a weight's logarithm.
const MOST_STEP: f32 = 2.0;

/// How far weights move back with each call. Smaller differences in loss than `SHARING / RATE`, .005, do not overcome it: they would be
/// within the noise of a thousand calls.
const SHARING: f32 = 0.001;

/// The least share of each child: enough to notice that it got better, too few calls to show in p99.
const LEAST: f32 = 0.005;

/// The share of the first child while nothing is known.
const FIRST: f32 = 0.95;

/// The share of children that hash, of calls with a key, while nothing is known. Whether a cache is worth while shows only once it is warm.
const WITH_KEY: f32 = 0.75;

/// The loss is 0 up to so many times the mean latency of the best child: what every child has is no loss.
const USUAL: f32 = 1.5;

/// So many times that latency more are the greatest loss, that of a failure.
const RANGE: f32 = 6.0;

/// Calls over which a child's latency is averaged.
const LATENCIES: f32 = 16.0;

/// Calls over which the usual loss is averaged: some times as many as it takes to leave a child.
const LOSSES: f32 = 512.0;

/// `f32`s as bits.
#[derive(Debug)]
struct Arm {
    weight: AtomicU32,
    /// Mean in seconds; 0 is not known.
    latency: AtomicU32,
}

#[derive(Debug)]
struct Kind {
    arms: Box<[Arm]>,
    /// The usual loss.
    loss: AtomicU32,
}

/// Weights of all children for all kinds of calls.
#[derive(Debug)]
pub(super) struct Learner {
    pub(super) names: Box<[Arc<str>]>,
    /// For calls without a key, and with one.
    priors: [Prior; 2],
    kinds: Box<[Kind]>,
}

type Weights = [f32; MOST];

/// What holds while nothing is known; adds up to 1. Who has no part of it is never asked.
#[derive(Debug)]
struct Prior {
    weights: Weights,
    asked: usize,
}

impl Prior {
    fn new(names: &[Arc<str>], has_key: bool) -> Self {
        let hashes = |name: &Arc<str>| HASHING.contains(&&**name);
        let mixed = names.iter().any(hashes) && !names.iter().all(hashes);
        let mut weights = [0.0; MOST];
        if mixed {
            fill(&mut weights, names, |name| !hashes(name), if has_key { 1.0 - WITH_KEY } else { 1.0 });
            fill(&mut weights, names, hashes, if has_key { WITH_KEY } else { 0.0 });
        } else {
            fill(&mut weights, names, |_| true, 1.0);
        }
        Self { asked: weights.iter().filter(|weight| **weight > 0.0).count(), weights }
    }

    #[inline]
    fn share(&self, child: usize, weight: f32) -> f32 {
        if self.weights[child] > 0.0 { LEAST + (1.0 - LEAST * self.asked as f32) * weight } else { 0.0 }
    }
}

/// Deals out `sum` among those that `among` accepts: most of it to the first one.
fn fill(weights: &mut Weights, names: &[Arc<str>], among: impl Fn(&Arc<str>) -> bool, sum: f32) {
    let others = names.iter().filter(|name| among(name)).count() - 1;
    let first = if others > 0 { FIRST } else { 1.0 };
    let mut is_first = true;
    for (weight, _) in weights.iter_mut().zip(names).filter(|(_, name)| among(name)) {
        *weight = sum * if is_first { first } else { (1.0 - first) / others as f32 };
        is_first = false;
    }
}

impl Learner {
    /// For these children, one at least and [`MOST`] at most.
    pub(super) fn new(names: Box<[Arc<str>]>) -> Self {
        let priors = [false, true].map(|has_key| Prior::new(&names, has_key));
        let arm = |weight: &f32| Arm { weight: AtomicU32::new(weight.to_bits()), latency: AtomicU32::new(0) };
        let kind =
            |kind: usize| Kind { arms: priors[kind % 2].weights[..names.len()].iter().map(arm).collect(), loss: AtomicU32::new(0) };
        let kinds = (0..KINDS).map(kind).collect();
        Self { names, priors, kinds }
    }

    /// The child to ask, by 64 random bits.
    #[inline]
    pub(super) fn draw(&self, kind: usize, random: u64) -> usize {
        let mut left = (random >> 40) as f32 / (1 << 24) as f32;
        let (prior, arms) = (&self.priors[kind % 2], &self.kinds[kind].arms);
        let mut asked = 0;
        for (index, arm) in arms.iter().enumerate() {
            let share = prior.share(index, load(&arm.weight));
            left -= share;
            if left < 0.0 {
                return index;
            }
            // Shares may add up to a little less than 1.
            asked = if share > 0.0 { index } else { asked };
        }
        asked
    }

    /// The share of calls that each child is asked to place.
    pub(super) fn shares(&self, kind: usize) -> impl Iterator<Item = f32> {
        let weights = self.weights(kind);
        (0..self.names.len()).map(move |index| self.priors[kind % 2].share(index, weights[index]))
    }

    /// The weights as they are, which add up to 1; those of children that there are not are 0.
    pub(super) fn weights(&self, kind: usize) -> Weights {
        let mut weights = [0.0; MOST];
        let loaded = self.kinds[kind].arms.iter().map(|arm| load(&arm.weight));
        weights.iter_mut().zip(loaded).for_each(|(weight, loaded)| *weight = loaded);
        self.normalized(kind, weights)
    }

    /// What was learned elsewhere, in any unit.
    pub(super) fn set(&self, kind: usize, weights: impl Iterator<Item = f32>) {
        let mut set = [0.0; MOST];
        set.iter_mut().zip(weights).take(self.names.len()).for_each(|(weight, new)| *weight = new);
        self.store(kind, self.shared(kind, self.normalized(kind, set)));
    }

    /// Whether anything was learned about this kind.
    pub(super) fn is_new(&self, kind: usize) -> bool {
        self.weights(kind).iter().zip(&self.priors[kind % 2].weights).all(|(weight, prior)| (weight - prior).abs() < 1e-6)
    }

    /// A call of this kind that this child placed has ended.
    pub(super) fn learn(&self, kind: usize, child: usize, latency: Duration, failed: bool) {
        let loss = self.loss(kind, child, latency.as_secs_f32(), failed);
        let usual = &self.kinds[kind].loss;
        let surprise = loss - load(usual);
        store(usual, load(usual) + surprise / LOSSES);
        let mut weights = self.weights(kind);
        let step = RATE * surprise / (self.priors[kind % 2].share(child, weights[child]) + CAUTION);
        weights[child] *= (-step.clamp(-MOST_STEP, MOST_STEP)).exp();
        self.store(kind, self.shared(kind, self.normalized(kind, weights)));
    }

    fn loss(&self, kind: usize, child: usize, seconds: f32, failed: bool) -> f32 {
        let arms = &self.kinds[kind].arms;
        if failed {
            return 1.0;
        }
        let mean = load(&arms[child].latency);
        store(&arms[child].latency, if mean > 0.0 { mean + (seconds - mean) / LATENCIES } else { seconds.max(1e-9) });
        let known = arms.iter().map(|arm| load(&arm.latency)).filter(|mean| *mean > 0.0);
        let best = known.fold(f32::INFINITY, f32::min);
        ((seconds / best - USUAL) / RANGE).clamp(0.0, 1.0)
    }

    fn normalized(&self, kind: usize, mut weights: Weights) -> Weights {
        let sum: f32 = weights.iter().sum();
        if sum <= 0.0 || !sum.is_finite() || weights.iter().any(|weight| *weight < 0.0) {
            return self.priors[kind % 2].weights;
        }
        weights.iter_mut().for_each(|weight| *weight /= sum);
        weights
    }

    fn shared(&self, kind: usize, mut weights: Weights) -> Weights {
        let prior = &self.priors[kind % 2].weights;
        weights.iter_mut().zip(prior).for_each(|(weight, prior)| *weight += SHARING * (prior - *weight));
        weights
    }

    fn store(&self, kind: usize, weights: Weights) {
        self.kinds[kind].arms.iter().zip(weights).for_each(|(arm, weight)| store(&arm.weight, weight));
    }
}

#[inline]
fn load(bits: &AtomicU32) -> f32 {
    f32::from_bits(bits.load(Ordering::Relaxed))
}

fn store(bits: &AtomicU32, value: f32) {
    bits.store(value.to_bits(), Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    /// A world with two children; calls of each take a latency drawn with this mean in ms, and fail so often.
    struct World {
        learner: Learner,
        scratch: Scratch,
        worth: [(f32, f32); 2],
    }

    impl World {
        fn new(seed: u64, worth: [(f32, f32); 2]) -> Self {
            let names = ["one".into(), "two".into()];
            Self { learner: Learner::new(names.into()), scratch: Scratch::new(seed), worth }
        }

        fn uniform(&mut self) -> f32 {
            (self.scratch.random() >> 40) as f32 / (1 << 24) as f32
        }

        /// How many of so many calls the second child placed.
        fn run(&mut self, calls: usize) -> usize {
            let mut second = 0;
            for _ in 0..calls {
                let child = self.learner.draw(0, self.scratch.random());
                let (mean, failing) = self.worth[child];
                let took = -(1.0 - self.uniform()).ln() * mean / 1e3;
                let failed = self.uniform() < failing;
                self.learner.learn(0, child, Duration::from_secs_f32(took), failed);
                second += child;
            }
            second
        }
    }

    #[test]
    fn it_begins_with_the_first_child_and_asks_every_child_now_and_then() {
        let mut world = World::new(1, [(10.0, 0.0), (10.0, 0.0)]);
        let shares: Vec<f32> = world.learner.shares(0).collect();
        assert!((shares[0] - 0.9455).abs() < 1e-3 && (shares[1] - 0.0545).abs() < 1e-3, "{shares:?}");
        assert!(world.learner.is_new(0));
        let second = world.run(20_000);
        assert!((250..8_000).contains(&second), "alike, the prior rules within noise: {second}");
    }

    #[test]
    fn it_finds_the_better_child_whichever_it_is() {
        for seed in 0..20 {
            for (worth, best) in [
                ([(10.0, 0.0), (40.0, 0.0)], 0),
                ([(40.0, 0.0), (10.0, 0.0)], 1),
                ([(10.0, 0.5), (10.0, 0.0)], 1),
                ([(1.0, 1.0), (100.0, 0.0)], 1),
            ] {
                let mut world = World::new(seed, worth);
                world.run(3_000);
                let second = world.run(2_000);
                let wrong = if best == 1 { 2_000 - second } else { second };
                // 10 of them are the least share.
                assert!(wrong < 200, "seed {seed} {worth:?}: {wrong} of 2 000 wrong");
            }
        }
    }

    #[test]
    fn regret_against_the_best_child_grows_slower_than_calls() {
        let mut world = World::new(3, [(60.0, 0.0), (10.0, 0.0)]);
        let early = 1_000 - world.run(1_000);
        let late = 20_000 - world.run(20_000);
        assert!(late < 20_000 / 20 && early < 700, "{early} of 1 000, then {late} of 20 000");
    }

    #[test]
    fn it_turns_around_when_conditions_flip_however_long_they_lasted() {
        for seed in 0..20 {
            let mut world = World::new(seed, [(10.0, 0.0), (60.0, 0.2)]);
            world.run(50_000);
            world.worth.reverse();
            world.run(600);
            let second = world.run(500);
            assert!(second > 400, "seed {seed}: {second} of 500");
            world.worth.reverse();
            world.run(600);
            let second = world.run(500);
            assert!(second < 100, "seed {seed}: back, {second} of 500");
        }
    }

    #[test]
    fn children_that_hash_are_asked_for_calls_with_a_key_only() {
        let shares = |names: &[&str], kind: usize| -> Vec<f32> {
            let learner = Learner::new(names.iter().map(|name| Arc::from(*name)).collect());
            learner.shares(kind).map(|share| (share * 100.0).round()).collect()
        };
        assert_eq!(shares(&["prequal", "peak_ewma", "maglev"], 0), [95.0, 5.0, 0.0]);
        assert_eq!(shares(&["prequal", "peak_ewma", "maglev"], 1), [24.0, 2.0, 74.0]);
        assert_eq!(shares(&["maglev", "ring_hash"], 0), [95.0, 5.0], "all hash");
        let learner = Learner::new(["maglev".into(), "random".into()].into());
        assert!((0..1_000).all(|bits| learner.draw(0, bits << 54) == 1));
    }

    #[test]
    fn if_everything_fails_alike_nothing_is_learned() {
        let mut world = World::new(5, [(1.0, 1.0), (1.0, 1.0)]);
        let second = world.run(20_000);
        assert!((250..8_000).contains(&second), "{second}");
    }

    #[test]
    fn absurd_latencies_leave_weights_that_add_up() {
        let learner = Learner::new(["one".into(), "two".into(), "three".into()].into());
        for latency in [Duration::ZERO, Duration::MAX, Duration::from_nanos(1), Duration::MAX] {
            for child in 0..3 {
                (0..200).for_each(|call| learner.learn(7, child, latency, call % 3 == 0));
            }
            let shares: Vec<f32> = learner.shares(7).collect();
            assert!(shares.iter().all(|share| (LEAST * 0.99..1.0).contains(share)), "{shares:?}");
            assert!((shares.iter().sum::<f32>() - 1.0).abs() < 1e-4, "{shares:?}");
        }
        assert!(learner.is_new(8), "kinds are apart");
    }
}
