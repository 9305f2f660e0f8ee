//! A few recent reports that many threads read and replace without a lock.
//!
//! An entry is two words: whose report it is, and what it says. Both are written one after the other, so a reader may see an endpoint with
//! the words of the one that had the place before. That is one choice by wrong numbers, and never a wrong endpoint: an endpoint is one word.
//! Of two writers to one place one report is lost, of two takers of one report one comes away with nothing.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::slot::Slot;

/// No report in this place. As a slot it would be the last index in its last generation, which no table reaches.
const EMPTY: u64 = u64::MAX;

/// Times are milliseconds in 24 bits. They come around after 4.6 hours: a report left over from a channel idle that long could be taken
/// for new, and would be used once.
const CLOCK: u32 = (1 << 24) - 1;

/// Without another to compare it with, a report says nothing.
const FEWEST: usize = 2;

/// An endpoint with [`FEW`] calls that is so many times faster than the one the rule would take is taken instead, though it is hot: in
/// steps of [`Latency`], of which 512 double. Four times is far beyond what luck does to averaged medians. Where endpoints have a call
/// or two the quantile tells nothing: without this a server ten times slower than its only peer got a third of the calls, for being
/// cold.
const MUCH_FASTER: u16 = 2 * 512;

/// With more calls in flight than these, a latency that is still low is more likely old than true, and hot is hot.
const FEW: u32 = 8;

/// What an endpoint said, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Report {
    /// Milliseconds of any clock, as long as it is always the same.
    pub(super) at: u32,
    /// Up to [`Report::HOTTEST`].
    pub(super) in_flight: u32,
    pub(super) latency: Latency,
}

impl Report {
    /// The most calls in flight that fit in 24 bits.
    pub(super) const HOTTEST: u32 = (1 << 24) - 1;

    fn pack(self) -> u64 {
        u64::from(self.at & CLOCK) << 40 | u64::from(self.in_flight & Self::HOTTEST) << 16 | u64::from(self.latency.0)
    }

    #[inline]
    fn unpack(word: u64) -> Self {
        Self { at: (word >> 40) as u32, in_flight: (word >> 16) as u32 & Self::HOTTEST, latency: Latency(word as u16) }
    }

    #[inline]
    pub(super) fn age(self, now: u32) -> u32 {
        now.wrapping_sub(self.at) & CLOCK
    }

    /// The hot/cold order, less is better: cold ones by latency, then hot ones by calls in flight, of equals the faster.
    #[inline]
    fn rank(self, theta: u32) -> u64 {
        let latency = u64::from(self.latency.0);
        if self.in_flight > theta { 1 << 40 | u64::from(self.in_flight) << 16 | latency } else { latency }
    }
}

/// A latency in 16 bits, ordered as latencies are: 7 bits of exponent and 9 of mantissa (0.2 %), from a nanosecond.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Latency(u16);

impl Latency {
    pub(super) fn from_seconds(seconds: f32) -> Self {
        let nanos = (seconds * 1e9).clamp(1.0, 1e19);
        Self((nanos.to_bits().saturating_sub(1_f32.to_bits()) >> 14) as u16)
    }

    pub(super) fn seconds(self) -> f32 {
        f32::from_bits((u32::from(self.0) << 14) + 1_f32.to_bits()) * 1e-9
    }
}

/// A report on its way to being taken.
#[derive(Clone, Copy)]
struct Candidate {
    rank: u64,
    latency: u16,
    slot: u64,
    place: usize,
}

impl Candidate {
    const NONE: Self = Self { rank: u64::MAX, latency: u16::MAX, slot: EMPTY, place: 0 };

    #[inline]
    fn is_much_faster_than(self, other: Self) -> bool {
        self.latency.saturating_add(MUCH_FASTER) < other.latency
    }
}

#[derive(Debug)]
struct Entry {
    slot: AtomicU64,
    report: AtomicU64,
}

/// At most one report per endpoint, but for races.
#[derive(Debug)]
pub(super) struct Pool {
    entries: Box<[Entry]>,
    /// In milliseconds.
    max_age: u32,
}

impl Pool {
    /// A pool for `size` reports, which count for `max_age` milliseconds.
    pub(super) fn new(size: usize, max_age: u32) -> Self {
        let empty = || Entry { slot: AtomicU64::new(EMPTY), report: AtomicU64::new(0) };
        Self { entries: std::iter::repeat_with(empty).take(size).collect(), max_age }
    }

