//! Hides endpoints that are disabled, and lets their connections go.
//!
//! Unlike a drained endpoint a disabled one is not kept connected: it gets no new calls, those in progress finish, then its
//! connection is closed, and none is made until it is enabled. For a server that is to be moved, upgraded or looked into.

use std::collections::BTreeSet;
use std::time::Instant;

use crate::attributes::RegistryState;
use crate::endpoint::EndpointKey;
use crate::policy::{Plan, Stage, SubchannelView};
use crate::slot::Slot;

/// The set of endpoints disabled by hand. An endpoint stays in it while the resolver does not list it.
#[derive(Debug, Clone, Default)]
pub struct DisableStage {
    disabled: BTreeSet<EndpointKey>,
}

impl DisableStage {
    /// Disables an endpoint or enables it; whether that changes anything.
    pub fn set(&mut self, endpoint: EndpointKey, disabled: bool) -> bool {
        if disabled { self.disabled.insert(endpoint) } else { self.disabled.remove(&endpoint) }
    }
}

impl Stage for DisableStage {
    fn name(&self) -> &'static str {
        "disabled"
    }

    fn apply(&mut self, _now: Instant, view: &mut Vec<SubchannelView>, plan: &mut Plan) {
        if !self.disabled.is_empty() {
            take_out(view, plan, |row| self.disabled.contains(row.endpoint.key()));
        }
    }
}

/// Hides endpoints that the registry [disables](RegistryState::Disabled) in their metadata.
#[derive(Debug, Clone, Copy, Default)]
pub struct RegistryDisableStage;

impl Stage for RegistryDisableStage {
    fn name(&self) -> &'static str {
        "disabled in the registry"
    }

    fn apply(&mut self, _now: Instant, view: &mut Vec<SubchannelView>, plan: &mut Plan) {
        take_out(view, plan, |row| row.endpoint.attributes.registry_state() == RegistryState::Disabled);
    }
}

/// Closing a connection lets its calls finish; closing none does nothing.
fn take_out(view: &mut Vec<SubchannelView>, plan: &mut Plan, is_out: impl Fn(&SubchannelView) -> bool) {
    let out: Vec<Slot> = view.iter().filter(|row| is_out(row)).map(|row| row.slot).collect();
    if !out.is_empty() {
        view.retain(|row| !is_out(row));
        plan.disconnect.extend(out);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::attributes::REGISTRY_STATE;
    use crate::policies::testing::{ready, slot, start};

    #[test]
    fn a_disabled_endpoint_is_hidden_and_let_go_by_whoever_disables_it() {
        let mut by_hand = DisableStage::default();
        let key = ready(3)[1].endpoint.key().clone();
        assert!(by_hand.set(key.clone(), true) && !by_hand.set(key.clone(), true));
        let mut view = ready(3);
        Arc::make_mut(&mut view[1].endpoint).attributes.metadata.insert(REGISTRY_STATE.into(), "disabled".into());
        let stages: [&mut dyn Stage; 2] = [&mut by_hand, &mut RegistryDisableStage];
        for stage in stages {
            let (mut view, mut plan) = (view.clone(), Plan::default());
            stage.apply(start(), &mut view, &mut plan);
            let left: Vec<Slot> = view.iter().map(|row| row.slot).collect();
            assert_eq!((left, plan.disconnect, plan.connect.len()), (vec![slot(0), slot(2)], vec![slot(1)], 0));
        }
        assert!(by_hand.set(key.clone(), false) && !by_hand.set(key, false));
        let mut plan = Plan::default();
        by_hand.apply(start(), &mut view, &mut plan);
        assert_eq!((view.len(), plan.disconnect.len()), (3, 0));
    }
}
