//! The limits of a channel: before the pick, and at the gates of its endpoints. See [`lb_core::limits`] for which is for what.

mod api;
mod config;
mod endpoints;

use std::hash::RandomState;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use arc_swap::ArcSwap;
use lb_core::gate::Gatekeeper;
use lb_core::limits::{Caller, Door, DoorCounts, EndpointLimitCounts, EndpointLimitInfo, GradientConfig, RateLimits, Shed, ShedBy};
use lb_core::{ConcurrencyLimit, ConfigError, Unfit};
use serde::Serialize;
use tokio::time::Instant;

use crate::call::Head;
use crate::error::CallError;
use crate::request_limit::RequestLimit;
use crate::shared::Shared;

pub(crate) use api::{hint, whole_millis};
pub(crate) use config::{Gates, LimitChanges, LimitsConfig};
use endpoints::Keeper;

/// When a call came to the door; `None` if there is nothing at it, and the time was not asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrival(Option<std::time::Instant>);

/// The limits of one channel. Without any, a call pays for one load of a flag.
#[derive(Debug)]
pub(crate) struct ChannelLimits {
    /// Whether there is anything at the door.
    on: AtomicBool,
    door: ArcSwap<Door>,
    /// Tells keys apart; keyed, because keys may come from strangers.
    hasher: RandomState,
    gates: Gates,
    /// `None` unless the channel was built with a limit of endpoints.
    endpoints: Option<Arc<Keeper>>,
    /// Attempts at once at each endpoint; `None` unless the channel was built with such a limit.
    per_endpoint: Option<ConcurrencyLimit>,
    /// Attempts at once over all endpoints, from when there first was such a limit.
    requests: OnceLock<RequestLimit>,
    unplaced: AtomicU64,
    changing: Mutex<()>,
}

impl ChannelLimits {
    /// `gates` are those that endpoints get, be there anything yet for them to do or not; `requests` and `per_endpoint` are the builder's.
    pub(crate) fn new(
        config: LimitsConfig,
        gates: Gates,
        requests: Option<RequestLimit>,
        per_endpoint: Option<ConcurrencyLimit>,
    ) -> Self {
        let LimitsConfig { rates, concurrency, max_requests, max_requests_per_endpoint, breaker: _, drops: _ } = config;
        let endpoints = gates.limits.then(|| Arc::new(Keeper::new(rates.endpoint, concurrency)));
        let per_endpoint = per_endpoint.or_else(|| gates.per_endpoint.then(|| ConcurrencyLimit::new(u32::MAX)));
        for (limit, max) in per_endpoint.iter().zip(max_requests_per_endpoint) {
            limit.set_max(max);
        }
        let requests = requests.or_else(|| max_requests.map(RequestLimit::new));
        for (limit, max) in requests.iter().zip(max_requests) {
            limit.set_max(max);
        }
        Self {
            on: AtomicBool::new(rates.at_the_door()),
            door: ArcSwap::from_pointee(Door::new(rates, Instant::now().into_std())),
            hasher: RandomState::new(),
            gates,
            endpoints,
            per_endpoint,
            requests: requests.map_or_else(OnceLock::new, OnceLock::from),
            unplaced: AtomicU64::new(0),
            changing: Mutex::default(),
        }
    }

    /// What makes the gates of endpoints, if they have limits.
    pub(crate) fn gatekeepers(&self) -> impl Iterator<Item = Arc<dyn Gatekeeper>> {
        let fixed = self.per_endpoint.clone().map(|limit| Arc::new(limit) as Arc<dyn Gatekeeper>);
        fixed.into_iter().chain(self.endpoints.clone().map(|keeper| keeper as Arc<dyn Gatekeeper>))
    }

    /// The limit of attempts at once over all endpoints, if there is one.
    #[inline]
    pub(crate) fn requests(&self) -> Option<&RequestLimit> {
        self.requests.get()
    }

    /// Another limit of attempts at once over all endpoints; `None` is none.
    pub(crate) fn set_requests(&self, max: Option<u32>, shared: &Arc<Shared>) {
        let max = max.unwrap_or(u32::MAX);
        if max < u32::MAX && self.requests.get().is_none() {
            self.requests.get_or_init(|| RequestLimit::new(max)).join(shared);
        }
        self.requests.get().iter().for_each(|limit| limit.set_max(max));
    }

    /// Another limit of attempts at once at each endpoint; `None` is none.
    pub(crate) fn set_per_endpoint(&self, max: Option<u32>) -> Result<(), ConfigError> {
        match &self.per_endpoint {
            Some(limit) => limit.set_max(max.unwrap_or(u32::MAX)),
            None if max.is_some() => return Err(never("maxRequestsPerEndpoint")),
            None => {}
        }
        Ok(())
    }

