//! A counter that never goes above a limit.

use super::sync::{AtomicU32, Ordering};

/// How many are in flight. Never more than the limit each of them was let in under, and back to 0 when all have ended.
#[derive(Debug, Default)]
pub struct InFlight(AtomicU32);

impl InFlight {
    /// One more, unless there are as many as this already. Every `true` must be followed by one [`end`](Self::end).
    #[inline]
    pub fn begin(&self, limit: u32) -> bool {
        // Orders nothing but itself: what a call does is not guarded by its being counted.
        let more = |count: u32| (count < limit).then(|| count + 1);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    /// One less. Answers how many there were.
    #[inline]
    pub fn end(&self) -> u32 {
        self.0.fetch_sub(1, Ordering::Relaxed)
    }

    /// How many there are.
    #[inline]
    pub fn count(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}
