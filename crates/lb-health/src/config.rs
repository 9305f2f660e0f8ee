//! What may be set, and to what.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use lb_core::{BackoffConfig, ConfigError};
use tonic::Code;

/// Shorter intervals and timeouts would be an attack on the server, or fail on a busy network.
const SHORTEST: Duration = Duration::from_millis(1);

/// Nobody waits longer; it also keeps every sum of instants far from overflow.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// More results in a row than anybody waits for.
const HIGHEST_THRESHOLD: u32 = 1000;

/// How a check that polls goes about it.
///
/// The first result counts at once, whatever the thresholds: an endpoint just connected is not kept waiting for a second
/// success, and one that fails its first check has nothing to lose. After that it takes so many results in a row to change the status.
///
/// The default: every 5 s ± 10 %, answers within 2 s, unhealthy after 3 failures, healthy after 2 successes.
///
/// With [`with_degraded`](Self::with_degraded) there is a state between the two: an endpoint that has begun to fail, or to pass again, and has
/// not yet done so often enough, is degraded, and gets a reduced share of calls.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PollConfig {
    pub(crate) interval: Duration,
    pub(crate) timeout: Duration,
    pub(crate) healthy_threshold: u32,
    pub(crate) unhealthy_threshold: u32,
    pub(crate) jitter: f64,
    pub(crate) degraded: bool,
}

impl Default for PollConfig {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(5),
            timeout: Duration::from_secs(2),
            healthy_threshold: 2,
            unhealthy_threshold: 3,
            jitter: 0.1,
            degraded: false,
        }
    }
}

impl PollConfig {
    /// Every 30 s ± 10 %, answers within 5 s, each result counts: what a Watch falls back to unless told otherwise.
    pub fn every_30s() -> Self {
        let (interval, timeout) = (Duration::from_secs(30), Duration::from_secs(5));
        Self { interval, timeout, healthy_threshold: 1, unhealthy_threshold: 1, ..Self::default() }
    }

    /// The default with the degraded state: every 5 s ± 10 %, answers within 2 s, degraded from the first failure, unhealthy after 3 in a
    /// row; degraded from the first success on, healthy after 2 in a row.
    pub fn every_5s() -> Self {
        Self::default().with_degraded()
    }

    /// Tells of the state between healthy and unhealthy. It has no length where the threshold is 1.
    #[must_use]
    pub fn with_degraded(self) -> Self {
        Self { degraded: true, ..self }
    }

    /// Sets the time from the end of a check to the start of the next, 1 ms to 24 h; default 5 s.
    pub fn with_interval(self, interval: Duration) -> Result<Self, ConfigError> {
        Ok(Self { interval: time("interval", interval)?, ..self })
    }

    /// Sets how long a check may take before it counts as failed, 1 ms to 24 h; default 2 s.
    pub fn with_timeout(self, timeout: Duration) -> Result<Self, ConfigError> {
        Ok(Self { timeout: time("timeout", timeout)?, ..self })
    }

    /// Sets how many successes in a row make an unhealthy endpoint healthy, 1 to 1000; default 2.
    pub fn with_healthy_threshold(self, healthy_threshold: u32) -> Result<Self, ConfigError> {
        Ok(Self { healthy_threshold: threshold("healthy_threshold", healthy_threshold)?, ..self })
    }

    /// Sets how many failures in a row make a healthy endpoint unhealthy, 1 to 1000; default 3.
    pub fn with_unhealthy_threshold(self, unhealthy_threshold: u32) -> Result<Self, ConfigError> {
        Ok(Self { unhealthy_threshold: threshold("unhealthy_threshold", unhealthy_threshold)?, ..self })
    }

    /// Sets the spread of the interval as a share of it, 0 to 0.9; default 0.1.
    pub fn with_jitter(self, jitter: f64) -> Result<Self, ConfigError> {
        match jitter {
            0.0..=0.9 => Ok(Self { jitter, ..self }),
            _ => Err(ConfigError::new("health.jitter", jitter, "a number from 0 to 0.9")),
        }
    }
}

/// How the health service is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum HealthMode {
    /// One Watch per connection; the server tells of every change.
    #[default]
    Watch,
    /// One Check per interval.
    Poll,
}

impl fmt::Display for HealthMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Watch => "watch",
            Self::Poll => "poll",
        })
    }
}

/// What to ask the health service, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct HealthConfig {
    pub(crate) service: Arc<str>,
    pub(crate) mode: HealthMode,
    pub(crate) poll: PollConfig,
    pub(crate) fallback: Vec<Code>,
    pub(crate) backoff: BackoffConfig,
}

