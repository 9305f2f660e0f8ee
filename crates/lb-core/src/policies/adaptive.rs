//! `adaptive`: asks several policies, more often those that do better.
//!
//! Each call is placed by one of `children`, drawn by weights that are learned from how calls end, apart for each kind of call
//! ([`PickHints::kind`](crate::PickHints::kind), else the method; with and without a key). A call is a loss if it fails or is slow
//! compared with what the best child reaches on average; the tail of latencies counts, not their mean. The children are in order of
//! preference: while nothing is known 95 calls of 100 go by the first one, and differences too small to be told from chance leave it so.
//! `ring_hash`, `maglev` and `rendezvous` are asked only for calls with a hash key or a session, and for three of four of those at first: what
//! they do for caches shows only once the caches are warm.
//!
//! **Bound.** In a world that stands still the weights converge to the best child but for half a per cent of calls for each other one,
//! which go on exploring. If conditions flip, a child that was the worst so far takes over within some 600 calls, however long
//! it was the worst: weights are bounded from below by what they take from each other. There are 64 kinds, and more share them; 2 to 8
//! children. A pick adds a hash of the method's name and one draw to that of the child, takes no lock and allocates nothing.
//!
//! **When not.** If you know which policy fits, use that one: exploring costs a little, and a client with few calls learns slowly (in seconds:
//! 600 over its calls per second). Children that ask for different load reports all get theirs: it costs what the most expensive costs.
//!
//! ```
//! use lb_core::{PolicyRegistry, policies::Adaptive};
//! use serde_json::json;
//!
//! let registry = PolicyRegistry::default();
//! let policy = Adaptive::from_config(&json!({"children": [{"peak_ewma": {}}, {"maglev": {}}]}), &registry)?;
//! let weights = policy.weights();
//! assert_eq!(&*weights.of("/orders.v1.Orders/Place", false)[0].0, "peak_ewma");
//! let saved = serde_json::to_string(&weights.save()).expect("names and numbers");
//! weights.restore(&serde_json::from_str(&saved).expect("as it was saved"))?;
//! # Ok::<(), lb_core::ConfigError>(())
//! ```
//!
//! Source: Auer, Cesa-Bianchi, Freund and Schapire, "The Nonstochastic Multiarmed Bandit Problem", SIAM J. Comput. 2002 (Exp3, Exp3.S);
//! Neu, "Explore no more", NIPS 2015 (Exp3-IX); Herbster and Warmuth, "Tracking the Best Expert", Machine Learning 1998 (fixed share, here
//! towards the initial weights).

mod learner;
mod picker;
#[cfg(test)]
mod tests;
mod weights;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use serde::Deserialize;
use serde_json::{Value, json};

use self::learner::{Learner, MOST};
use self::picker::Experts;
pub use self::weights::{AdaptiveWeights, SavedWeights};
use crate::connectivity::ConnectivityState::{Connecting, Idle, Ready, TransientFailure};
use crate::entropy::Entropy;
use crate::policy::{ConfigError, LbState, Plan, Policy, SubchannelView};
use crate::registry::PolicyRegistry;

/// Asks several policies, more often those that do better. See the [module table](super) for when to use it.
#[derive(Debug)]
pub struct Adaptive {
    children: Vec<Box<dyn Policy>>,
    learner: Arc<Learner>,
}

impl Adaptive {
    /// Its name in service configs.
    pub const NAME: &'static str = "adaptive";

    /// From its configuration: `children`, a list of 2 to 8 policies as `{name: configuration}`, in order of preference, the default being
    /// `prequal`, `peak_ewma` and `maglev`; and `weights`, as [saved](AdaptiveWeights::save) earlier.
    pub fn from_config(config: &Value, registry: &PolicyRegistry) -> Result<Self, ConfigError> {
        let default = json!([{"prequal": {}}, {"peak_ewma": {}}, {"maglev": {}}]);
        let configured = config.get("children").filter(|value| !value.is_null()).unwrap_or(&default);
        let refused = || ConfigError::new("adaptive.children", configured, "a list of 2 to 8 policies");
        let list = configured.as_array().filter(|list| (2..=MOST).contains(&list.len())).ok_or_else(refused)?;
        let (mut names, mut children) = (Vec::new(), Vec::new());
        for (index, child) in list.iter().enumerate() {
            let (name, policy) = registry.from_list(&Value::Array(vec![child.clone()])).map_err(|error| within(index, error))?;
            names.push(name);
            children.push(policy);
        }
        let adaptive = Self { children, learner: Arc::new(Learner::new(names.into())) };
        if let Some(saved) = config.get("weights").filter(|value| !value.is_null()) {
            let refused = |error| ConfigError::new("adaptive.weights", saved, format!("weights as they were saved ({error})"));
            adaptive.weights().restore(&SavedWeights::deserialize(saved).map_err(refused)?)?;
        }
        Ok(adaptive)
    }

    /// Reads and sets what it has learned, also once a channel has the policy.
    pub fn weights(&self) -> AdaptiveWeights {
        AdaptiveWeights::new(Arc::clone(&self.learner))
    }
}

/// An error of a child, with the path to it.
fn within(index: usize, mut error: ConfigError) -> ConfigError {
    let rest = error.field.strip_prefix("loadBalancingConfig[0]").or_else(|| error.field.strip_prefix("loadBalancingConfig"));
    let rest = rest.map_or_else(|| format!(".{}", error.field), str::to_owned);
    error.field = format!("adaptive.children[{index}]{rest}");
    error
}

impl Policy for Adaptive {
    /// READY while any child is; else CONNECTING, IDLE or TRANSIENT_FAILURE, the first that a child is in.
    fn rebuild(&mut self, now: Instant, view: &[SubchannelView], plan: &mut Plan) -> LbState {
        let mut rebuilt = Vec::with_capacity(self.children.len());
        for (child, number) in self.children.iter_mut().zip(0..) {
            let mut wishes = Plan::new(Entropy::mix(plan.entropy.wrapping_add(number)));
            rebuilt.push(child.rebuild(now, view, &mut wishes));
            plan.merge(wishes);
        }
        let is_in = |state| rebuilt.iter().any(|lb| lb.state == state);
        let state = [Ready, Connecting, Idle].into_iter().find(|state| is_in(*state)).unwrap_or(TransientFailure);
        let pickers = rebuilt.into_iter().map(|lb| lb.picker).collect();
        // Each once; and a connection that one child wants is none too many.
        let mut wanted = BTreeSet::new();
        plan.connect.retain(|slot| wanted.insert(*slot));
        plan.disconnect.retain(|slot| !wanted.contains(slot));
        LbState::new(state, Arc::new(Experts::new(pickers, Arc::clone(&self.learner))))
    }
}
