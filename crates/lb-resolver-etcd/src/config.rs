//! How to reach etcd, and what to expect of it.

use std::fmt;
use std::time::Duration;

use lb_core::BackoffConfig;
use lb_core::ConfigError;

use crate::member::Member;
use crate::tls::EtcdTls;

/// Nobody waits longer, and sums of instants stay far from overflow.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// Below this nothing but waiting would be done.
const SHORTEST: Duration = Duration::from_millis(10);

/// etcd ends connections that ask whether it is there more often than every 5 s.
const SHORTEST_KEEPALIVE: Duration = Duration::from_secs(5);

/// Where `etcdctl` looks when nobody says otherwise.
const DEFAULT_ENDPOINT: &str = "127.0.0.1:2379";

/// How an [`EtcdResolver`](crate::EtcdResolver) or an [`EtcdRegistration`](crate::EtcdRegistration) reaches etcd.
#[derive(Clone, PartialEq)]
pub struct EtcdConfig {
    /// As given, checked when they are used.
    endpoints: Vec<String>,
    pub(crate) user: Option<(String, String)>,
    pub(crate) tls: Option<EtcdTls>,
    pub(crate) backoff: BackoffConfig,
    pub(crate) connect_timeout: Duration,
    pub(crate) request_timeout: Duration,
    pub(crate) keepalive: (Duration, Duration),
    pub(crate) min_interval: Duration,
    pub(crate) check_interval: Duration,
    pub(crate) wipe_grace: Duration,
    pub(crate) max_endpoints: usize,
    pub(crate) max_bytes: usize,
    pub(crate) max_message_bytes: usize,
    pub(crate) seed: Option<u64>,
    pub(crate) service_config_key: Option<String>,
}

impl Default for EtcdConfig {
    fn default() -> Self {
        Self {
            endpoints: Vec::new(),
            user: None,
            tls: None,
            backoff: default_backoff(),
            connect_timeout: Duration::from_secs(3),
            request_timeout: Duration::from_secs(5),
            // A dead member is noticed within 9 s, and 5 s is what etcd tolerates.
            keepalive: (Duration::from_secs(6), Duration::from_secs(3)),
            // A burst of failing connections must not become a burst of lists.
            min_interval: Duration::from_secs(10),
            // The watch tells of changes; this only bounds how long a fault of anybody's could stay unseen.
            check_interval: Duration::from_secs(300),
            // Servers that keep their lease alive every 10 s have noticed by then.
            wipe_grace: Duration::from_secs(30),
            max_endpoints: 100_000,
            max_bytes: 64 << 20,
            // A value may have 1.5 MB, and a part of a watch's answer 2 MB.
            max_message_bytes: 16 << 20,
            seed: None,
            service_config_key: None,
        }
    }
}

/// From 100 ms to 1.25 s, ±20 %: a client sees changes within two seconds of etcd's return, and a connection that is refused costs little.
fn default_backoff() -> BackoffConfig {
    let (initial, max) = (Duration::from_millis(100), Duration::from_millis(1250));
    BackoffConfig::try_new(initial, 1.6, max, 0.2, Duration::ZERO).expect("all values are within their ranges")
}

impl EtcdConfig {
    /// The defaults: the member at `127.0.0.1:2379`, no user, no TLS.
    pub fn new() -> Self {
        Self::default()
    }

    /// The defaults, with what `etcdctl` reads from the environment too: `ETCDCTL_ENDPOINTS` (separated by commas), `ETCDCTL_USER`
    /// (`name` or `name:password`) and `ETCDCTL_PASSWORD`. What makes no sense in them is an error of the target when a channel is built.
    pub fn from_env() -> Self {
        Self::from_lookup(|name| std::env::var(name).ok())
    }

    fn from_lookup(lookup: impl Fn(&str) -> Option<String>) -> Self {
        let set = |name: &str| lookup(name).filter(|value| !value.is_empty());
        let endpoints = set("ETCDCTL_ENDPOINTS").map(|list| list.split(',').map(str::to_owned).collect()).unwrap_or_default();
        let user = set("ETCDCTL_USER").map(|text| match text.split_once(':') {
            Some((name, password)) => (name.to_owned(), password.to_owned()),
            None => (text, set("ETCDCTL_PASSWORD").unwrap_or_default()),
        });
        Self { endpoints, user, ..Self::default() }
    }

