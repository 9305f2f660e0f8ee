//! Which of the calls that begin a trace are sampled, for the price of a countdown.
//!
//! In place of a number for every call, one is drawn for how many calls there are until the next that is sampled. Drawn by the
//! geometric distribution, that is the same as a number for each: every call has the same chance, whatever came before it.

use std::cell::Cell;

use super::ids;

/// One more than the largest number of 63 bits: a share of all.
pub(super) const ALL: u64 = 1 << 63;

/// Digits of a double, and what a step between two of that many is.
const DIGITS: u32 = f64::MANTISSA_DIGITS;
const STEP: f64 = 1.0 / (1_u64 << DIGITS) as f64;

/// Calls of this thread that are passed over before the next is taken.
#[derive(Clone, Copy)]
struct Countdown {
    /// The share it was drawn for. What is left of it means nothing for another, and is drawn anew without harm to either: what is still to
    /// come of a geometric wait is as long as a whole one.
    below: u64,
    left: u64,
}

thread_local! {
    /// At first for no share that there is.
    static COUNTDOWN: Cell<Countdown> = const { Cell::new(Countdown { below: u64::MAX, left: 0 }) };
}

/// Whether a call is sampled, of a share of `below` in [`ALL`].
pub(super) fn takes(below: u64) -> bool {
    let now = COUNTDOWN.get();
    let (taken, next) = step(if now.below == below { now } else { drawn(below, ids::number()) }, ids::number);
    COUNTDOWN.set(next);
    taken
}

/// Whether the next call is taken, and what is left then; `draw` is asked for 64 random bits if it is.
#[inline]
fn step(now: Countdown, draw: impl FnOnce() -> u64) -> (bool, Countdown) {
    match now.left.checked_sub(1) {
        Some(left) => (false, Countdown { left, ..now }),
        None => (true, drawn(now.below, draw())),
    }
}

/// A new countdown, from 64 random bits.
#[cold]
fn drawn(below: u64, random: u64) -> Countdown {
    let share = below as f64 / ALL as f64;
    // Between 0 and 1, and neither.
    let uniform = ((random >> (u64::BITS - DIGITS)) as f64 + 0.5) * STEP;
    // All is no wait; none is one without end, which is cut off at the largest number there is.
    Countdown { below, left: (uniform.ln() / (-share).ln_1p()) as u64 }
}

/// A number of 63 bits for the id of a trace that was sampled or not: what is below `below` says that it was.
pub(super) fn number_of(below: u64, sampled: bool, random: u64) -> u64 {
    let (from, many) = if sampled { (0, below) } else { (below, ALL - below) };
    from + ((u128::from(random) * u128::from(many)) >> u64::BITS) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const DRAWN: usize = 200_000;

    /// Numbers as good as random, the same for the same seed.
    fn numbers(seed: u64) -> impl FnMut() -> u64 {
        let mut n: u64 = 0;
        move || {
            n = n.wrapping_add(1);
            let mixed = (seed ^ n.wrapping_mul(0x9e37_79b9_7f4a_7c15)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let mixed = (mixed ^ (mixed >> 31)).wrapping_mul(0x94d0_49bb_1331_11eb);
            mixed ^ (mixed >> 29)
        }
    }

    fn below(share: f64) -> u64 {
        (share * ALL as f64) as u64
    }

    /// Which of so many calls are taken.
    fn taken(share: f64, seed: u64) -> Vec<bool> {
        let mut numbers = numbers(seed);
        let mut now = drawn(below(share), numbers());
        (0..DRAWN)
            .map(|_| {
                let (taken, next) = step(now, &mut numbers);
                now = next;
                taken
            })
            .collect()
    }

    /// Within five standard deviations, and none at the ends.
    fn is_near(found: usize, of: usize, share: f64) -> bool {
        let (mean, deviation) = (share * of as f64, (of as f64 * share * (1.0 - share)).sqrt());
        (found as f64 - mean).abs() <= 5.0 * deviation
    }

    #[test]
    fn as_many_are_taken_as_asked_for_whatever_came_before() {
        for share in [0.0, 0.001, 0.01, 0.25, 0.5, 0.99, 1.0] {
            for seed in [1, 7, 4711] {
                let calls = taken(share, seed);
                let count = |calls: &[bool]| calls.iter().filter(|taken| **taken).count();
                assert!(is_near(count(&calls), DRAWN, share), "share {share}, seed {seed}: {} of {DRAWN}", count(&calls));
                for before in [false, true] {
                    // Not next to each other only: three calls apart too.
                    for apart in [1, 3] {
                        let after: Vec<bool> =
                            calls.windows(apart + 1).filter(|few| few[0] == before).map(|few| few[apart]).collect();
                        assert!(is_near(count(&after), after.len(), share), "share {share}, seed {seed}, {apart} after {before}");
                    }
                }
            }
        }
    }

    #[test]
    fn the_same_seed_takes_the_same_calls_and_another_takes_others() {
        assert_eq!(taken(0.1, 5), taken(0.1, 5));
        assert_ne!(taken(0.1, 5), taken(0.1, 6));
    }

    #[test]
    fn two_shares_on_one_thread_do_not_spoil_each_other() {
        let counted = |share: f64, other: f64| {
            (0..DRAWN).filter(move |_| {
                takes(below(other));
                takes(below(share))
            })
        };
        for (share, other) in [(0.01, 0.5), (0.5, 0.01), (0.25, 1.0), (0.25, 0.0)] {
            let found = counted(share, other).count();
            assert!(is_near(found, DRAWN, share), "{share} beside {other}: {found} of {DRAWN}");
        }
        assert_eq!((0..1_000).filter(|_| takes(below(0.0))).count(), 0);
        assert_eq!((0..1_000).filter(|_| takes(below(1.0))).count(), 1_000);
    }

    #[test]
    fn numbers_of_ids_are_on_the_side_that_was_decided_and_spread_over_it() {
        for share in [0.5_f64.powi(60), 0.01, 0.5, 0.9, 1.0] {
            let below = below(share);
            for sampled in [true, false].into_iter().filter(|sampled| *sampled || below < ALL) {
                let mut all = numbers(9);
                let found: Vec<u64> = (0..10_000)
                    .map(|_| number_of(below, sampled, all()))
                    .chain([u64::MAX, 0].map(|random| number_of(below, sampled, random)))
                    .collect();
                assert!(found.iter().all(|number| (*number < below) == sampled && *number < ALL), "share {share}, {sampled}");
                let (from, to) = if sampled { (0, below) } else { (below, ALL) };
                let upper = found.iter().filter(|number| **number >= from + (to - from) / 2).count();
                assert!(is_near(upper, found.len(), 0.5), "share {share}, {sampled}: {upper} in the upper half");
            }
        }
    }
}
