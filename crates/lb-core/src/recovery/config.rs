//! How shares grow.

use std::time::Duration;

use serde_json::Value;

use crate::policies::config;
use crate::policy::ConfigError;

const NAME: &str = "recovery";

/// Nobody warms up for longer; it also keeps every sum of instants far from overflow.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// Shorter times would make the driver rebuild without rest.
const SHORTEST: Duration = Duration::from_millis(10);

/// How the share of an endpoint that is new, or comes back, grows to the full one.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum RampConfig {
    /// By time alone.
    Linear(Linear),
    /// By steps, while its calls succeed.
    Steps(Steps),
}

/// A share that grows with time, as Envoy's slow start has it.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Linear {
    /// How long until the full share: 10 ms to 24 h; default 60 s.
    pub window: Duration,
    /// The share begins at this, above 0 and at most 1; default 0.1.
    pub least: f64,
    /// The share is `(t / window)^(1 / aggression)`: 1, the default, is a straight line, more is faster at first, less slower. From 0.1 to
    /// 10.
    pub aggression: f64,
}

/// A share that grows by steps while calls succeed.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Steps {
    /// The share begins at this, and falls back to it: above 0 and at most 1; default 0.1.
    pub start: f64,
    /// How much it grows at a time: above 0 and at most 1; default 0.1.
    pub step: f64,
    /// How long each step lasts: 10 ms to 24 h; default 30 s.
    pub every: Duration,
    /// The share of calls since the last step that must have succeeded for the next: 0 to 1; default 0.8. Without calls nothing speaks
    /// against it.
    pub threshold: f64,
}

impl Default for Linear {
    fn default() -> Self {
        Self { window: Duration::from_secs(60), least: 0.1, aggression: 1.0 }
    }
}

impl Default for Steps {
    fn default() -> Self {
        Self { start: 0.1, step: 0.1, every: Duration::from_secs(30), threshold: 0.8 }
    }
}

impl RampConfig {
    /// A straight line from 10 % to 100 % over a window of 10 ms to 24 h.
    ///
    /// # Errors
    /// Another window.
    pub fn linear(window: Duration) -> Result<Self, ConfigError> {
        Ok(Self::Linear(Linear { window: time("linear.window", window)?, ..Linear::default() }))
    }

    /// 10 % at first, 10 % more every 30 s while at least 80 % of its calls succeed, else 10 % again.
    pub fn steps() -> Self {
        Self::Steps(Steps::default())
    }

    /// Begins at this share, above 0 and at most 1.
    ///
    /// # Errors
    /// Another share.
    pub fn with_start(self, start: f64) -> Result<Self, ConfigError> {
        Ok(match self {
            Self::Linear(linear) => Self::Linear(Linear { least: share("linear.least", start)?, ..linear }),
            Self::Steps(steps) => Self::Steps(Steps { start: share("steps.start", start)?, ..steps }),
        })
    }

    /// Bends the line: the share is `(t / window)^(1 / aggression)`, from 0.1 to 10. Steps have none.
    ///
    /// # Errors
    /// Another number.
    pub fn with_aggression(self, aggression: f64) -> Result<Self, ConfigError> {
        match self {
            Self::Linear(linear) => Ok(Self::Linear(Linear { aggression: bend(aggression)?, ..linear })),
            Self::Steps(_) => Err(ConfigError::new(field("steps.aggression"), aggression, "nothing: only a line is bent")),
        }
    }

    /// How steps are made: this much more, above 0 and at most 1, after each of so long a time. A line has none.
    ///
    /// # Errors
    /// A line, or values out of range.
    pub fn with_step(self, step: f64, every: Duration) -> Result<Self, ConfigError> {
        match self {
            Self::Steps(steps) => {
                Ok(Self::Steps(Steps { step: share("steps.step", step)?, every: time("steps.every", every)?, ..steps }))
            }
            Self::Linear(_) => Err(ConfigError::new(field("linear.step"), step, "nothing: a line has no steps")),
        }
    }

    /// Which share of its calls, 0 to 1, must have succeeded for the next step. A line does not look.
    ///
    /// # Errors
    /// A line, or another number.
    pub fn with_threshold(self, threshold: f64) -> Result<Self, ConfigError> {
        match self {
            Self::Steps(steps) => Ok(Self::Steps(Steps { threshold: rate(threshold)?, ..steps })),
            Self::Linear(_) => Err(ConfigError::new(field("linear.threshold"), threshold, "nothing: a line looks at no calls")),
        }
    }

