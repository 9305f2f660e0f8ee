//! What was learned, for people and for the next process.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Adaptive;
use super::learner::{KINDS, Learner};
use super::picker::kind;
use crate::policy::ConfigError;

/// Reads and sets what an [`Adaptive`] policy has learned, at any time and from any thread. Cheap to clone; works on after the policy was
/// given to a channel.
#[derive(Debug, Clone)]
pub struct AdaptiveWeights {
    learner: Arc<Learner>,
}

/// Learned weights as data, such as a file holds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct SavedWeights {
    /// The children's names, in their order.
    pub children: Vec<String>,
    /// For each kind of call, by its number, the weights of the children; kinds about which nothing was learned are left out. Which number
    /// a kind has follows from its name and does not change between versions.
    pub kinds: BTreeMap<u32, Vec<f32>>,
}

impl AdaptiveWeights {
    pub(super) fn new(learner: Arc<Learner>) -> Self {
        Self { learner }
    }

    /// The share of calls each child places, by its name, for calls of this kind or, if they have none, this method
    /// (`/orders.v1.Orders/Place`); those with a hash key or session are learned about apart. Shares add up to 1.
    pub fn of(&self, call: &str, has_key: bool) -> Vec<(Arc<str>, f64)> {
        let shares = self.learner.shares(kind(call, has_key)).map(f64::from);
        self.learner.names.iter().cloned().zip(shares).collect()
    }

    /// All that was learned.
    pub fn save(&self) -> SavedWeights {
        let children = self.learner.names.iter().map(|name| name.to_string()).collect::<Vec<_>>();
        let learned = (0..KINDS).filter(|kind| !self.learner.is_new(*kind));
        let kinds = learned.map(|kind| (kind as u32, self.learner.weights(kind)[..children.len()].to_vec())).collect();
        SavedWeights { children, kinds }
    }

    /// Goes on from what was saved. Kinds that are not in it keep what they learned.
    ///
    /// # Errors
    /// The children are others or in another order, or a weight is negative or not a number; nothing is changed then.
    pub fn restore(&self, saved: &SavedWeights) -> Result<(), ConfigError> {
        let names: Vec<&str> = self.learner.names.iter().map(|name| &**name).collect();
        if saved.children != names {
            return Err(refused("children", saved.children.join(", "), names.join(", ")));
        }
        for (kind, weights) in &saved.kinds {
            let sane = |weight: &f32| (0.0..=1e6).contains(weight);
            if *kind >= KINDS as u32 || weights.len() != names.len() || !weights.iter().all(sane) {
                let allowed = format!("{} weights from 0 to 1000000 for a kind from 0 to {}", names.len(), KINDS - 1);
                return Err(refused("kinds", format!("{kind}: {weights:?}"), allowed));
            }
        }
        saved.kinds.iter().for_each(|(kind, weights)| self.learner.set(*kind as usize, weights.iter().copied()));
        Ok(())
    }
}

fn refused(field: &str, value: String, allowed: String) -> ConfigError {
    ConfigError::new(format!("{}.weights.{field}", Adaptive::NAME), value, allowed)
}
