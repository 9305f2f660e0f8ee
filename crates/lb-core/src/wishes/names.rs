//! Finding endpoints by name in one generation.

use crate::endpoint::EndpointKey;
use crate::snapshot::Row;

use super::condition::is_called;

/// Rows by the hashes of their keys and ids, sorted, and where those of each beginning start: a look-up takes a step or two and
/// allocates nothing.
#[derive(Debug)]
pub(super) struct Names {
    sorted: Box<[(u64, u32)]>,
    /// By the first bits of a hash, as many as make a beginning for each name.
    starts: Box<[u32]>,
    shift: u32,
}

impl Names {
    pub(super) fn new(rows: &[Row]) -> Self {
        let mut sorted = Vec::with_capacity(rows.len());
        for (position, row) in rows.iter().enumerate() {
            let endpoint = &row.view.endpoint;
            sorted.push((Fold::of(endpoint.key().as_str()), position as u32));
            sorted.extend(endpoint.attributes.id.iter().map(|id| (Fold::of(id), position as u32)));
        }
        sorted.sort_unstable();
        sorted.dedup();
        // At least one bit, because a shift by all 64 is none.
        let bits = (usize::BITS - sorted.len().leading_zeros()).max(1);
        let shift = u64::BITS - bits;
        let starts = (0..1_u64 << bits).map(|beginning| sorted.partition_point(|(hash, _)| hash >> shift < beginning) as u32);
        Self { starts: starts.collect(), sorted: sorted.into(), shift }
    }

    /// The rows of this name: none, one, or several that share an id.
    pub(super) fn find<'r>(&self, rows: &'r [Row], name: &EndpointKey) -> impl Iterator<Item = &'r Row> {
        let hash = Fold::of(name.as_str());
        let start = self.starts[(hash >> self.shift) as usize] as usize;
        let until = self.sorted[start..].iter().take_while(move |(other, _)| *other <= hash);
        let alike = until.filter(move |(other, _)| *other == hash);
        alike.map(|(_, position)| &rows[*position as usize]).filter(|row| is_called(&row.view.endpoint, name))
    }
}

/// A quick hash that is the same everywhere: folded multiplication of eight bytes at a time. Who can make two texts collide costs a
/// look-up some comparisons, of which there are never more than a few hundred.
#[derive(Debug)]
pub(super) struct Fold(pub(super) u64);

impl Fold {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed ^ 0xa076_1d64_78bd_642f)
    }

    fn of(text: &str) -> u64 {
        let mut fold = Self::new(0);
        fold.text(text);
        fold.0
    }

    #[inline]
    fn word(&mut self, word: u64) {
        let wide = u128::from(self.0 ^ word) * u128::from(0xe703_7ed1_a0b4_28db_u64);
        self.0 = (wide >> 64) as u64 ^ wide as u64;
    }

    /// Adds a text and its length: whole words, and the last eight bytes again. A text shorter than that is one word, and an empty one
    /// nothing.
    #[inline]
    pub(super) fn text(&mut self, text: &str) {
        let bytes = text.as_bytes();
        if bytes.is_empty() {
            return;
        }
        let word = |bytes: &[u8]| bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
        self.0 = self.0.wrapping_add((bytes.len() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        match (bytes.first_chunk::<4>(), bytes.last_chunk::<4>(), bytes.last_chunk::<8>()) {
            (_, _, Some(last)) => {
                let (words, _) = bytes.as_chunks::<8>();
                words.iter().for_each(|word| self.word(u64::from_le_bytes(*word)));
                if !bytes.len().is_multiple_of(8) {
                    self.word(u64::from_le_bytes(*last));
                }
            }
            (Some(first), Some(last), None) => {
                self.word(u64::from(u32::from_le_bytes(*first)) << 32 | u64::from(u32::from_le_bytes(*last)));
            }
            _ => self.word(word(bytes)),
        }
    }

    /// Marks where one set ends and the next begins.
    #[inline]
    pub(super) fn mark(&mut self) {
        self.0 = self.0.rotate_left(17).wrapping_add(1);
    }
}
