//! Limits and breakers that change with the service config.

use lb_core::ConfigError;
use lb_core::breaker::BreakerConfig;

use super::Driver;
use crate::limits::LimitChanges;

impl Driver {
    /// Other limits and breakers from now on; what is counted goes on.
    pub(super) fn limit(&mut self, changes: LimitChanges) {
        if let Some(breaker) = changes.breaker.clone() {
            // What they did so far is told by those that did it.
            self.tell_breakers();
            let breakers = self.shared.breakers.clone();
            self.warn(breakers.map_or(Ok(()), |breakers| breakers.configure(breaker.unwrap_or_else(BreakerConfig::off))));
        }
        let limits = &self.shared.limits;
        let rates = changes.rates.map_or(Ok(()), |rates| limits.set_rates(rates));
        let concurrency = changes.concurrency.map_or(Ok(()), |concurrency| limits.set_concurrency(concurrency));
        let fixed = changes.max_requests_per_endpoint.map_or(Ok(()), |max| limits.set_per_endpoint(max));
        if let Some(max) = changes.max_requests {
            limits.set_requests(max, &self.shared);
        }
        self.warn(rates.and(concurrency).and(fixed));
        self.shared.gate_signal().opened();
    }

    /// It was checked when the config was read.
    fn warn(&self, result: Result<(), ConfigError>) {
        if let Err(error) = result {
            tracing::error!(%error, "limits of the service config");
        }
    }
}
