//! What is judged, and how strictly.

use std::time::Duration;

use serde_json::{Map, Value};

use crate::policies::config;
use crate::policy::ConfigError;

const NAME: &str = "outlier_detection_experimental";

/// Which endpoints are ejected, for how long and how many. The default ejects nobody: no measure is on.
///
/// Field names in JSON and their defaults are gRFC A50's; the measure of latency is ours.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct OutlierConfig {
    /// How long calls are counted before they are judged; default 10 s.
    pub interval: Duration,
    /// How long an endpoint is ejected for the first time, and by how much longer each further time; default 30 s.
    pub base_ejection_time: Duration,
    /// The longest time; default 300 s, and never below the base time.
    pub max_ejection_time: Duration,
    /// The share of all endpoints that may be ejected at once, 0 to 100; default 10. Above 0 one always may.
    pub max_ejection_percent: u32,
    /// By success rate against the others' mean; `None` is off.
    pub success_rate: Option<SuccessRateEjection>,
    /// By a fixed share of failures; `None` is off.
    pub failure_percentage: Option<FailurePercentageEjection>,
    /// By mean latency against the others' median; `None` is off.
    pub latency: Option<LatencyEjection>,
    /// By failures of the server in a row, at once; `None` is off.
    pub consecutive_failures: Option<ConsecutiveEjection>,
    /// By answers in a row that say the server cannot be reached or is too late, at once; `None` is off.
    pub consecutive_gateway_failures: Option<ConsecutiveEjection>,
}

/// Ejects what succeeds less often than the others.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SuccessRateEjection {
    /// How many thousandths of a standard deviation below the mean is too low; default 1900.
    pub stdev_factor: u32,
    /// The chance that an outlier is ejected, 0 to 100; default 100.
    pub enforcement_percentage: u32,
    /// With fewer endpoints that have enough calls nobody is judged; default 5.
    pub minimum_hosts: u32,
    /// An endpoint with fewer calls in the interval is not judged; default 100.
    pub request_volume: u32,
}

/// Ejects what fails more often than a fixed share.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FailurePercentageEjection {
    /// More failures than this, in percent, are too many; default 85.
    pub threshold: u32,
    /// The chance that an outlier is ejected, 0 to 100; default 100.
    pub enforcement_percentage: u32,
    /// With fewer endpoints that have enough calls nobody is judged; default 5.
    pub minimum_hosts: u32,
    /// An endpoint with fewer calls in the interval is not judged; default 50.
    pub request_volume: u32,
}

/// Ejects what is slower than the others.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LatencyEjection {
    /// How many thousandths of the median is too slow; default 3000, three times. From 1000.
    pub factor: u32,
    /// Latencies up to this are never too slow, however fast the others are; default 10 ms.
    pub at_least: Duration,
    /// The chance that an outlier is ejected, 0 to 100; default 100.
    pub enforcement_percentage: u32,
    /// With fewer endpoints that have enough calls nobody is judged; default 3, the fewest of which one can differ from two.
    pub minimum_hosts: u32,
    /// An endpoint with fewer calls in the interval is not judged; default 50.
    pub request_volume: u32,
}

/// Ejects what fails so many times in a row, without waiting for the end of the interval and whatever the others do.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConsecutiveEjection {
    /// How many failures in a row are too many, from 1; default 5, as Envoy's.
    pub threshold: u32,
    /// The chance that one with so many is ejected, 0 to 100; default 100. (Envoy's is 0 for gateway failures; here who asks for the
    /// measure means it.)
    pub enforcement_percentage: u32,
}

impl Default for ConsecutiveEjection {
    fn default() -> Self {
        Self { threshold: 5, enforcement_percentage: 100 }
    }
}

impl Default for OutlierConfig {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(10),
            base_ejection_time: Duration::from_secs(30),
            max_ejection_time: Duration::from_secs(300),
            max_ejection_percent: 10,
            success_rate: None,
            failure_percentage: None,
            latency: None,
            consecutive_failures: None,
            consecutive_gateway_failures: None,
        }
    }
}

impl Default for SuccessRateEjection {
    fn default() -> Self {
        Self { stdev_factor: 1900, enforcement_percentage: 100, minimum_hosts: 5, request_volume: 100 }
    }
}

impl Default for FailurePercentageEjection {
    fn default() -> Self {
        Self { threshold: 85, enforcement_percentage: 100, minimum_hosts: 5, request_volume: 50 }
    }
}

impl Default for LatencyEjection {
    fn default() -> Self {
        let at_least = Duration::from_millis(10);
        Self { factor: 3000, at_least, enforcement_percentage: 100, minimum_hosts: 3, request_volume: 50 }
    }
}

