//! Instants as numbers, so that an atomic can hold one.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Nanoseconds from an instant that is the same all through the process: just before the first one asked about. Negative before it,
/// never 0, so that 0 can mean "never"; only differences mean anything.
#[inline]
pub(crate) fn ticks(now: Instant) -> i64 {
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    let origin = *ORIGIN.get_or_init(|| now.checked_sub(Duration::from_nanos(1)).unwrap_or(now));
    let ticks = match now.checked_duration_since(origin) {
        Some(after) => after.as_nanos() as i64,
        None => -(origin.duration_since(now).as_nanos() as i64),
    };
    if ticks == 0 { 1 } else { ticks }
}

/// Seconds from one to the other; 0 if time went backwards, which it does between threads.
#[inline]
pub(crate) fn seconds_between(earlier: i64, later: i64) -> f32 {
    later.saturating_sub(earlier).max(0) as f32 * 1e-9
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policies::testing::start;

    #[test]
    fn differences_are_exact_on_both_sides_of_the_first_one() {
        let first = start() + Duration::from_secs(100);
        let at = ticks(first);
        for (later, expected) in [(0, 0.0), (1, 0.0), (1_000, 1e-6), (90_000_000_000, 90.0)] {
            let later = Duration::from_nanos(later);
            assert!((seconds_between(at, ticks(first + later)) - expected).abs() < 1e-8, "{later:?}");
            assert_eq!(seconds_between(at, ticks(first - later)), 0.0);
            assert!((seconds_between(ticks(first - later), at) - expected).abs() < 1e-8, "{later:?}");
        }
        assert_ne!(at, 0);
    }
}
