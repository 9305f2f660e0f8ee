//! Hides endpoints the registry calls unhealthy or draining. Connections they have
//! stay and their calls finish, but none is made.

use std::time::Instant;

use crate::policy::{Plan, Stage, SubchannelView};

/// See the module's essay.
#[derive(Debug, Clone, Copy, Default)]
pub struct RegistryHealthStage;

impl Stage for RegistryHealthStage {
    fn name(&self) -> &'static str {
        "unhealthy or draining in the registry"
    }

    fn apply(&mut self, _now: Instant, view: &mut Vec<SubchannelView>, _plan: &mut Plan) {
        view.retain(|row| row.endpoint.attributes.health.takes_calls());
    }
}
