//! How long calls took in the last minute or two, in fixed memory.
//!
//! An average hides the slow calls that users notice. Quantiles need a distribution: 112 buckets from a microsecond to four minutes,
//! each a quarter of an octave wide, so that a quantile read from them is wrong by at most 12 % of itself, and by half of that on
//! average. That is enough to see that a p99 has doubled, and costs two adds per call and 1 KiB per endpoint that has answered once.
//! Exact quantiles need what does not fit here: every value, or a sketch that allocates.
//!
//! **Recent.** There are two such sets. Calls of one minute go into one, those of the next minute into the other; what is read is both.
//! So a quantile is over at least the last minute and at most the last two, and old times are forgotten even where nobody reads.
//!
//! Counts are relaxed atomics. A call that ends while its set is emptied for a new minute may not be counted: at most as many per minute
//! as end at that instant.
//!
//! Sources: log-linear buckets as in HdrHistogram, and in the native histograms of monitoring systems.

use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use std::time::Duration;

use serde::Serialize;

use super::latencies::LatencyCounts;

/// How long a set is filled, in ticks: a minute, the resolution at which operators look at graphs.
pub(super) const PERIOD: i64 = 60_000_000_000;

/// Buckets per doubling, as a power of two.
const STEPS: u32 = 2;

/// 2^-20 s, just below a microsecond: faster than any call.
const LOWEST_EXPONENT: u32 = 127 - 20;

/// Up to 2^8 s: slower than any deadline people set.
const OCTAVES: usize = 28;

pub(super) const BUCKETS: usize = OCTAVES << STEPS;

/// How often calls took how long, lately.
#[derive(Debug)]
pub(super) struct Histogram {
    /// Which period the newer set is of.
    period: AtomicI64,
    sets: [[AtomicU32; BUCKETS]; 2],
}

impl Default for Histogram {
    fn default() -> Self {
        let set = || std::array::from_fn(|_| AtomicU32::new(0));
        Self { period: AtomicI64::new(i64::MIN / 2), sets: [set(), set()] }
    }
}

/// Quantiles of how long successful calls took in the last one to two minutes.
///
/// As data, times are seconds with decimals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Quantiles {
    /// How many calls they are of.
    pub count: u64,
    /// Half of them took at most this.
    #[serde(serialize_with = "seconds")]
    pub p50: Duration,
    /// Nine of ten took at most this.
    #[serde(serialize_with = "seconds")]
    pub p90: Duration,
    /// 99 of 100 took at most this.
    #[serde(serialize_with = "seconds")]
    pub p99: Duration,
}

fn seconds<S: serde::Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64())
}

impl Histogram {
    /// Counts a call that took so many seconds and ended at this tick.
    #[inline]
    pub(super) fn record(&self, at: i64, seconds: f32) {
        let period = at.div_euclid(PERIOD);
        let newest = self.period.load(Ordering::Relaxed);
        if period > newest {
            self.turn(newest, period);
        }
        self.sets[(period & 1) as usize][bucket(seconds)].fetch_add(1, Ordering::Relaxed);
    }

    #[cold]
    fn turn(&self, newest: i64, period: i64) {
        if self.period.compare_exchange(newest, period, Ordering::Relaxed, Ordering::Relaxed).is_err() {
            return;
        }
        let empty = |set: &[AtomicU32; BUCKETS]| set.iter().for_each(|count| count.store(0, Ordering::Relaxed));
        empty(&self.sets[(period & 1) as usize]);
        if period - newest > 1 {
            empty(&self.sets[((period + 1) & 1) as usize]);
        }
    }

    /// What is known at this tick; `None` if no call has ended lately.
    pub(super) fn quantiles(&self, at: i64) -> Option<Quantiles> {
        let (now, mut counts) = (at.div_euclid(PERIOD), LatencyCounts::default());
        [now - 1, now].into_iter().for_each(|period| self.add(period, &mut counts));
        counts.quantiles()
    }

