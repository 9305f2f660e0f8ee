//! A hash of method names, of one multiplication for eight bytes: every observed call pays for one.
//!
//! Its collisions can be computed, which the standard library's cannot. Names here are a generated client's or named by the program; what
//! callers add by a label of their own ends at the bound on methods, so that the worst there is is one list as long as that.

use std::hash::{BuildHasherDefault, Hasher};

/// For maps of names.
pub(super) type BuildNames = BuildHasherDefault<Names>;

/// An odd number with bits everywhere: the golden ratio in 64 bits.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// How far a word is moved by the next one.
const TURN: u32 = 23;

#[derive(Debug, Default)]
pub(super) struct Names(u64);

impl Names {
    fn word(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(TURN) ^ word).wrapping_mul(SPREAD);
    }
}

impl Hasher for Names {
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks();
        words.iter().for_each(|word| self.word(u64::from_le_bytes(*word)));
        self.word(rest.iter().fold(rest.len() as u64, |word, byte| word << 8 | u64::from(*byte)));
    }

    fn write_u8(&mut self, byte: u8) {
        self.word(byte.into());
    }

    fn finish(&self) -> u64 {
        // A map takes the upper bits and the lower ones; the product's upper ones are the good ones.
        self.0 ^ self.0 >> 32
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::hash::BuildHasher;

    use super::*;

    #[test]
    fn names_that_differ_little_are_told_apart_in_every_part_of_the_hash() {
        let names: Vec<String> = (0..1_000).map(|n| format!("shop.v1.Orders/Place{n}")).collect();
        let hash = |name: &String| BuildNames::default().hash_one(name.as_str());
        let distinct = |part: &dyn Fn(u64) -> u64| names.iter().map(|name| part(hash(name))).collect::<HashSet<_>>().len();
        assert_eq!(distinct(&|hash| hash), names.len());
        // Of 1 000 thrown into so many places these many hit an empty one: 1 024 × (1 − e^(−1000/1024)) = 638, and all of 128.
        let (low, high) = (distinct(&|hash| hash & 1023), distinct(&|hash| hash >> 57));
        assert!((560..=720).contains(&low) && high > 120, "{low} and {high}");
        assert_ne!(hash(&"a".to_owned()), hash(&"a\0".to_owned()));
    }
}