    /// From JSON: `{"linear": {"window": "60s", "least": 0.1, "aggression": 1}}` or `{"steps": {"start": 0.1, "step": 0.1, "every": "30s",
    /// "threshold": 0.8}}`. What is left out is the default; unknown fields are ignored.
    ///
    /// # Errors
    /// Neither or both of them, a wrong type, a value out of range.
    pub fn from_json(config: &Value) -> Result<Self, ConfigError> {
        match (config.get("linear"), config.get("steps")) {
            (Some(linear @ Value::Object(_)), None) => {
                let (path, default) = (field("linear"), Linear::default());
                let ramp = Self::linear(config::duration(&path, linear, "window", default.window)?)?;
                let ramp = ramp.with_start(config::not_negative(&path, linear, "least", default.least)?)?;
                ramp.with_aggression(config::not_negative(&path, linear, "aggression", default.aggression)?)
            }
            (None, Some(steps @ Value::Object(_))) => {
                let (path, default) = (field("steps"), Steps::default());
                let number = |field: &str, default: f64| config::not_negative(&path, steps, field, default);
                let every = config::duration(&path, steps, "every", default.every)?;
                let ramp = Self::steps().with_start(number("start", default.start)?)?;
                ramp.with_step(number("step", default.step)?, every)?.with_threshold(number("threshold", default.threshold)?)
            }
            _ => Err(ConfigError::new(NAME, config, "{\"linear\": {…}} or {\"steps\": {…}}")),
        }
    }

    /// What it begins with.
    pub(super) fn start(&self) -> f64 {
        match self {
            Self::Linear(linear) => linear.least,
            Self::Steps(steps) => steps.start,
        }
    }
}

fn field(name: &str) -> String {
    format!("{NAME}.{name}")
}

fn time(name: &str, time: Duration) -> Result<Duration, ConfigError> {
    let allowed = || format!("{SHORTEST:?} to {LONGEST:?}");
    let fits = (SHORTEST..=LONGEST).contains(&time);
    fits.then_some(time).ok_or_else(|| ConfigError::new(field(name), format!("{time:?}"), allowed()))
}

fn share(name: &str, share: f64) -> Result<f64, ConfigError> {
    let fits = share > 0.0 && share <= 1.0;
    fits.then_some(share).ok_or_else(|| ConfigError::new(field(name), share, "a number above 0 and at most 1"))
}

fn rate(rate: f64) -> Result<f64, ConfigError> {
    let fits = (0.0..=1.0).contains(&rate);
    fits.then_some(rate).ok_or_else(|| ConfigError::new(field("steps.threshold"), rate, "a number from 0 to 1"))
}

fn bend(aggression: f64) -> Result<f64, ConfigError> {
    let fits = (0.1..=10.0).contains(&aggression);
    fits.then_some(aggression).ok_or_else(|| ConfigError::new(field("linear.aggression"), aggression, "a number from 0.1 to 10"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_presets_are_as_promised() {
        let expected = Steps { start: 0.1, step: 0.1, every: Duration::from_secs(30), threshold: 0.8 };
        assert_eq!(RampConfig::from_json(&json!({"steps": {}})), Ok(RampConfig::Steps(expected)));
        let line = RampConfig::linear(Duration::from_secs(60)).unwrap();
        assert_eq!(RampConfig::from_json(&json!({"linear": {"unknown": 1}})), Ok(line));
    }

    #[test]
    fn values_out_of_range_are_errors_that_name_field_value_and_range() {
        for (config, name) in [
            (json!({}), "recovery"),
            (json!({"linear": {}, "steps": {}}), "recovery"),
            (json!({"linear": 1}), "recovery"),
            (json!({"linear": {"window": "1ms"}}), "recovery.linear.window"),
            (json!({"linear": {"window": 1}}), "recovery.linear.window"),
            (json!({"linear": {"least": 0}}), "recovery.linear.least"),
            (json!({"linear": {"aggression": 11}}), "recovery.linear.aggression"),
            (json!({"steps": {"start": 1.5}}), "recovery.steps.start"),
            (json!({"steps": {"step": 0}}), "recovery.steps.step"),
            (json!({"steps": {"every": "0s"}}), "recovery.steps.every"),
            (json!({"steps": {"threshold": 1.01}}), "recovery.steps.threshold"),
            (json!({"steps": {"threshold": "1"}}), "recovery.steps.threshold"),
        ] {
            assert_eq!(RampConfig::from_json(&config).unwrap_err().field, name, "{config}");
        }
        assert!(RampConfig::steps().with_start(f64::NAN).is_err() && RampConfig::steps().with_aggression(1.0).is_err());
        let line = || RampConfig::linear(Duration::from_secs(1)).unwrap();
        assert!(line().with_threshold(0.5).is_err() && line().with_step(0.1, Duration::from_secs(1)).is_err());
        assert!(line().with_aggression(f64::INFINITY).is_err() && RampConfig::linear(Duration::MAX).is_err());
    }
}
