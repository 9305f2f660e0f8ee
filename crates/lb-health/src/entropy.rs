//! Spread for retries and polls, so that the watchers of a large fleet do not move in step.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The increment and the mix of SplitMix64: from any seed, every 64-bit number once per period.
const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

/// Random numbers from a seed.
#[derive(Debug)]
pub(crate) struct Entropy(u64);

impl Entropy {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GAMMA);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Another sequence, for somebody else.
    pub(crate) fn fork(&mut self) -> Self {
        Self(self.next())
    }

    /// The duration spread evenly over ± `share` of it.
    pub(crate) fn spread(&mut self, duration: Duration, share: f64) -> Duration {
        // 53 bits fill the mantissa: uniform in [0, 1).
        let uniform = (self.next() >> 11) as f64 / (1_u64 << 53) as f64;
        duration.mul_f64(1.0 - share + 2.0 * share * uniform)
    }
}

/// Gives every watch of one check its own numbers.
#[derive(Debug)]
pub(crate) struct Seeds(AtomicU64);

impl Seeds {
    /// Seeds nobody can foresee.
    pub(crate) fn random() -> Self {
        Self::from(RandomState::new().hash_one(0))
    }

    pub(crate) fn entropy(&self) -> Entropy {
        // Sequences that start far apart do not meet in any watch's life: steps are small against 2^64, mixed starts are not.
        let start = self.0.fetch_add(1, Ordering::Relaxed);
        Entropy(Entropy(start).next())
    }
}

impl From<u64> for Seeds {
    fn from(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }
}
