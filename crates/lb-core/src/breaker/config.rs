//! When a breaker opens, closes and tries again.

use std::time::Duration;

use serde_json::Value;

use crate::policies::config;
use crate::policy::ConfigError;
use crate::retry::StatusCodes;

use super::groups::MethodGroups;

const NAME: &str = "circuitBreaker";

/// More in a row cannot be counted: they share a word with everything else.
const MOST_FAILURES: u32 = 8191;

/// More trial calls, or successes of theirs, cannot be counted.
const MOST_TRIALS: u32 = 63;

/// The coarsest and the finest part of a window is a tenth of it; windows beyond a day would remember what nobody means by "lately".
const WINDOWS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(24 * 3600));

/// What stays open for longer is not broken but gone.
const MOST_OPEN: Duration = Duration::from_secs(24 * 3600);

/// When the breakers of a channel open, close and try again. The default is the preset: open after 5 failures in a row, try again
/// after 60 s with at most 3 calls at once, close after 2 of them have succeeded.
///
/// ```
/// use std::time::Duration;
/// use lb_core::breaker::{BreakerConfig, FailureRate, MethodGroups};
///
/// let config = BreakerConfig::default()
///     .failure_rate(FailureRate::new(50, Duration::from_secs(10), 20))
///     .open_time(Duration::from_secs(10))
///     .growth(2.0, Duration::from_secs(120))
///     .groups(MethodGroups::PerService);
/// assert_eq!(config.validate(), Ok(()));
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct BreakerConfig {
    /// Opens after so many failures in a row; default 5, 1 to 8191; `None` never.
    pub consecutive_failures: Option<u32>,
    /// Opens when too many of the latest calls fail; default `None`, never.
    pub failure_rate: Option<FailureRate>,
    /// Closes after so many trial calls have succeeded; default 2, 1 to 63.
    pub successes_to_close: u32,
    /// At most so many trial calls at once; default 3, 1 to 63.
    pub trial_calls: u32,
    /// When trial calls that have not ended no longer count against that number; default 60 s, from 1 s, in whole seconds.
    pub trial_timeout: Duration,
    /// How long it stays open before it tries again; default 60 s, from 1 ms to a day.
    pub open_time: Duration,
    /// What that time is multiplied by each time it opens again; default 1, 1 to 100.
    pub growth: f64,
    /// The longest it gets; default 10 min, at most a day; never below `open_time`.
    pub max_open_time: Duration,
    /// How much longer it may stay open by chance, as a share of the time; default 0.1, 0 to 1. Keeps the trials of many clients apart.
    pub jitter: f64,
    /// After having been closed so long, the time it stays open starts again from `open_time`; default 5 min.
    pub forget_after: Duration,
    /// Which codes are failures of the endpoint; default UNKNOWN, DEADLINE_EXCEEDED, INTERNAL, UNAVAILABLE and DATA_LOSS. Any other
    /// code is a success: the server works, whatever it said of the call. A lost connection is UNAVAILABLE. A call that the caller
    /// gave up is neither.
    pub failures: StatusCodes,
    /// Which methods share a breaker; default all of an endpoint's.
    pub groups: MethodGroups,
    /// At most so many groups have breakers of their own, the first that are called; the others share one. Default 64, 1 to 1024.
    pub max_groups: usize,
}

/// Too many of the latest calls fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct FailureRate {
    /// At this share of failures, in percent, it opens; default 50, 1 to 100.
    pub percent: u32,
    /// Over this time, in ten parts of which the oldest falls out of sight at once; default 10 s, 100 ms to a day.
    pub window: Duration,
    /// With fewer calls in the window it does not; default 20, from 1. Which also means: an endpoint that gets fewer never opens so.
    pub minimum_calls: u32,
}

impl FailureRate {
    /// This share, in percent, over this time, of at least so many calls.
    pub fn new(percent: u32, window: Duration, minimum_calls: u32) -> Self {
        Self { percent, window, minimum_calls }
    }

