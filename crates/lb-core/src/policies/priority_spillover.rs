//! `priority_spillover`: calls go to the first priority group as far as it is healthy, and what is too much for it to the next.
//!
//! Endpoints of equal [`priority`](crate::Attributes::priority) are a group with a policy of its own. A group of which the share
//! `h` is healthy can take `1.4 · h` of all calls, at most all: so it may lose 28 % of its endpoints before anything moves, and
//! then its calls move little by little instead of all at once. The groups are filled in order; what all of them together cannot
//! take is spread in the same proportions. Healthy is every endpoint that has not failed: one nobody has tried may well be.
//!
//! **Panic.** When the groups together cannot take all calls, and of a group less than `healthyPanicThreshold` (50 %) is healthy,
//! then what is known of its health is more likely wrong than true, or sending everything to the few that are left would only fell
//! them too: that group uses every endpoint that has a connection, whatever its health check says. Endpoints without a connection
//! cannot be used, panic or not. With no healthy endpoint anywhere groups get shares by their size. `explain` says that a group
//! panics.
//!
//! **Bound.** Shares are drawn, and a pick costs a binary search among groups and the pick within. Groups without a share are not
//! connected; those above the last one with a share, whose endpoints have failed, are tried again. While some group is READY those
//! that are not yet get nothing. A rebuild is linear.
//!
//! **When not.** One group is to have all or nothing: that is what channels do by themselves. With this policy as the channel's own
//! they do not, so policies that calls ask for by name see the endpoints of all groups.
//!
//! ```
//! use lb_core::PolicyRegistry;
//! use serde_json::json;
//!
//! let config = json!({"overprovisioningFactor": 140, "healthyPanicThreshold": 50, "childPolicy": [{"round_robin": {}}]});
//! let policy = PolicyRegistry::default().build("priority_spillover", &config)?;
//! # Ok::<(), lb_core::ConfigError>(())
//! ```
//!
//! Source: Envoy's priority levels, overprovisioning factor and panic threshold. Differences: shares are not rounded to per cents,
//! and endpoints without a connection are never used.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Instant;

use serde_json::Value;

use super::branches::{self, Branch};
use super::children::{self, ChildPolicy, Children, Group};
use super::config;
use crate::connectivity::ConnectivityState::{Connecting, Ready, Shutdown, TransientFailure};
use crate::policy::{ConfigError, LbState, Plan, Policy, SubchannelView};
use crate::registry::PolicyRegistry;

/// Envoy's default, in percent.
const DEFAULT_FACTOR: u32 = 140;

/// Envoy's default, in percent.
const DEFAULT_THRESHOLD: u32 = 50;

/// What shares are counted in: a share below a millionth is none.
const WHOLE: f64 = 1e6;

/// Priority groups filled one after the other. See the [module table](super) for when to use it.
#[derive(Debug)]
pub struct PrioritySpillover {
    /// In percent, from 100.
    factor: u32,
    /// In percent, 0 to 100; 0 never panics.
    threshold: u32,
    children: Children<u32>,
}

impl PrioritySpillover {
    /// Its name in service configs.
    pub const NAME: &'static str = "priority_spillover";

    /// From its configuration: `childPolicy`, required, a list of policies of which the first that `registry` knows is used;
    /// `overprovisioningFactor`, percent from 100 (default 140); `healthyPanicThreshold`, percent from 0, never, to 100 (default
    /// 50).
    pub fn from_config(config: &Value, registry: &PolicyRegistry) -> Result<Self, ConfigError> {
        let percent = |field: &str, default, range: RangeInclusive<u32>| {
            let value = config::unsigned(Self::NAME, config, field, default)?;
            let allowed = || format!("percent, a whole number from {} to {}", range.start(), range.end());
            let valid = range.contains(&value).then_some(value);
            valid.ok_or_else(|| ConfigError::new(format!("{}.{field}", Self::NAME), value, allowed()))
        };
        Ok(Self {
            factor: percent("overprovisioningFactor", DEFAULT_FACTOR, 100..=u32::MAX)?,
            threshold: percent("healthyPanicThreshold", DEFAULT_THRESHOLD, 0..=100)?,
            children: Children::new(ChildPolicy::from_config(Self::NAME, config, registry)?),
        })
    }
}

