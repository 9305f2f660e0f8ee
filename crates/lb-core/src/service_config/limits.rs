//! Limits, drops and circuit breakers in a service config: ours, under a name that other clients do not know and so ignore.

use serde_json::Value;

use crate::breaker::BreakerConfig;
use crate::drops::DropOverloads;
use crate::limits::{GradientConfig, RateLimits};
use crate::policy::ConfigError;

use super::fields;

/// The object that holds what is ours.
const OURS: &str = "evenkeel";
const RATES: &str = "rateLimits";
const CONCURRENCY: &str = "concurrencyLimit";
const BREAKER: &str = "circuitBreaker";
const REQUESTS: &str = "maxRequests";
const PER_ENDPOINT: &str = "maxRequestsPerEndpoint";
const DROPS: &str = "dropOverloads";

/// What a service config says of limits, drops and circuit breakers, in its object `evenkeel`. What it does not say is left to the channel.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct ConfigLimits {
    /// From `rateLimits`, as [`RateLimits::from_json`] reads it: of the channel, of keys, methods and endpoints, and in a flood.
    pub rates: Option<RateLimits>,
    /// From `concurrencyLimit`, as [`GradientConfig::from_json`] reads it.
    pub concurrency: Option<GradientConfig>,
    /// From `circuitBreaker`, as [`BreakerConfig::from_json`] reads it.
    pub breaker: Option<BreakerConfig>,
    /// From `maxRequests`: attempts at once over all endpoints (gRFC A32); 0 blocks all.
    pub max_requests: Option<u32>,
    /// From `maxRequestsPerEndpoint`: attempts at once at each endpoint; 0 blocks all.
    pub max_requests_per_endpoint: Option<u32>,
    /// From `dropOverloads`, as [`DropOverloads::from_json`] reads it; an empty list drops nothing.
    pub drops: Option<DropOverloads>,
}

impl ConfigLimits {
    pub(super) fn from_json(config: &Value) -> Result<Self, ConfigError> {
        let Some(ours) = fields::object("", config, OURS)? else { return Ok(Self::default()) };
        Ok(Self {
            rates: part(ours, RATES, RateLimits::from_json)?,
            concurrency: part(ours, CONCURRENCY, GradientConfig::from_json)?,
            breaker: part(ours, BREAKER, BreakerConfig::from_json)?,
            max_requests: fields::whole(OURS, ours, REQUESTS)?,
            max_requests_per_endpoint: fields::whole(OURS, ours, PER_ENDPOINT)?,
            drops: fields::read(OURS, ours, DROPS, DropOverloads::from_json)?,
        })
    }

    /// The first field, if any, of a limit that single endpoints have gates for: a rate, or a number that adapts.
    pub fn of_endpoints(&self) -> Option<&'static str> {
        let rate = self.rates.as_ref().is_some_and(|rates| rates.endpoint.is_some());
        rate.then_some("evenkeel.rateLimits.endpoint").or_else(|| self.concurrency.is_some().then_some("evenkeel.concurrencyLimit"))
    }
}

/// One of ours; errors have the whole path.
fn part<T>(ours: &Value, field: &str, read: impl FnOnce(&Value) -> Result<T, ConfigError>) -> Result<Option<T>, ConfigError> {
    let Some(value) = fields::object(OURS, ours, field)? else { return Ok(None) };
    read(value).map(Some).map_err(|mut error| {
        let within = error.field.strip_prefix(field).map_or(error.field.as_str(), |rest| rest.trim_start_matches('.'));
        error.field = fields::path(&fields::path(OURS, field), within);
        error
    })
}
