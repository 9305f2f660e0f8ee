//! `random_subsetting`: a policy over a few endpoints, others for each client.
//!
//! Every endpoint is hashed with a seed of this client's own, and the `subsetSize` with the lowest hashes are all that the policy
//! within sees; the others are not connected. So a thousand clients of a thousand servers keep twenty thousand connections instead
//! of a million. The seed is drawn once, so a client keeps its subset: one endpoint that comes or goes changes at most one of its
//! members.
//!
//! **Bound.** Load evens out by chance only: with `c` clients, `n` servers and subsets of `k`, a server has `c·k/n` clients give or
//! take the square root of that. A rebuild hashes only endpoints that are new, and sorts only when the list has changed: O(n log n)
//! then, O(n) else.
//!
//! **When not.** Few clients: some servers get none. Endpoints of a subset that fail are not replaced, as is prescribed: combine
//! with subsets large enough that one is always left.
//!
//! ```
//! use lb_core::PolicyRegistry;
//! use serde_json::json;
//!
//! let config = json!({"subsetSize": 20, "childPolicy": [{"round_robin": {}}]});
//! let policy = PolicyRegistry::default().build("random_subsetting_experimental", &config)?;
//! # Ok::<(), lb_core::ConfigError>(())
//! ```
//!
//! Source: gRFC A68. A channel that gets another configuration makes a new policy with a new seed;
//! [`with_seed`](RandomSubsetting::with_seed) keeps one.

use std::sync::Arc;
use std::time::Instant;

use serde_json::Value;

use super::children::ChildPolicy;
use super::config;
use super::hash;
use crate::connectivity::ConnectivityState::Idle;
use crate::endpoint::Endpoint;
use crate::policy::{ConfigError, LbState, Plan, Policy, SubchannelView};
use crate::registry::PolicyRegistry;

/// A policy over a few endpoints, others for each client. See the [module table](super) for when to use it.
#[derive(Debug)]
pub struct RandomSubsetting {
    size: usize,
    child: Box<dyn Policy>,
    /// Drawn at the first rebuild.
    seed: Option<u64>,
    scored: Vec<Scored>,
    /// Places in the last view, best first.
    subset: Vec<usize>,
}

/// An endpoint of the last view.
#[derive(Debug)]
struct Scored {
    endpoint: Arc<Endpoint>,
    score: u64,
}

impl RandomSubsetting {
    /// Its name in service configs.
    pub const NAME: &'static str = "random_subsetting_experimental";

    /// From its configuration: `subsetSize`, at least 1, and `childPolicy`, a list of policies of which the first that `registry`
    /// knows is used. Both are required.
    pub fn from_config(config: &Value, registry: &PolicyRegistry) -> Result<Self, ConfigError> {
        let size = config::unsigned(Self::NAME, config, "subsetSize", 0)?;
        if size == 0 {
            let found = config.get("subsetSize").cloned().unwrap_or_default();
            return Err(ConfigError::new(format!("{}.subsetSize", Self::NAME), found, "a whole number from 1"));
        }
        let child = ChildPolicy::from_config(Self::NAME, config, registry)?.build()?;
        Ok(Self { size: size as usize, child, seed: None, scored: Vec::new(), subset: Vec::new() })
    }

    /// The same with this seed instead of one drawn at the first rebuild. Clients must have different ones.
    #[must_use]
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Looks at a list, and chooses again if it is not the last one.
    fn follow(&mut self, view: &[SubchannelView], seed: u64) {
        let same = |(row, scored): (&SubchannelView, &Scored)| Arc::ptr_eq(&row.endpoint, &scored.endpoint);
        if view.len() == self.scored.len() && view.iter().zip(&self.scored).all(same) {
            return;
        }
        let score = |endpoint: &Endpoint| hash::seeded(endpoint.addresses()[0].to_string().as_bytes(), seed);
        let scored = |row: &SubchannelView| Scored { endpoint: Arc::clone(&row.endpoint), score: score(&row.endpoint) };
        self.scored = view.iter().map(scored).collect();
        self.subset = (0..view.len()).collect();
        // Stable: of equal ones the first listed.
        self.subset.sort_by_key(|place| self.scored[*place].score);
        self.subset.truncate(self.size);
    }
}

impl Policy for RandomSubsetting {
    fn rebuild(&mut self, now: Instant, view: &[SubchannelView], plan: &mut Plan) -> LbState {
        let seed = *self.seed.get_or_insert(plan.entropy);
        if self.size >= view.len() {
            return self.child.rebuild(now, view, plan);
        }
        self.follow(view, seed);
        let mut left_out = vec![true; view.len()];
        self.subset.iter().for_each(|place| left_out[*place] = false);
        let superfluous = view.iter().zip(left_out).filter(|(row, left_out)| *left_out && row.state != Idle);
        plan.disconnect.extend(superfluous.map(|(row, _)| row.slot));
        let subset: Vec<SubchannelView> = self.subset.iter().map(|place| view[*place].clone()).collect();
        self.child.rebuild(now, &subset, plan)
    }

