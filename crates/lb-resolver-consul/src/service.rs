//! What a server says of itself when it registers.

use std::collections::BTreeMap;
use std::time::Duration;

use lb_core::ConfigError;
use serde_json::Value;
use serde_json::json;

/// Consul looks for services to remove every 30 s and takes nothing below a minute.
const LEAST_REMOVAL: Duration = Duration::from_secs(60);

/// A server to register: its service's name, where it is, and what there is to know of it.
#[derive(Debug, Clone, PartialEq)]
pub struct ConsulService {
    name: String,
    id: Option<String>,
    address: Option<String>,
    port: u16,
    tags: Vec<String>,
    meta: BTreeMap<String, String>,
    weights: (u16, u16),
    pub(crate) check: ConsulCheck,
    remove_after: Option<Duration>,
}

/// How Consul knows that a server lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsulCheck(pub(crate) Kind);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The server says so at least this often.
    Ttl(Duration),
    /// The agent asks the server this often, by `grpc.health.v1`.
    Grpc {
        target: String,
        tls: bool,
        interval: Duration,
    },
    None,
}

impl ConsulCheck {
    /// The registration says "I live" three times within each `ttl`, 1 s to 24 h. It finds out that the process lives and the runtime
    /// turns, nothing more; it needs no way from the agent to the server.
    ///
    /// # Errors
    /// The time is out of range.
    pub fn ttl(ttl: Duration) -> Result<Self, ConfigError> {
        period("ttl", ttl).map(|ttl| Self(Kind::Ttl(ttl)))
    }

    /// The agent calls the server's `grpc.health.v1.Health/Check` every `interval`, 1 s to 24 h. `target` is `host:port` or
    /// `host:port/service`, as the agent reaches it.
    ///
    /// # Errors
    /// The interval is out of range, or the target without a port.
    pub fn grpc(target: impl Into<String>, interval: Duration) -> Result<Self, ConfigError> {
        let (target, interval) = (target.into(), period("interval", interval)?);
        if !target.split('/').next().is_some_and(|address| address.contains(':')) {
            return Err(ConfigError::new("check.target", format!("{target:?}"), "host:port or host:port/service"));
        }
        Ok(Self(Kind::Grpc { target, tls: false, interval }))
    }

    /// The same over TLS, with a certificate the agent trusts. Only a gRPC check takes notice.
    #[must_use]
    pub fn over_tls(mut self) -> Self {
        if let Kind::Grpc { tls, .. } = &mut self.0 {
            *tls = true;
        }
        self
    }

    /// None: the server counts as healthy for as long as its machine's agent is there.
    #[must_use]
    pub fn none() -> Self {
        Self(Kind::None)
    }
}

impl ConsulService {
    /// A server of this service at this port of the agent's machine, with a TTL check of 15 s.
    ///
    /// # Errors
    /// The name is empty, or the port 0.
    pub fn new(name: impl Into<String>, port: u16) -> Result<Self, ConfigError> {
        let name = name.into();
        if name.is_empty() || port == 0 {
            return Err(ConfigError::new("service", format!("{name:?}, port {port}"), "a name and a port from 1 to 65535"));
        }
        Ok(Self {
            name,
            id: None,
            address: None,
            port,
            tags: Vec::new(),
            meta: BTreeMap::new(),
            weights: (1, 1),
            check: ConsulCheck(Kind::Ttl(Duration::from_secs(15))),
            remove_after: None,
        })
    }

    /// Sets the address clients use: an IP address or a host name; default the agent's own.
    #[must_use]
    pub fn with_address(self, address: impl Into<String>) -> Self {
        Self { address: Some(address.into()), ..self }
    }

    /// Sets how Consul knows that the server lives; default a TTL check of 15 s.
    #[must_use]
    pub fn with_check(self, check: ConsulCheck) -> Self {
        Self { check, ..self }
    }

    /// Sets the id, which must be unique on the agent; default the name, address and port.
    #[must_use]
    pub fn with_id(self, id: impl Into<String>) -> Self {
        Self { id: Some(id.into()), ..self }
    }

    /// Adds a word of `Meta`, as in `.with_meta("zone", "a")`. See the [crate's page](crate#attributes) for those that clients act on.
    #[must_use]
    pub fn with_meta(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.meta.insert(key.into(), value.into());
        self
    }

    /// Sets after how long of failing checks Consul removes the server for good, 1 min to 24 h; default never.
    ///
    /// # Errors
    /// The time is out of range.
    pub fn with_removal_after(self, failing: Duration) -> Result<Self, ConfigError> {
        let remove_after = Some(within("remove_after", failing, LEAST_REMOVAL)?);
        Ok(Self { remove_after, ..self })
    }

