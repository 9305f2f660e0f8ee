//! What is told of ejections.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;

/// By which measure an endpoint is an outlier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum EjectionMeasure {
    /// Its success rate is far below the mean of all.
    SuccessRate,
    /// Too large a share of its calls fails.
    FailurePercentage,
    /// Its calls take far longer than those of all.
    Latency,
    /// Too many of its calls failed one after the other.
    ConsecutiveFailures,
    /// Too many one after the other did not reach it in time.
    ConsecutiveGatewayFailures,
}

impl EjectionMeasure {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::SuccessRate, Self::FailurePercentage, Self::Latency, Self::ConsecutiveFailures, Self::ConsecutiveGatewayFailures];

    /// In one word, as in its data form and in gRPC's metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SuccessRate => "success_rate",
            Self::FailurePercentage => "failure_percentage",
            Self::Latency => "latency",
            Self::ConsecutiveFailures => "consecutive_failures",
            Self::ConsecutiveGatewayFailures => "consecutive_gateway_failures",
        }
    }
}

impl fmt::Display for EjectionMeasure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An endpoint is ejected.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ejection {
    /// Since when.
    pub at: Instant,
    /// Until when at least: it comes back at the end of the interval in which that passes. `None` is for ever.
    pub until: Option<Instant>,
    /// By which measure.
    pub measure: EjectionMeasure,
    /// Why, for people.
    pub reason: Arc<str>,
}

/// How often endpoints were found to be outliers by one measure, and what came of it, since the channel was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct MeasureCounts {
    /// Ejected.
    pub enforced: u64,
    /// Not ejected by chance: the measure is not enforced always.
    pub spared_by_chance: u64,
    /// Not ejected because as many as may be were.
    pub spared_by_overflow: u64,
}

/// The same for all measures.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct EjectionCounts {
    /// By [`EjectionMeasure::SuccessRate`].
    pub success_rate: MeasureCounts,
    /// By [`EjectionMeasure::FailurePercentage`].
    pub failure_percentage: MeasureCounts,
    /// By [`EjectionMeasure::Latency`].
    pub latency: MeasureCounts,
    /// By [`EjectionMeasure::ConsecutiveFailures`].
    pub consecutive_failures: MeasureCounts,
    /// By [`EjectionMeasure::ConsecutiveGatewayFailures`].
    pub consecutive_gateway_failures: MeasureCounts,
}

impl EjectionCounts {
    /// Those of one measure.
    pub fn by(&self, measure: EjectionMeasure) -> MeasureCounts {
        let mut counts = *self;
        *counts.by_mut(measure)
    }

    /// Ejections by any measure.
    pub fn enforced(&self) -> u64 {
        EjectionMeasure::ALL.into_iter().map(|measure| self.by(measure).enforced).sum()
    }

    pub(super) fn by_mut(&mut self, measure: EjectionMeasure) -> &mut MeasureCounts {
        match measure {
            EjectionMeasure::SuccessRate => &mut self.success_rate,
            EjectionMeasure::FailurePercentage => &mut self.failure_percentage,
            EjectionMeasure::Latency => &mut self.latency,
            EjectionMeasure::ConsecutiveFailures => &mut self.consecutive_failures,
            EjectionMeasure::ConsecutiveGatewayFailures => &mut self.consecutive_gateway_failures,
        }
    }
}