    fn from_json(path: &str, value: &Value) -> Result<Self, ConfigError> {
        let default = Self::default();
        Ok(Self {
            percent: config::unsigned(path, value, "percent", default.percent)?,
            window: config::duration(path, value, "window", default.window)?,
            minimum_calls: config::unsigned(path, value, "minimumCalls", default.minimum_calls)?,
        })
    }

    fn validate(&self) -> Result<(), ConfigError> {
        let path = format!("{NAME}.failureRate");
        whole(&path, "percent", self.percent, 1..=100)?;
        whole(&path, "minimumCalls", self.minimum_calls, 1..=u32::MAX)?;
        time(&path, "window", self.window, WINDOWS.0, WINDOWS.1)
    }
}

impl Default for FailureRate {
    fn default() -> Self {
        Self { percent: 50, window: Duration::from_secs(10), minimum_calls: 20 }
    }
}

impl Default for BreakerConfig {
    fn default() -> Self {
        Self {
            consecutive_failures: Some(5),
            failure_rate: None,
            successes_to_close: 2,
            trial_calls: 3,
            trial_timeout: Duration::from_secs(60),
            open_time: Duration::from_secs(60),
            growth: 1.0,
            max_open_time: Duration::from_secs(600),
            jitter: 0.1,
            forget_after: Duration::from_secs(300),
            failures: StatusCodes::BROKEN,
            groups: MethodGroups::One,
            max_groups: 64,
        }
    }
}

impl BreakerConfig {
    /// Breakers that open only by hand, by a remote one, or once they get another configuration: for a channel whose service config may
    /// switch them on.
    pub fn off() -> Self {
        Self { consecutive_failures: None, ..Self::default() }
    }

    /// Whether no call opens one.
    pub fn is_off(&self) -> bool {
        self.consecutive_failures.is_none() && self.failure_rate.is_none()
    }

    /// Opens after so many failures in a row; `None` never.
    #[must_use]
    pub fn consecutive_failures(mut self, failures: impl Into<Option<u32>>) -> Self {
        self.consecutive_failures = failures.into();
        self
    }

    /// Opens when too many of the latest calls fail; `None` never.
    #[must_use]
    pub fn failure_rate(mut self, rate: impl Into<Option<FailureRate>>) -> Self {
        self.failure_rate = rate.into();
        self
    }

    /// At most so many trial calls at once, and how many successes close.
    #[must_use]
    pub fn trials(mut self, calls: u32, successes_to_close: u32) -> Self {
        (self.trial_calls, self.successes_to_close) = (calls, successes_to_close);
        self
    }

    /// How long it stays open before it tries again.
    #[must_use]
    pub fn open_time(mut self, time: Duration) -> Self {
        self.open_time = time;
        self
    }

    /// What that time is multiplied by each time it opens again, and the longest it gets.
    #[must_use]
    pub fn growth(mut self, factor: f64, max: Duration) -> Self {
        (self.growth, self.max_open_time) = (factor, max);
        self
    }

    /// How much longer it may stay open by chance, as a share of the time.
    #[must_use]
    pub fn jitter(mut self, share: f64) -> Self {
        self.jitter = share;
        self
    }

    /// Which codes are failures of the endpoint.
    #[must_use]
    pub fn failures(mut self, codes: StatusCodes) -> Self {
        self.failures = codes;
        self
    }

    /// Which methods share a breaker.
    #[must_use]
    pub fn groups(mut self, groups: MethodGroups) -> Self {
        self.groups = groups;
        self
    }

