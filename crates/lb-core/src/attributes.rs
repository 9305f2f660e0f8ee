//! What a resolver knows about an endpoint beside its addresses.
//!
//! Every field has a meaning that some policy or stage acts on; what none of them knows goes into
//! [`metadata`](Attributes::metadata). A change of attributes never costs the connection.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Typed attributes of one endpoint. All fields have a neutral default, so a resolver sets only what it knows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[non_exhaustive]
pub struct Attributes {
    /// Share of calls relative to the other endpoints, 0 to `u32::MAX`; default 1. An endpoint of weight 0 stays connected but
    /// gets calls from weighted policies only when every endpoint has weight 0, and then all get the same.
    pub weight: u32,
    /// Where the endpoint is; default nowhere in particular.
    pub locality: Locality,
    /// Failover group, 0 is used first; default 0. Endpoints of the next group get calls only when no lower one can serve.
    pub priority: u32,
    /// What the endpoint can do, as free words (`"gpu"`), matched whole and case-sensitively.
    pub capabilities: BTreeSet<Arc<str>>,
    /// The most calls it should have in flight at once; `None` is unlimited.
    pub capacity: Option<u32>,
    /// What a call costs there, in any one unit, not negative and finite; `None` is unknown.
    pub cost: Option<f64>,
    /// What the registry says of its health.
    pub health: RegistryHealth,
    /// A name that stays when addresses change; used by people, by hashing policies as the position on the ring, and to pin calls.
    pub id: Option<Arc<str>>,
    /// Whose replica it is, by [`id`](Self::id) or key: it gets calls only when that endpoint can take none. `None`, the default, is nobody's.
    pub replica_of: Option<Arc<str>>,
    /// The name to verify in the server's certificate and to send as `:authority`, if not the target's.
    pub hostname: Option<Arc<str>>,
    /// Everything else, for people and custom policies.
    pub metadata: BTreeMap<Arc<str>, Arc<str>>,
}

impl Default for Attributes {
    fn default() -> Self {
        Self {
            weight: 1,
            locality: Locality::default(),
            priority: 0,
            capabilities: BTreeSet::new(),
            capacity: None,
            cost: None,
            health: RegistryHealth::Unknown,
            id: None,
            replica_of: None,
            hostname: None,
            metadata: BTreeMap::new(),
        }
    }
}

/// Region, zone and sub-zone, as in xDS; an empty part is unknown.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[non_exhaustive]
pub struct Locality {
    /// For example `eu-west-1`.
    pub region: Arc<str>,
    /// For example `eu-west-1b`.
    pub zone: Arc<str>,
    /// A rack, or whatever lies below a zone.
    pub sub_zone: Arc<str>,
}

impl Locality {
    /// A locality from its three parts; an empty part is unknown.
    pub fn new(region: impl Into<Arc<str>>, zone: impl Into<Arc<str>>, sub_zone: impl Into<Arc<str>>) -> Self {
        Self { region: region.into(), zone: zone.into(), sub_zone: sub_zone.into() }
    }
}

/// The metadata in which an operator says through any registry what an endpoint shall do, beside its health: `draining` (no new calls, the
/// connection is kept), `disabled` (no new calls, and no connection once those in progress have finished), `degraded` (a
/// [reduced share](crate::recovery::DegradedConfig) of calls). Any other word, and none, says nothing.
pub const REGISTRY_STATE: &str = "lb_state";

/// The metadata in which an operator says through any registry what share of calls an endpoint gets, of what its peers get: a number
/// above 0 and below 1, such as `0.25`. Anything else says nothing.
pub const REGISTRY_SHARE: &str = "lb_share";

/// What an operator wants of an endpoint, as [`REGISTRY_STATE`] has it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum RegistryState {
    /// Nothing is said.
    #[default]
    Enabled,
    /// No new calls; its connection and its sessions are kept.
    Draining,
    /// No new calls, and no connection.
    Disabled,
    /// A reduced share of calls.
    Degraded,
}

impl Attributes {
    /// What the metadata [`REGISTRY_STATE`] says.
    pub fn registry_state(&self) -> RegistryState {
        match self.metadata.get(REGISTRY_STATE).map(|word| &**word) {
            Some("draining") => RegistryState::Draining,
            Some("disabled") => RegistryState::Disabled,
            Some("degraded") => RegistryState::Degraded,
            _ => RegistryState::Enabled,
        }
    }

    /// What the metadata [`REGISTRY_SHARE`] says.
    pub fn registry_share(&self) -> Option<f64> {
        let share = self.metadata.get(REGISTRY_SHARE)?.parse().ok();
        share.filter(|share| *share > 0.0 && *share < 1.0)
    }

    /// Whether the registry wants it to finish what it has and take nothing new.
    pub fn is_draining(&self) -> bool {
        self.health == RegistryHealth::Draining || self.registry_state() == RegistryState::Draining
    }
}

/// Health as the registry reports it, before we have looked ourselves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RegistryHealth {
    /// The registry does not say; treated as healthy.
    #[default]
    Unknown,
    /// It passes the registry's checks.
    Healthy,
    /// It passes with reservations; gets calls like a healthy one unless [asked otherwise](crate::recovery::DegradedConfig).
    Degraded,
    /// It finishes what it has and takes nothing new; its connection is kept.
    Draining,
    /// It fails the registry's checks; gets no calls.
    Unhealthy,
}

impl RegistryHealth {
    /// Whether new calls may go to an endpoint of this health.
    pub fn takes_calls(self) -> bool {
        !matches!(self, Self::Draining | Self::Unhealthy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(key: &str, word: &str) -> Attributes {
        Attributes { metadata: [(key.into(), word.into())].into(), ..Attributes::default() }
    }

    #[test]
    fn what_operators_say_in_metadata() {
        for (word, expected) in [
            ("draining", RegistryState::Draining),
            ("disabled", RegistryState::Disabled),
            ("degraded", RegistryState::Degraded),
            ("enabled", RegistryState::Enabled),
            ("Disabled", RegistryState::Enabled),
            ("", RegistryState::Enabled),
        ] {
            assert_eq!(with(REGISTRY_STATE, word).registry_state(), expected, "{word:?}");
        }
        for (word, expected) in
            [("0.25", Some(0.25)), ("1e-3", Some(0.001)), ("1", None), ("0", None), ("-1", None), ("NaN", None), ("much", None)]
        {
            assert_eq!(with(REGISTRY_SHARE, word).registry_share(), expected, "{word:?}");
        }
        assert!(with(REGISTRY_STATE, "draining").is_draining() && !with(REGISTRY_STATE, "disabled").is_draining());
    }
}