    /// Sets the members to use where a target names none: `host:port`, `http://host:port` or `https://host:port`; at most 64. One that
    /// fails is followed by the next.
    ///
    /// # Errors
    /// One of them is none of these.
    pub fn with_endpoints<T: Into<String>>(self, endpoints: impl IntoIterator<Item = T>) -> Result<Self, ConfigError> {
        let config = Self { endpoints: endpoints.into_iter().map(Into::into).collect(), ..self };
        match config.members() {
            Ok(_) => Ok(config),
            Err(_) => {
                Err(ConfigError::new("etcd.endpoints", config.endpoints.join(","), "up to 64 of host:port, http(s)://host:port"))
            }
        }
    }

    /// Reads the service config from this key and watches it, for targets that do not name another with `service_config=KEY` (or none,
    /// with nothing behind the `=`); default none. Its value is the config's JSON. No such key, or one without a value, is no
    /// config; one that cannot be read at first is a broken one, and later the last one stands.
    #[must_use]
    pub fn with_service_config_key(self, key: impl Into<String>) -> Self {
        Self { service_config_key: Some(key.into()), ..self }
    }

    /// Sets the user to be. Passwords travel as they are: use TLS wherever the network is not trusted. A client certificate whose common
    /// name is a user needs no password.
    #[must_use]
    pub fn with_user(self, name: impl Into<String>, password: impl Into<String>) -> Self {
        Self { user: Some((name.into(), password.into())), ..self }
    }

    /// Uses TLS, for every member that is not written with `http://`.
    #[must_use]
    pub fn with_tls(self, tls: EtcdTls) -> Self {
        Self { tls: Some(tls), ..self }
    }

    /// Sets how attempts are paced that follow a failure; default 100 ms, times 1.6, at most 1.25 s, ±20 %. The next member is tried at
    /// once; the delay comes when all have failed. Refusals, which time does not mend, are followed by twenty times these delays.
    #[must_use]
    pub fn with_backoff(self, backoff: BackoffConfig) -> Self {
        Self { backoff, ..self }
    }

    /// Sets how long connecting to a member may take, 10 ms to 24 h; default 3 s.
    ///
    /// # Errors
    /// The time is out of range.
    pub fn with_connect_timeout(self, timeout: Duration) -> Result<Self, ConfigError> {
        Ok(Self { connect_timeout: within("connect_timeout", timeout, SHORTEST)?, ..self })
    }

    /// Sets how long a request may take, 10 ms to 24 h; default 5 s.
    ///
    /// # Errors
    /// The time is out of range.
    pub fn with_request_timeout(self, timeout: Duration) -> Result<Self, ConfigError> {
        Ok(Self { request_timeout: within("request_timeout", timeout, SHORTEST)?, ..self })
    }

    /// Sets how often a member is asked on the connection whether it is there (5 s to 24 h, default 6 s), and how long its answer may
    /// take (10 ms to 24 h, default 3 s) before the connection counts as dead.
    ///
    /// # Errors
    /// A time is out of range.
    pub fn with_keepalive(self, interval: Duration, timeout: Duration) -> Result<Self, ConfigError> {
        let keepalive =
            (within("keepalive interval", interval, SHORTEST_KEEPALIVE)?, within("keepalive timeout", timeout, SHORTEST)?);
        Ok(Self { keepalive, ..self })
    }

    /// Sets how long after a list one that the channel asks for must wait, 10 ms to 24 h; default 10 s.
    ///
    /// # Errors
    /// The interval is out of range.
    pub fn with_min_interval(self, interval: Duration) -> Result<Self, ConfigError> {
        Ok(Self { min_interval: within("min_interval", interval, SHORTEST)?, ..self })
    }

    /// Sets after what time the keys are listed to check the watch, 1 s to 24 h, spread by chance over the last half; default 5 min. After
    /// a watch was resumed on another connection it is a tenth of that.
    ///
    /// # Errors
    /// The interval is out of range.
    pub fn with_check_interval(self, interval: Duration) -> Result<Self, ConfigError> {
        Ok(Self { check_interval: within("check_interval", interval, Duration::from_secs(1))?, ..self })
    }

