//! Hides endpoints the registry calls unhealthy or draining.
//!
//! Connections they have stay and their calls finish, but none is made. An endpoint of unknown or degraded health takes calls.
//! Bound: linear in the endpoints. When not: a registry whose checks are less trusted than one's own health checks.

use std::time::Instant;

use crate::policy::{Plan, Stage, SubchannelView};

/// Hides endpoints whose [`RegistryHealth`](crate::RegistryHealth) takes no calls, `Unhealthy` and `Draining`, and those an operator
/// [drains](crate::RegistryState::Draining) in their metadata.
#[derive(Debug, Clone, Copy, Default)]
pub struct RegistryHealthStage;

impl Stage for RegistryHealthStage {
    fn name(&self) -> &'static str {
        "unhealthy or draining in the registry"
    }

    fn apply(&mut self, _now: Instant, view: &mut Vec<SubchannelView>, _plan: &mut Plan) {
        view.retain(|row| row.endpoint.attributes.health.takes_calls() && !row.endpoint.attributes.is_draining());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::attributes::RegistryHealth;
    use crate::policies::testing::{ready, slot, start};

    #[test]
    fn unhealthy_and_draining_endpoints_are_hidden_and_left_alone() {
        let healths = [
            RegistryHealth::Unknown,
            RegistryHealth::Healthy,
            RegistryHealth::Degraded,
            RegistryHealth::Draining,
            RegistryHealth::Unhealthy,
        ];
        let mut view = ready(healths.len());
        for (row, health) in view.iter_mut().zip(healths) {
            Arc::make_mut(&mut row.endpoint).attributes.health = health;
        }
        let mut plan = Plan::default();
        RegistryHealthStage.apply(start(), &mut view, &mut plan);
        let visible: Vec<_> = view.iter().map(|row| row.slot).collect();
        assert_eq!(visible, [slot(0), slot(1), slot(2)]);
        assert!(plan.connect.is_empty() && plan.disconnect.is_empty());
    }
}
