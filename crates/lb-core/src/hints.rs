//! What one call wishes of the balancer.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::attributes::Locality;
use crate::endpoint::EndpointKey;

/// Wishes of one call, all optional. An empty value wishes nothing and costs nothing.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct PickHints {
    /// Use this policy instead of the channel's, by its name in the service config.
    pub policy: Option<Arc<str>>,
    /// What hashing policies hash: calls with equal keys go to the same endpoint.
    pub hash_key: Option<Arc<[u8]>>,
    /// Calls of one session go to one endpoint while it can take them.
    pub session: Option<Arc<str>>,
    /// Only endpoints with all these capabilities.
    pub require: SmallVec<[Arc<str>; 2]>,
    /// Endpoints there first; else the nearest by measured latency. An empty part of it matches any.
    pub locality: Option<Locality>,
    /// Only endpoints whose load, as a share of their capacity, is at most this; 0 to 1.
    pub load_threshold: Option<f64>,
    /// These first, while they can take the call.
    pub prefer: SmallVec<[EndpointKey; 2]>,
    /// How much matters that this call is served, from 0; the default is 0.
    pub priority: u8,
    /// What this call takes of an endpoint's capacity; the default, 0, counts as 1.
    pub cost: u32,
    /// The kind of work, for policies and rules that tell kinds apart.
    pub kind: Option<Arc<str>>,
    /// Whether to wait while no endpoint is reachable instead of failing; `None` leaves it to the service config.
    pub wait_for_ready: Option<bool>,
    /// Go to this endpoint and no other.
    pub pin: Option<EndpointKey>,
    /// Never go to these.
    pub exclude: SmallVec<[EndpointKey; 2]>,
}

impl PickHints {
    /// Whether the call restricts the set of endpoints, and so needs a derived picker.
    pub fn restricts(&self) -> bool {
        self.pin.is_some() || !self.exclude.is_empty()
    }

    /// Whether an endpoint passes the restrictions.
    pub fn allows(&self, key: &EndpointKey) -> bool {
        self.pin.as_ref().is_none_or(|pin| pin == key) && !self.exclude.contains(key)
    }

    /// These wishes, with `defaults` where nothing is wished. Exclusions add up.
    #[must_use]
    pub fn or(mut self, defaults: &Self) -> Self {
        self.policy = self.policy.or_else(|| defaults.policy.clone());
        self.hash_key = self.hash_key.or_else(|| defaults.hash_key.clone());
        self.session = self.session.or_else(|| defaults.session.clone());
        self.wait_for_ready = self.wait_for_ready.or(defaults.wait_for_ready);
        self.pin = self.pin.or_else(|| defaults.pin.clone());
        for key in &defaults.exclude {
            if !self.exclude.contains(key) {
                self.exclude.push(key.clone());
            }
        }
        self
    }
}
