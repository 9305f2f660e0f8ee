//! Spread for retries and polls, so that the watchers of a large fleet do not move in step.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use lb_core::Entropy;

/// Random numbers from a seed, and durations spread by them.
#[derive(Debug)]
pub(crate) struct Spread(Entropy);

impl Spread {
    pub(crate) fn next(&mut self) -> u64 {
        self.0.draw()
    }

    /// Another sequence, for somebody else.
    pub(crate) fn fork(&mut self) -> Self {
        Self(Entropy::from_seed(self.next()))
    }

    /// The duration spread evenly over ± `share` of it.
    pub(crate) fn spread(&mut self, duration: Duration, share: f64) -> Duration {
        let uniform = self.0.fraction();
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

    pub(crate) fn entropy(&self) -> Spread {
        // Sequences that start far apart do not meet in any watch's life: steps are small against 2^64, mixed starts are not.
        let start = self.0.fetch_add(1, Ordering::Relaxed);
        Spread(Entropy::from_seed(Entropy::mix(start)))
    }
}

impl From<u64> for Seeds {
    fn from(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }
}
