//! What limits and breakers a channel shall have: its builder's, and those of the service config that counts.

use lb_core::ConfigError;
use lb_core::breaker::BreakerConfig;
use lb_core::drops::DropOverloads;
use lb_core::limits::{GradientConfig, RateLimits};
use lb_core::service_config::{ConfigLimits, ServiceConfig};

use super::never;

/// What a builder collects, and what holds while a service config is in use.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct LimitsConfig {
    pub(crate) rates: RateLimits,
    pub(crate) concurrency: Option<GradientConfig>,
    pub(crate) breaker: Option<BreakerConfig>,
    /// Attempts at once over all endpoints.
    pub(crate) max_requests: Option<u32>,
    /// Attempts at once at each endpoint.
    pub(crate) max_requests_per_endpoint: Option<u32>,
    /// Which shares of the calls are dropped. They come to calls with the [rules](crate::rules::Rules).
    pub(crate) drops: DropOverloads,
}

/// Which gates the endpoints of a channel have. They have them from when they are first listed, and get none later.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Gates {
    /// For rates, and for numbers that adapt.
    pub(crate) limits: bool,
    /// For fixed numbers.
    pub(crate) per_endpoint: bool,
    pub(crate) breakers: bool,
}

impl LimitsConfig {
    /// What holds while this service config is in use: what it says, and the rest as here.
    pub(crate) fn under(&self, config: Option<&ServiceConfig>) -> Self {
        let own = self.clone();
        let Some(limits) = config.map(|config| &config.limits) else { return own };
        let ConfigLimits { rates, concurrency, breaker, max_requests, max_requests_per_endpoint, drops, .. } = limits;
        Self {
            rates: rates.clone().unwrap_or(own.rates),
            concurrency: concurrency.or(own.concurrency),
            breaker: breaker.clone().or(own.breaker),
            max_requests: max_requests.or(own.max_requests),
            max_requests_per_endpoint: max_requests_per_endpoint.or(own.max_requests_per_endpoint),
            drops: drops.clone().unwrap_or(own.drops),
        }
    }

    /// The gates that endpoints need for it.
    pub(crate) fn gates(&self) -> Gates {
        Gates {
            limits: self.rates.endpoint.is_some() || self.concurrency.is_some(),
            per_endpoint: self.max_requests_per_endpoint.is_some(),
            breakers: self.breaker.is_some(),
        }
    }
}

impl Gates {
    /// Those of either.
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            limits: self.limits || other.limits,
            per_endpoint: self.per_endpoint || other.per_endpoint,
            breakers: self.breakers || other.breakers,
        }
    }

    /// Whether a service config's limits and breakers can be had with these gates.
    ///
    /// # Errors
    /// It has some that need gates there are not.
    pub(crate) fn check(self, config: &ServiceConfig) -> Result<(), ConfigError> {
        let limits = &config.limits;
        if let Some(field) = limits.of_endpoints().filter(|_| !self.limits) {
            return Err(never(field));
        }
        if limits.max_requests_per_endpoint.is_some() && !self.per_endpoint {
            return Err(never("evenkeel.maxRequestsPerEndpoint"));
        }
        if limits.breaker.is_some() && !self.breakers {
            let allowed = "only for a channel that was built with circuit breakers";
            return Err(ConfigError::new("evenkeel.circuitBreaker", "set", allowed));
        }
        Ok(())
    }
}

/// What is otherwise from now on; `None` is as it was.
#[derive(Debug, Default)]
pub(crate) struct LimitChanges {
    pub(crate) rates: Option<RateLimits>,
    pub(crate) concurrency: Option<Option<GradientConfig>>,
    pub(crate) breaker: Option<Option<BreakerConfig>>,
    pub(crate) max_requests: Option<Option<u32>>,
    pub(crate) max_requests_per_endpoint: Option<Option<u32>>,
}

impl LimitChanges {
    /// `None` if nothing is.
    pub(crate) fn between(before: &LimitsConfig, after: LimitsConfig) -> Option<Self> {
        (*before != after).then(|| Self {
            rates: changed(&before.rates, after.rates),
            concurrency: changed(&before.concurrency, after.concurrency),
            breaker: changed(&before.breaker, after.breaker),
            max_requests: changed(&before.max_requests, after.max_requests),
            max_requests_per_endpoint: changed(&before.max_requests_per_endpoint, after.max_requests_per_endpoint),
        })
    }
}

fn changed<T: PartialEq>(before: &T, after: T) -> Option<T> {
    Some(after).filter(|after| after != before)
}
