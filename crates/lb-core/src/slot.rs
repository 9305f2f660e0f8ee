//! Names for subchannels that are cheap to copy and cannot go stale unnoticed.

use std::fmt;

/// Names one subchannel of one channel: an index that is reused, and a generation that is not.
///
/// A slot remembered across an update either still names the same endpoint or names nothing; it can never name another
/// endpoint, which is what remembering a bare index does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot {
    index: u32,
    generation: u32,
}

impl Slot {
    /// The slot at `index` in its `generation`-th use.
    pub const fn new(index: u32, generation: u32) -> Self {
        Self { index, generation }
    }

    /// Position in a table of subchannels.
    pub const fn index(self) -> usize {
        self.index as usize
    }

    /// How often the index was used before.
    pub const fn generation(self) -> u32 {
        self.generation
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.index, self.generation)
    }
}
