//! Drawing in proportion to weights, in constant time.
//!
//! Walker's alias table: `n` columns of the same width, each of which belongs to one index up to a threshold and to another beyond
//! it. A draw takes one random number: its upper half chooses the column, its lower half compares with the threshold.
//!
//! Source: Walker 1977; built as Vose 1991 does, in O(n).

use crate::scratch::Scratch;

/// A table to draw indices from.
#[derive(Debug)]
pub(super) struct Alias {
    /// What of 2^32 belongs to the index itself, and who has the rest.
    columns: Box<[(u32, u32)]>,
}

impl Alias {
    /// A table for weights of which at least one is positive; 0 is never drawn.
    pub(super) fn new(weights: &[u32]) -> Self {
        let total: f64 = weights.iter().map(|weight| f64::from(*weight)).sum();
        // In widths of a column: their mean is 1.
        let mut left: Vec<f64> = weights.iter().map(|weight| f64::from(*weight) * weights.len() as f64 / total).collect();
        let (mut small, mut large): (Vec<u32>, Vec<u32>) = (0..weights.len() as u32).partition(|index| left[*index as usize] < 1.0);
        let mut columns: Box<[(u32, u32)]> = (0..weights.len() as u32).map(|index| (u32::MAX, index)).collect();
        while let (Some(donee), Some(&donor)) = (small.pop(), large.last()) {
            columns[donee as usize] = ((left[donee as usize] * f64::from(u32::MAX)) as u32, donor);
            left[donor as usize] -= 1.0 - left[donee as usize];
            if left[donor as usize] < 1.0 {
                small.extend(large.pop());
            }
        }
        Self { columns }
    }

    /// An index.
    #[inline]
    pub(super) fn draw(&self, scratch: &mut Scratch) -> usize {
        let random = scratch.random();
        let column = ((random >> 32) * self.columns.len() as u64) >> 32;
        let (own, other) = self.columns[column as usize];
        if (random as u32) < own { column as usize } else { other as usize }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn counts(weights: &[u32], draws: u32) -> Vec<u32> {
        let (alias, mut scratch) = (Alias::new(weights), Scratch::new(3));
        let mut counts = vec![0; weights.len()];
        (0..draws).for_each(|_| counts[alias.draw(&mut scratch)] += 1);
        counts
    }

    #[test]
    fn draws_are_in_proportion() {
        let counts = counts(&[1, 2, 3, 0, 4], 100_000);
        // Five sigma of a binomial with n = 100 000 are at most 790.
        let expected = [10_000, 20_000, 30_000, 0, 40_000_u32];
        assert!(counts.iter().zip(expected).all(|(count, expected)| count.abs_diff(expected) < 790), "{counts:?}");
    }

    #[test]
    fn extremes() {
        assert_eq!(counts(&[7], 100), [100]);
        assert_eq!(counts(&[0, u32::MAX, 0], 1_000), [0, 1_000, 0]);
        let even = counts(&[u32::MAX; 4], 40_000);
        assert!(even.iter().all(|count| count.abs_diff(10_000) < 440), "{even:?}");
    }

    proptest! {
        #[test]
        fn columns_hold_what_the_weights_say(weights in prop::collection::vec(prop_oneof![0_u32..3, 1_u32..1000, Just(u32::MAX)], 1..60)) {
            prop_assume!(weights.iter().any(|weight| *weight > 0));
            let mut shares = vec![0.0; weights.len()];
            for (index, (own, other)) in Alias::new(&weights).columns.iter().enumerate() {
                shares[index] += f64::from(*own) / 4_294_967_295.0;
                shares[*other as usize] += 1.0 - f64::from(*own) / 4_294_967_295.0;
            }
            let total: f64 = weights.iter().map(|weight| f64::from(*weight)).sum();
            for (share, weight) in shares.iter().zip(&weights) {
                prop_assert!((share / weights.len() as f64 - f64::from(*weight) / total).abs() < 1e-7, "{weights:?}: {shares:?}");
                prop_assert!(*weight > 0 || *share == 0.0);
            }
        }
    }
}