    /// Adds the calls of one period, if they are still known.
    pub(super) fn add(&self, period: i64, counts: &mut LatencyCounts) {
        let newest = self.period.load(Ordering::Relaxed);
        if period == newest || period == newest - 1 {
            counts.add(self.sets[(period & 1) as usize].iter().map(|count| u64::from(count.load(Ordering::Relaxed))));
        }
    }
}

/// Exponent and first bits of the mantissa are the number of the bucket.
#[inline]
fn bucket(seconds: f32) -> usize {
    let place = seconds.max(0.0).to_bits() >> (23 - STEPS);
    (place.saturating_sub(LOWEST_EXPONENT << STEPS) as usize).min(BUCKETS - 1)
}

/// Where a bucket begins, in seconds.
pub(super) fn begin(bucket: usize) -> f64 {
    let bits = (bucket as u32 + (LOWEST_EXPONENT << STEPS)) << (23 - STEPS);
    f64::from(f32::from_bits(bits))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::Entropy;

    const MINUTE: i64 = PERIOD;

    #[test]
    fn quantiles_are_within_an_eighth_of_the_exact_ones() {
        for seed in 0..20 {
            let (histogram, mut entropy) = (Histogram::default(), Entropy::from_seed(seed));
            let mut exact: Vec<f64> = (0..5_000).map(|_| 1e-5 * (1.0 + (entropy.draw() % 1_000_000) as f64).powf(1.2)).collect();
            exact.iter().for_each(|seconds| histogram.record(5, *seconds as f32));
            exact.sort_by(f64::total_cmp);
            let read = histogram.quantiles(5).unwrap();
            assert_eq!(read.count, 5_000);
            for (share, read) in [(0.5, read.p50), (0.9, read.p90), (0.99, read.p99)] {
                let exact = exact[(share * 5_000.0) as usize];
                assert!((read.as_secs_f64() / exact - 1.0).abs() < 0.125, "p{share}: {read:?} for {exact}, seed {seed}");
            }
        }
    }

    #[test]
    fn every_time_has_a_bucket_that_holds_it() {
        for seconds in [1e-6_f32, 3e-5, 0.0013, 0.25, 0.3, 1.0, 1.74, 100.0] {
            let bucket = bucket(seconds);
            assert!(begin(bucket) <= f64::from(seconds) && f64::from(seconds) < begin(bucket + 1), "{seconds}");
        }
        for odd in [0.0, -1.0, f32::NAN, 1e-30] {
            assert_eq!(bucket(odd), 0, "{odd}");
        }
        assert_eq!(bucket(f32::INFINITY), BUCKETS - 1);
        assert_eq!(bucket(1e9), BUCKETS - 1);
    }

    #[test]
    fn a_call_is_remembered_for_a_minute_at_least_and_two_at_most() {
        let histogram = Histogram::default();
        histogram.record(MINUTE / 2, 0.001);
        let count = |at| histogram.quantiles(at).map_or(0, |quantiles| quantiles.count);
        assert_eq!((count(MINUTE / 2), count(MINUTE * 3 / 2), count(MINUTE * 2)), (1, 1, 0));
        histogram.record(MINUTE * 3 / 2, 0.001);
        assert_eq!(count(MINUTE * 3 / 2), 2, "this minute's and the last one's");
        histogram.record(MINUTE * 2, 0.001);
        assert_eq!(count(MINUTE * 2), 2, "the first minute's set is used again, emptied");
        histogram.record(MINUTE * 9, 0.001);
        assert_eq!(count(MINUTE * 9), 1, "both sets were old");
    }

    #[test]
    fn a_time_before_the_origin_counts_too() {
        let histogram = Histogram::default();
        histogram.record(-MINUTE * 3, 0.5);
        assert_eq!(histogram.quantiles(-MINUTE * 3).unwrap().count, 1);
    }
}
