//! How long sessions live and how many there may be.

use std::time::Duration;

use crate::policy::ConfigError;

/// How long a session without calls is remembered.
const IDLE_TTL: Duration = Duration::from_secs(5 * 60);

/// How old a session gets.
const ABSOLUTE_TTL: Duration = Duration::from_secs(30 * 60);

/// Five minutes of idleness at 300 new sessions a second, in 30 MB at the most.
const MAX_SESSIONS: usize = 100_000;

/// More than this is 4 GB, and a job for a hashing policy.
const MOST_SESSIONS: usize = 1 << 24;

/// How long sessions live and how many there may be; valid by construction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionLimits {
    idle_ttl: Option<Duration>,
    absolute_ttl: Option<Duration>,
    max_sessions: usize,
}

impl SessionLimits {
    /// Limits. A time to live of `None` is for ever, and zero is refused; `max_sessions` is 1 to 2^24.
    pub fn try_new(
        idle_ttl: impl Into<Option<Duration>>,
        absolute_ttl: impl Into<Option<Duration>>,
        max_sessions: usize,
    ) -> Result<Self, ConfigError> {
        let limits = Self { idle_ttl: idle_ttl.into(), absolute_ttl: absolute_ttl.into(), max_sessions };
        for (field, ttl) in [("sessions.idleTtl", limits.idle_ttl), ("sessions.absoluteTtl", limits.absolute_ttl)] {
            if ttl.is_some_and(|ttl| ttl.is_zero()) {
                return Err(ConfigError::new(field, "0s", "more than zero, or none at all for no limit"));
            }
        }
        if !(1..=MOST_SESSIONS).contains(&max_sessions) {
            return Err(ConfigError::new("sessions.maxSessions", max_sessions, format!("1 to {MOST_SESSIONS}")));
        }
        Ok(limits)
    }

    /// How long a session without calls is remembered; default 5 min.
    pub fn idle_ttl(&self) -> Option<Duration> {
        self.idle_ttl
    }

    /// How old a session gets; default 30 min.
    pub fn absolute_ttl(&self) -> Option<Duration> {
        self.absolute_ttl
    }

    /// How many sessions are remembered; default 100 000.
    pub fn max_sessions(&self) -> usize {
        self.max_sessions
    }

    /// The limits of one of `parts` tables that share these.
    #[must_use]
    pub fn share(mut self, parts: usize) -> Self {
        self.max_sessions = self.max_sessions.div_ceil(parts.max(1));
        self
    }
}

impl Default for SessionLimits {
    fn default() -> Self {
        Self { idle_ttl: Some(IDLE_TTL), absolute_ttl: Some(ABSOLUTE_TTL), max_sessions: MAX_SESSIONS }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_promised_defaults_and_what_is_refused() {
        let limits = SessionLimits::default();
        assert_eq!((limits.idle_ttl(), limits.absolute_ttl()), (Some(Duration::from_secs(300)), Some(Duration::from_secs(1800))));
        assert_eq!(SessionLimits::try_new(IDLE_TTL, ABSOLUTE_TTL, MAX_SESSIONS), Ok(limits));
        for (idle, absolute, max, field) in [
            (Some(Duration::ZERO), None, 1, "idleTtl"),
            (None, Some(Duration::ZERO), 1, "absoluteTtl"),
            (None, None, 0, "maxSessions"),
            (None, None, MOST_SESSIONS + 1, "maxSessions"),
        ] {
            assert!(SessionLimits::try_new(idle, absolute, max).unwrap_err().field.ends_with(field), "{field}");
        }
        assert!(SessionLimits::try_new(Duration::MAX, Duration::MAX, MOST_SESSIONS).is_ok());
    }

    #[test]
    fn shares_add_up_to_at_least_the_whole() {
        let limits = SessionLimits::try_new(None, None, 10).unwrap();
        assert_eq!([1, 3, 16, 0].map(|parts| limits.share(parts).max_sessions()), [10, 4, 1, 10]);
    }
}
