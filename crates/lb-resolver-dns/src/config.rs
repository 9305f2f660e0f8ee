//! How to look names up.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use lb_core::BackoffConfig;
use lb_core::ConfigError;

/// Nobody waits longer, and sums of instants stay far from overflow.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// Below this a resolver would do nothing but ask.
const SHORTEST: Duration = Duration::from_millis(10);

/// How a [`DnsResolver`](crate::DnsResolver) asks and when.
#[derive(Debug, Clone, PartialEq)]
pub struct DnsConfig {
    pub(crate) backoff: BackoffConfig,
    pub(crate) client_hostname: Option<String>,
    pub(crate) hosts_file: bool,
    pub(crate) min_interval: Duration,
    pub(crate) name_servers: Vec<SocketAddr>,
    pub(crate) refresh: Option<RangeInclusive<Duration>>,
    pub(crate) seed: Option<u64>,
    pub(crate) service_config: bool,
    pub(crate) srv: bool,
    pub(crate) timeout: Duration,
}

impl Default for DnsConfig {
    fn default() -> Self {
        Self {
            backoff: BackoffConfig::default(),
            client_hostname: None,
            hosts_file: true,
            // gRPC's: a burst of failing connections must not become a burst of queries.
            min_interval: Duration::from_secs(30),
            name_servers: Vec::new(),
            // 5 s is the shortest time to live in common use (Kubernetes), so that 0 does not become a busy loop. 5 min bounds how
            // long a new server stays unseen behind records that were given a day.
            refresh: Some(Duration::from_secs(5)..=Duration::from_secs(300)),
            seed: None,
            service_config: false,
            srv: false,
            // Two tries of each of two name servers at 2.5 s; calls that wait for the first answer usually wait no longer.
            timeout: Duration::from_secs(10),
        }
    }
}

impl DnsConfig {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets how looks are paced that follow a failure; default 1 s, times 1.6, at most 120 s, ±20 %. The connect timeout in it is
    /// not used. The delay counts from the failure.
    #[must_use]
    pub fn with_backoff(self, backoff: BackoffConfig) -> Self {
        Self { backoff, ..self }
    }

    /// Sets the name that `clientHostname` of a service config is compared with; default the system's, where it can be read.
    #[must_use]
    pub fn with_client_hostname(self, name: impl Into<String>) -> Self {
        Self { client_hostname: Some(name.into()), ..self }
    }

    /// Sets whether the system's hosts file is asked first; default true. It never is where a name server is named.
    #[must_use]
    pub fn with_hosts_file(self, hosts_file: bool) -> Self {
        Self { hosts_file, ..self }
    }

    /// Sets how long after a success a look that the channel asks for must wait, 0 to 24 h; default 30 s.
    ///
    /// # Errors
    /// The interval is out of range.
    pub fn with_min_interval(self, interval: Duration) -> Result<Self, ConfigError> {
        let min_interval = within("min_interval", interval, Duration::ZERO)?;
        Ok(Self { min_interval, ..self })
    }

    /// Sets the name servers to ask where the target names none; default (an empty list) the system's.
    #[must_use]
    pub fn with_name_servers(self, servers: impl IntoIterator<Item = SocketAddr>) -> Self {
        Self { name_servers: servers.into_iter().collect(), ..self }
    }

    /// Sets the bounds between which records are looked up again when their time to live ends, 10 ms to 24 h; default 5 s and 5 min.
    /// Up to a tenth is added by chance.
    ///
    /// # Errors
    /// A bound is out of range, or the first is above the second.
    pub fn with_refresh(self, floor: Duration, ceiling: Duration) -> Result<Self, ConfigError> {
        let (floor, ceiling) = (within("refresh floor", floor, SHORTEST)?, within("refresh ceiling", ceiling, SHORTEST)?);
        if floor > ceiling {
            return Err(ConfigError::new("dns.refresh floor", format!("{floor:?}"), format!("at most the ceiling, {ceiling:?}")));
        }
        Ok(Self { refresh: Some(floor..=ceiling), ..self })
    }

    /// Looks again only when the channel asks, as gRPC does; new servers stay unseen until a connection breaks.
    #[must_use]
    pub fn without_refresh(self) -> Self {
        Self { refresh: None, ..self }
    }

    /// Sets the seed of everything that is drawn by chance, for repeatable runs; default different for every stream.
    #[must_use]
    pub fn with_seed(self, seed: u64) -> Self {
        Self { seed: Some(seed), ..self }
    }

    /// Sets whether the service config is looked up in TXT records of `_grpc_config.` + name (A2); default false, because who writes
    /// the zone then decides on policies and retries. Where the lookup fails, the last service config stays.
    #[must_use]
    pub fn with_service_config(self, service_config: bool) -> Self {
        Self { service_config, ..self }
    }

    /// Sets whether SRV records are looked up for every name; default false: only for names that begin with `_` and targets with
    /// `?srv`. `?srv=false` is always obeyed.
    #[must_use]
    pub fn with_srv(self, srv: bool) -> Self {
        Self { srv, ..self }
    }

    /// Sets how long a whole look may take, with all its queries and retries, 10 ms to 24 h; default 10 s.
    ///
    /// # Errors
    /// The timeout is out of range.
    pub fn with_timeout(self, timeout: Duration) -> Result<Self, ConfigError> {
        let timeout = within("timeout", timeout, SHORTEST)?;
        Ok(Self { timeout, ..self })
    }
}

fn within(field: &str, value: Duration, least: Duration) -> Result<Duration, ConfigError> {
    if (least..=LONGEST).contains(&value) {
        return Ok(value);
    }
    Err(ConfigError::new(format!("dns.{field}"), format!("{value:?}"), format!("{least:?} to {LONGEST:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_out_of_range_are_errors_that_say_the_range() {
        let second = Duration::from_secs(1);
        let config = DnsConfig::new;
        assert!(config().with_timeout(Duration::ZERO).unwrap_err().to_string().contains("dns.timeout is 0ns, allowed is 10ms to"));
        assert!(config().with_min_interval(Duration::MAX).is_err());
        assert!(config().with_min_interval(Duration::ZERO).is_ok());
        assert!(config().with_refresh(2 * second, second).unwrap_err().to_string().contains("at most the ceiling, 1s"));
        assert!(config().with_refresh(Duration::ZERO, second).is_err());
        assert_eq!(config().with_refresh(second, second).unwrap().refresh, Some(second..=second));
        assert_eq!(config().without_refresh().refresh, None);
    }
}
