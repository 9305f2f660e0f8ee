//! Finding endpoints by name in one generation.

use crate::endpoint::EndpointKey;
use crate::snapshot::Row;

use super::condition::is_called;

/// Rows by the hashes of their keys and ids, sorted: a look-up takes log n steps and allocates nothing.
#[derive(Debug)]
pub(super) struct Names(Box<[(u64, u32)]>);

impl Names {
    pub(super) fn new(rows: &[Row]) -> Self {
        let mut names = Vec::with_capacity(rows.len());
        for (position, row) in rows.iter().enumerate() {
            let endpoint = &row.view.endpoint;
            names.push((Fold::of(endpoint.key().as_str()), position as u32));
            names.extend(endpoint.attributes.id.iter().map(|id| (Fold::of(id), position as u32)));
        }
        names.sort_unstable();
        names.dedup();
        Self(names.into())
    }

    /// The rows of this name: none, one, or several that share an id.
    pub(super) fn find<'r>(&self, rows: &'r [Row], name: &EndpointKey) -> impl Iterator<Item = &'r Row> {
        let hash = Fold::of(name.as_str());
        let from = self.0.partition_point(|(other, _)| *other < hash);
        let alike = self.0[from..].iter().take_while(move |(other, _)| *other == hash);
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

    /// Adds a text and where it ends.
    #[inline]
    pub(super) fn text(&mut self, text: &str) {
        let (words, rest) = text.as_bytes().as_chunks::<8>();
        words.iter().for_each(|word| self.word(u64::from_le_bytes(*word)));
        let mut last = 0;
        rest.iter().for_each(|byte| last = last << 8 | u64::from(*byte));
        // The length in the top byte, where at most seven bytes of text do not reach.
        self.word(last | (text.len() as u64) << 56);
    }

    /// Marks where one set ends and the next begins.
    #[inline]
    pub(super) fn mark(&mut self) {
        self.0 = self.0.rotate_left(17).wrapping_add(1);
    }
}