    /// Whether the call is one of a flood: asked before the call is looked at.
    #[inline]
    pub(crate) fn flood(&self) -> Result<Arrival, CallError> {
        if !self.on.load(Ordering::Relaxed) {
            return Ok(Arrival(None));
        }
        let now = Instant::now().into_std();
        self.door.load().flood(now)?;
        Ok(Arrival(Some(now)))
    }

    /// Whether the call is within all rates it is under.
    #[inline]
    pub(crate) fn admit(&self, arrival: Arrival, head: &Head) -> Result<(), CallError> {
        let Some(now) = arrival.0 else { return Ok(()) };
        let caller = Caller { now, method: head.request.uri.path(), headers: &head.request.headers, hints: head.hints.as_deref() };
        Ok(self.door.load().admit(&caller, &self.hasher)?)
    }

    /// What becomes of a call that no endpoint takes now and that does not wait.
    pub(crate) fn unplaced(&self, target: Arc<str>, unfit: Box<Unfit>) -> CallError {
        let error = CallError::unfit(target, unfit);
        if matches!(error, CallError::Shed { .. }) {
            self.unplaced.fetch_add(1, Ordering::Relaxed);
        }
        error
    }

    /// What endpoints have gates for.
    pub(crate) fn gates(&self) -> Gates {
        self.gates
    }

    pub(crate) fn set_rates(&self, rates: RateLimits) -> Result<(), ConfigError> {
        match &self.endpoints {
            Some(keeper) => keeper.limits.set_rate(rates.endpoint),
            None if rates.endpoint.is_none() => {}
            None => return Err(never("rateLimits.endpoint")),
        }
        // One after the other, so that no change is based on what another one replaces.
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let on = rates.at_the_door();
        let door = self.door.load().after(rates, Instant::now().into_std());
        self.door.store(Arc::new(door));
        self.on.store(on, Ordering::Relaxed);
        Ok(())
    }

    pub(crate) fn set_concurrency(&self, config: Option<GradientConfig>) -> Result<(), ConfigError> {
        match (&self.endpoints, config) {
            (Some(keeper), config) => keeper.limits.set_concurrency(config),
            (None, None) => {}
            (None, Some(_)) => return Err(never("concurrencyLimit")),
        }
        Ok(())
    }

    /// Calls shed by any limit.
    pub(crate) fn shed(&self) -> u64 {
        self.door.load().shed() + self.unplaced.load(Ordering::Relaxed)
    }

    fn stats(&self) -> LimitStats {
        let now = Instant::now().into_std();
        let keeper = self.endpoints.as_ref();
        LimitStats {
            door: self.door.load().counts(now),
            shed_by_endpoints: self.unplaced.load(Ordering::Relaxed),
            attempts: keeper.map(|keeper| keeper.limits.counts()).unwrap_or_default(),
            endpoints: keeper.map(|keeper| keeper.infos(now)).unwrap_or_default(),
        }
    }
}

/// A channel that has no gates gets none later: its endpoints have theirs from when they were first listed.
pub(crate) fn never(field: &str) -> ConfigError {
    ConfigError::new(field, "set", "only for a channel that was built with a limit of endpoints")
}

/// What the limits of a channel did, and what they are now.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct LimitStats {
    /// Calls, at the limits before the pick.
    pub door: DoorCounts,
    /// Calls shed because every endpoint that could have taken them was at a limit.
    pub shed_by_endpoints: u64,
    /// Attempts, at the limits of endpoints.
    pub attempts: EndpointLimitCounts,
    /// The limits of each endpoint now; empty if the channel was built without any.
    pub endpoints: Vec<EndpointLimitInfo>,
}

impl LimitStats {
    /// Calls shed by any limit.
    pub fn shed(&self) -> u64 {
        self.door.shed() + self.shed_by_endpoints
    }
}

impl From<Shed> for CallError {
    fn from(shed: Shed) -> Self {
        Self::Shed { limit: shed.by, retry_after: shed.retry_after }
    }
}

/// Which limits of endpoints are in the way, if any is.
pub(crate) fn shed_by_endpoints(unfit: &Unfit) -> Option<Shed> {
    use lb_core::Misfit::{AtLimit, RateLimited};
    let (rate_limited, at_limit) = (unfit.removed_by(&RateLimited), unfit.removed_by(&AtLimit));
    let soon = if at_limit > 0 { Some(api::A_CALL) } else { None };
    let retry_after = unfit.ends(&RateLimited).into_iter().chain(soon).min()?;
    Some(Shed::new(ShedBy::Endpoints { rate_limited, at_limit }, retry_after))
}