    fn spans_priorities(&self) -> bool {
        self.child.spans_priorities()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::connectivity::ConnectivityState::Ready;
    use crate::policies::testing::{Caller, ready, slot, start};
    use crate::slot::Slot;

    fn policy(size: u32) -> RandomSubsetting {
        let config = json!({"subsetSize": size, "childPolicy": [{"round_robin": {}}]});
        RandomSubsetting::from_config(&config, &PolicyRegistry::default()).unwrap()
    }

    /// What the policy within is shown: round_robin asks for a connection to each, in order.
    fn subset(policy: &mut RandomSubsetting, view: &[SubchannelView], entropy: u64) -> Vec<Slot> {
        let mut plan = Plan::new(entropy);
        let _ = policy.rebuild(start(), view, &mut plan);
        plan.connect
    }

    #[test]
    fn configuration_table() {
        let build = |config: Value| RandomSubsetting::from_config(&config, &PolicyRegistry::default()).map(|policy| policy.size);
        let child = json!([{"unknown": {}}, {"round_robin": {}}]);
        assert_eq!(build(json!({"subsetSize": 3, "childPolicy": child})), Ok(3));
        for (config, field) in [
            (json!({"childPolicy": child}), "subsetSize"),
            (json!({"subsetSize": 0, "childPolicy": child}), "subsetSize"),
            (json!({"subsetSize": -1, "childPolicy": child}), "subsetSize"),
            (json!({"subsetSize": 3}), "childPolicy"),
            (json!({"subsetSize": 3, "childPolicy": []}), "childPolicy"),
            (json!({"subsetSize": 3, "childPolicy": [{"unknown": {}}]}), "childPolicy"),
            (json!({"subsetSize": 3, "childPolicy": [{"least_request": {"choiceCount": 0}}]}), "childPolicy"),
        ] {
            let error = build(config.clone()).unwrap_err();
            assert!(error.field.starts_with(&format!("random_subsetting_experimental.{field}")), "{config}: {error}");
        }
    }

    #[test]
    fn the_published_orders() {
        let mut view = ready(6);
        for (row, number) in view.iter_mut().zip(1_u8..) {
            row.endpoint = Arc::new(Endpoint::new(std::net::SocketAddr::from(([10, 0, 0, number], 80))));
        }
        for (seed, order) in [(0, [1, 6, 4, 5, 2, 3]), (42, [5, 2, 6, 4, 3, 1])] {
            for size in 1..6 {
                let expected: Vec<Slot> = order[..size].iter().map(|number| slot(number - 1)).collect();
                assert_eq!(subset(&mut policy(size as u32), &view, seed), expected, "seed {seed}");
                assert_eq!(subset(&mut policy(size as u32).with_seed(seed), &view, 7), expected, "another size, the same seed");
            }
        }
    }

    #[test]
    fn everything_passes_if_the_subset_is_as_large() {
        let view = ready(4);
        let all: Vec<Slot> = (0..4).map(slot).collect();
        for size in [4, 5, u32::MAX] {
            assert_eq!(subset(&mut policy(size), &view, 42), all);
        }
        assert!(subset(&mut policy(4), &[], 42).is_empty());
    }

    #[test]
    fn the_subset_stays_and_changes_by_one_at_most() {
        let (mut policy, view) = (policy(5), ready(20));
        let first = subset(&mut policy, &view, 42);
        assert_eq!((first.len(), subset(&mut policy, &view, 1)), (5, first.clone()), "the seed is drawn once");
        for gone in 0..20 {
            let mut rest = view.clone();
            let gone = rest.remove(gone).slot;
            let after = subset(&mut policy, &rest, 2);
            let kept = first.iter().filter(|slot| after.contains(slot)).count();
            let expected = if first.contains(&gone) { 4 } else { 5 };
            assert_eq!((after.len(), kept), (5, expected));
        }
        assert_eq!(subset(&mut policy, &view, 3), first);
    }

    #[test]
    fn picks_stay_within_and_connections_without_are_closed() {
        let (mut policy, mut view) = (policy(3), ready(10));
        view[0].state = Idle;
        let mut plan = Plan::new(42);
        let picker = policy.rebuild(start(), &view, &mut plan).picker;
        let counts = Caller::new(1).count(&*picker, 10, 300);
        assert_eq!(counts.iter().filter(|count| **count > 0).count(), 3 - usize::from(plan.connect.contains(&slot(0))));
        let outside: Vec<Slot> = view.iter().filter(|row| row.state == Ready).map(|row| row.slot).collect();
        let expected: Vec<Slot> = outside.into_iter().filter(|slot| !plan.connect.contains(slot)).collect();
        assert_eq!(plan.disconnect, expected);
    }
}
