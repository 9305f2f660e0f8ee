//! What one call wishes of the balancer.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::endpoint::EndpointKey;

/// Wishes of one call, all optional. An empty value wishes nothing and costs nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PickHints {
    /// Use this policy instead of the channel's, by its name in the service config.
    pub policy: Option<Arc<str>>,
    /// What hashing policies hash: calls with equal keys go to the same endpoint.
    pub hash_key: Option<Arc<[u8]>>,
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
