//! A rate, and how far calls may run ahead of it.

use std::fmt;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use crate::policies::config;
use crate::policy::ConfigError;

/// The slowest rate, one call in 1000 s, and the fastest. Intervals are whole nanoseconds, rounded up: at the fastest rate one is
/// 1000 ns, so no rate is kept more than 0.1 % below what was asked for, and none above it.
const SLOWEST: f64 = 0.001;
const FASTEST: f64 = 1_000_000.0;

/// The largest burst. With the slowest rate it fills in 32 years, which still fits in an `i64` of nanoseconds.
const LARGEST_BURST: u32 = 1_000_000;

/// So many calls a second for good, and up to `burst` at once after a pause: a token bucket.
///
/// Over any time `t`, however chosen, at most `per_second × t + burst` calls pass.
///
/// ```
/// use lb_core::limits::RateLimit;
///
/// let limit = RateLimit::per_second(1000)?.with_burst(1500)?;
/// assert_eq!(limit.to_string(), "1000 calls a second, 1500 at once");
/// assert_eq!(RateLimit::per_second(0).unwrap_err().to_string(), "perSecond is 0, allowed is a number from 0.001 to 1000000");
/// # Ok::<(), lb_core::ConfigError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RateLimit {
    per_second: f64,
    burst: u32,
}

impl RateLimit {
    /// So many calls a second, 0.001 to 1 000 000, and a second's worth of them at once (at least one).
    ///
    /// # Errors
    /// A rate out of range.
    pub fn per_second(calls: impl Into<f64>) -> Result<Self, ConfigError> {
        let per_second = calls.into();
        if !(SLOWEST..=FASTEST).contains(&per_second) {
            return Err(ConfigError::new("perSecond", per_second, "a number from 0.001 to 1000000"));
        }
        Ok(Self { per_second, burst: per_second.ceil() as u32 })
    }

    /// The same rate with so many calls at once after a pause, 1 to 1 000 000.
    ///
    /// # Errors
    /// A burst out of range.
    pub fn with_burst(self, calls: u32) -> Result<Self, ConfigError> {
        if !(1..=LARGEST_BURST).contains(&calls) {
            return Err(ConfigError::new("burst", calls, "a whole number from 1 to 1000000"));
        }
        Ok(Self { burst: calls, ..self })
    }

    /// 1000 calls a second and 1500 at once, the default of gateways this is measured against.
    pub fn promised() -> Self {
        Self { per_second: 1000.0, burst: 1500 }
    }

    /// From `{"perSecond": 1000, "burst": 1500}`; unknown fields are ignored, and the burst may be left out.
    ///
    /// # Errors
    /// A wrong type, a missing rate, a value out of range.
    pub fn from_json(config: &Value) -> Result<Self, ConfigError> {
        let rate = config.get("perSecond").and_then(Value::as_f64);
        let rate = rate.ok_or_else(|| ConfigError::new("perSecond", config, "a number from 0.001 to 1000000"))?;
        let limit = Self::per_second(rate)?;
        limit.with_burst(config::unsigned("rateLimit", config, "burst", limit.burst)?)
    }

    /// Calls a second.
    pub fn rate(&self) -> f64 {
        self.per_second
    }

    /// Calls at once after a pause.
    pub fn burst(&self) -> u32 {
        self.burst
    }

    pub(crate) fn pace(&self) -> Pace {
        let interval = (1e9 / self.per_second).ceil() as i64;
        Pace { interval, tolerance: interval * (i64::from(self.burst) - 1) }
    }
}

impl fmt::Display for RateLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} calls a second, {} at once", self.per_second, self.burst)
    }
}

/// A rate in the terms of [`Level`](super::bucket::Level), in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pace {
    /// From one call to the next.
    pub(crate) interval: i64,
    /// How far ahead of time a call may come.
    pub(crate) tolerance: i64,
}

impl Pace {
    /// How long an empty bucket takes to fill.
    pub(crate) fn filling(&self) -> i64 {
        self.tolerance + self.interval
    }

    /// How long after a refused call the next one passes if nobody else comes.
    pub(crate) fn wait(ahead: i64) -> Duration {
        Duration::from_nanos(ahead.unsigned_abs())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_out_of_range_is_named() {
        for (config, field) in [
            (json!({}), "perSecond"),
            (json!({"perSecond": "5"}), "perSecond"),
            (json!({"perSecond": -1}), "perSecond"),
            (json!({"perSecond": 1_000_001}), "perSecond"),
            (json!({"perSecond": 5, "burst": 0}), "burst"),
            (json!({"perSecond": 5, "burst": 1_000_001}), "burst"),
            (json!({"perSecond": 5, "burst": -3}), "burst"),
            (json!([]), "perSecond"),
        ] {
            let error = RateLimit::from_json(&config).unwrap_err().to_string();
            assert!(error.contains(field), "{config}: {error}");
        }
        assert!(RateLimit::per_second(f64::NAN).is_err());
        let limit = RateLimit::from_json(&json!({"perSecond": 2.5, "more": 1})).unwrap();
        assert_eq!((limit.rate(), limit.burst()), (2.5, 3));
    }

    #[test]
    fn the_extremes_fit() {
        let slow = RateLimit::per_second(SLOWEST).unwrap().with_burst(LARGEST_BURST).unwrap().pace();
        assert_eq!((slow.interval, slow.filling()), (1_000_000_000_000, 1_000_000_000_000_000_000));
        let fast = RateLimit::per_second(FASTEST).unwrap().pace();
        assert_eq!(fast.interval, 1000);
    }
}
