//! Latencies of calls.

use std::time::Duration;

use crate::Sample;

/// How long each call took.
#[derive(Debug, Clone, Default)]
pub struct Latencies(Vec<Duration>);

impl Latencies {
    /// The latency below which this share of the calls lies, in microseconds; 0 without calls.
    #[must_use]
    pub fn quantile(&self, share: f64) -> f64 {
        let last = self.0.len().saturating_sub(1);
        self.0.get((last as f64 * share) as usize).map_or(0.0, |latency| latency.as_nanos() as f64 / 1e3)
    }

    /// How many calls.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds `p50 µs`, `p99 µs` and `p99.9 µs`.
    #[must_use]
    pub fn figures(&self, sample: Sample) -> Sample {
        sample.with("p50 µs", self.quantile(0.5)).with("p99 µs", self.quantile(0.99)).with("p99.9 µs", self.quantile(0.999))
    }
}

/// In any order.
impl From<Vec<Duration>> for Latencies {
    fn from(mut latencies: Vec<Duration>) -> Self {
        latencies.sort_unstable();
        Self(latencies)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_of_calls() {
        let latencies = Latencies::from((0..=1000).rev().map(Duration::from_micros).collect::<Vec<_>>());
        assert_eq!([0.0, 0.5, 0.99, 0.999, 1.0].map(|share| latencies.quantile(share)), [0.0, 500.0, 990.0, 999.0, 1000.0]);
        let none = Latencies::default();
        assert!(none.is_empty());
        assert_eq!((none.quantile(0.5), none.len()), (0.0, 0));
        assert_eq!(latencies.figures(Sample::new()).get("p99 µs"), Some(990.0));
    }
}