    /// Sets how long endpoints stay in use that are missing after etcd lost its data, 0 to 24 h; default 30 s. They go earlier if the
    /// new data has them all.
    ///
    /// # Errors
    /// The time is out of range.
    pub fn with_wipe_grace(self, grace: Duration) -> Result<Self, ConfigError> {
        Ok(Self { wipe_grace: within("wipe_grace", grace, Duration::ZERO)?, ..self })
    }

    /// Sets the number of keys below a name above which a set is refused and the last good one stands; default 100 000.
    #[must_use]
    pub fn with_max_endpoints(self, endpoints: usize) -> Self {
        Self { max_endpoints: endpoints, ..self }
    }

    /// Sets the size in bytes of all keys and values of a set above which it is refused; default 64 MiB.
    #[must_use]
    pub fn with_max_bytes(self, bytes: usize) -> Self {
        Self { max_bytes: bytes, ..self }
    }

    /// Sets the size in bytes of the largest message that is read, at least 2 MiB; default 16 MiB.
    #[must_use]
    pub fn with_max_message_bytes(self, bytes: usize) -> Self {
        Self { max_message_bytes: bytes.max(2 << 20), ..self }
    }

    /// Makes the order of members and all jitter repeatable.
    #[must_use]
    pub fn with_seed(self, seed: u64) -> Self {
        Self { seed: Some(seed), ..self }
    }

    pub(crate) fn members(&self) -> Result<Vec<Member>, String> {
        match self.endpoints.as_slice() {
            [] => Member::parse_list(DEFAULT_ENDPOINT),
            endpoints => Member::parse_list(&endpoints.join(",")),
        }
    }
}

impl fmt::Debug for EtcdConfig {
    /// Without the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = f.debug_struct("EtcdConfig");
        text.field("endpoints", &self.endpoints).field("user", &self.user.as_ref().map(|(name, _)| name));
        text.field("tls", &self.tls).field("request_timeout", &self.request_timeout).finish_non_exhaustive()
    }
}

fn within(field: &str, value: Duration, least: Duration) -> Result<Duration, ConfigError> {
    if (least..=LONGEST).contains(&value) {
        return Ok(value);
    }
    Err(ConfigError::new(format!("etcd.{field}"), format!("{value:?}"), format!("{least:?} to {LONGEST:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_is_read_as_etcdctl_does() {
        let of = |pairs: &[(&str, &str)]| {
            EtcdConfig::from_lookup(|name| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()))
        };
        assert_eq!(of(&[]), EtcdConfig::new());
        assert_eq!(of(&[]).members().unwrap()[0].authority, "127.0.0.1:2379");
        let config = of(&[("ETCDCTL_ENDPOINTS", "https://a:1,b:2"), ("ETCDCTL_USER", "u:p:q")]);
        assert_eq!(config.members().unwrap().len(), 2);
        assert_eq!(config.user, Some(("u".to_owned(), "p:q".to_owned())));
        assert_eq!(of(&[("ETCDCTL_USER", "u"), ("ETCDCTL_PASSWORD", "p")]).user, Some(("u".to_owned(), "p".to_owned())));
        assert!(of(&[("ETCDCTL_ENDPOINTS", "a:b")]).members().is_err());
    }

    #[test]
    fn values_out_of_range_are_errors_that_name_the_field() {
        let config = EtcdConfig::new;
        for (result, field) in [
            (config().with_connect_timeout(Duration::ZERO), "etcd.connect_timeout"),
            (config().with_request_timeout(Duration::MAX), "etcd.request_timeout"),
            (config().with_keepalive(Duration::from_secs(4), Duration::from_secs(1)), "etcd.keepalive interval"),
            (config().with_min_interval(Duration::ZERO), "etcd.min_interval"),
            (config().with_check_interval(Duration::ZERO), "etcd.check_interval"),
            (config().with_wipe_grace(Duration::MAX), "etcd.wipe_grace"),
            (config().with_endpoints(["a b"]), "etcd.endpoints"),
        ] {
            assert_eq!(result.unwrap_err().field, field);
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let tls = EtcdTls::new().identity("chain", "hidden key");
        let text = format!("{:?}", EtcdConfig::new().with_user("root", "hidden password").with_tls(tls));
        assert!(text.contains("root") && !text.contains("hidden"), "{text}");
    }
}
