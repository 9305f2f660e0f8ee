//! Stages: what edits the view before the policies see it.
//!
//! A stage hides endpoints or changes their weights; it never closes a connection by that alone, so that an endpoint which comes
//! back into view takes calls at once. Stages run in order, each over what the ones before it left, and keep that order of
//! endpoints.
//!
//! [`DisableStage`], [`RegistryDisableStage`], [`DrainStage`] and [`RegistryHealthStage`] say who may take calls at all and come first;
//! [`OutlierStage`], if it is on, shows as failing whom calls find failing. Then every endpoint gets its [share](crate::recovery);
//! [`ReplicaStage`] hides who stands by for another; [`PriorityStage`] chooses a group among those; [`PanicRule`] takes some of it
//! back when too few are left.

mod disable;
mod drain;
mod outlier;
mod panic;
mod priority;
mod registry_health;
mod replica;

pub use disable::{DisableStage, RegistryDisableStage};
pub use drain::DrainStage;
pub use outlier::{
    ConsecutiveEjection, Ejection, EjectionCounts, EjectionMeasure, FailurePercentageEjection, LatencyEjection, MeasureCounts,
    OutlierConfig, OutlierStage, SuccessRateEjection,
};
pub use panic::{PanicConfig, PanicRule, PanicState};
pub use priority::{FailBack, FailoverConfig, FailoverState, GroupState, PriorityStage};
pub use registry_health::RegistryHealthStage;
pub use replica::{Promotion, ReplicaConfig, ReplicaStage};
