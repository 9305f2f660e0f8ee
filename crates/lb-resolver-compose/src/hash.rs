//! A hash that is the same in every process, on every machine and in every version.
//!
//! FNV-1a over the bytes, then the finaliser of SplitMix64, because FNV alone leaves the high bits of short texts too alike to rank by. It
//! tells damage from health and spreads names; it is no defence against somebody who chooses the bytes.

use lb_core::Entropy;

const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0100_0000_01b3;

/// The hash of the parts, one after the other; where one ends and the next begins counts.
pub(crate) fn hash(parts: &[&[u8]]) -> u64 {
    let mut state = OFFSET;
    for part in parts {
        for byte in *part {
            state = (state ^ u64::from(*byte)).wrapping_mul(PRIME);
        }
        state = (state ^ part.len() as u64).wrapping_mul(PRIME);
    }
    Entropy::mix(state)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_never_changes_because_files_and_subsets_depend_on_it() {
        assert_eq!(hash(&[b"client-1", b"10.0.0.1:50051"]), 0xfd4a_b1cd_20cd_abc6);
        assert_ne!(hash(&[b"ab", b"c"]), hash(&[b"a", b"bc"]));
    }
}
