//! How to ask Consul.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use lb_core::BackoffConfig;
use lb_core::ConfigError;

use crate::agent::Agent;
use crate::tls::Pem;
use crate::tls::TlsOptions;

/// Nobody waits longer, and sums of instants stay far from overflow.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// Below this a resolver would do nothing but ask.
const SHORTEST: Duration = Duration::from_millis(10);

/// Consul holds no query longer.
const LONGEST_WAIT: Duration = Duration::from_secs(600);

/// How a [`ConsulResolver`](crate::ConsulResolver) and a [`ConsulRegistration`](crate::ConsulRegistration) ask Consul, and when.
#[derive(Debug, Clone, PartialEq)]
pub struct ConsulConfig {
    pub(crate) agents: Vec<String>,
    pub(crate) backoff: BackoffConfig,
    pub(crate) clear_when_empty: bool,
    pub(crate) https: bool,
    pub(crate) max_response: usize,
    pub(crate) meta_prefix: String,
    pub(crate) min_interval: Duration,
    pub(crate) namespace: Option<String>,
    pub(crate) datacenter: Option<String>,
    pub(crate) poll_interval: Duration,
    pub(crate) seed: Option<u64>,
    pub(crate) service_config_key: Option<String>,
    pub(crate) timeout: Duration,
    pub(crate) tls: TlsOptions,
    pub(crate) token: Option<Token>,
    pub(crate) wait: Duration,
}

/// Where the token comes from.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Token {
    File(PathBuf),
    Text(String),
}

impl fmt::Debug for Token {
    /// Tokens are not printed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.fmt(f),
            Self::Text(_) => f.write_str("hidden"),
        }
    }
}

impl Default for ConsulConfig {
    fn default() -> Self {
        Self {
            agents: Vec::new(),
            // The registry's return must show within 2 s, so the longest delay is 1.5 s and a fifth. A dead agent costs a refused
            // connection per delay, and a refusal of an agent one small request.
            backoff: BackoffConfig::try_new(Duration::from_millis(100), 1.6, Duration::from_millis(1500), 0.2, Duration::ZERO)
                .expect("the values are in range"),
            clear_when_empty: false,
            https: false,
            // Thirty thousand endpoints of a kilobyte each.
            max_response: 32 << 20,
            meta_prefix: String::new(),
            // Four looks a second at a service that never rests; half of the second in which a change must show is left.
            min_interval: Duration::from_millis(250),
            namespace: None,
            datacenter: None,
            // A prepared query cannot be waited on.
            poll_interval: Duration::from_secs(10),
            seed: None,
            service_config_key: None,
            timeout: Duration::from_secs(10),
            tls: TlsOptions::default(),
            token: None,
            // A frozen agent is noticed a little after; an idle watch costs one request a minute. Consul's default is 5 min.
            wait: Duration::from_secs(60),
        }
    }
}

impl ConsulConfig {
    /// The defaults: the agent of this machine, `http://127.0.0.1:8500`, without a token. The environment is not looked at.
    pub fn new() -> Self {
        Self::default()
    }

    /// The defaults with what the environment says, by Consul's own names: `CONSUL_HTTP_ADDR` (agents, separated by commas),
    /// `CONSUL_HTTP_SSL`, `CONSUL_HTTP_TOKEN`, `CONSUL_HTTP_TOKEN_FILE`, `CONSUL_NAMESPACE`, `CONSUL_CACERT`, `CONSUL_CLIENT_CERT`,
    /// `CONSUL_CLIENT_KEY` and `CONSUL_TLS_SERVER_NAME`. An empty variable counts as absent.
    ///
    /// # Errors
    /// A variable does not say what it should.
    pub fn from_env() -> Result<Self, ConfigError> {
        Self::from_lookup(|name| std::env::var(name).ok())
    }