impl Default for HealthConfig {
    /// Watches the whole server.
    fn default() -> Self {
        Self::watch("")
    }
}

impl HealthConfig {
    /// Watches this service; `""` is the whole server. Without fallback, with gRPC's backoff.
    pub fn watch(service: impl Into<Arc<str>>) -> Self {
        Self {
            service: service.into(),
            mode: HealthMode::Watch,
            poll: PollConfig::every_30s(),
            fallback: Vec::new(),
            backoff: BackoffConfig::default(),
        }
    }

    /// Polls this service with [`PollConfig`]'s default; `""` is the whole server.
    pub fn poll(service: impl Into<Arc<str>>) -> Self {
        Self { mode: HealthMode::Poll, poll: PollConfig::default(), ..Self::watch(service) }
    }

    /// Sets how it polls, if it polls.
    #[must_use]
    pub fn with_poll(self, poll: PollConfig) -> Self {
        Self { poll, ..self }
    }

    /// Sets how the retries of a Watch are paced.
    #[must_use]
    pub fn with_backoff(self, backoff: BackoffConfig) -> Self {
        Self { backoff, ..self }
    }

    /// Polls, for the life of a connection, where Watch is refused before its first message with PERMISSION_DENIED, INTERNAL or UNKNOWN:
    /// what gateways that do not let streams through answer.
    #[must_use]
    pub fn with_poll_fallback(self) -> Self {
        Self { fallback: vec![Code::PermissionDenied, Code::Internal, Code::Unknown], ..self }
    }

    /// The same for other codes. UNIMPLEMENTED means healthy unless it is among them: list it for servers that
    /// have Check and no Watch. OK is not allowed: a Watch that is closed has not been refused.
    pub fn with_poll_fallback_on(self, codes: impl IntoIterator<Item = Code>) -> Result<Self, ConfigError> {
        let fallback: Vec<Code> = codes.into_iter().collect();
        if fallback.contains(&Code::Ok) {
            return Err(ConfigError::new("health.poll_fallback_on", "OK", "any code but OK"));
        }
        Ok(Self { fallback, ..self })
    }

    /// The service asked for.
    pub fn service(&self) -> &str {
        &self.service
    }

    /// How it is asked.
    pub fn mode(&self) -> HealthMode {
        self.mode
    }
}

fn time(field: &str, value: Duration) -> Result<Duration, ConfigError> {
    if (SHORTEST..=LONGEST).contains(&value) {
        return Ok(value);
    }
    Err(ConfigError::new(format!("health.{field}"), format!("{value:?}"), format!("{SHORTEST:?} to {LONGEST:?}")))
}

fn threshold(field: &str, value: u32) -> Result<u32, ConfigError> {
    if (1..=HIGHEST_THRESHOLD).contains(&value) {
        return Ok(value);
    }
    Err(ConfigError::new(format!("health.{field}"), value, format!("1 to {HIGHEST_THRESHOLD}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_out_of_range_are_errors_that_name_field_value_and_range() {
        let poll = PollConfig::default();
        for (result, field) in [
            (poll.with_interval(Duration::ZERO), "health.interval"),
            (poll.with_interval(Duration::MAX), "health.interval"),
            (poll.with_timeout(Duration::ZERO), "health.timeout"),
            (poll.with_healthy_threshold(0), "health.healthy_threshold"),
            (poll.with_unhealthy_threshold(1001), "health.unhealthy_threshold"),
            (poll.with_jitter(f64::NAN), "health.jitter"),
            (poll.with_jitter(1.0), "health.jitter"),
        ] {
            assert_eq!(result.unwrap_err().field, field);
        }
        let error = poll.with_healthy_threshold(0).unwrap_err();
        assert_eq!(error.to_string(), "health.healthy_threshold is 0, allowed is 1 to 1000");
        assert_eq!(HealthConfig::default().with_poll_fallback_on([Code::Ok]).unwrap_err().value, "OK");
    }

    #[test]
    fn the_ends_of_the_ranges_are_allowed() {
        let poll = PollConfig::default().with_interval(SHORTEST).unwrap().with_timeout(LONGEST).unwrap();
        let poll = poll.with_healthy_threshold(1).unwrap().with_unhealthy_threshold(HIGHEST_THRESHOLD).unwrap();
        assert_eq!(poll.with_jitter(0.9).unwrap().jitter, 0.9);
    }
}
