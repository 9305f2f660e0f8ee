//! The factors by name, and how much each counts.

use serde_json::Value;

use crate::policy::ConfigError;

/// The largest weight of a factor; larger numbers say nothing that their ratio does not.
const MOST: f64 = 1_000.0;

/// One aspect of an endpoint, from 0 to 1; more is better. What a factor does not know of an endpoint counts as good, so that a new
/// endpoint gets the calls that tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Factor {
    /// What the call would leave free: 1 - (in flight + cost) / capacity. Without a capacity it is the mean of what the server says is
    /// free and of what `1 - (in flight + cost) / (busiest + cost)` says, or the latter alone.
    Capacity,
    /// Weight relative to the heaviest.
    Weight,
    /// What the registry says: 1, or 0.5 for degraded.
    Health,
    /// 1 - calls in flight relative to the busiest.
    Connections,
    /// The share of recent calls that ended well.
    SuccessRate,
    /// Speed relative to the fastest. What failed was not fast: latency counts divided by the success rate.
    Latency,
    /// The share of all calls so far that ended well. Never forgets: with `"choiceCount": 0` it is hard to live down.
    Reliability,
    /// Success rate and speed in the ratio 35 : 25.
    Performance,
    /// 1 for endpoints the call prefers; else what a rule for the call's kind of work says, or experience with that kind, or two parts of
    /// the one and one of the other; 0 if the call has no kind.
    Affinity,
    /// How exactly the capabilities match those required: required / offered, 1 if nothing is required, 0 if one is missing.
    Specialisation,
    /// Price of the cheapest relative to this; 0.5 if unknown.
    Cost,
    /// 1 in the sub-zone the call wishes, 0.8 in the zone, 0.5 in the region, else 0; an empty part of the wish matches any.
    Locality,
    /// As capacity, for the load Holt's linear trend expects 5 s from now.
    LoadForecast,
}

/// How much each factor counts, and how much errors do.
///
/// ```
/// use lb_core::policies::{Factor, Factors};
///
/// let factors = Factors::default().with(Factor::Capacity, 0.7)?.with(Factor::Latency, 0.3)?;
/// assert_eq!(factors.weight(Factor::Latency), 0.3);
/// # Ok::<(), lb_core::ConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Factors {
    weights: [f64; Factor::ALL.len()],
    error_penalty: f64,
}

impl Default for Factors {
    /// No factor yet, and a penalty of 1: an endpoint that only fails falls below any that does not, as long as weights add up to 1. Half
    /// of most scores speaks for one that fails at once, because it is idle.
    fn default() -> Self {
        Self { weights: [0.0; Factor::ALL.len()], error_penalty: 1.0 }
    }
}

impl Factor {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::Capacity,
        Self::Weight,
        Self::Health,
        Self::Connections,
        Self::SuccessRate,
        Self::Latency,
        Self::Reliability,
        Self::Performance,
        Self::Affinity,
        Self::Specialisation,
        Self::Cost,
        Self::Locality,
        Self::LoadForecast,
    ];

    /// Its name among the parts of a [`Score`](crate::Score).
    pub fn name(self) -> &'static str {
        match self {
            Self::Capacity => "capacity",
            Self::Weight => "weight",
            Self::Health => "health",
            Self::Connections => "connections",
            Self::SuccessRate => "success_rate",
            Self::Latency => "latency",
            Self::Reliability => "reliability",
            Self::Performance => "performance",
            Self::Affinity => "affinity",
            Self::Specialisation => "specialisation",
            Self::Cost => "cost",
            Self::Locality => "locality",
            Self::LoadForecast => "load_forecast",
        }
    }

    /// Its name in a configuration, as proto3 JSON has it; [`name`](Self::name) is accepted as well.
    pub fn config_name(self) -> &'static str {
        match self {
            Self::SuccessRate => "successRate",
            Self::LoadForecast => "loadForecast",
            other => other.name(),
        }
    }

    fn from_config(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|factor| factor.name() == name || factor.config_name() == name)
    }

    /// Whether it changes only when the set of endpoints does, whatever the call.
    pub(super) fn is_fixed(self) -> bool {
        matches!(self, Self::Weight | Self::Health | Self::Cost)
    }
}

impl Factors {
    /// The same with this weight for a factor: 0 to 1000; 0 leaves it out.
    ///
    /// # Errors
    /// A weight that is negative, above 1000 or not a number.
    pub fn with(mut self, factor: Factor, weight: f64) -> Result<Self, ConfigError> {
        self.weights[factor as usize] = checked(factor.config_name(), weight)?;
        Ok(self)
    }

    /// The same with this penalty: what a failure rate of 1 takes from the score; 0 to 1000, default 1.
    ///
    /// # Errors
    /// A penalty that is negative, above 1000 or not a number.
    pub fn with_error_penalty(mut self, penalty: f64) -> Result<Self, ConfigError> {
        self.error_penalty = checked("errorPenalty", penalty)?;
        Ok(self)
    }

    /// The weight of a factor.
    pub fn weight(&self, factor: Factor) -> f64 {
        self.weights[factor as usize]
    }

    /// What a failure rate of 1 takes from the score.
    pub fn error_penalty(&self) -> f64 {
        self.error_penalty
    }

    /// The factors that count, with their weights.
    pub fn iter(&self) -> impl Iterator<Item = (Factor, f64)> {
        Factor::ALL.into_iter().map(|factor| (factor, self.weight(factor))).filter(|(_, weight)| *weight > 0.0)
    }

    /// Weights given here, where the crate's own tests see to their range.
    pub(super) fn of(weights: &[(Factor, f64)]) -> Self {
        let mut factors = Self::default();
        weights.iter().for_each(|(factor, weight)| factors.weights[*factor as usize] = *weight);
        factors
    }

    /// From `{"capacity": 0.4, …}`.
    pub(super) fn from_config(config: &Value) -> Result<Self, ConfigError> {
        let weights = config.as_object().ok_or_else(|| ConfigError::new("factors", config, "an object of factors and weights"))?;
        let mut factors = Self::default();
        for (name, weight) in weights {
            let factor = Factor::from_config(name)
                .ok_or_else(|| ConfigError::new("factors", format!("{name:?}"), format!("any of {}", Self::names())))?;
            let error = || ConfigError::new(format!("factors.{name}"), weight, "a number from 0 to 1000");
            factors = factors.with(factor, weight.as_f64().ok_or_else(error)?).map_err(|_| error())?;
        }
        if factors.iter().next().is_none() {
            return Err(ConfigError::new("factors", config, "at least one factor with a weight above 0"));
        }
        Ok(factors)
    }

    fn names() -> String {
        Factor::ALL.map(Factor::config_name).join(", ")
    }
}

fn checked(name: &str, weight: f64) -> Result<f64, ConfigError> {
    let error = || ConfigError::new(name, weight, "a number from 0 to 1000");
    if (0.0..=MOST).contains(&weight) { Ok(weight) } else { Err(error()) }
}
