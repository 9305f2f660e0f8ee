//! From values to types. Ranges were checked key by key; here is what several keys say together, by the rooms that know.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use http::uri::Authority;
use lb_core::service_config::ServiceConfig;
use lb_core::{ConfigError, Endpoint, PolicyRegistry};
use serde_json::{Value, json};

use super::{CallSettings, ConnectionSettings, FileSettings, LoadSettings, ServiceSettings, Source, TlsRoots, TlsSettings};
use super::{registries, sections, traces};
use crate::keys::cut;
use crate::problem::{Gathered, Problem};
use crate::suggest::nearest;
use crate::view::{UNNAMED, View};

/// Checks what is said of all, where there is no service yet.
pub(crate) fn check(view: View<'_>, registry: &PolicyRegistry, problems: &mut Gathered) {
    let nowhere = Source::Endpoints(Vec::new());
    read_rest(&UNNAMED.into(), nowhere, Reader { view, registry, problems });
}

/// Reads one service; `None` if something is wrong with it, which is then among the problems.
pub(crate) fn read(name: &Arc<str>, view: View<'_>, registry: &PolicyRegistry, problems: &mut Gathered) -> Option<ServiceSettings> {
    let mut reader = Reader { view, registry, problems };
    let source = reader.source(name);
    // What else is wrong is told in any case.
    let found = source.is_some();
    read_rest(name, source.unwrap_or(Source::Endpoints(Vec::new())), reader).filter(|_| found)
}

fn read_rest(name: &Arc<str>, source: Source, mut reader: Reader<'_>) -> Option<ServiceSettings> {
    let (view, registry) = (reader.view, reader.registry);
    let policy = reader.policies();
    let service_config = reader.service_config();
    let calls = reader.calls();
    let connection = reader.connection();
    let failures = sections::failures(view, reader.problems);
    let load = reader.load();
    let sessions = match view.is_on("sessions") {
        true => sections::sessions(view, registry, reader.problems).map(Some),
        false => Some(None),
    };
    let dns = sections::dns(view, reader.problems);
    let registries = registries::read(view, reader.problems);
    let tracing = traces::read(view, reader.problems);
    let (policy, policy_config, further_policies) = policy?;
    let (consul, etcd, kubernetes) = registries?;
    Some(ServiceSettings {
        name: Arc::clone(name),
        source,
        policy,
        policy_config,
        further_policies,
        service_config: service_config?,
        resolver_service_config: view.flag("resolverServiceConfig"),
        calls: calls?,
        connection: connection?,
        failures: failures?,
        load: load?,
        sessions: sessions?,
        dns: dns?,
        file: FileSettings {
            debounce: view.time("file.debounce").unwrap_or(Duration::from_millis(100)),
            poll: view.time("file.pollInterval").unwrap_or(Duration::from_secs(30)),
        },
        consul,
        etcd,
        kubernetes,
        tracing: tracing?,
    })
}

struct Reader<'a> {
    view: View<'a>,
    registry: &'a PolicyRegistry,
    problems: &'a mut Gathered,
}

