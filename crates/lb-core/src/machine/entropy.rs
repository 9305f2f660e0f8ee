//! The machine's own randomness: a fixed function of the seed it was given.

/// SplitMix64: one addition and three multiplications per number, every 64-bit number exactly once per period.
#[derive(Debug)]
pub(super) struct Entropy(u64);

impl Entropy {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
