//! Which failed calls are sent again, how often, and how far apart.

use std::time::Duration;

use serde_json::Value;

use super::StatusCodes;
use crate::policies::config;
use crate::policy::ConfigError;

const NAME: &str = "retryPolicy";

/// Nobody waits longer; it also keeps every sum of durations far from overflow.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// How far a delay may lie from its nominal value (gRFC A6).
const JITTER: f64 = 0.2;

/// Retries of calls that failed. A policy that allows *n retries* makes up to *n + 1 attempts*.
///
/// The delay before the *n*-th retry is `initial · multiplier^(n−1)`, at most `max`, spread by ±20 %. Where a server says by
/// `grpc-retry-pushback-ms` how long to wait, that is the delay, exactly, and the next one is the first again.
#[derive(Debug, Clone, PartialEq)]
pub struct RetryPolicy {
    max_attempts: u32,
    initial_backoff: Duration,
    max_backoff: Duration,
    multiplier: f64,
    codes: StatusCodes,
    attempt_timeout: Option<Duration>,
}

impl Default for RetryPolicy {
    /// [`three_exponential`](Self::three_exponential).
    fn default() -> Self {
        Self {
            max_attempts: 4,
            initial_backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(5),
            multiplier: 2.0,
            codes: StatusCodes::UNAVAILABLE,
            attempt_timeout: None,
        }
    }
}

impl RetryPolicy {
    /// Three retries (four attempts) with exponential backoff: after about 100, 200 and 400 ms; of UNAVAILABLE.
    pub fn three_exponential() -> Self {
        Self::default()
    }

    /// Three retries (four attempts), about a second apart; of UNAVAILABLE.
    pub fn three_a_second_apart() -> Self {
        let second = Duration::from_secs(1);
        Self { initial_backoff: second, max_backoff: second, multiplier: 1.0, ..Self::default() }
    }

    /// Two retries (three attempts), after about 100 and 200 ms; of UNAVAILABLE.
    pub fn two_from_100_ms() -> Self {
        Self { max_attempts: 3, ..Self::default() }
    }

    /// The default with this many retries, which are one attempt more; from 1.
    pub fn retries(retries: u32) -> Result<Self, ConfigError> {
        Self::default().with_max_attempts(retries.saturating_add(1))
    }

    /// Sets the most attempts, the first one included; from 2; default 4. The channel's own limit, 5 unless set, holds as well.
    pub fn with_max_attempts(self, max_attempts: u32) -> Result<Self, ConfigError> {
        let max_attempts = attempts(NAME, max_attempts)?;
        Ok(Self { max_attempts, ..self })
    }

    /// Sets the delay before the first retry, above 0; default 100 ms. More than 24 h count as 24 h.
    pub fn with_initial_backoff(self, initial_backoff: Duration) -> Result<Self, ConfigError> {
        let initial_backoff = above_zero("initialBackoff", initial_backoff)?;
        Ok(Self { initial_backoff, ..self })
    }

    /// Sets the longest delay before it is spread, above 0; default 5 s. More than 24 h count as 24 h.
    pub fn with_max_backoff(self, max_backoff: Duration) -> Result<Self, ConfigError> {
        let max_backoff = above_zero("maxBackoff", max_backoff)?;
        Ok(Self { max_backoff, ..self })
    }

    /// Sets the factor from one delay to the next, above 0; default 2. Below 1 delays shrink.
    pub fn with_multiplier(self, multiplier: f64) -> Result<Self, ConfigError> {
        if multiplier > 0.0 && multiplier.is_finite() {
            return Ok(Self { multiplier, ..self });
        }
        Err(ConfigError::new(format!("{NAME}.backoffMultiplier"), multiplier, "a number above 0"))
    }

    /// Sets the codes that are retried, by number or as `tonic::Code`; at least one; default UNAVAILABLE.
    pub fn with_codes(self, codes: impl IntoIterator<Item = impl Into<i32>>) -> Result<Self, ConfigError> {
        let codes = some("codes", StatusCodes::try_new(codes)?)?;
        Ok(Self { codes, ..self })
    }

