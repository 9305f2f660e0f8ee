//! When calls should begin.

use std::time::Duration;

use crate::BenchError;

/// Times from the begin of a load, at random with this many a second in the mean and independent of each other, as calls of many users are (a Poisson process).
/// It never ends. The same seed gives the same times, so that everybody who is compared meets the same bursts.
///
/// For an *open* load: calls begin at these times whatever becomes of those before. Callers that wait for an answer before their next call send
/// least where answers are slowest, and what they measure there is too good ("coordinated omission").
#[derive(Debug, Clone)]
pub struct Arrivals {
    mean_gap: f64,
    at: f64,
    state: u64,
}

impl Arrivals {
    /// `rate` arrivals a second.
    ///
    /// # Errors
    /// [`BenchError::NotFinite`] for a rate that is not above 0 or not finite.
    pub fn new(rate: f64, seed: u64) -> Result<Self, BenchError> {
        if rate.is_finite() && rate > 0.0 {
            Ok(Self { mean_gap: 1.0 / rate, at: 0.0, state: seed })
        } else {
            Err(BenchError::NotFinite { value: rate })
        }
    }

    /// Uniform in `[0, 1)`: SplitMix64 (Steele, Lea and Flood 2014), of which every seed is a good one.
    fn unit(&mut self) -> f64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

impl Iterator for Arrivals {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        // Inverse transform; the unit is below 1, so the logarithm is finite.
        self.at -= (1.0 - self.unit()).ln() * self.mean_gap;
        Duration::try_from_secs_f64(self.at).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_as_asked_for_and_in_order() {
        let times: Vec<_> = Arrivals::new(1000.0, 7).unwrap().take_while(|at| *at < Duration::from_secs(100)).collect();
        // 100 000 ± four standard deviations.
        assert!((98_700..101_300).contains(&times.len()), "{}", times.len());
        assert!(times.windows(2).all(|pair| pair[0] <= pair[1]));
    }

    #[test]
    fn gaps_are_those_of_chance() {
        let times: Vec<_> = Arrivals::new(1.0, 3).unwrap().take(100_000).map(|at| at.as_secs_f64()).collect();
        let long = times.windows(2).filter(|pair| pair[1] - pair[0] > 1.0).count() as f64 / times.len() as f64;
        // 1/e of the gaps are longer than the mean.
        assert!((long - (-1.0_f64).exp()).abs() < 0.01, "{long}");
    }

    #[test]
    fn a_seed_says_it_all() {
        let times = |seed| Arrivals::new(10.0, seed).unwrap().take(5).collect::<Vec<_>>();
        assert_eq!(times(1), times(1));
        assert_ne!(times(1), times(2));
    }

    #[test]
    fn a_rate_is_above_nothing() {
        for rate in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(matches!(Arrivals::new(rate, 1), Err(BenchError::NotFinite { .. })), "{rate}");
        }
    }
}