    /// Takes the best report of a usable endpoint out of the pool. Nothing if there are too few reports, or another thread was faster.
    #[inline]
    pub(super) fn take(&self, now: u32, theta: u32, usable: impl Fn(Slot) -> bool) -> Option<Slot> {
        let (mut live, mut best, mut fastest) = (0, Candidate::NONE, Candidate::NONE);
        for (place, entry) in self.entries.iter().enumerate() {
            let (slot, report) = entry.load();
            if slot == EMPTY || report.age(now) > self.max_age {
                continue;
            }
            live += 1;
            let candidate = Candidate { rank: report.rank(theta), latency: report.latency.0, slot, place };
            let better = candidate.rank < best.rank;
            let faster = candidate.latency < fastest.latency && report.in_flight <= FEW;
            if (better || faster) && usable(unpack(slot)) {
                best = if better { candidate } else { best };
                fastest = if faster { candidate } else { fastest };
            }
        }
        let Candidate { slot, place, .. } = if fastest.is_much_faster_than(best) { fastest } else { best };
        let taken = live >= FEWEST && slot != EMPTY && self.entries[place].clear(slot);
        taken.then(|| unpack(slot))
    }

    /// Adds a report, in place of an older one of the same endpoint, else of none, else of the oldest.
    pub(super) fn put(&self, slot: Slot, report: Report) {
        let slot = pack(slot);
        let priority = |entry: &&Entry| match entry.load() {
            (other, _) if other == slot => u32::MAX,
            (EMPTY, _) => u32::MAX - 1,
            (_, older) => older.age(report.at),
        };
        if let Some(entry) = self.entries.iter().max_by_key(priority) {
            entry.report.store(report.pack(), Ordering::Relaxed);
            entry.slot.store(slot, Ordering::Relaxed);
        }
    }

    /// Drops what this endpoint reported.
    pub(super) fn forget(&self, slot: Slot) {
        self.entries.iter().for_each(|entry| {
            entry.clear(pack(slot));
        });
    }

    /// What it knows of this endpoint now.
    pub(super) fn find(&self, slot: Slot, now: u32) -> Option<Report> {
        let mut entries = self.entries.iter().map(Entry::load);
        entries.find(|(other, report)| *other == pack(slot) && report.age(now) <= self.max_age).map(|(_, report)| report)
    }
}

impl Entry {
    #[inline]
    fn load(&self) -> (u64, Report) {
        (self.slot.load(Ordering::Relaxed), Report::unpack(self.report.load(Ordering::Relaxed)))
    }

