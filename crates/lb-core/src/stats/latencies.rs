//! How often calls took how long, as values that can be added up.

use std::time::Duration;

use super::histogram::{BUCKETS, Quantiles, begin};

/// Counts by the buckets of [`Histogram`](super::histogram).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LatencyCounts([u64; BUCKETS]);

impl Default for LatencyCounts {
    fn default() -> Self {
        Self([0; BUCKETS])
    }
}

impl LatencyCounts {
    /// Adds counts in the order of the buckets.
    pub(super) fn add(&mut self, counts: impl IntoIterator<Item = u64>) {
        self.0.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
    }

    /// What came on top of `before`.
    pub(super) fn since(&self, before: &Self) -> Self {
        Self(std::array::from_fn(|bucket| self.0[bucket].saturating_sub(before.0[bucket])))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = u64> {
        self.0.iter().copied()
    }

    /// `None` of nothing.
    pub(super) fn quantiles(&self) -> Option<Quantiles> {
        let count: u64 = self.iter().sum();
        let quantile = |share: f64| self.quantile(share * count as f64);
        (count > 0).then(|| Quantiles { count, p50: quantile(0.5), p90: quantile(0.9), p99: quantile(0.99) })
    }

    /// The time that `rank` of the calls took at most, as if those of one bucket were spread evenly over it.
    fn quantile(&self, rank: f64) -> Duration {
        let mut below = 0.0;
        for (bucket, count) in self.iter().enumerate().filter(|(_, count)| *count > 0) {
            let count = count as f64;
            if below + count >= rank {
                let (begin, end) = (begin(bucket), begin(bucket + 1));
                return Duration::from_secs_f64(begin + (end - begin) * ((rank - below) / count).clamp(0.0, 1.0));
            }
            below += count;
        }
        Duration::from_secs_f64(begin(BUCKETS))
    }

    /// The same without the empty buckets at both ends.
    pub(super) fn pack(&self) -> Packed {
        let first = self.0.iter().position(|count| *count > 0).unwrap_or(BUCKETS);
        let end = self.0.iter().rposition(|count| *count > 0).map_or(first, |last| last + 1);
        let counts = self.0[first..end].iter().map(|count| u32::try_from(*count).unwrap_or(u32::MAX)).collect();
        Packed { first: first as u8, counts }
    }
}

/// Counts as they are kept: calls of one channel seldom span more than a third of the buckets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Packed {
    first: u8,
    counts: Box<[u32]>,
}

impl Packed {
    pub(super) fn add_to(&self, counts: &mut LatencyCounts) {
        counts.add(std::iter::repeat_n(0, self.first.into()).chain(self.counts.iter().map(|count| u64::from(*count))));
    }

    /// What it takes of the heap.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        size_of_val(&*self.counts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed_and_unpacked_they_are_the_same() {
        for filled in [&[][..], &[0], &[BUCKETS - 1], &[0, BUCKETS - 1], &[40, 41, 60]] {
            let mut counts = LatencyCounts::default();
            filled.iter().for_each(|bucket| counts.0[*bucket] = 7 + *bucket as u64);
            let mut unpacked = LatencyCounts::default();
            counts.pack().add_to(&mut unpacked);
            assert_eq!(unpacked, counts, "{filled:?}");
        }
        let mut counts = LatencyCounts::default();
        (counts.0[40], counts.0[60]) = (1, 1);
        assert_eq!(counts.pack().bytes(), 21 * 4, "and no larger than the span");
    }
}