    /// From JSON: the fields by their names in camel case, durations as `"1.5s"`, `failures` a list of codes, `methodGroups` one of
    /// `ALL`, `SERVICE` and `METHOD`; `consecutiveFailures` 0 is never. What is not there has its default; unknown fields are ignored.
    ///
    /// # Errors
    /// A wrong type, or a value that is not allowed.
    pub fn from_json(value: &Value) -> Result<Self, ConfigError> {
        let default = Self::default();
        let whole = |field, default| config::unsigned(NAME, value, field, default);
        let time = |field, default| config::duration(NAME, value, field, default);
        let there = |field| value.get(field).filter(|value| !value.is_null());
        let config = Self {
            consecutive_failures: Some(whole("consecutiveFailures", 5)?).filter(|failures| *failures > 0),
            failure_rate: there("failureRate")
                .map(|value| match value.is_object() {
                    true => FailureRate::from_json(&format!("{NAME}.failureRate"), value),
                    false => Err(ConfigError::new(format!("{NAME}.failureRate"), value, "an object")),
                })
                .transpose()?,
            successes_to_close: whole("successesToClose", default.successes_to_close)?,
            trial_calls: whole("trialCalls", default.trial_calls)?,
            trial_timeout: time("trialTimeout", default.trial_timeout)?,
            open_time: time("openTime", default.open_time)?,
            growth: config::not_negative(NAME, value, "growth", default.growth)?,
            max_open_time: time("maxOpenTime", default.max_open_time)?,
            jitter: config::not_negative(NAME, value, "jitter", default.jitter)?,
            forget_after: time("forgetAfter", default.forget_after)?,
            failures: there("failures")
                .map_or(Ok(default.failures), |value| StatusCodes::from_json(&format!("{NAME}.failures"), value))?,
            groups: there("methodGroups").map_or(Ok(default.groups), MethodGroups::from_json)?,
            max_groups: whole("maxGroups", default.max_groups as u32)? as usize,
        };
        config.validate().map(|()| config)
    }

    /// Whether every value is allowed.
    ///
    /// # Errors
    /// The first that is not.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if let Some(failures) = self.consecutive_failures {
            whole(NAME, "consecutiveFailures", failures, 1..=MOST_FAILURES)?;
        }
        self.failure_rate.map_or(Ok(()), |rate| rate.validate())?;
        whole(NAME, "successesToClose", self.successes_to_close, 1..=MOST_TRIALS)?;
        whole(NAME, "trialCalls", self.trial_calls, 1..=MOST_TRIALS)?;
        whole(NAME, "maxGroups", self.max_groups.try_into().unwrap_or(u32::MAX), 1..=1024)?;
        time(NAME, "trialTimeout", self.trial_timeout, Duration::from_secs(1), MOST_OPEN)?;
        time(NAME, "openTime", self.open_time, Duration::from_millis(1), MOST_OPEN)?;
        time(NAME, "maxOpenTime", self.max_open_time, Duration::ZERO, MOST_OPEN)?;
        share("growth", self.growth, 1.0, 100.0)?;
        share("jitter", self.jitter, 0.0, 1.0)?;
        if self.failures.is_empty() {
            return Err(ConfigError::new(format!("{NAME}.failures"), "[]", "at least one code"));
        }
        Ok(())
    }
}

fn whole(path: &str, field: &str, value: u32, allowed: std::ops::RangeInclusive<u32>) -> Result<(), ConfigError> {
    let error = || ConfigError::new(format!("{path}.{field}"), value, format!("{} to {}", allowed.start(), allowed.end()));
    allowed.contains(&value).then_some(()).ok_or_else(error)
}

fn time(path: &str, field: &str, value: Duration, least: Duration, most: Duration) -> Result<(), ConfigError> {
    let error = || ConfigError::new(format!("{path}.{field}"), format!("{value:?}"), format!("{least:?} to {most:?}"));
    (least..=most).contains(&value).then_some(()).ok_or_else(error)
}

fn share(field: &str, value: f64, least: f64, most: f64) -> Result<(), ConfigError> {
    let error = || ConfigError::new(format!("{NAME}.{field}"), value, format!("{least} to {most}"));
    (least..=most).contains(&value).then_some(()).ok_or_else(error)
}
