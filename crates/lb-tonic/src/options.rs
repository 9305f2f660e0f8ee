//! What one call wishes, given through an interceptor or the request's extensions.

use std::sync::Arc;

use lb_core::{EndpointKey, Locality, PickHints};
use tonic::service::Interceptor;
use tonic::{Request, Status};

/// Wishes of one call, or of every call of one client.
///
/// As an [`Interceptor`] it holds for every call of the client it is given to; inserted into a request's extensions it holds for
/// that call. Where both speak the request wins; what names a set (required, preferred and excluded) adds up. See
/// [`PickHints::or`] for each.
///
/// ```
/// # use lb_tonic::PickOptions;
/// let mut request = tonic::Request::new(());
/// let options = PickOptions::new().require("gpu").prefer_region("eu-west-1").not_overloaded().wait_for_ready(true);
/// request.extensions_mut().insert(options);
/// ```
///
/// An endpoint is named by its key (its address, or its addresses joined by commas) or by its id. What makes no sense is no wish: an
/// empty word or name, a threshold that is not a number.
///
/// *Conditions* (`require`, `exclude`, `avoid`, `pin`, `below_load`, `cost`) hold always: when no endpoint meets them all, the call
/// fails with [`CallError::NothingFits`](crate::CallError::NothingFits), which says how many each of them removed, or waits.
/// *Preferences* (`prefer`, `prefer_region`, `prefer_locality`) are followed while somebody can: they never make a call wait or fail.
/// Among the endpoints that a wish leaves, the policy chooses.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PickOptions {
    pub(crate) hints: PickHints,
}

impl PickOptions {
    /// No wishes.
    pub fn new() -> Self {
        Self::default()
    }

    /// The wishes as policies see them.
    pub fn hints(&self) -> &PickHints {
        &self.hints
    }

    /// These wishes, with `defaults` where nothing is wished. See [`PickHints::or`].
    #[must_use]
    pub fn or(self, defaults: &Self) -> Self {
        Self { hints: self.hints.or(&defaults.hints) }
    }

    /// Picks with this policy instead of the channel's. The channel must have it: its own, one added with
    /// [`further_policy`](crate::LbChannelBuilder::further_policy), or a built-in one, which is added on first use.
    #[must_use]
    pub fn policy(self, name: impl Into<Arc<str>>) -> Self {
        self.with(|hints| hints.policy(name))
    }

    /// What hashing policies hash: calls with equal keys go to the same endpoint.
    #[must_use]
    pub fn hash_key(self, key: impl AsRef<[u8]>) -> Self {
        self.with(|hints| hints.hash_key(key))
    }

    /// Is of this session: goes to the endpoint the session is at, if the channel keeps
    /// [sessions](crate::LbChannelBuilder::sessions).
    #[must_use]
    pub fn session(self, session: impl Into<Arc<str>>) -> Self {
        self.with(|hints| hints.session(session))
    }

    /// Only endpoints with this capability. May be given several times: all are needed.
    #[must_use]
    pub fn require(self, capability: impl Into<Arc<str>>) -> Self {
        self.with(|hints| hints.require(capability))
    }

    /// Endpoints of this region first, else those of the region with the lowest measured latency.
    #[must_use]
    pub fn prefer_region(self, region: impl Into<Arc<str>>) -> Self {
        self.with(|hints| hints.prefer_region(region))
    }

    /// Endpoints there first, else those of the locality with the lowest measured latency. An empty part matches any.
    #[must_use]
    pub fn prefer_locality(self, locality: Locality) -> Self {
        self.with(|hints| hints.prefer_locality(locality))
    }

    /// Only endpoints whose load is at most this share of their capacity, 0 to 1; beyond that range the nearest counts. See
    /// [`PickHints::load_threshold`] for what load is.
    #[must_use]
    pub fn below_load(self, threshold: f64) -> Self {
        self.with(|hints| hints.below_load(threshold))
    }

    /// Only endpoints whose load is at most [0.8](lb_core::DEFAULT_LOAD_THRESHOLD) of their capacity.
    #[must_use]
    pub fn not_overloaded(self) -> Self {
        self.with(PickHints::not_overloaded)
    }

    /// This endpoint first, while it can take the call (affinity). May be given several times: the policy chooses among them.
    #[must_use]
    pub fn prefer(self, endpoint: impl Into<EndpointKey>) -> Self {
        self.with(|hints| hints.prefer(endpoint))
    }

    /// Never goes to this endpoint (anti-affinity). May be given several times.
    #[must_use]
    pub fn exclude(self, endpoint: impl Into<EndpointKey>) -> Self {
        self.with(|hints| hints.exclude(endpoint))
    }

    /// The same as [`exclude`](Self::exclude).
    #[must_use]
    pub fn avoid(self, endpoint: impl Into<EndpointKey>) -> Self {
        self.with(|hints| hints.avoid(endpoint))
    }

    /// Goes to this endpoint and no other; the call fails (or waits) while it cannot take calls.
    #[must_use]
    pub fn pin(self, endpoint: impl Into<EndpointKey>) -> Self {
        self.with(|hints| hints.pin(endpoint))
    }

    /// How much matters that this call is served, from 0; for policies and queues that tell calls apart.
    #[must_use]
    pub fn priority(self, priority: u8) -> Self {
        self.with(|hints| hints.priority(priority))
    }

    /// What this call takes of an endpoint's capacity: it goes only where there is so much left, and holds it while it lasts.
    #[must_use]
    pub fn cost(self, cost: u32) -> Self {
        self.with(|hints| hints.cost(cost))
    }

    /// Counts as a call of this key where rates are limited [by key](lb_core::limits::KeyLimit): a tenant, a user, a job.
    #[must_use]
    pub fn limit_key(self, key: impl Into<Arc<str>>) -> Self {
        self.with(|hints| hints.limit_key(key))
    }

    /// The kind of work, for policies and rules that tell kinds apart.
    #[must_use]
    pub fn kind(self, kind: impl Into<Arc<str>>) -> Self {
        self.with(|hints| hints.kind(kind))
    }

    /// Waits while no endpoint can take the call instead of failing with UNAVAILABLE; until the deadline, if the call has one.
    #[must_use]
    pub fn wait_for_ready(self, wait: bool) -> Self {
        self.with(|hints| hints.wait_for_ready(wait))
    }

    fn with(self, change: impl FnOnce(PickHints) -> PickHints) -> Self {
        Self { hints: change(self.hints) }
    }
}

impl From<PickHints> for PickOptions {
    fn from(hints: PickHints) -> Self {
        Self { hints }
    }
}

impl Interceptor for PickOptions {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let merged = match request.extensions_mut().remove::<Self>() {
            Some(own) => own.or(self),
            None => self.clone(),
        };
        request.extensions_mut().insert(merged);
        Ok(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_wins_over_the_interceptor_and_sets_add_up() {
        let mut interceptor = PickOptions::new().policy("random").wait_for_ready(true).exclude("a:1").require("gpu").cost(3);
        let mut request = Request::new(());
        request.extensions_mut().insert(PickOptions::new().policy("round_robin").exclude("b:1"));
        let request = interceptor.call(request).unwrap();
        let merged = request.extensions().get::<PickOptions>().unwrap();
        let expected = PickOptions::new().policy("round_robin").wait_for_ready(true).exclude("b:1").avoid("a:1");
        assert_eq!(*merged, expected.require("gpu").cost(3));
    }
}