impl OutlierConfig {
    /// From the fields of gRFC A50, in gRPC's JSON; unknown fields are ignored. A measure is on if its object is there, `{}` with
    /// defaults; ours are `latencyEjection` with `factor`, `atLeast` and the fields the others have, and `consecutiveFailures` and
    /// `consecutiveGatewayFailures` with `threshold` and `enforcementPercentage`.
    ///
    /// # Errors
    /// A wrong type, a negative or malformed duration, a percentage above 100, a row of 0.
    pub fn from_json(config: &Value) -> Result<Self, ConfigError> {
        let default = Self::default();
        let fields = Fields { path: NAME.to_owned(), value: config };
        let base_ejection_time = fields.duration("baseEjectionTime", default.base_ejection_time)?;
        Ok(Self {
            interval: fields.duration("interval", default.interval)?,
            base_ejection_time,
            max_ejection_time: fields.duration("maxEjectionTime", default.max_ejection_time.max(base_ejection_time))?,
            max_ejection_percent: fields.percent("maxEjectionPercent", default.max_ejection_percent)?,
            success_rate: fields.object("successRateEjection")?.map(|fields| fields.success_rate()).transpose()?,
            failure_percentage: fields.object("failurePercentageEjection")?.map(|fields| fields.failures()).transpose()?,
            latency: fields.object("latencyEjection")?.map(|fields| fields.latency()).transpose()?,
            consecutive_failures: fields.object("consecutiveFailures")?.map(|fields| fields.in_a_row()).transpose()?,
            consecutive_gateway_failures: fields
                .object("consecutiveGatewayFailures")?
                .map(|fields| fields.in_a_row())
                .transpose()?,
        })
    }

    /// How long an endpoint is ejected for.
    pub(super) fn time(&self, multiplier: u32) -> Duration {
        let most = self.max_ejection_time.max(self.base_ejection_time);
        self.base_ejection_time.saturating_mul(multiplier).min(most)
    }

    /// Whether anybody can be ejected.
    pub fn is_on(&self) -> bool {
        self.success_rate.is_some() || self.failure_percentage.is_some() || self.latency.is_some() || self.counts_rows()
    }
}

impl OutlierConfig {
    /// Whether endpoints are ejected for failures in a row.
    pub(super) fn counts_rows(&self) -> bool {
        self.consecutive_failures.is_some() || self.consecutive_gateway_failures.is_some()
    }
}

/// An object, and where in the configuration it is.
struct Fields<'a> {
    path: String,
    value: &'a Value,
}

impl<'a> Fields<'a> {
    fn object(&self, field: &str) -> Result<Option<Self>, ConfigError> {
        let path = format!("{}.{field}", self.path);
        match self.value.get(field) {
            None | Some(Value::Null) => Ok(None),
            Some(value) if value.as_object().map(Map::len).is_some() => Ok(Some(Fields { path, value })),
            Some(other) => Err(ConfigError::new(path, other, "an object")),
        }
    }

    fn duration(&self, field: &str, default: Duration) -> Result<Duration, ConfigError> {
        if self.value.get(field).and_then(Value::as_str).is_some_and(|text| text.starts_with('-')) {
            return Err(ConfigError::new(format!("{}.{field}", self.path), &self.value[field], "a duration from 0"));
        }
        config::duration(&self.path, self.value, field, default)
    }

    fn whole(&self, field: &str, default: u32) -> Result<u32, ConfigError> {
        config::unsigned(&self.path, self.value, field, default)
    }

    fn percent(&self, field: &str, default: u32) -> Result<u32, ConfigError> {
        let percent = self.whole(field, default)?;
        if percent > 100 {
            return Err(ConfigError::new(format!("{}.{field}", self.path), percent, "a whole number from 0 to 100"));
        }
        Ok(percent)
    }

    fn success_rate(&self) -> Result<SuccessRateEjection, ConfigError> {
        let default = SuccessRateEjection::default();
        Ok(SuccessRateEjection {
            stdev_factor: self.whole("stdevFactor", default.stdev_factor)?,
            enforcement_percentage: self.percent("enforcementPercentage", default.enforcement_percentage)?,
            minimum_hosts: self.whole("minimumHosts", default.minimum_hosts)?,
            request_volume: self.whole("requestVolume", default.request_volume)?,
        })
    }

    fn failures(&self) -> Result<FailurePercentageEjection, ConfigError> {
        let default = FailurePercentageEjection::default();
        Ok(FailurePercentageEjection {
            threshold: self.percent("threshold", default.threshold)?,
            enforcement_percentage: self.percent("enforcementPercentage", default.enforcement_percentage)?,
            minimum_hosts: self.whole("minimumHosts", default.minimum_hosts)?,
            request_volume: self.whole("requestVolume", default.request_volume)?,
        })
    }

    fn in_a_row(&self) -> Result<ConsecutiveEjection, ConfigError> {
        let default = ConsecutiveEjection::default();
        let threshold = self.whole("threshold", default.threshold)?;
        if threshold == 0 {
            return Err(ConfigError::new(format!("{}.threshold", self.path), threshold, "a whole number from 1"));
        }
        let enforcement_percentage = self.percent("enforcementPercentage", default.enforcement_percentage)?;
        Ok(ConsecutiveEjection { threshold, enforcement_percentage })
    }

    fn latency(&self) -> Result<LatencyEjection, ConfigError> {
        let default = LatencyEjection::default();
        let factor = self.whole("factor", default.factor)?;
        if factor < 1000 {
            return Err(ConfigError::new(format!("{}.factor", self.path), factor, "a whole number from 1000"));
        }
        Ok(LatencyEjection {
            factor,
            at_least: self.duration("atLeast", default.at_least)?,
            enforcement_percentage: self.percent("enforcementPercentage", default.enforcement_percentage)?,
            minimum_hosts: self.whole("minimumHosts", default.minimum_hosts)?,
            request_volume: self.whole("requestVolume", default.request_volume)?,
        })
    }
}