    /// Adds a tag.
    #[must_use]
    pub fn with_tag(mut self, tag: impl Into<String>) -> Self {
        self.tags.push(tag.into());
        self
    }

    /// Sets the weights while its checks pass, from 1, and while one warns, from 0; default 1 and 1.
    ///
    /// # Errors
    /// The first is 0.
    pub fn with_weights(self, passing: u16, warning: u16) -> Result<Self, ConfigError> {
        match passing {
            0 => Err(ConfigError::new("weights.passing", passing, "1 to 65535")),
            _ => Ok(Self { weights: (passing, warning), ..self }),
        }
    }

    /// The id it is registered under.
    pub fn id(&self) -> String {
        let address = self.address.as_deref().unwrap_or_default();
        self.id.clone().unwrap_or_else(|| format!("{}-{address}-{}", self.name, self.port))
    }

    /// The id of its check.
    pub(crate) fn check_id(&self) -> String {
        format!("service:{}", self.id())
    }

    /// What the agent is sent.
    pub(crate) fn body(&self) -> Value {
        let mut body = json!({
            "ID": self.id(), "Name": self.name, "Port": self.port, "Tags": self.tags, "Meta": self.meta,
            "Weights": { "Passing": self.weights.0, "Warning": self.weights.1 },
        });
        if let Some(address) = &self.address {
            body["Address"] = json!(address);
        }
        let mut check = match &self.check.0 {
            Kind::None => return body,
            // It is alive, or it would not say so.
            Kind::Ttl(ttl) => json!({ "TTL": text(*ttl), "Status": "passing" }),
            Kind::Grpc { target, tls, interval } => json!({ "GRPC": target, "GRPCUseTLS": tls, "Interval": text(*interval) }),
        };
        check["CheckID"] = json!(self.check_id());
        if let Some(failing) = self.remove_after {
            check["DeregisterCriticalServiceAfter"] = json!(text(failing));
        }
        body["Check"] = check;
        body
    }
}

fn text(time: Duration) -> String {
    format!("{}ms", time.as_millis())
}

fn period(field: &str, value: Duration) -> Result<Duration, ConfigError> {
    within(&format!("check.{field}"), value, Duration::from_secs(1))
}

fn within(field: &str, value: Duration, least: Duration) -> Result<Duration, ConfigError> {
    let most = Duration::from_secs(24 * 60 * 60);
    if (least..=most).contains(&value) {
        return Ok(value);
    }
    Err(ConfigError::new(field, format!("{value:?}"), format!("{least:?} to {most:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_agent_is_sent() {
        let service = ConsulService::new("greeter", 80).unwrap().with_address("10.0.0.1").with_meta("zone", "a").with_tag("gpu");
        let service = service.with_weights(10, 0).unwrap().with_removal_after(Duration::from_secs(90)).unwrap();
        let body = service.body();
        assert_eq!(body["ID"], "greeter-10.0.0.1-80");
        assert_eq!((&body["Weights"]["Warning"], &body["Meta"]["zone"], &body["Tags"][0]), (&json!(0), &json!("a"), &json!("gpu")));
        assert_eq!(
            (&body["Check"]["TTL"], &body["Check"]["DeregisterCriticalServiceAfter"]),
            (&json!("15000ms"), &json!("90000ms"))
        );
        let check = ConsulCheck::grpc("h:1/greeter", Duration::from_secs(2)).unwrap().over_tls();
        let body = service.clone().with_check(check).with_id("x").body();
        assert_eq!(
            (&body["ID"], &body["Check"]["GRPC"], &body["Check"]["GRPCUseTLS"]),
            (&json!("x"), &json!("h:1/greeter"), &json!(true))
        );
        assert!(service.with_check(ConsulCheck::none()).body().get("Check").is_none());
    }

    #[test]
    fn what_makes_no_sense_is_an_error() {
        assert!(ConsulService::new("", 1).is_err() && ConsulService::new("a", 0).is_err());
        assert!(ConsulCheck::ttl(Duration::ZERO).unwrap_err().to_string().contains("check.ttl"));
        assert!(ConsulCheck::grpc("host", Duration::from_secs(1)).unwrap_err().to_string().contains("host:port"));
        let service = ConsulService::new("a", 1).unwrap();
        assert!(service.clone().with_weights(0, 1).is_err() && service.with_removal_after(Duration::from_secs(1)).is_err());
    }
}
