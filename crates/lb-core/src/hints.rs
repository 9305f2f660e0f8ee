//! What one call wishes of the balancer.
//!
//! Some wishes are *conditions*: an endpoint that does not meet them never gets the call ([`require`](PickHints::require),
//! [`exclude`](PickHints::exclude), [`pin`](PickHints::pin), [`load_threshold`](PickHints::load_threshold),
//! [`cost`](PickHints::cost)). Some are *preferences*: they are followed while somebody who meets the conditions can, and cost nothing
//! but the preference otherwise ([`prefer`](PickHints::prefer), [`locality`](PickHints::locality)). The others are words to policies,
//! sessions and waiting.
//!
//! An endpoint is named by its key (its address, or its addresses joined by commas) or by its id
//! ([`Attributes::id`](crate::Attributes::id)).
//!
//! ```
//! use lb_core::PickHints;
//!
//! let hints = PickHints::new().require("gpu").prefer_region("eu-west-1").exclude("10.0.0.7:50051").below_load(0.8).cost(3);
//! assert_eq!(hints.threshold(), Some(0.8));
//! // What makes no sense is no wish.
//! assert_eq!(PickHints::new().require("").below_load(f64::NAN).exclude(""), PickHints::new());
//! ```

use std::sync::Arc;

use serde::Deserialize;
use smallvec::SmallVec;

use crate::attributes::Locality;
use crate::endpoint::EndpointKey;
use crate::selector::HintsData;

/// The load threshold of a call that asks for one without saying which: 0.8 of an endpoint's capacity. Beyond it a queue at a server
/// begins to grow faster than its load does.
pub const DEFAULT_LOAD_THRESHOLD: f64 = 0.8;

/// Wishes of one call, all optional. An empty value wishes nothing and costs nothing.
///
/// As data, names are in camel case, `region` stands for a locality of which only that is known, and `"loadThreshold": true` for 0.8;
/// there, what makes no sense is an error.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(try_from = "HintsData")]
#[non_exhaustive]
pub struct PickHints {
    /// Use this policy instead of the channel's, by its name in the service config.
    pub policy: Option<Arc<str>>,
    /// What hashing policies hash: calls with equal keys go to the same endpoint.
    pub hash_key: Option<Arc<[u8]>>,
    /// Calls of one session go to one endpoint while it can take them.
    pub session: Option<Arc<str>>,
    /// Only endpoints with all these capabilities. An empty word requires nothing.
    pub require: SmallVec<[Arc<str>; 2]>,
    /// Endpoints there first; else the nearest by measured latency. An empty part of it matches any.
    pub locality: Option<Locality>,
    /// Only endpoints whose load is at most this, 0 to 1; see [`threshold`](Self::threshold) for what else may stand here.
    ///
    /// The load of an endpoint is the greater of two shares, as far as they are known: what its calls in flight
    /// [take](crate::EndpointStats::taken) of its [capacity](crate::Attributes::capacity), and the utilisation its server reports. An endpoint of which neither is known passes.
    pub load_threshold: Option<f64>,
    /// These first, while they can take the call; among them the policy chooses.
    pub prefer: SmallVec<[EndpointKey; 2]>,
    /// How much matters that this call is served, from 0; the default is 0.
    pub priority: u8,
    /// What this call takes of an endpoint's capacity, as long as it lasts: it goes only where this and what the calls in flight
    /// [take](crate::EndpointStats::taken) together are at most the [capacity](crate::Attributes::capacity). A call of the default, 0,
    /// takes 1 as well but goes where there is no room left, too. An endpoint without a capacity has room for any call.
    pub cost: u32,
    /// The kind of work, for policies and rules that tell kinds apart.
    pub kind: Option<Arc<str>>,
    /// Whether to wait while no endpoint is reachable instead of failing; `None` leaves it to the service config.
    pub wait_for_ready: Option<bool>,
    /// Go to this endpoint and no other.
    pub pin: Option<EndpointKey>,
    /// Never go to these.
    pub exclude: SmallVec<[EndpointKey; 2]>,
    /// Whose call it is to a rate limit [by key](crate::limits::KeyLimit): a tenant, a user, a job.
    pub limit_key: Option<Arc<str>>,
}

impl PickHints {
    /// No wishes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Picks with this policy instead of the channel's.
    #[must_use]
    pub fn policy(mut self, name: impl Into<Arc<str>>) -> Self {
        self.policy = Some(name.into());
        self
    }

    /// What hashing policies hash: calls with equal keys go to the same endpoint.
    #[must_use]
    pub fn hash_key(mut self, key: impl AsRef<[u8]>) -> Self {
        self.hash_key = Some(key.as_ref().into());
        self
    }

