//! Hides endpoints an operator has taken out. Their connections stay, their calls finish.

use std::collections::BTreeSet;
use std::time::Instant;

use crate::endpoint::EndpointKey;
use crate::policy::{Plan, Stage, SubchannelView};

/// The set of drained endpoints. An endpoint stays in it while the resolver does not list it.
#[derive(Debug, Clone, Default)]
pub struct DrainStage {
    drained: BTreeSet<EndpointKey>,
}

impl DrainStage {
    /// Drains an endpoint or takes it back.
    pub fn set(&mut self, endpoint: EndpointKey, drained: bool) {
        if drained {
            self.drained.insert(endpoint);
        } else {
            self.drained.remove(&endpoint);
        }
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
            if drained {
                // Kept connected, so that it takes calls the moment it is back.
                plan.connect.push(row.slot);
            }
            !drained
        });
    }
}
