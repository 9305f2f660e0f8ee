//! Scores that have proved useful, each a policy of its own.

use super::factor::{Factor, Factors};
use super::tier::Tiers;

/// A policy that is [`Scored`](super::Scored) with fixed factors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Preset {
    /// Capacity 0.4, weight 0.3, health 0.2, connections 0.1: endpoints of different size, known by their registry.
    Weighted,
    /// Success rate 0.35, speed 0.25, reliability 0.25, capacity 0.15: endpoints that differ in how well they do.
    Performance,
    /// Capacity 0.4, performance 0.3, affinity 0.2, reliability 0.1: tasks of different kind and cost. Learns which endpoint does which
    /// kind of work well.
    Task,
    /// Health 0.4, success rate 0.3, capacity 0.3: a registry whose checks are worth something.
    HealthAware,
    /// Among the endpoints whose capabilities match most exactly those the call requires, by capacity: general endpoints are left
    /// to calls that need them.
    CapabilityAware,
    /// Endpoints capable of the call's kind of work first, of those the ones of the lowest priority number, and among them weight 0.3,
    /// capacity 0.4, speed 0.3. A kind without a rule stands for the capability of that name (`gpu`, `quantum`).
    WorkloadAware,
    /// Cost 0.4, capacity 0.4, success rate 0.2: the cheaper endpoint, until it is busy.
    CostAware,
}

impl Preset {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Weighted,
        Self::Performance,
        Self::Task,
        Self::HealthAware,
        Self::CapabilityAware,
        Self::WorkloadAware,
        Self::CostAware,
    ];

    /// Its name in service configs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Weighted => "weighted",
            Self::Performance => "performance",
            Self::Task => "task",
            Self::HealthAware => "health_aware",
            Self::CapabilityAware => "capability_aware",
            Self::WorkloadAware => "workload_aware",
            Self::CostAware => "cost_aware",
        }
    }

    /// What it weighs.
    pub fn factors(self) -> Factors {
        use Factor::{Affinity, Capacity, Connections, Cost, Health, Latency, Performance, Reliability, SuccessRate, Weight};
        let weights: &[(Factor, f64)] = match self {
            Self::Weighted => &[(Capacity, 0.4), (Weight, 0.3), (Health, 0.2), (Connections, 0.1)],
            Self::Performance => &[(SuccessRate, 0.35), (Latency, 0.25), (Reliability, 0.25), (Capacity, 0.15)],
            Self::Task => &[(Capacity, 0.4), (Performance, 0.3), (Affinity, 0.2), (Reliability, 0.1)],
            Self::HealthAware => &[(Health, 0.4), (SuccessRate, 0.3), (Capacity, 0.3)],
            Self::CapabilityAware => &[(Capacity, 1.0)],
            Self::WorkloadAware => &[(Weight, 0.3), (Capacity, 0.4), (Latency, 0.3)],
            Self::CostAware => &[(Cost, 0.4), (Capacity, 0.4), (SuccessRate, 0.2)],
        };
        Factors::of(weights)
    }

    pub(super) fn tiers(self) -> Tiers {
        match self {
            Self::CapabilityAware => Tiers::Exact,
            Self::WorkloadAware => Tiers::Kind,
            _ => Tiers::None,
        }
    }

    /// Whether it learns which endpoint does which kind of work well.
    pub(super) fn learns(self) -> bool {
        self == Self::Task
    }
}
