//! The static stride scheduler: turns spread in proportion to weights, without state but a counter.
//!
//! Turn `q` asks endpoint `q mod n` in round `q div n`; an endpoint whose scaled weight is `W` of `K` takes `W` of any `K` consecutive
//! rounds, evenly spaced, and passes in the others. So picks need no heap and no shared state beside the turn.
//!
//! **Bound.** The heaviest endpoint never passes, so a pick takes at most `n` turns. The mean is `K` over the mean scaled weight:
//! below 10 unless weights differ by orders of magnitude, below 1000 whatever they are.
//!
//! **Clamp and floor.** Weights above 10 times the mean count as 10 times the mean, and none counts as less than 1 % of it (gRPC
//! core; java lifts to 10 %, which would give an endpoint at 1 % of the traffic several times its share; go does neither). A
//! weight that is 0, negative or not a number is unknown and counts as the mean.
//!
//! Source: gRFC A58; gRPC core's `static_stride_scheduler`. Turns have 64 bits here, 32 there.

/// A scaled weight of one: the largest 16-bit number.
const K: u64 = u16::MAX as u64;

/// Weights above this many times the mean are cut to it, to bound the turns of a pick.
const MOST_MEANS: f64 = 10.0;

/// Weights below this share of the mean are lifted to it, so that nothing starves.
const LEAST_MEAN: f64 = 0.01;

/// Schedules `weights.len()` endpoints.
#[derive(Debug)]
pub(super) struct Stride {
    scaled: Box<[u16]>,
    heaviest: usize,
    /// The sum of the scaled weights.
    total: f64,
}

impl Stride {
    /// `None` where plain turns do the same: fewer than two endpoints or known weights, or all alike after scaling.
    pub(super) fn new(weights: &[f64]) -> Option<Self> {
        let known: Vec<f64> = weights.iter().copied().filter(|weight| is_known(*weight)).collect();
        if known.len() < 2 {
            return None;
        }
        // Divided before they are added, so that no sum overflows.
        let mean: f64 = known.iter().map(|weight| weight / known.len() as f64).sum();
        let max = known.iter().copied().fold(0.0, f64::max).min(MOST_MEANS * mean);
        let scale = K as f64 / max;
        let floor = (LEAST_MEAN * scale * mean).round().max(1.0);
        let scaled_weight = |weight: &f64| {
            let weight = if is_known(*weight) { weight.min(max) } else { mean };
            // At most K because no weight exceeds `max`.
            (scale * weight).round().max(floor) as u16
        };
        let scaled: Box<[u16]> = weights.iter().map(scaled_weight).collect();
        let heaviest = (0..scaled.len()).max_by_key(|index| scaled[*index])?;
        let alike = scaled.iter().all(|weight| *weight == scaled[heaviest]);
        let total = scaled.iter().map(|weight| f64::from(*weight)).sum();
        (!alike).then_some(Self { scaled, heaviest, total })
    }

    /// The endpoint that takes the next turn it does not pass.
    #[inline]
    pub(super) fn next(&self, mut next_turn: impl FnMut() -> u64) -> usize {
        let len = self.scaled.len() as u64;
        for _ in 0..len {
            let turn = next_turn();
            let (round, index) = (turn / len, turn % len);
            let weight = u64::from(self.scaled[index as usize]);
            if (weight * (round % K) + index * (K / 2)) % K >= K - weight {
                return index as usize;
            }
        }
        // Only reached when other threads took the heaviest endpoint's turns in between.
        self.heaviest
    }

    /// The share of picks an endpoint gets, from 0 to 1.
    pub(super) fn share(&self, index: usize) -> f64 {
        f64::from(self.scaled[index]) / self.total
    }
}

