//! What the composite policies share: building the policies within, and keeping one per group of endpoints.

use std::collections::BTreeMap;
use std::time::Instant;

use serde_json::Value;

use crate::connectivity::ConnectivityState::{Connecting, TransientFailure};
use crate::entropy::Entropy;
use crate::pick::Always;
use crate::policy::{ConfigError, LbState, Plan, Policy, SubchannelView};
use crate::registry::PolicyRegistry;

/// The configured policy within, of which any number can be built.
#[derive(Debug)]
pub(super) struct ChildPolicy {
    /// Path of the field, for errors.
    field: String,
    list: Value,
    registry: PolicyRegistry,
}

impl ChildPolicy {
    /// The required field `childPolicy`, a list as `loadBalancingConfig` is one.
    pub(super) fn from_config(policy: &str, config: &Value, registry: &PolicyRegistry) -> Result<Self, ConfigError> {
        let list = config.get("childPolicy").cloned().unwrap_or_default();
        let child = Self { field: format!("{policy}.childPolicy"), list, registry: registry.clone() };
        child.build()?;
        Ok(child)
    }

    pub(super) fn build(&self) -> Result<Box<dyn Policy>, ConfigError> {
        let within = |mut error: ConfigError| {
            let rest = error.field.strip_prefix("loadBalancingConfig").map(str::to_owned);
            error.field = format!("{}{}", self.field, rest.unwrap_or_else(|| format!(".{}", error.field)));
            error
        };
        self.registry.from_list(&self.list).map(|(_, policy)| policy).map_err(within)
    }
}

/// A policy per group, kept as long as the group is listed.
#[derive(Debug)]
pub(super) struct Children<K> {
    policy: ChildPolicy,
    children: BTreeMap<K, Child>,
}

#[derive(Debug)]
struct Child {
    policy: Result<Box<dyn Policy>, ConfigError>,
    last: Option<LbState>,
}

/// One group of a view and what its policy makes of it.
#[derive(Debug)]
pub(super) struct Group<K> {
    pub(super) key: K,
    pub(super) rows: Vec<SubchannelView>,
    pub(super) lb: LbState,
}

impl<K: Ord + Clone> Children<K> {
    pub(super) fn new(policy: ChildPolicy) -> Self {
        Self { policy, children: BTreeMap::new() }
    }

    /// Asks the policy of each group; forgets those of groups that are not there. Groups come in the order of their keys.
    pub(super) fn rebuild(&mut self, now: Instant, groups: BTreeMap<K, Vec<SubchannelView>>, plan: &mut Plan) -> Vec<Group<K>> {
        self.children.retain(|key, _| groups.contains_key(key));
        let mut rebuilt = Vec::with_capacity(groups.len());
        for (index, (key, rows)) in groups.into_iter().enumerate() {
            let new = || Child { policy: self.policy.build(), last: None };
            let child = self.children.entry(key.clone()).or_insert_with(new);
            // Of its own, lest all groups begin at the same place.
            let mut wishes = Plan::new(Entropy::mix(plan.entropy.wrapping_add(index as u64)));
            let lb = child.rebuild(now, &rows, &mut wishes);
            plan.merge(wishes);
            rebuilt.push(Group { key, rows, lb });
        }
        rebuilt
    }
}

impl Child {
    /// A failure stays one until the group is READY or IDLE: going from one attempt to the next is not getting better.
    fn rebuild(&mut self, now: Instant, rows: &[SubchannelView], plan: &mut Plan) -> LbState {
        let next = match &mut self.policy {
            Ok(policy) => policy.rebuild(now, rows, plan),
            // It was built before from the same configuration; only a builder that changes its mind comes here.
            Err(error) => LbState::new(TransientFailure, Always::fail(error.to_string())),
        };
        match &self.last {
            Some(last) if last.state == TransientFailure && next.state == Connecting => last.clone(),
            _ => self.last.insert(next).clone(),
        }
    }
}

/// The rows of each group, in their order.
pub(super) fn grouped<K: Ord>(view: &[SubchannelView], key: impl Fn(&SubchannelView) -> K) -> BTreeMap<K, Vec<SubchannelView>> {
    let mut groups: BTreeMap<K, Vec<SubchannelView>> = BTreeMap::new();
    for row in view {
        groups.entry(key(row)).or_default().push(row.clone());
    }
    groups
}
