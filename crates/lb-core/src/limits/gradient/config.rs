//! How the adaptive limit behaves, changeable while it runs.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use serde_json::Value;

use crate::policies::config;
use crate::policy::ConfigError;

const NAME: &str = "concurrencyLimit";

/// The largest limit anybody may set.
const LARGEST: u32 = 1_000_000;

/// The bounds and the temper of an adaptive concurrency limit. The defaults suit unary calls of 1 ms to 1 s.
///
/// ```
/// use lb_core::limits::GradientConfig;
///
/// let config = GradientConfig::new().initial(50)?.between(10, 500)?;
/// assert_eq!(GradientConfig::new().tolerance(3.0).unwrap_err().field, "concurrencyLimit.tolerance");
/// # Ok::<(), lb_core::ConfigError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct GradientConfig {
    /// Where the limit of a fresh endpoint starts; default 20.
    pub initial: u32,
    /// Never below this; default 4. At 1 an endpoint that is slow for reasons of its own answers one call at a time.
    pub min: u32,
    /// Never above this; default 1000.
    pub max: u32,
    /// How many times its unloaded latency an endpoint may take; default 1.08, so that one call in a dozen waits for another.
    pub tolerance: f64,
    /// How much of each correction is made at once; default 0.2.
    pub smoothing: f64,
    /// The shortest time over which latencies are averaged; default 100 ms. Twice the latency if that is longer.
    pub window: Duration,
    /// How often an endpoint that is always busy is measured at half its limit; default 10 s.
    pub probe_every: Duration,
}

impl Default for GradientConfig {
    fn default() -> Self {
        Self {
            initial: 20,
            min: 4,
            max: 1000,
            tolerance: 1.08,
            smoothing: 0.2,
            window: Duration::from_millis(100),
            probe_every: Duration::from_secs(10),
        }
    }
}

impl GradientConfig {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Where the limit of a fresh endpoint starts, 1 to 1 000 000. Beyond the bounds the nearest of them counts.
    ///
    /// # Errors
    /// A number out of range.
    pub fn initial(self, limit: u32) -> Result<Self, ConfigError> {
        Ok(Self { initial: whole("initial", limit)?, ..self })
    }

    /// The bounds of the limit, 1 to 1 000 000.
    ///
    /// # Errors
    /// A number out of range, or a least that is more than the most.
    pub fn between(self, min: u32, max: u32) -> Result<Self, ConfigError> {
        let (min, max) = (whole("min", min)?, whole("max", max)?);
        if min > max {
            return Err(error("min", min, &format!("at most the maximum, {max}")));
        }
        Ok(Self { min, max, ..self })
    }

    /// How many times its unloaded latency an endpoint may take, 1 to 1.9. From 2 on the measure at half the limit would not see the
    /// queue that the limit itself makes.
    ///
    /// # Errors
    /// A factor out of range.
    pub fn tolerance(self, factor: f64) -> Result<Self, ConfigError> {
        match (1.0..=1.9).contains(&factor) {
            true => Ok(Self { tolerance: factor, ..self }),
            false => Err(error("tolerance", factor, "a number from 1 to 1.9")),
        }
    }

    /// How much of each correction is made at once, 0.01 to 1.
    ///
    /// # Errors
    /// A share out of range.
    pub fn smoothing(self, share: f64) -> Result<Self, ConfigError> {
        match (0.01..=1.0).contains(&share) {
            true => Ok(Self { smoothing: share, ..self }),
            false => Err(error("smoothing", share, "a number from 0.01 to 1")),
        }
    }

    /// The shortest time over which latencies are averaged, 10 ms to 10 s.
    ///
    /// # Errors
    /// A time out of range.
    pub fn window(self, time: Duration) -> Result<Self, ConfigError> {
        match (Duration::from_millis(10)..=Duration::from_secs(10)).contains(&time) {
            true => Ok(Self { window: time, ..self }),
            false => Err(error("window", format!("{time:?}"), "a duration from 10 ms to 10 s")),
        }
    }

