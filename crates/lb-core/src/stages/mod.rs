//! Stages: what edits the view before the policies see it.

mod drain;
mod registry_health;

pub use drain::DrainStage;
pub use registry_health::RegistryHealthStage;
