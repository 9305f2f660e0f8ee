//! How long the driver rests after a turn, so that a storm of news of a large set leaves the core to calls.
//!
//! A turn is linear in the number of endpoints: milliseconds for 10 000 of them, during which calls of the same thread wait. What arrives in a
//! rest is taken together after it. A change that comes alone finds the driver rested, and is never kept waiting.

use std::time::Duration;

/// Turns shorter than this are not worth resting for.
const SHORT: Duration = Duration::from_micros(200);

/// How many times as long as a turn took the driver rests after it: it has a fifth of a core at the most.
const TIMES: u32 = 4;

/// The longest rest: news of connections, and the end of the channel, wait for it too.
const LONGEST: Duration = Duration::from_millis(100);

/// How long to rest after a turn that took so long; zero is not at all.
pub(super) fn after(turn: Duration) -> Duration {
    if turn <= SHORT { Duration::ZERO } else { turn.saturating_mul(TIMES).min(LONGEST) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_storm_has_a_fifth_of_the_time_and_no_rest_is_long() {
        for micros in [0, 1, 200] {
            assert_eq!(after(Duration::from_micros(micros)), Duration::ZERO, "{micros}");
        }
        for micros in [201, 1_000, 9_000, 25_000] {
            let turn = Duration::from_micros(micros);
            let share = turn.as_secs_f64() / (turn + after(turn)).as_secs_f64();
            assert!((share - 0.2).abs() < 1e-9, "{turn:?}: {share}");
        }
        for turn in [Duration::from_millis(26), Duration::from_secs(1), Duration::MAX] {
            assert_eq!(after(turn), Duration::from_millis(100), "{turn:?}");
        }
    }
}