    /// Calls of one session go to one endpoint while it can take them. An empty name is no session.
    #[must_use]
    pub fn session(mut self, session: impl Into<Arc<str>>) -> Self {
        self.session = Some(session.into()).filter(|session| !session.is_empty());
        self
    }

    /// Only endpoints with this capability. May be given several times: all are needed. An empty word requires nothing.
    #[must_use]
    pub fn require(mut self, capability: impl Into<Arc<str>>) -> Self {
        add(&mut self.require, capability.into(), |word| word.is_empty());
        self
    }

    /// Endpoints of this region first, else those of the region with the lowest measured latency. An empty name is no wish.
    #[must_use]
    pub fn prefer_region(self, region: impl Into<Arc<str>>) -> Self {
        self.prefer_locality(Locality::new(region, "", ""))
    }

    /// Endpoints there first, else those of the locality with the lowest measured latency. An empty part matches any; with all parts
    /// empty it is no wish.
    #[must_use]
    pub fn prefer_locality(mut self, locality: Locality) -> Self {
        self.locality = Some(locality).filter(|locality| *locality != Locality::default());
        self
    }

    /// Only endpoints whose [load](Self::load_threshold) is at most this, from 0 to 1. More than 1 counts as 1, less than 0 as 0, and
    /// NaN is no wish.
    #[must_use]
    pub fn below_load(mut self, threshold: f64) -> Self {
        self.load_threshold = Some(threshold);
        self.load_threshold = self.threshold();
        self
    }

    /// Only endpoints whose load is at most [0.8](DEFAULT_LOAD_THRESHOLD).
    #[must_use]
    pub fn not_overloaded(self) -> Self {
        self.below_load(DEFAULT_LOAD_THRESHOLD)
    }

    /// This endpoint first, while it can take the call (affinity). May be given several times: the policy chooses among them. An empty
    /// name is no wish.
    #[must_use]
    pub fn prefer(mut self, endpoint: impl Into<EndpointKey>) -> Self {
        add(&mut self.prefer, endpoint.into(), |key| key.as_str().is_empty());
        self
    }

    /// Never this endpoint (anti-affinity). May be given several times. An empty name is no wish.
    #[must_use]
    pub fn exclude(mut self, endpoint: impl Into<EndpointKey>) -> Self {
        add(&mut self.exclude, endpoint.into(), |key| key.as_str().is_empty());
        self
    }

    /// The same as [`exclude`](Self::exclude), for those who think in affinity and anti-affinity.
    #[must_use]
    pub fn avoid(self, endpoint: impl Into<EndpointKey>) -> Self {
        self.exclude(endpoint)
    }

    /// This endpoint and no other; the call fails (or waits) while it cannot take calls. An empty name is no wish.
    #[must_use]
    pub fn pin(mut self, endpoint: impl Into<EndpointKey>) -> Self {
        self.pin = Some(endpoint.into()).filter(|key| !key.as_str().is_empty());
        self
    }

    /// How much matters that this call is served, from 0.
    #[must_use]
    pub fn priority(mut self, priority: u8) -> Self {
        self.priority = priority;
        self
    }

    /// What this call takes of an endpoint's capacity: it goes only where there is so much left.
    #[must_use]
    pub fn cost(mut self, cost: u32) -> Self {
        self.cost = cost;
        self
    }

    /// The kind of work, for policies and rules that tell kinds apart. An empty word is no kind.
    #[must_use]
    pub fn kind(mut self, kind: impl Into<Arc<str>>) -> Self {
        self.kind = Some(kind.into()).filter(|kind| !kind.is_empty());
        self
    }

    /// Waits while no endpoint can take the call instead of failing.
    #[must_use]
    pub fn wait_for_ready(mut self, wait: bool) -> Self {
        self.wait_for_ready = Some(wait);
        self
    }

    /// Counts as a call of this key where rates are limited [by key](crate::limits::KeyLimit). An empty key is none.
    #[must_use]
    pub fn limit_key(mut self, key: impl Into<Arc<str>>) -> Self {
        self.limit_key = Some(key.into()).filter(|key| !key.is_empty());
        self
    }

    /// The load threshold as it is meant: in 0 to 1, whatever [`load_threshold`](Self::load_threshold) holds. NaN is no wish.
    #[inline]
    pub fn threshold(&self) -> Option<f64> {
        self.load_threshold.filter(|threshold| !threshold.is_nan()).map(|threshold| threshold.clamp(0.0, 1.0))
    }

    /// Whether the call has conditions or preferences, so that not every endpoint the policy may pick will do. One that has not costs
    /// no more than one without wishes.
    #[inline]
    pub fn constrains(&self) -> bool {
        self.selects() || self.limits() || !self.prefer.is_empty() || self.locality.is_some()
    }

