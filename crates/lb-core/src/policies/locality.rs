//! `wrr_locality`: a policy per locality, and calls to each locality in proportion to its weight.
//!
//! Endpoints are grouped by their [`Locality`](crate::Locality). Every group has a policy of its own over its endpoints only; each
//! call draws a locality, and its policy picks. A locality none of whose endpoints is READY gets nothing while another one has
//! some.
//!
//! A locality's weight is the metadata `localityWeight` of its first endpoint that has one, a whole number; else the sum of its
//! endpoints' weights, so that without any configuration an endpoint gets the same wherever it is. A locality of weight 0 gets
//! nothing and is not connected, unless all have weight 0; then all get the same.
//!
//! **Bound.** Shares are drawn: of `n` calls a locality of share `p` gets `p·n` give or take `√(n·p·(1−p))`. A pick costs a binary
//! search among localities and the pick within. A rebuild is linear, and rebuilds the policy of every locality.
//!
//! **When not.** Preferring the own zone: that is what priorities and a call's wish for a locality are for.
//!
//! ```
//! use lb_core::PolicyRegistry;
//! use serde_json::json;
//!
//! let config = json!({"childPolicy": [{"round_robin": {}}]});
//! let policy = PolicyRegistry::default().build("wrr_locality_experimental", &config)?;
//! # Ok::<(), lb_core::ConfigError>(())
//! ```
//!
//! Source: gRFC A28 (weighted_target), A52 (wrr_locality), where the weights come from the control plane.

use std::sync::Arc;
use std::time::Instant;

use serde_json::Value;

use super::branches::{self, Branch};
use super::children::{self, ChildPolicy, Children};
use crate::attributes::Locality;
use crate::policy::{ConfigError, LbState, Plan, Policy, SubchannelView};
use crate::registry::PolicyRegistry;

/// A policy per locality, localities by weight. See the [module table](super) for when to use it.
#[derive(Debug)]
pub struct WrrLocality {
    children: Children<Locality>,
}

impl WrrLocality {
    /// Its name in service configs.
    pub const NAME: &'static str = "wrr_locality_experimental";

    /// The key in an endpoint's metadata for the weight of its locality: a whole number up to 4294967295. What is not one is passed
    /// over.
    pub const WEIGHT: &'static str = "localityWeight";

    /// From its configuration: `childPolicy`, required, a list of policies of which the first that `registry` knows is used.
    pub fn from_config(config: &Value, registry: &PolicyRegistry) -> Result<Self, ConfigError> {
        Ok(Self { children: Children::new(ChildPolicy::from_config(Self::NAME, config, registry)?) })
    }
}

impl Policy for WrrLocality {
    fn rebuild(&mut self, now: Instant, view: &[SubchannelView], plan: &mut Plan) -> LbState {
        let mut groups = children::grouped(view, |row| row.endpoint.attributes.locality.clone());
        if groups.values().any(|rows| weight(rows) > 0) {
            groups.retain(|_, rows| weight(rows) > 0);
        }
        let rebuilt = self.children.rebuild(now, groups, plan);
        let branch = |group: children::Group<Locality>| Branch::new(name(&group.key), weight(&group.rows), &group.rows, group.lb);
        branches::join(rebuilt.into_iter().map(branch).collect())
    }
}

fn weight(rows: &[SubchannelView]) -> u32 {
    let told = rows.iter().find_map(|row| row.endpoint.attributes.metadata.get(WrrLocality::WEIGHT)?.parse().ok());
    told.unwrap_or_else(|| rows.iter().fold(0_u32, |sum, row| sum.saturating_add(row.weight)))
}

fn name(locality: &Locality) -> Arc<str> {
    let parts = [&locality.region, &locality.zone, &locality.sub_zone];
    let known: Vec<&str> = parts.into_iter().map(|part| &**part).filter(|part| !part.is_empty()).collect();
    if known.is_empty() { "no locality".into() } else { format!("locality {}", known.join("/")).into() }
}

#[cfg(test)]
mod tests;
