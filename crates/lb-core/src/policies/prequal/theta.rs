//! From how many calls in flight an endpoint counts as hot.

use std::sync::atomic::{AtomicU32, Ordering};

/// Counts the quantile is taken of. With 128 a quantile is off by 4 % of rank at most times, and half of it is new within a few dozen calls.
const SEEN: usize = 128;

/// The quantile is taken anew with every fourth count: sorting costs 0.3 µs.
const EVERY: u32 = 4;

/// A quantile of the calls in flight that endpoints reported lately. Counts are lost when two threads write at once.
#[derive(Debug)]
pub(super) struct Theta {
    quantile: f32,
    /// One more than reported; 0 is none.
    seen: [AtomicU32; SEEN],
    next: AtomicU32,
    theta: AtomicU32,
    probed_at: AtomicU32,
    /// In milliseconds: so long after a probe only probes count.
    reach: u32,
}

impl Theta {
    pub(super) fn new(quantile: f32, reach: u32) -> Self {
        let seen = std::array::from_fn(|_| AtomicU32::new(0));
        let never = AtomicU32::new(u32::MAX / 2);
        Self { quantile, seen, next: AtomicU32::new(0), theta: AtomicU32::new(0), probed_at: never, reach }
    }

    /// More than this is hot.
    #[inline]
    pub(super) fn get(&self) -> u32 {
        self.theta.load(Ordering::Relaxed)
    }

    /// Counts a report. While there are answers to probes, which go to any endpoint alike, reports of the chosen ones do not count: they
    /// would make what is chosen look usual.
    pub(super) fn note(&self, at: u32, in_flight: u32, probed: bool) {
        if probed {
            self.probed_at.store(at, Ordering::Relaxed);
        } else if at.wrapping_sub(self.probed_at.load(Ordering::Relaxed)) <= self.reach {
            return;
        }
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        self.seen[turn as usize % SEEN].store(in_flight.saturating_add(1), Ordering::Relaxed);
        if turn.is_multiple_of(EVERY) || (turn as usize) < SEEN {
            self.theta.store(self.compute(), Ordering::Relaxed);
        }
    }

    fn compute(&self) -> u32 {
        let mut counts = [0; SEEN];
        let mut len = 0;
        for count in self.seen.iter().map(|seen| seen.load(Ordering::Relaxed)).filter(|count| *count > 0) {
            counts[len] = count - 1;
            len += 1;
        }
        let rank = ((len as f32 * self.quantile) as usize).min(len.saturating_sub(1));
        *counts[..len.max(1)].select_nth_unstable(rank).1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_quantile_of_what_was_seen_lately() {
        for (quantile, expected) in [(0.0, 0), (0.5, 64), (0.66, 84), (1.0, 127)] {
            let theta = Theta::new(quantile, 1_000);
            assert_eq!(theta.get(), 0);
            (0..128).for_each(|count| theta.note(0, (count * 37) % 128, true));
            assert_eq!(theta.get(), expected);
            (0..SEEN as u32 + EVERY).for_each(|_| theta.note(0, 1_000, true));
            assert_eq!(theta.get(), 1_000, "the old ones are forgotten");
        }
    }

    #[test]
    fn responses_count_only_without_probes() {
        let theta = Theta::new(0.5, 1_000);
        theta.note(5_000, 7, false);
        assert_eq!(theta.get(), 7, "nothing was probed");
        theta.note(6_000, 50, true);
        (0..500).for_each(|_| theta.note(7_000, 9_000, false));
        assert!(theta.get() <= 50);
        (0..500).for_each(|_| theta.note(7_001, 9_000, false));
        assert_eq!(theta.get(), 9_000, "the last probe was over a second ago");
    }

    #[test]
    fn absurd_counts_are_counted() {
        let theta = Theta::new(0.5, 1_000);
        theta.note(0, u32::MAX, true);
        assert_eq!(theta.get(), u32::MAX - 1);
    }
}