    /// How often an endpoint that is always busy is measured at half its limit, 1 s to 1 h.
    ///
    /// # Errors
    /// A time out of range.
    pub fn probe_every(self, time: Duration) -> Result<Self, ConfigError> {
        match (Duration::from_secs(1)..=Duration::from_secs(3600)).contains(&time) {
            true => Ok(Self { probe_every: time, ..self }),
            false => Err(error("probeEvery", format!("{time:?}"), "a duration from 1 s to 1 h")),
        }
    }

    /// From `{"initial": 20, "min": 4, "max": 1000, "tolerance": 1.08, "smoothing": 0.2, "window": "0.1s", "probeEvery": "10s"}`, all of
    /// which may be left out; unknown fields are ignored.
    ///
    /// # Errors
    /// A wrong type, a value out of range.
    pub fn from_json(value: &Value) -> Result<Self, ConfigError> {
        if !value.is_object() {
            return Err(ConfigError::new(NAME, value, "an object"));
        }
        let default = Self::default();
        let number = |field, default| config::unsigned(NAME, value, field, default);
        let share = |field, default| config::not_negative(NAME, value, field, default);
        let time = |field, default| config::duration(NAME, value, field, default);
        let (min, max) = (number("min", default.min)?, number("max", default.max)?);
        let config = Self::new().initial(number("initial", default.initial)?)?.between(min, max)?;
        let config = config.tolerance(share("tolerance", default.tolerance)?)?.smoothing(share("smoothing", default.smoothing)?)?;
        config.window(time("window", default.window)?)?.probe_every(time("probeEvery", default.probe_every)?)
    }

    /// The limit next to this one that is within the bounds.
    pub(super) fn bounded(&self, limit: f64) -> f64 {
        limit.max(f64::from(self.min)).min(f64::from(self.max))
    }
}

fn whole(field: &str, limit: u32) -> Result<u32, ConfigError> {
    match (1..=LARGEST).contains(&limit) {
        true => Ok(limit),
        false => Err(error(field, limit, "a whole number from 1 to 1000000")),
    }
}

fn error(field: &str, value: impl std::fmt::Display, allowed: &str) -> ConfigError {
    ConfigError::new(format!("{NAME}.{field}"), value, allowed)
}

/// A configuration that many read and one may change. Two fields read while it changes may be of different versions, which the limit
/// survives: it is read once a window.
#[derive(Debug)]
pub(crate) struct Settings {
    numbers: [AtomicU32; 3],
    shares: [AtomicU64; 2],
    nanos: [AtomicU64; 2],
}

impl Settings {
    pub(crate) fn new(config: &GradientConfig) -> Self {
        let settings = Self { numbers: Default::default(), shares: Default::default(), nanos: Default::default() };
        settings.set(config);
        settings
    }

    pub(crate) fn set(&self, config: &GradientConfig) {
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let numbers = [config.initial, config.min, config.max];
        self.numbers.iter().zip(numbers).for_each(|(field, number)| field.store(number, Ordering::Relaxed));
        let shares = [config.tolerance, config.smoothing];
        self.shares.iter().zip(shares).for_each(|(field, share)| field.store(share.to_bits(), Ordering::Relaxed));
        let times = [nanos(config.window), nanos(config.probe_every)];
        self.nanos.iter().zip(times).for_each(|(field, time)| field.store(time, Ordering::Relaxed));
    }

    pub(crate) fn get(&self) -> GradientConfig {
        let number = |at: usize| self.numbers[at].load(Ordering::Relaxed);
        let share = |at: usize| f64::from_bits(self.shares[at].load(Ordering::Relaxed));
        let time = |at: usize| Duration::from_nanos(self.nanos[at].load(Ordering::Relaxed));
        GradientConfig {
            initial: number(0),
            min: number(1),
            max: number(2),
            tolerance: share(0),
            smoothing: share(1),
            window: time(0),
            probe_every: time(1),
        }
    }
}