    pub(crate) fn from_lookup(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let lookup = |name: &str| lookup(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
        let mut config = Self::default();
        if let Some(ssl) = lookup("CONSUL_HTTP_SSL") {
            let bad = || ConfigError::new("CONSUL_HTTP_SSL", format!("{ssl:?}"), "true, false, 1 or 0");
            config.https = truth(&ssl).ok_or_else(bad)?;
        }
        if let Some(addresses) = lookup("CONSUL_HTTP_ADDR") {
            config = config.with_agents(addresses.split(',').map(str::trim))?;
        } else if config.https {
            config = config.with_agents([Agent { tls: true, ..Agent::local() }.to_string()])?;
        }
        config.token = match (lookup("CONSUL_HTTP_TOKEN"), lookup("CONSUL_HTTP_TOKEN_FILE")) {
            (Some(token), _) => config.clone().with_token_text(token)?.token,
            (None, file) => file.map(|path| Token::File(path.into())),
        };
        config.namespace = lookup("CONSUL_NAMESPACE");
        config.tls.ca = lookup("CONSUL_CACERT").map(|path| Pem::File(path.into()));
        config.tls.server_name = lookup("CONSUL_TLS_SERVER_NAME");
        config.tls.identity = match (lookup("CONSUL_CLIENT_CERT"), lookup("CONSUL_CLIENT_KEY")) {
            (Some(chain), Some(key)) => Some((Pem::File(chain.into()), Pem::File(key.into()))),
            (None, None) => None,
            _ => return Err(ConfigError::new("CONSUL_CLIENT_CERT, CONSUL_CLIENT_KEY", "only one of them", "both or neither")),
        };
        Ok(config)
    }

    /// Sets the agents to ask where the target names none: `host`, `host:port`, `[ipv6]:port`, with `http://` or `https://` before it
    /// if need be; default the agent of this machine. Each stream begins with one drawn by chance and stays with it for as long as it
    /// answers; a registration begins with the first. Failing over from one to the next takes no pause and is no error.
    ///
    /// # Errors
    /// An address is none of these.
    pub fn with_agents<T: Into<String>>(self, agents: impl IntoIterator<Item = T>) -> Result<Self, ConfigError> {
        let agents: Vec<String> = agents.into_iter().map(Into::into).collect();
        for agent in &agents {
            Agent::parse(agent, self.https)?;
        }
        Ok(Self { agents, ..self })
    }

    /// Sets how requests are paced that follow a failure of every agent; default 100 ms, times 1.6, at most 1.5 s, ±20 %. The
    /// connect timeout in it is not used. The delay counts from the failure.
    #[must_use]
    pub fn with_backoff(self, backoff: BackoffConfig) -> Self {
        Self { backoff, ..self }
    }

    /// Trusts only these certificate authorities for `https` agents: one or more certificates in PEM.
    #[must_use]
    pub fn with_ca_certificate(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.tls.ca = Some(Pem::Text(pem.into()));
        self
    }

    /// Sets whether the channel's set is emptied once Consul says twice that it knows nothing of the service; default false, so that
    /// a registry that lost its data, or starts without it, costs no working connection.
    #[must_use]
    pub fn with_clear_when_empty(self, clear_when_empty: bool) -> Self {
        Self { clear_when_empty, ..self }
    }

    /// Shows `https` agents this certificate chain, with its private key; both in PEM.
    #[must_use]
    pub fn with_client_certificate(mut self, chain_pem: impl Into<Vec<u8>>, key_pem: impl Into<Vec<u8>>) -> Self {
        self.tls.identity = Some((Pem::Text(chain_pem.into()), Pem::Text(key_pem.into())));
        self
    }

    /// Sets the most bytes of one answer, 1 KiB to 1 GiB; default 32 MiB. A longer one is an error, after which the last set stands.
    ///
    /// # Errors
    /// The limit is out of range.
    pub fn with_max_response(self, bytes: usize) -> Result<Self, ConfigError> {
        match bytes {
            0x400..=0x4000_0000 => Ok(Self { max_response: bytes, ..self }),
            _ => Err(ConfigError::new("consul.max_response", bytes, "1024 to 1073741824 bytes")),
        }
    }

    /// Sets what stands before our keys in `Meta` and tags, as in `lb-weight`; default nothing.
    #[must_use]
    pub fn with_meta_prefix(self, prefix: impl Into<String>) -> Self {
        Self { meta_prefix: prefix.into(), ..self }
    }

    /// Sets the least time from one request to the next while the service changes all the time, 10 ms to 24 h; default 250 ms. Up to
    /// a tenth is added by chance. A first change after a rest shows at once.
    ///
    /// # Errors
    /// The interval is out of range.
    pub fn with_min_interval(self, interval: Duration) -> Result<Self, ConfigError> {
        let min_interval = within("min_interval", interval, SHORTEST, LONGEST)?;
        Ok(Self { min_interval, ..self })
    }

    /// Reads the service config from this key of the KV store and watches it, for targets that do not name another with
    /// `service_config=KEY` (or none, with nothing behind the `=`); default none. Its value is the config's JSON. No such key, or one without a
    /// value, is no config; one that cannot be read at first is a broken one, and later the last one stands. The key is looked for in the target's datacenter, namespace
    /// and partition, and the token must be allowed to read it.
    #[must_use]
    pub fn with_service_config_key(self, key: impl Into<String>) -> Self {
        Self { service_config_key: Some(key.into()), ..self }
    }

    /// Sets the namespace of services whose target names none (Consul Enterprise); default the agent's.
    #[must_use]
    pub fn with_namespace(self, namespace: impl Into<String>) -> Self {
        Self { namespace: Some(namespace.into()), ..self }
    }

    /// Sets the datacenter of services whose target names none; default the agent's. A registration is always the agent's.
    #[must_use]
    pub fn with_datacenter(self, datacenter: impl Into<String>) -> Self {
        Self { datacenter: Some(datacenter.into()), ..self }
    }

    /// Sets how often prepared queries are executed, 10 ms to 24 h; default 10 s. Up to a tenth is added by chance.
    ///
    /// # Errors
    /// The interval is out of range.
    pub fn with_poll_interval(self, interval: Duration) -> Result<Self, ConfigError> {
        let poll_interval = within("poll_interval", interval, SHORTEST, LONGEST)?;
        Ok(Self { poll_interval, ..self })
    }

    /// Sets the seed of everything that is drawn by chance, for repeatable runs; default different for every stream.
    #[must_use]
    pub fn with_seed(self, seed: u64) -> Self {
        Self { seed: Some(seed), ..self }
    }

    /// Sets how long connecting, the head of an answer and its body may take each, 10 ms to 24 h; default 10 s. What a query waits on
    /// purpose comes on top.
    ///
    /// # Errors
    /// The timeout is out of range.
    pub fn with_timeout(self, timeout: Duration) -> Result<Self, ConfigError> {
        let timeout = within("timeout", timeout, SHORTEST, LONGEST)?;
        Ok(Self { timeout, ..self })
    }

    /// Sets the name to verify in the certificates of `https` agents; default the host of each.
    #[must_use]
    pub fn with_tls_server_name(mut self, name: impl Into<String>) -> Self {
        self.tls.server_name = Some(name.into());
        self
    }

    /// Sets the token; default none. An empty one is none.
    ///
    /// # Errors
    /// The token holds something that cannot be sent.
    pub fn with_token(self, token: impl Into<String>) -> Result<Self, ConfigError> {
        self.with_token_text(token.into())
    }

    /// Sets the file that holds the token. It is read again for every request, so a token that is rotated counts from the next one.
    #[must_use]
    pub fn with_token_file(self, path: impl Into<PathBuf>) -> Self {
        Self { token: Some(Token::File(path.into())), ..self }
    }

    /// Sets how long a query waits for a change before it is asked again, 10 ms to 10 min; default 60 s. An agent that is frozen is
    /// noticed after this and the [timeout](Self::with_timeout).
    ///
    /// # Errors
    /// The time is out of range.
    pub fn with_wait(self, wait: Duration) -> Result<Self, ConfigError> {
        let wait = within("wait", wait, SHORTEST, LONGEST_WAIT)?;
        Ok(Self { wait, ..self })
    }

    fn with_token_text(self, token: String) -> Result<Self, ConfigError> {
        if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(ConfigError::new("consul.token", "a text with characters no token has", "printable ASCII without spaces"));
        }
        Ok(Self { token: Some(Token::Text(token)).filter(|token| *token != Token::Text(String::new())), ..self })
    }
}