fn is_known(weight: f64) -> bool {
    weight.is_finite() && weight > 0.0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stride(weights: &[f64]) -> Stride {
        Stride::new(weights).unwrap()
    }

    fn picks(stride: &Stride, start: u64, count: usize) -> Vec<usize> {
        let mut turns = start..;
        (0..count).map(|_| stride.next(|| turns.next().unwrap())).collect()
    }

    #[test]
    fn published_vectors() {
        for weights in [[1.0, 2.0, 3.0], [10.0, 0.0, 30.0]] {
            let stride = stride(&weights);
            assert_eq!(*stride.scaled, [21845, 43690, 65535]);
            assert_eq!(picks(&stride, 0, 12), [1, 2, 2, 0, 1, 2, 1, 2, 2, 0, 1, 2]);
            let mut counts = [0; 3];
            picks(&stride, 0, 60_000).into_iter().for_each(|index| counts[index] += 1);
            assert_eq!(counts, [10_000, 20_000, 30_000]);
        }
        let stride = stride(&[4.0, 3.0, 2.0, 1.0]);
        assert_eq!(*stride.scaled, [65535, 49151, 32768, 16384]);
        assert_eq!(picks(&stride, 0, 18), [0, 1, 2, 0, 2, 0, 1, 3, 0, 1, 2, 0, 1, 0, 2, 3, 0, 1]);
    }

    #[test]
    fn clamp_and_floor_vectors() {
        assert_eq!(*stride(&[1.0, 1.0, 100.0]).scaled, [655, 655, 65535]);
        let mut weights = vec![1.0; 19];
        weights.push(1000.0);
        let scaled = stride(&weights).scaled;
        assert_eq!((scaled[0], scaled[18], scaled[19]), (129, 129, 65535));
        // One per cent of the mean: 0.01 · 65535 / 2.
        assert_eq!(*stride(&[1.0, f64::from(u32::MAX)]).scaled, [328, 65535]);
    }

    #[test]
    fn unknown_weights_count_as_the_mean() {
        for unknown in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            // 2 : 4 : 3
            assert_eq!(*stride(&[2.0, 4.0, unknown]).scaled, [32768, 65535, 49151]);
        }
    }

    #[test]
    fn plain_turns_where_nothing_is_to_be_weighed() {
        for weights in [&[][..], &[5.0], &[0.0, 0.0], &[3.0, 0.0, 0.0], &[7.0, 7.0, 7.0], &[7.0, 7.0, f64::NAN]] {
            assert!(Stride::new(weights).is_none(), "{weights:?}");
        }
    }

    #[test]
    fn absurd_weights_neither_overflow_nor_loop() {
        for weights in [&[f64::MAX, f64::MAX / 2.0, 1.0][..], &[f64::MIN_POSITIVE, f64::MAX], &[5e-324, 1e-323]] {
            let Some(stride) = Stride::new(weights) else { continue };
            assert!(picks(&stride, u64::MAX - 100, 50).iter().all(|index| *index < weights.len()));
        }
    }

    #[test]
    fn interleaved_turns_end_at_the_heaviest() {
        let stride = stride(&[1.0, 100.0]);
        // Only turns of endpoint 0 reach this caller, in rounds in which it passes.
        assert_eq!(stride.next(|| 0), 1);
    }

    proptest! {
        // A case is some 200 000 picks.
        #![proptest_config(ProptestConfig::with_cases(16))]

        #[test]
        fn shares_are_exact_over_k_rounds(
            weights in prop::collection::vec(0.1..50.0_f64, 2..6),
            start in 0_u64..1 << 40,
        ) {
            let Some(stride) = Stride::new(&weights) else { return Ok(()) };
            let total: usize = stride.scaled.iter().map(|weight| usize::from(*weight)).sum();
            let mut counts = vec![0_usize; weights.len()];
            // Starting at a round of its own, K rounds hold exactly the sum of the scaled weights.
            picks(&stride, start * weights.len() as u64, total).into_iter().for_each(|index| counts[index] += 1);
            let expected: Vec<usize> = stride.scaled.iter().map(|weight| usize::from(*weight)).collect();
            prop_assert_eq!(counts, expected);
        }
    }

    proptest! {
        #[test]
        fn every_index_is_in_range_and_nothing_starves(
            weights in prop::collection::vec(prop_oneof![0_u32..3, 1_u32..1000, Just(u32::MAX)], 1..40),
            start in any::<u64>(),
        ) {
            let weights: Vec<f64> = weights.into_iter().map(f64::from).collect();
            let Some(stride) = Stride::new(&weights) else { return Ok(()) };
            prop_assert!(stride.scaled.iter().all(|weight| *weight > 0));
            prop_assert!(picks(&stride, start, 200).into_iter().all(|index| index < weights.len()));
        }
    }
}