    /// Empties it if it is this slot's.
    #[inline]
    fn clear(&self, slot: u64) -> bool {
        self.slot.compare_exchange(slot, EMPTY, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

#[inline]
fn pack(slot: Slot) -> u64 {
    (slot.index() as u64) << 32 | u64::from(slot.generation())
}

#[inline]
fn unpack(word: u64) -> Slot {
    Slot::new((word >> 32) as u32, word as u32)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::policies::testing::slot;

    fn report(at: u32, in_flight: u32, millis: u32) -> Report {
        Report { at, in_flight, latency: Latency::from_seconds(millis as f32 / 1e3) }
    }

    fn pool(size: usize, reports: &[(u32, Report)]) -> Pool {
        let pool = Pool::new(size, 1_000);
        reports.iter().for_each(|(index, report)| pool.put(slot(*index), *report));
        pool
    }

    fn take(pool: &Pool, now: u32, theta: u32) -> Option<Slot> {
        pool.take(now, theta, |_| true)
    }

    #[test]
    fn cold_by_latency_then_hot_by_calls_in_flight() {
        let reports =
            [(0, report(0, 3, 50)), (1, report(0, 5, 30)), (2, report(0, 9, 20)), (3, report(0, 4, 40)), (4, report(0, 7, 22))];
        let pool = pool(16, &reports);
        // Theta 5: 1, 3, 0 are cold, 4 and 2 hot. The last one has no other to compare with.
        let order: Vec<_> = (0..5).map(|_| take(&pool, 0, 5)).collect();
        assert_eq!(order, [Some(slot(1)), Some(slot(3)), Some(slot(0)), Some(slot(4)), None]);
    }

    #[test]
    fn one_much_faster_is_taken_though_hot_if_it_has_few_calls() {
        for (in_flight, slow, expected) in [(8, 10, 1), (8, 4, 0), (9, 100, 0), (Report::HOTTEST, 100, 0)] {
            let pool = pool(16, &[(0, report(0, 1, slow)), (1, report(0, in_flight, 1))]);
            assert_eq!(take(&pool, 0, 5), Some(slot(expected)), "{in_flight} in flight, {slow} ms against 1 ms");
        }
    }

    #[test]
    fn all_hot_means_the_fewest_calls_and_of_equals_the_faster() {
        let pool = pool(16, &[(0, report(0, 8, 30)), (1, report(0, 6, 90)), (2, report(0, 6, 80))]);
        assert_eq!(take(&pool, 0, 2), Some(slot(2)));
        assert_eq!(take(&pool, 0, 2), Some(slot(1)));
    }

    #[test]
    fn reports_age_out() {
        let pool = pool(16, &[(0, report(100, 1, 1)), (1, report(600, 1, 5)), (2, report(601, 1, 6))]);
        assert_eq!(pool.find(slot(0), 1_100), Some(report(100, 1, 1)));
        assert_eq!(pool.find(slot(0), 1_101), None);
        assert_eq!(take(&pool, 1_101, 9), Some(slot(1)), "the faster one is too old");
        assert_eq!(take(&pool, 1_101, 9), None, "only one is left");
    }

    #[test]
    fn the_clock_comes_around() {
        let pool = pool(16, &[(0, report(u32::MAX - 10, 1, 1)), (1, report(u32::MAX, 1, 2))]);
        assert_eq!(take(&pool, 500, 9), Some(slot(0)));
    }

    #[test]
    fn a_full_pool_replaces_the_oldest_and_an_endpoint_its_own() {
        let pool = pool(
            3,
            &[(0, report(0, 1, 1)), (1, report(1, 1, 1)), (2, report(2, 1, 1)), (0, report(3, 1, 1)), (3, report(4, 1, 1))],
        );
        let known: Vec<bool> = (0..4).map(|index| pool.find(slot(index), 4).is_some()).collect();
        assert_eq!(known, [true, false, true, true]);
    }

    #[test]
    fn only_usable_ones_are_taken_and_others_stay() {
        let pool = pool(16, &[(0, report(0, 1, 1)), (1, report(0, 1, 2))]);
        assert_eq!(pool.take(0, 9, |slot| slot.index() == 1), Some(slot(1)));
        assert_eq!(pool.take(0, 9, |_| false), None);
        assert!(pool.find(slot(0), 0).is_some());
        pool.forget(slot(0));
        assert!(pool.find(slot(0), 0).is_none());
    }

    proptest! {
        #[test]
        fn reports_survive_packing(at in 0..=CLOCK, in_flight in 0..=Report::HOTTEST, latency in any::<u16>()) {
            let report = Report { at, in_flight, latency: Latency(latency) };
            prop_assert_eq!(Report::unpack(report.pack()), report);
        }

        #[test]
        fn latencies_keep_their_order(one in 1e-9_f32..1e9, other in 1e-9_f32..1e9) {
            let packed = Latency::from_seconds(one);
            prop_assert!((packed.seconds() / one - 1.0).abs() < 0.003);
            prop_assert!(one >= other || packed <= Latency::from_seconds(other));
        }

        #[test]
        fn the_best_of_all_is_taken(
            reports in prop::collection::vec((0_u32..40, 0_u32..30, 30_u32..100), 2..16),
            theta in 0_u32..30,
        ) {
            let mut known = std::collections::BTreeMap::new();
            let pool = Pool::new(16, 1_000);
            for (index, in_flight, millis) in reports {
                pool.put(slot(index), report(0, in_flight, millis));
                known.insert(index, report(0, in_flight, millis));
            }
            let best = known.values().map(|report| report.rank(theta)).min();
            let taken = take(&pool, 0, theta);
            prop_assert_eq!(taken.is_some(), known.len() >= 2);
            if let Some(slot) = taken {
                prop_assert_eq!(known.get(&(slot.index() as u32)).map(|report| report.rank(theta)), best);
            }
        }
    }

    #[test]
    fn nobody_has_a_latency_of_nonsense() {
        for seconds in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -1.0, 0.0, f32::MAX] {
            assert!(Latency::from_seconds(seconds).seconds().is_finite());
        }
    }
}
