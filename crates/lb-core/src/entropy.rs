//! Chance, repeatable: a fixed function of a seed that somebody else brings.

/// A sequence of random numbers (SplitMix64): from any seed, every 64-bit number once per period. Good enough to spread clients
/// apart and to choose among endpoints; nothing that comes out of it is a secret.
#[derive(Debug, Clone)]
pub struct Entropy(u64);

impl Entropy {
    /// The sequence of this seed. Seeds may be close to each other; their sequences are not.
    pub fn from_seed(seed: u64) -> Self {
        Self(seed)
    }

    /// 64 random bits.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        Self::mix(self.0)
    }

    /// Uniform in [0, 1).
    pub fn fraction(&mut self) -> f64 {
        // 53 bits fill the mantissa.
        (self.draw() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Scatters close numbers; one to one.
    pub fn mix(value: u64) -> u64 {
        let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ (value >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_sequence_of_seed_0() {
        let mut entropy = Entropy::from_seed(0);
        assert_eq!([entropy.draw(), entropy.draw()], [0xe220_a839_7b1d_cdaf, 0x6e78_9e6a_a1b9_65f4]);
    }

    #[test]
    fn fractions_are_in_range() {
        let mut entropy = Entropy::from_seed(1);
        assert!((0..1000).all(|_| (0.0..1.0).contains(&entropy.fraction())));
    }
}
