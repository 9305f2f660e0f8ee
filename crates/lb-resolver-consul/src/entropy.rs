//! Chance, for spreading clients apart; nothing here is a secret.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

/// A sequence of random numbers (SplitMix64), seeded differently for every stream.
#[derive(Debug, Clone)]
pub(crate) struct Entropy(u64);

impl Entropy {
    /// Seeded by `seed`, or by the system where there is none.
    pub(crate) fn new(seed: Option<u64>) -> Self {
        Self(seed.unwrap_or_else(|| RandomState::new().hash_one(0_u8)))
    }

    /// 64 random bits.
    pub(crate) fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let value = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        value ^ (value >> 31)
    }

    /// Uniform in [0, 1).
    pub(crate) fn fraction(&mut self) -> f64 {
        // 53 bits fill the mantissa.
        (self.draw() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_and_the_system_does_not() {
        assert_eq!(Entropy::new(Some(1)).draw(), Entropy::new(Some(1)).draw());
        assert_ne!(Entropy::new(None).draw(), Entropy::new(None).draw());
        let mut entropy = Entropy::new(Some(1));
        assert!((0..1000).all(|_| (0.0..1.0).contains(&entropy.fraction())));
    }
}
