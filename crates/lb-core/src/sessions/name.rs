//! Names of sessions, of bounded length.

use std::borrow::Cow;
use std::hash::{BuildHasher, DefaultHasher, Hasher};

/// Ids up to this many bytes are kept as they are: a UUID has 36, the hex of a SHA-256 64.
const MAX_BYTES: usize = 64;

/// The name a session is kept under. An id of more than 64 bytes is kept as `#`, its length, and a hash of 128 bits (FNV-1a). Nothing
/// secret rests on that hash: who makes two long ids collide has two sessions at one endpoint.
pub(super) fn name(id: &str) -> Cow<'_, str> {
    if id.len() <= MAX_BYTES {
        return Cow::Borrowed(id);
    }
    Cow::Owned(format!("#{}:{:032x}", id.len(), fnv_128(id.as_bytes())))
}

fn fnv_128(bytes: &[u8]) -> u128 {
    const BASIS: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    bytes.iter().fold(BASIS, |hash, byte| (hash ^ u128::from(*byte)).wrapping_mul(PRIME))
}

/// Hashes behind a seed that callers do not know, so that ids cannot be made to collide; the same seed gives the same table.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seeded(pub(super) u64);

impl BuildHasher for Seeded {
    type Hasher = DefaultHasher;

    fn build_hasher(&self) -> DefaultHasher {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.0);
        hasher
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_ids_stay_and_long_ones_are_bounded_and_told_apart() {
        let (longest, longer) = ("x".repeat(64), "x".repeat(65));
        assert_eq!(name(&longest), longest);
        assert_ne!(name(&longer), longer);
        assert_ne!(name(&longer), name(&format!("{longest}y")));
        assert!(name(&"y".repeat(1 << 20)).len() <= MAX_BYTES);
        assert_eq!(name(&name(&longer)), name(&longer), "a name that was exported is the same name when it comes back");
    }

    #[test]
    fn published_values_of_fnv_1a() {
        assert_eq!(fnv_128(b""), 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d);
        assert_eq!(fnv_128(b"a"), 0xd228_cb69_6f1a_8caf_7891_2b70_4e4a_8964);
        assert_eq!(fnv_128(b"foobar"), 0x343e_1662_793c_64bf_6f0d_3597_ba44_6f18);
    }
}