/// Says `true` or `false` in the ways Consul's own variables allow.
pub(crate) fn truth(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "" | "1" | "t" | "true" => Some(true),
        "0" | "f" | "false" => Some(false),
        _ => None,
    }
}

fn within(field: &str, value: Duration, least: Duration, most: Duration) -> Result<Duration, ConfigError> {
    if (least..=most).contains(&value) {
        return Ok(value);
    }
    Err(ConfigError::new(format!("consul.{field}"), format!("{value:?}"), format!("{least:?} to {most:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(variables: &[(&str, &str)]) -> Result<ConsulConfig, String> {
        let lookup = |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        ConsulConfig::from_lookup(lookup).map_err(|error| error.to_string())
    }

    #[test]
    fn the_environment_is_read_by_consuls_names() {
        assert_eq!(from(&[]).unwrap(), ConsulConfig::new());
        let config =
            from(&[("CONSUL_HTTP_ADDR", "a:1, https://b"), ("CONSUL_HTTP_TOKEN", "t"), ("CONSUL_HTTP_TOKEN_FILE", "/f")]).unwrap();
        assert_eq!(config.agents, ["a:1", "https://b"]);
        assert_eq!(config.token, Some(Token::Text("t".to_owned())));
        let config = from(&[("CONSUL_HTTP_TOKEN", " "), ("CONSUL_HTTP_TOKEN_FILE", "/f"), ("CONSUL_HTTP_SSL", "true")]).unwrap();
        assert_eq!((config.token, config.agents), (Some(Token::File("/f".into())), vec!["https://127.0.0.1:8500".to_owned()]));
        assert!(from(&[("CONSUL_HTTP_SSL", "maybe")]).unwrap_err().contains("CONSUL_HTTP_SSL"));
        assert!(from(&[("CONSUL_HTTP_ADDR", "unix:///run/x")]).unwrap_err().contains("consul.agent"));
        assert!(from(&[("CONSUL_CLIENT_CERT", "/c")]).unwrap_err().contains("both or neither"));
        assert!(from(&[("CONSUL_HTTP_TOKEN", "a\nb")]).is_err());
    }

    #[test]
    fn values_out_of_range_are_errors_that_say_the_range() {
        let config = ConsulConfig::new;
        assert!(
            config().with_timeout(Duration::ZERO).unwrap_err().to_string().contains("consul.timeout is 0ns, allowed is 10ms to")
        );
        assert!(config().with_wait(Duration::from_secs(601)).unwrap_err().to_string().contains("to 600s"));
        assert!(config().with_min_interval(Duration::ZERO).is_err() && config().with_poll_interval(Duration::MAX).is_err());
        assert!(config().with_max_response(10).is_err() && config().with_agents(["::"]).is_err());
    }

    #[test]
    fn tokens_and_keys_are_not_printed() {
        let config = ConsulConfig::new().with_token("verysecret").unwrap().with_client_certificate("chain", "verysecret");
        assert!(!format!("{config:?}").contains("verysecret"));
        assert_eq!(ConsulConfig::new().with_token("").unwrap().token, None);
    }
}
