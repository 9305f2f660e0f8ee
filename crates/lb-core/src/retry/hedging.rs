//! Which calls are sent several times at once.

use std::time::Duration;

use serde_json::Value;

use super::StatusCodes;
use super::policy::{attempts, object};
use crate::policies::config;
use crate::policy::ConfigError;

const NAME: &str = "hedgingPolicy";

/// Further attempts of a call while earlier ones are still without an answer; the first answer counts and the others are cancelled.
///
/// An attempt is sent when the call begins and then one each `delay` until there are `max_attempts`. One that fails with a *non-fatal*
/// code is followed by the next at once; any other failure ends the call.
///
/// When not: calls that must not be done twice, for they will be; and calls that are slow everywhere, because then all are sent
/// `max_attempts` times. A delay near the 95th percentile of the latency adds about 5 % of attempts and cuts the tail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HedgingPolicy {
    max_attempts: u32,
    delay: Duration,
    non_fatal: StatusCodes,
}

impl HedgingPolicy {
    /// So many attempts, from 2, this far apart; zero sends them all at once. No code is non-fatal.
    pub fn try_new(max_attempts: u32, delay: Duration) -> Result<Self, ConfigError> {
        Ok(Self { max_attempts: attempts(NAME, max_attempts)?, delay, non_fatal: StatusCodes::default() })
    }

    /// Sets the codes that do not end the call while others may still answer, by number or as `tonic::Code`.
    pub fn with_non_fatal(self, codes: impl IntoIterator<Item = impl Into<i32>>) -> Result<Self, ConfigError> {
        Ok(Self { non_fatal: StatusCodes::try_new(codes)?, ..self })
    }

    /// From a `hedgingPolicy` in gRPC's JSON; unknown fields are ignored.
    ///
    /// # Errors
    /// `maxAttempts` is missing or below 2, `hedgingDelay` is no duration or negative, or a code is unknown or OK.
    pub fn from_json(value: &Value) -> Result<Self, ConfigError> {
        object(NAME, value)?;
        let max_attempts = config::unsigned(NAME, value, "maxAttempts", 0)?;
        if let Some(negative) = value.get("hedgingDelay").filter(|delay| delay.as_str().is_some_and(|text| text.starts_with('-'))) {
            return Err(ConfigError::new(format!("{NAME}.hedgingDelay"), negative, "a duration from 0"));
        }
        let delay = config::duration(NAME, value, "hedgingDelay", Duration::ZERO)?;
        let non_fatal = match value.get("nonFatalStatusCodes") {
            None | Some(Value::Null) => StatusCodes::default(),
            Some(codes) => StatusCodes::from_json(&format!("{NAME}.nonFatalStatusCodes"), codes)?,
        };
        Ok(Self { non_fatal, ..Self::try_new(max_attempts, delay)? })
    }

    /// This policy under a channel's limit of attempts; `None` if that leaves no hedge.
    #[must_use]
    pub fn limited(mut self, limit: u32) -> Option<Self> {
        self.max_attempts = self.max_attempts.min(limit);
        (self.max_attempts > 1).then_some(self)
    }

    /// The most attempts, the first one included.
    pub fn max_attempts(&self) -> u32 {
        self.max_attempts
    }

    /// From one attempt to the next.
    pub fn delay(&self) -> Duration {
        self.delay
    }

    /// The codes that do not end the call.
    pub fn non_fatal(&self) -> StatusCodes {
        self.non_fatal
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_service_configs_policy_is_read() {
        let read = |value| HedgingPolicy::from_json(&value);
        let policy =
            read(json!({"maxAttempts": 3, "hedgingDelay": "0.5s", "nonFatalStatusCodes": ["unavailable", 10], "new": 1})).unwrap();
        let expected = HedgingPolicy::try_new(3, Duration::from_millis(500)).unwrap().with_non_fatal([14, 10]).unwrap();
        assert_eq!(policy, expected);
        assert_eq!(read(json!({"maxAttempts": 2})).unwrap(), HedgingPolicy::try_new(2, Duration::ZERO).unwrap());
        for (value, field) in [
            (json!({}), "hedgingPolicy.maxAttempts"),
            (json!({"maxAttempts": 1}), "hedgingPolicy.maxAttempts"),
            (json!({"maxAttempts": 2, "hedgingDelay": "-1s"}), "hedgingPolicy.hedgingDelay"),
            (json!({"maxAttempts": 2, "hedgingDelay": 3}), "hedgingPolicy.hedgingDelay"),
            (json!({"maxAttempts": 2, "nonFatalStatusCodes": ["?"]}), "hedgingPolicy.nonFatalStatusCodes"),
            (json!(3), "hedgingPolicy"),
        ] {
            assert_eq!(read(value.clone()).unwrap_err().field, field, "{value}");
        }
    }

    #[test]
    fn attempts_are_limited_by_the_channel() {
        let limited = |limit| HedgingPolicy::try_new(9, Duration::ZERO).unwrap().limited(limit).map(|policy| policy.max_attempts());
        assert_eq!([limited(5), limited(1)], [Some(5), None]);
    }
}