    /// Sets how long an attempt may take until its response begins; default as long as the call. An attempt that takes longer is
    /// given up, its stream reset, and another one made whatever the codes say.
    pub fn with_attempt_timeout(self, timeout: Duration) -> Result<Self, ConfigError> {
        let attempt_timeout = Some(above_zero("perAttemptRecvTimeout", timeout)?);
        Ok(Self { attempt_timeout, ..self })
    }

    /// From a `retryPolicy` in gRPC's JSON; unknown fields are ignored. Ours is `perAttemptRecvTimeout`, a duration, for
    /// [`with_attempt_timeout`](Self::with_attempt_timeout).
    ///
    /// # Errors
    /// `maxAttempts`, `initialBackoff`, `maxBackoff`, `backoffMultiplier` or `retryableStatusCodes` is missing or not what
    /// the setter of that value allows, a duration is malformed, or a code is unknown or OK.
    pub fn from_json(value: &Value) -> Result<Self, ConfigError> {
        object(NAME, value)?;
        let duration = |field| config::duration(NAME, value, field, Duration::ZERO);
        let multiplier = config::not_negative(NAME, value, "backoffMultiplier", 0.0)?;
        let codes = value.get("retryableStatusCodes").unwrap_or(&Value::Null);
        let codes = StatusCodes::from_json(&format!("{NAME}.retryableStatusCodes"), codes)?;
        let policy = Self { codes: some("retryableStatusCodes", codes)?, ..Self::default() }
            .with_max_attempts(config::unsigned(NAME, value, "maxAttempts", 0)?)?
            .with_initial_backoff(duration("initialBackoff")?)?
            .with_max_backoff(duration("maxBackoff")?)?
            .with_multiplier(multiplier)?;
        match value.get("perAttemptRecvTimeout") {
            None | Some(Value::Null) => Ok(policy),
            Some(_) => policy.with_attempt_timeout(duration("perAttemptRecvTimeout")?),
        }
    }

    /// This policy under a channel's limit of attempts; `None` if that leaves no retry.
    #[must_use]
    pub fn limited(mut self, limit: u32) -> Option<Self> {
        self.max_attempts = self.max_attempts.min(limit);
        (self.max_attempts > 1).then_some(self)
    }

    /// The most attempts, the first one included.
    pub fn max_attempts(&self) -> u32 {
        self.max_attempts
    }

    /// How long an attempt may take until its response begins.
    pub fn attempt_timeout(&self) -> Option<Duration> {
        self.attempt_timeout
    }

    /// The codes that are retried.
    pub fn codes(&self) -> StatusCodes {
        self.codes
    }

    /// The delay before the `n`-th retry, from 1, since the last pushback. `entropy` is 64 random bits.
    pub fn delay(&self, n: u32, entropy: u64) -> Duration {
        let growth = self.multiplier.powi(n.saturating_sub(1).try_into().unwrap_or(i32::MAX));
        // Infinite for large n, which the cap takes care of.
        let nominal = (self.initial_backoff.as_secs_f64() * growth).min(self.max_backoff.as_secs_f64());
        // 53 bits fill the mantissa: uniform in [0, 1).
        let uniform = (entropy >> 11) as f64 / (1_u64 << 53) as f64;
        Duration::from_secs_f64(nominal * (1.0 - JITTER + 2.0 * JITTER * uniform))
    }
}

/// Checks a number of attempts for the policy `name`.
pub(super) fn attempts(name: &str, attempts: u32) -> Result<u32, ConfigError> {
    if attempts >= 2 {
        return Ok(attempts);
    }
    Err(ConfigError::new(format!("{name}.maxAttempts"), attempts, "a whole number from 2: the first attempt counts"))
}

pub(super) fn object(name: &str, value: &Value) -> Result<(), ConfigError> {
    if value.is_object() { Ok(()) } else { Err(ConfigError::new(name, value, "an object")) }
}

fn above_zero(field: &str, value: Duration) -> Result<Duration, ConfigError> {
    if value.is_zero() {
        return Err(ConfigError::new(format!("{NAME}.{field}"), format!("{value:?}"), "a duration above 0"));
    }
    Ok(value.min(LONGEST))
}

fn some(field: &str, codes: StatusCodes) -> Result<StatusCodes, ConfigError> {
    if codes.is_empty() {
        return Err(ConfigError::new(format!("{NAME}.{field}"), "[]", "at least one status code"));
    }
    Ok(codes)
}

#[cfg(test)]
mod tests;
