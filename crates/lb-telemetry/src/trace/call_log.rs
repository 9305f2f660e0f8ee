//! Which calls are written into the log.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tonic::Code;
use tracing::Level;

/// Lines in a second unless another number is set: more than anybody reads, and some 300 kB.
const MOST_LINES: u32 = 1_000;

/// How long lines are counted together.
const WINDOW: Duration = Duration::from_secs(1);

/// Writes a line per call into the log, at the end of the call: under the `tracing` target `evenkeel::calls`, INFO if it succeeded and WARN if not.
///
/// | field | |
/// |---|---|
/// | `channel` | its target |
/// | `service`, `method` | as in the call's path |
/// | `endpoint` | where the attempt went that ended it; not there if there was none |
/// | `status` | gRPC's name of its code |
/// | `duration` | seconds from its beginning to the end of its response |
/// | `attempts` | how many it took |
/// | `score` | what the channel's policy thinks of the endpoint, as [`EndpointInfo::score`](lb_tonic::EndpointInfo::score), at most a second old |
/// | `connections` | calls in progress at the endpoint by then |
/// | `success_rate` | the share of the endpoint's latest answers that were successes, 0 to 1 |
/// | `trace_id` | of its trace, if it has one |
/// | `reason` | what went wrong, where something did |
///
/// Time and level are the subscriber's to write, and so is the form: JSON, say. `examples/logs.rs` shows it.
///
/// Beyond [`max_per_second`](Self::max_per_second) lines are counted, and the count is written when there is room again.
#[derive(Debug)]
pub struct CallLog {
    which: Which,
    seen: AtomicU64,
    most: u32,
    pace: Mutex<Pace>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Which {
    All,
    Failures,
    OneIn(u64),
}

#[derive(Debug, Default)]
struct Pace {
    since: Option<Instant>,
    written: u32,
    left_out: u64,
}

/// Whether a line is written, and how many were not before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Room {
    None,
    /// There is, and so many lines were left out since there was none.
    After(u64),
}

impl CallLog {
    /// Every call.
    pub fn all() -> Self {
        Self::of(Which::All)
    }

    /// Calls that fail.
    pub fn failures() -> Self {
        Self::of(Which::Failures)
    }

    /// Calls that fail, and of the others one in so many; 0 and 1 are all.
    pub fn one_in(calls: u64) -> Self {
        Self::of(Which::OneIn(calls.max(1)))
    }

    /// Writes at most so many lines in a second; default 1 000.
    #[must_use]
    pub fn max_per_second(mut self, lines: u32) -> Self {
        self.most = lines;
        self
    }

    fn of(which: Which) -> Self {
        Self { which, seen: AtomicU64::new(0), most: MOST_LINES, pace: Mutex::default() }
    }

    /// Whether anybody would read a line.
    pub(super) fn is_read(&self) -> bool {
        match self.which {
            Which::Failures => tracing::enabled!(target: "evenkeel::calls", Level::WARN),
            // Who reads successes reads failures too.
            Which::All | Which::OneIn(_) => tracing::enabled!(target: "evenkeel::calls", Level::INFO) || failures_are_read(),
        }
    }

    /// Whether a call that ended like this is written.
    pub(super) fn wants(&self, code: Code) -> bool {
        code != Code::Ok
            || match self.which {
                Which::All => true,
                Which::Failures => false,
                Which::OneIn(calls) => self.seen.fetch_add(1, Ordering::Relaxed).is_multiple_of(calls),
            }
    }

    pub(super) fn room(&self, now: Instant) -> Room {
        let mut pace = self.pace.lock().unwrap_or_else(PoisonError::into_inner);
        let mut before = 0;
        if pace.since.is_none_or(|since| now.saturating_duration_since(since) >= WINDOW) {
            (pace.since, pace.written) = (Some(now), 0);
            before = std::mem::take(&mut pace.left_out);
        }
        if pace.written >= self.most {
            pace.left_out += 1 + before;
            return Room::None;
        }
        pace.written += 1;
        Room::After(before)
    }
}

fn failures_are_read() -> bool {
    tracing::enabled!(target: "evenkeel::calls", Level::WARN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_calls_are_written() {
        let written = |log: &CallLog, code| (0..10).filter(|_| log.wants(code)).count();
        for (log, successes) in [(CallLog::all(), 10), (CallLog::failures(), 0), (CallLog::one_in(5), 2), (CallLog::one_in(0), 10)]
        {
            assert_eq!((written(&log, Code::Ok), written(&log, Code::NotFound)), (successes, 10), "{log:?}");
        }
    }

    #[test]
    fn a_flood_is_cut_off_and_counted() {
        let (log, start) = (CallLog::all().max_per_second(3), Instant::now());
        let rooms: Vec<Room> = (0..5).map(|_| log.room(start)).collect();
        assert_eq!(rooms, [Room::After(0), Room::After(0), Room::After(0), Room::None, Room::None]);
        assert_eq!(log.room(start + WINDOW), Room::After(2));
        assert_eq!(log.room(start + WINDOW), Room::After(0));
        let none = CallLog::all().max_per_second(0);
        assert_eq!([none.room(start), none.room(start + WINDOW)], [Room::None, Room::None]);
    }
}
