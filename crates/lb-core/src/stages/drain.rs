//! Hides endpoints an operator has taken out. Their connections stay, their calls finish.

use std::collections::BTreeSet;
use std::time::Instant;

use crate::connectivity::ConnectivityState;
use crate::endpoint::EndpointKey;
use crate::policy::{Plan, Stage, SubchannelView};

/// The set of drained endpoints. An endpoint stays in it while the resolver does not list it.
#[derive(Debug, Clone, Default)]
pub struct DrainStage {
    drained: BTreeSet<EndpointKey>,
}

impl DrainStage {
    /// Drains an endpoint or takes it back; whether that changes anything.
    pub fn set(&mut self, endpoint: EndpointKey, drained: bool) -> bool {
        if drained { self.drained.insert(endpoint) } else { self.drained.remove(&endpoint) }
    }
}

impl Stage for DrainStage {
    fn name(&self) -> &'static str {
        "drained"
    }

    fn apply(&mut self, _now: Instant, view: &mut Vec<SubchannelView>, plan: &mut Plan) {
        if self.drained.is_empty() {
            return;
        }
        view.retain(|row| {
            let drained = self.drained.contains(row.endpoint.key());
            if drained && row.state != ConnectivityState::Idle {
                // Kept connected, so that it takes calls the moment it is back; one the policy never wanted is left alone.
                plan.connect.push(row.slot);
            }
            !drained
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policies::testing::{ready, slot, start};

    fn visible(stage: &mut DrainStage) -> (Vec<crate::Slot>, Plan) {
        apply(stage, ready(3))
    }

    fn apply(stage: &mut DrainStage, mut view: Vec<SubchannelView>) -> (Vec<crate::Slot>, Plan) {
        let mut plan = Plan::default();
        stage.apply(start(), &mut view, &mut plan);
        (view.iter().map(|row| row.slot).collect(), plan)
    }

    #[test]
    fn a_drained_endpoint_is_hidden_and_kept_connected_until_it_is_back() {
        let mut stage = DrainStage::default();
        let key = ready(3)[1].endpoint.key().clone();
        assert!(stage.set(key.clone(), true));
        assert!(!stage.set(key.clone(), true), "it was already");
        stage.set(EndpointKey::from("10.9.9.9:1"), true);
        let (slots, plan) = visible(&mut stage);
        assert_eq!((slots, plan.connect, plan.disconnect), (vec![slot(0), slot(2)], vec![slot(1)], vec![]));
        let mut unused = ready(3);
        unused[1].state = ConnectivityState::Idle;
        assert!(apply(&mut stage, unused).1.connect.is_empty(), "it was never wanted");
        stage.set(key, false);
        assert_eq!(visible(&mut stage).0, [slot(0), slot(1), slot(2)]);
    }
}