impl Policy for PrioritySpillover {
    fn rebuild(&mut self, now: Instant, view: &[SubchannelView], plan: &mut Plan) -> LbState {
        let mut groups = children::grouped(view, |row| row.endpoint.attributes.priority);
        let tallies: Vec<Tally> = groups.values().map(|rows| Tally::of(rows)).collect();
        let loads = loads(&tallies, self.factor, self.threshold);
        retry_without_share(&groups, &loads, plan);
        for (rows, _) in groups.values_mut().zip(&loads).filter(|(_, load)| load.panics) {
            rows.iter_mut().filter(|row| row.connected).for_each(|row| row.state = Ready);
        }
        let mut named: Vec<(String, u32)> = Vec::new();
        let mut place = 0;
        groups.retain(|priority, _| {
            let (load, tally) = (&loads[place], &tallies[place]);
            place += 1;
            let used = load.weight() > 0;
            named.extend(used.then(|| (load.describe(*priority, tally), load.weight())));
            used
        });
        let rebuilt = self.children.rebuild(now, groups, plan);
        let branch = |(group, (name, weight)): (Group<u32>, (String, u32))| Branch::new(name.into(), weight, &group.rows, group.lb);
        branches::join(rebuilt.into_iter().zip(named).map(branch).collect())
    }

    fn spans_priorities(&self) -> bool {
        true
    }
}

/// Groups that have no share because they failed must find out when they are back.
fn retry_without_share(groups: &BTreeMap<u32, Vec<SubchannelView>>, loads: &[Load], plan: &mut Plan) {
    let reached = loads.iter().rposition(|load| load.weight() > 0).unwrap_or_default();
    let idle = groups.values().zip(loads).take(reached).filter(|(_, load)| load.weight() == 0);
    let failed = idle.flat_map(|(rows, _)| rows).filter(|row| matches!(row.state, TransientFailure | Connecting));
    plan.connect.extend(failed.map(|row| row.slot));
}

/// The endpoints of a group; never none.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Tally {
    all: usize,
    healthy: usize,
}

impl Tally {
    fn of(rows: &[SubchannelView]) -> Self {
        let healthy = rows.iter().filter(|row| !matches!(row.state, TransientFailure | Shutdown)).count();
        Self { all: rows.len(), healthy }
    }

    fn health(self) -> f64 {
        self.healthy as f64 / self.all as f64
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Load {
    /// Of all calls, 0 to 1.
    share: f64,
    panics: bool,
}

impl Load {
    fn weight(&self) -> u32 {
        (self.share * WHOLE).round() as u32
    }

    fn describe(&self, priority: u32, tally: &Tally) -> String {
        let panic = if self.panics { ", panic: health is disregarded" } else { "" };
        format!("priority {priority} ({} of {} healthy{panic})", tally.healthy, tally.all)
    }
}

/// The share of each group, in order.
fn loads(tallies: &[Tally], factor: u32, threshold: u32) -> Vec<Load> {
    let available = |tally: &Tally| (tally.health() * f64::from(factor) / 100.0).min(1.0);
    let sum: f64 = tallies.iter().map(available).sum();
    let panics = |tally: &Tally| sum < 1.0 && tally.health() * 100.0 < f64::from(threshold);
    let all: usize = tallies.iter().map(|tally| tally.all).sum();
    let mut left = 1.0;
    let load = |tally: &Tally| {
        let wanted = if sum == 0.0 { tally.all as f64 / all as f64 } else { available(tally) / sum.min(1.0) };
        let share = wanted.min(left);
        left -= share;
        Load { share, panics: panics(tally) }
    };
    tallies.iter().map(load).collect()
}

#[cfg(test)]
mod tests;