impl Reader<'_> {
    /// What another room makes of a section.
    fn section<T>(&mut self, section: &str, read: impl FnOnce(&Value) -> Result<T, ConfigError>) -> Option<T> {
        let read = read(&self.view.object(section)).map_err(|error| self.view.blame(section, &error));
        self.problems.keep(read)
    }

    /// The same of a section that may be off.
    fn optional<T>(&mut self, section: &str, read: impl FnOnce(&Value) -> Result<T, ConfigError>) -> Option<Option<T>> {
        if self.view.is_on(section) { self.section(section, read).map(Some) } else { Some(None) }
    }

    fn source(&mut self, name: &str) -> Option<Source> {
        let (target, endpoints) = (self.view.text("target"), self.view.get("endpoints"));
        let both = target.is_some() && endpoints.is_some();
        let problem = match (target, endpoints) {
            (Some(target), None) => return Some(Source::Target(target)),
            (None, Some(list)) => match endpoints_of(list, self.view.whole("weight")) {
                Ok(endpoints) => return Some(Source::Endpoints(endpoints)),
                Err(error) => self.view.wrong("endpoints", "not a list of endpoints", error),
            },
            (Some(_), Some(_)) if both => self.view.wrong("target", "set beside endpoints", "one of the two"),
            _ => Problem::new("configuration", format!("services.{name}"), "without endpoints", "a target, or a list of endpoints"),
        };
        self.problems.add(problem);
        None
    }

    fn policies(&mut self) -> Option<(String, Value, Vec<String>)> {
        let policy = self.view.text("policy")?;
        let config = self.view.get("policyConfig").unwrap_or_else(|| json!({}));
        let mut fine = self.policy("policy", &policy, &config);
        let further = self.view.texts("furtherPolicies");
        for name in &further {
            fine &= self.policy("furtherPolicies", name, &json!({}));
        }
        fine.then_some((policy, config, further))
    }

    fn policy(&mut self, path: &str, name: &str, config: &Value) -> bool {
        let Err(error) = self.registry.build(name, config) else { return true };
        let known = self.registry.names().any(|known| known == name);
        let problem = match known {
            true => self.view.wrong("policyConfig", &format!("{} in {}", error.value, error.field), error.allowed),
            false => {
                self.view.wrong(path, &format!("{:?}", cut(name)), error.allowed).suggest(nearest(name, self.registry.names()))
            }
        };
        self.problems.add(problem);
        false
    }

    fn service_config(&mut self) -> Option<Option<Value>> {
        let Some(config) = self.view.get("serviceConfig") else { return Some(None) };
        let read = ServiceConfig::from_json(&config, self.registry).map_err(|error| self.view.blame("serviceConfig", &error));
        self.problems.keep(read).map(|_| Some(config))
    }

    fn calls(&mut self) -> Option<CallSettings> {
        let retry = self.optional("retry", lb_core::retry::RetryPolicy::from_json);
        let hedging = self.optional("hedging", lb_core::retry::HedgingPolicy::from_json);
        let throttling = self.optional("retryThrottling", lb_core::retry::Throttling::from_json);
        let view = self.view;
        Some(CallSettings {
            timeout: view.time("timeout"),
            wait_for_ready: view.flag("waitForReady"),
            max_request_message: view.size("maxRequestMessage"),
            max_response_message: view.size("maxResponseMessage"),
            max_attempts: view.whole_u32("maxAttempts")?,
            retry: retry?,
            hedging: hedging?,
            throttling: throttling?,
            retry_buffer: (view.size("retryBuffer.perCall")?, view.size("retryBuffer.perChannel")?),
        })
    }

    fn connection(&mut self) -> Option<ConnectionSettings> {
        let authority = self.checked("authority", "a host name or address, with or without a port", |text| {
            Authority::try_from(text).is_ok().then(|| text.to_owned())
        });
        let user_agent = self.checked("userAgent", "visible ASCII", |text| HeaderValue::from_str(text).ok());
        let connect_timeout = self.view.time("connectTimeout")?;
        let backoff = self.problems.keep(sections::backoff(self.view, connect_timeout));
        let transport = self.problems.keep(sections::transport(self.view));
        let tls = if self.view.is_on("tls") { self.tls().map(Some) } else { Some(None) };
        Some(ConnectionSettings {
            authority: authority?,
            user_agent: user_agent?,
            connect_timeout,
            idle_timeout: self.view.time("idleTimeout"),
            backoff: backoff?,
            transport: transport?,
            tls: tls?,
        })
    }

    /// A text that must be more than a text.
    fn checked<T>(&mut self, path: &str, allowed: &str, read: impl FnOnce(&str) -> Option<T>) -> Option<Option<T>> {
        let Some(text) = self.view.text(path) else { return Some(None) };
        let value = read(&text).ok_or_else(|| self.view.wrong(path, &format!("{text:?}"), allowed));
        self.problems.keep(value).map(Some)
    }

    fn tls(&mut self) -> Option<TlsSettings> {
        let path = |path: &str| self.view.text(path).map(Into::into);
        let roots = match self.view.text("tls.roots").as_deref() {
            Some("webpki") => TlsRoots::Webpki,
            Some("file") => TlsRoots::File,
            _ => TlsRoots::Native,
        };
        let (ca_file, chain, key) = (path("tls.caFile"), path("tls.certificateFile"), path("tls.keyFile"));
        if cfg!(not(any(feature = "tls-ring", feature = "tls-aws-lc"))) {
            let problem = self.view.wrong("tls", "on", "off: TLS needs one of the features tls-ring and tls-aws-lc");
            self.problems.add(problem);
            return None;
        }
        if roots == TlsRoots::File && ca_file.is_none() {
            self.problems.add(self.view.wrong("tls.roots", "file without a tls.caFile", "file with a tls.caFile"));
            return None;
        }
        let identity = match (chain, key) {
            (Some(chain), Some(key)) => Some((chain, key)),
            (None, None) => None,
            _ => {
                self.problems.add(self.view.wrong(
                    "tls",
                    "a certificate without its key, or a key alone",
                    "both certificateFile and keyFile",
                ));
                return None;
            }
        };
        Some(TlsSettings { roots, ca_file, identity, domain_name: self.view.text("tls.domainName") })
    }

    fn load(&mut self) -> Option<LoadSettings> {
        let rates = sections::rates(self.view, self.problems);
        let concurrency = self.optional("concurrencyLimit", lb_core::limits::GradientConfig::from_json);
        let queue = self.optional("queue", lb_core::queue::QueueConfig::from_json);
        Some(LoadSettings {
            rates: rates?,
            concurrency: concurrency?,
            max_requests: self.view.whole_u32("maxRequests"),
            max_requests_per_endpoint: self.view.whole_u32("maxRequestsPerEndpoint"),
            queue: queue?,
        })
    }
}

/// Endpoints as an endpoint file has them; those without a weight of their own get this one.
fn endpoints_of(mut list: Value, weight: Option<u64>) -> Result<Vec<Endpoint>, String> {
    for entry in list.as_array_mut().into_iter().flatten() {
        match entry {
            Value::String(address) => *entry = json!({"address": address, "weight": weight}),
            Value::Object(fields) => {
                fields.entry("weight").or_insert_with(|| weight.into());
            }
            _ => {}
        }
        if let Some(fields) = entry.as_object_mut() {
            fields.retain(|key, value| !(key == "weight" && value.is_null()));
        }
    }
    lb_resolver_static::endpoints_from_json(&list)
}