    /// Whether the call has conditions that an endpoint meets or not, whatever its load.
    #[inline]
    pub(crate) fn selects(&self) -> bool {
        !self.require.is_empty() || !self.exclude.is_empty() || self.pin.is_some()
    }

    /// Whether the call has conditions on the load of its endpoint.
    #[inline]
    pub(crate) fn limits(&self) -> bool {
        self.load_threshold.is_some() || self.cost > 0
    }

    /// These wishes, with `defaults` where nothing is wished.
    ///
    /// What names a set adds up: the endpoints excluded and preferred, and the capabilities required. Of everything else the wish here
    /// wins over the one there; a priority or cost of 0 is no wish.
    #[must_use]
    pub fn or(mut self, defaults: &Self) -> Self {
        self.policy = self.policy.or_else(|| defaults.policy.clone());
        self.hash_key = self.hash_key.or_else(|| defaults.hash_key.clone());
        self.session = self.session.or_else(|| defaults.session.clone());
        self.locality = self.locality.or_else(|| defaults.locality.clone());
        self.load_threshold = self.load_threshold.or(defaults.load_threshold);
        self.kind = self.kind.or_else(|| defaults.kind.clone());
        self.wait_for_ready = self.wait_for_ready.or(defaults.wait_for_ready);
        self.pin = self.pin.or_else(|| defaults.pin.clone());
        self.limit_key = self.limit_key.or_else(|| defaults.limit_key.clone());
        if self.priority == 0 {
            self.priority = defaults.priority;
        }
        if self.cost == 0 {
            self.cost = defaults.cost;
        }
        defaults.require.iter().for_each(|word| add(&mut self.require, Arc::clone(word), |_| false));
        defaults.prefer.iter().for_each(|key| add(&mut self.prefer, key.clone(), |_| false));
        defaults.exclude.iter().for_each(|key| add(&mut self.exclude, key.clone(), |_| false));
        self
    }
}

/// Adds what is not there yet and is something.
fn add<T: PartialEq>(set: &mut SmallVec<[T; 2]>, item: T, is_nothing: impl Fn(&T) -> bool) {
    if !is_nothing(&item) && !set.contains(&item) {
        set.push(item);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_add_up_and_everything_else_is_the_calls_own() {
        let defaults = PickHints::new().policy("random").session("s").require("gpu").prefer("a:1").exclude("b:1").pin("c:1");
        let defaults =
            defaults.limit_key("red").below_load(0.5).priority(3).cost(4).kind("render").prefer_region("eu").wait_for_ready(true);
        assert_eq!(PickHints::new().or(&defaults), defaults, "nothing wished: the defaults");

        let own = PickHints::new().policy("round_robin").session("t").require("tpu").prefer("d:1").exclude("e:1").pin("f:1");
        let own = own.limit_key("blue").below_load(0.9).priority(1).cost(2).kind("scan").prefer_region("us").wait_for_ready(false);
        let both = own.clone().or(&defaults);
        let expected = own.require("gpu").prefer("a:1").exclude("b:1");
        assert_eq!(both, expected);
        assert_eq!(both.clone().or(&both), both, "merging twice adds nothing");
    }

    #[test]
    fn what_makes_no_sense_is_no_wish_or_the_nearest_that_does() {
        assert_eq!(PickHints::new().below_load(7.0).load_threshold, Some(1.0));
        assert_eq!(PickHints::new().below_load(-1.0).load_threshold, Some(0.0));
        assert_eq!(PickHints::new().below_load(f64::INFINITY).load_threshold, Some(1.0));
        assert_eq!(PickHints::new().below_load(f64::NAN).load_threshold, None);
        assert_eq!(PickHints::new().not_overloaded().load_threshold, Some(0.8));
        let hints = PickHints { load_threshold: Some(f64::NAN), ..PickHints::default() };
        assert_eq!(hints.threshold(), None);
        let nothing =
            PickHints::new().require("").prefer("").avoid("").pin("").session("").kind("").limit_key("").prefer_region("");
        assert_eq!(nothing, PickHints::default());
        assert!(!nothing.constrains());
    }

    #[test]
    fn words_to_the_policy_do_not_constrain() {
        let words = PickHints::new()
            .policy("random")
            .session("s")
            .hash_key("k")
            .priority(9)
            .kind("render")
            .limit_key("t")
            .wait_for_ready(true);
        assert!(!words.constrains());
        for hints in [
            PickHints::new().require("gpu"),
            PickHints::new().prefer_region("eu"),
            PickHints::new().not_overloaded(),
            PickHints::new().prefer("a:1"),
            PickHints::new().cost(1),
            PickHints::new().pin("a:1"),
            PickHints::new().avoid("a:1"),
        ] {
            assert!(hints.constrains(), "{hints:?}");
        }
    }
}
