//! Chance, repeatable where a seed is given.

use std::hash::{BuildHasher, RandomState};

use lb_core::Entropy;

/// From a seed, or from the system's randomness, which std puts into every hash map.
pub(crate) fn seeded(seed: Option<u64>) -> Entropy {
    Entropy::from_seed(seed.unwrap_or_else(|| RandomState::new().hash_one(0_u8)))
}
