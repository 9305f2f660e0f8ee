//! How long calls take lately at about so many in flight.
//!
//! Latency alone says little: it depends on how many calls share the server, and that changes from moment to moment. So every call is
//! remembered with how many others it found in flight, and the question "how long would a call take now?" is answered by the
//! median of the latest calls that found about as many as there are now.
//!
//! Calls in flight are put into classes, one for each number up to 15 and four to each doubling beyond, with the latest few calls in each.
//! The answer takes the own class and, while that has too few, its neighbours, nearest first. So adding costs two relaxed writes,
//! asking looks at a bounded number of places, and memory is fixed (6 KiB).
//!
//! What is older than [`LATEST`] counts for nothing: a server that was slow for a while and is avoided since must not look slow for
//! ever.
//!
//! Source: Prequal (Wydrowski, Kleinberg, Rumble, Archer: Load is not what you should balance, NSDI 2024).

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// One per number of calls below this.
const EXACT: u32 = 16;

/// Four to each doubling from 16 to a million; more are in the last.
const CLASSES: usize = EXACT as usize + 4 * 16;

/// Calls remembered per class: at a few hundred calls a second and class, the last hundredths of a second.
const KEPT: usize = 8;

/// Fewer than this are no median; the neighbours are asked too.
const ENOUGH: usize = 5;

/// The most an answer is computed from: all but one of [`ENOUGH`], and then two full neighbours.
const MOST: usize = ENOUGH - 1 + 2 * KEPT;

/// How long a call counts. Longer than a busy server ever needs; a server without any call for this long says nothing.
const LATEST: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(crate) struct Latencies(Box<[Class]>);

/// The latest calls of a class: the time they ended in milliseconds, and how long they took in microseconds, 1 at least.
#[derive(Debug, Default)]
struct Class {
    next: AtomicU32,
    calls: [AtomicU64; KEPT],
}

impl Default for Latencies {
    fn default() -> Self {
        Self((0..CLASSES).map(|_| Class::default()).collect())
    }
}

impl Latencies {
    /// Remembers a call that found so many in flight and ended at `now` since the start.
    pub(crate) fn add(&self, found: u32, took: Duration, now: Duration) {
        let class = &self.0[class(found)];
        let place = class.next.fetch_add(1, Ordering::Relaxed) as usize % KEPT;
        let micros = u32::try_from(took.as_micros()).unwrap_or(u32::MAX).max(1);
        class.calls[place].store(u64::from(stamp(now)) << 32 | u64::from(micros), Ordering::Relaxed);
    }

    /// The median of the latest calls that found about so many in flight.
    pub(crate) fn near(&self, in_flight: u32, now: Duration) -> Option<Duration> {
        let (own, now) = (class(in_flight), stamp(now));
        let (mut found, mut count) = ([0_u32; MOST], 0);
        self.0[own].collect(now, &mut found, &mut count);
        for distance in 1..CLASSES {
            if count >= ENOUGH {
                break;
            }
            let below = own.checked_sub(distance);
            let neighbours = [below, Some(own + distance)].into_iter().flatten().filter_map(|class| self.0.get(class));
            neighbours.for_each(|class| class.collect(now, &mut found, &mut count));
        }
        let (_, median, _) = found.get_mut(..count).filter(|found| !found.is_empty())?.select_nth_unstable(count / 2);
        Some(Duration::from_micros(u64::from(*median)))
    }
}

impl Class {
    fn collect(&self, now: u32, into: &mut [u32; MOST], count: &mut usize) {
        for call in &self.calls {
            let call = call.load(Ordering::Relaxed);
            let (at, micros) = ((call >> 32) as u32, call as u32);
            if micros > 0 && now.wrapping_sub(at) as i32 <= LATEST.as_millis() as i32 && *count < MOST {
                into[*count] = micros;
                *count += 1;
            }
        }
    }
}

/// Milliseconds, which start again after seven weeks; only differences count.
fn stamp(now: Duration) -> u32 {
    now.as_millis() as u32
}

fn class(in_flight: u32) -> usize {
    if in_flight < EXACT {
        return in_flight as usize;
    }
    let doublings = in_flight.ilog2();
    // The two bits after the leading one.
    let quarter = (in_flight >> (doublings - 2)) & 3;
    ((EXACT + (doublings - 4) * 4 + quarter) as usize).min(CLASSES - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn classes_are_in_order_and_bounded() {
        assert_eq!([0, 1, 15, 16, 19, 20, 31, 32, 63, 64].map(class), [0, 1, 15, 16, 16, 17, 19, 20, 23, 24]);
        let classes: Vec<usize> = (0..100_000).map(class).collect();
        assert!(classes.is_sorted());
        assert_eq!(class(u32::MAX), CLASSES - 1);
    }

    #[test]
    fn the_answer_is_the_median_at_the_present_number() {
        let latencies = Latencies::default();
        assert_eq!(latencies.near(0, ms(0)), None);
        for (index, took) in [1, 100, 2, 3, 2].into_iter().enumerate() {
            latencies.add(1, ms(took), ms(index as u64));
            latencies.add(40, ms(took * 10), ms(index as u64));
        }
        assert_eq!(latencies.near(1, ms(10)), Some(ms(2)));
        assert_eq!(latencies.near(40, ms(10)), Some(ms(20)));
        assert_eq!(latencies.near(43, ms(10)), Some(ms(20)), "about as many");
        assert_eq!(latencies.near(0, ms(10)), Some(ms(2)), "the nearest there is");
        assert_eq!(latencies.near(u32::MAX, ms(10)), Some(ms(20)));
    }

    #[test]
    fn few_calls_are_joined_by_their_neighbours() {
        let latencies = Latencies::default();
        latencies.add(5, ms(100), ms(0));
        for _ in 0..2 {
            latencies.add(4, ms(10), ms(0));
            latencies.add(6, ms(30), ms(0));
        }
        assert_eq!(latencies.near(5, ms(0)), Some(ms(30)), "10, 10, 30, 30, 100");
    }

    #[test]
    fn only_the_latest_count_and_none_for_long() {
        let latencies = Latencies::default();
        for call in 0..100 {
            latencies.add(3, ms(100 + call), ms(call));
        }
        assert_eq!(latencies.near(3, ms(100)), Some(ms(196)), "of the last eight");
        assert_eq!(latencies.near(3, ms(99) + LATEST), Some(ms(199)));
        assert_eq!(latencies.near(3, ms(100) + LATEST), None);
    }

    #[test]
    fn seven_weeks_are_no_gap_and_no_latency_is_too_long() {
        let (latencies, wrap) = (Latencies::default(), Duration::from_millis(u64::from(u32::MAX)));
        latencies.add(0, Duration::MAX, wrap);
        assert_eq!(latencies.near(0, wrap + ms(10)), Some(Duration::from_micros(u64::from(u32::MAX))));
        latencies.add(0, Duration::ZERO, wrap + ms(LATEST.as_millis() as u64 + 10));
        assert_eq!(latencies.near(0, wrap + LATEST + ms(10)), Some(Duration::from_micros(1)));
    }
}
