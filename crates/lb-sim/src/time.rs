//! Simulated time: nanoseconds since the start of the run.

use std::time::{Duration, Instant};

/// Nanoseconds since the start; enough for 584 years.
pub(crate) type Time = u64;

const PER_SECOND: f64 = 1e9;

/// From seconds, not before the start.
pub(crate) fn from_seconds(seconds: f64) -> Time {
    (seconds * PER_SECOND) as Time
}

pub(crate) fn seconds(time: Time) -> f64 {
    time as f64 / PER_SECOND
}

/// What the policies see as the time. Only differences mean anything to them, so that it does not matter when a run started.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock(Instant);

impl Clock {
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn at(self, time: Time) -> Instant {
        self.0 + Duration::from_nanos(time)
    }

    /// The nearest time of the run.
    pub(crate) fn time(self, instant: Instant) -> Time {
        u64::try_from(instant.saturating_duration_since(self.0).as_nanos()).unwrap_or(Time::MAX)
    }
}
