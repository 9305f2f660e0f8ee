//! How many of the latest calls failed.
//!
//! Ten counters, each for a tenth of the window, each with the number of its tenth: who counts in a counter of a tenth that is over
//! begins it anew. Counting is one compare-and-swap; looking, which only a failure does, ten loads. A window of ten tenths sees
//! between nine tenths and the whole of its time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::change::BreakerReason;
use super::config::FailureRate;

/// Parts of a window: an old call falls out of sight with a tenth of the others.
const PARTS: u64 = 10;

/// Bits of a count of calls, and of failures; a part that is full counts no further, which leaves the rate as it is: 1 million.
const COUNT_BITS: u32 = 20;
const FULL: u64 = (1 << COUNT_BITS) - 1;

/// What is left for the number of a part; it comes round after two weeks at the finest, and then a part nobody has used meanwhile might
/// be taken for a fresh one.
const PART_MASK: u64 = (1 << (64 - 2 * COUNT_BITS)) - 1;

#[derive(Debug)]
pub(super) struct Window {
    rate: FailureRate,
    /// Nanoseconds.
    part: u64,
    counts: [AtomicU64; PARTS as usize],
}

/// Calls in the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Recent {
    pub(super) calls: u64,
    pub(super) failures: u64,
}

impl Window {
    pub(super) fn new(rate: FailureRate) -> Self {
        let part = (rate.window / PARTS as u32).max(Duration::from_millis(1)).as_nanos() as u64;
        Self { rate, part, counts: Default::default() }
    }

    /// The number of the part it is now, from 1.
    fn now(&self, ticks: i64) -> u64 {
        // Times before the first one asked about are negative.
        ((ticks as u64).wrapping_add(1 << 62) / self.part) & PART_MASK
    }

    /// Counts a call.
    #[inline]
    pub(super) fn count(&self, ticks: i64, failed: bool) {
        let now = self.now(ticks);
        let add = |word: u64| {
            let (part, failures, calls) = (word >> (2 * COUNT_BITS), word >> COUNT_BITS & FULL, word & FULL);
            // Between threads time goes backwards; what is late for its part counts in the next.
            let (part, failures, calls) = if part == now || is_later(part, now) { (part, failures, calls) } else { (now, 0, 0) };
            if calls == FULL {
                return None;
            }
            Some(part << (2 * COUNT_BITS) | (failures + u64::from(failed)) << COUNT_BITS | (calls + 1))
        };
        // Nothing comes of it only if the part is full.
        let _ = self.counts[(now % PARTS) as usize].fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }

    /// The calls that are in sight.
    pub(super) fn recent(&self, ticks: i64) -> Recent {
        let now = self.now(ticks);
        let mut recent = Recent::default();
        for count in &self.counts {
            let word = count.load(Ordering::Relaxed);
            let part = word >> (2 * COUNT_BITS);
            let in_sight = is_later(part, now) || (now.wrapping_sub(part) & PART_MASK) < PARTS;
            if word != 0 && in_sight {
                recent.calls += word & FULL;
                recent.failures += word >> COUNT_BITS & FULL;
            }
        }
        recent
    }

    /// Whether too many of them failed.
    pub(super) fn tripped(&self, ticks: i64) -> Option<BreakerReason> {
        let Recent { calls, failures } = self.recent(ticks);
        let enough = calls >= u64::from(self.rate.minimum_calls);
        (enough && failures * 100 >= calls * u64::from(self.rate.percent))
            .then(|| BreakerReason::FailureRate { percent: (failures * 100 / calls.max(1)) as u8, calls: calls as u32 })
    }

    /// Forgets all. Who counts at the same moment may be forgotten or not.
    pub(super) fn clear(&self) {
        self.counts.iter().for_each(|count| count.store(0, Ordering::Relaxed));
    }
}

/// Whether `part` is up to a window later than `now`.
fn is_later(part: u64, now: u64) -> bool {
    let ahead = part.wrapping_sub(now) & PART_MASK;
    ahead != 0 && ahead <= PARTS
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;

    #[test]
    fn old_calls_fall_out_of_sight_a_tenth_at_a_time() {
        let window = Window::new(FailureRate::new(50, Duration::from_secs(10), 4));
        for second in 0..10 {
            window.count(second * SECOND, second % 2 == 0);
        }
        assert_eq!(window.recent(9 * SECOND), Recent { calls: 10, failures: 5 });
        assert_eq!(window.recent(10 * SECOND), Recent { calls: 9, failures: 4 });
        assert_eq!(window.recent(18 * SECOND), Recent { calls: 1, failures: 0 });
        assert_eq!(window.recent(19 * SECOND), Recent::default());
        window.count(20 * SECOND, true);
        assert_eq!(window.recent(20 * SECOND), Recent { calls: 1, failures: 1 });
        window.clear();
        assert_eq!(window.recent(20 * SECOND), Recent::default());
    }

    #[test]
    fn it_trips_at_the_share_and_not_with_too_few_calls() {
        let window = Window::new(FailureRate::new(50, Duration::from_secs(1), 4));
        for failed in [true, true, true] {
            window.count(-5, failed);
        }
        assert_eq!(window.tripped(-5), None, "three calls");
        window.count(-4, false);
        assert_eq!(window.tripped(-4), Some(BreakerReason::FailureRate { percent: 75, calls: 4 }));
        window.count(-4, false);
        window.count(-4, false);
        assert_eq!(window.tripped(-4), Some(BreakerReason::FailureRate { percent: 50, calls: 6 }));
        window.count(-4, false);
        assert_eq!(window.tripped(-4), None);
    }

    #[test]
    fn a_part_that_is_full_counts_no_further_and_none_is_negative() {
        let window = Window::new(FailureRate::new(100, Duration::from_secs(1), 1));
        window.counts[(window.now(0) % PARTS) as usize].store(window.now(0) << 40 | 3 << 20 | FULL, Ordering::Relaxed);
        window.count(0, true);
        assert_eq!(window.recent(0), Recent { calls: FULL, failures: 3 });
        window.count(-1_000_000_000, true);
        assert_eq!(window.recent(0).calls, FULL, "late, and its part is full");
    }
}
