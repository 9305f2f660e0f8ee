//! The sections that take more than one look.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use lb_core::breaker::BreakerConfig;
use lb_core::limits::RateLimits;
use lb_core::recovery::{DegradedConfig, RampConfig};
use lb_core::sessions::{SessionFate, SessionLimits, SessionRules};
use lb_core::stages::{FailoverConfig, OutlierConfig, PanicConfig, ReplicaConfig, SuccessRateEjection};
use lb_core::{BackoffConfig, ConfigError, PolicyRegistry};
use lb_health::{HealthConfig, PollConfig};
use lb_transport::TransportConfig;
use serde_json::{Value, json};

use super::{Backend, DnsSettings, FailureSettings, HealthSettings, MetricsSettings, SessionMode, SessionSettings, TokenSettings};
use crate::problem::{Gathered, Problem};
use crate::suggest::nearest;
use crate::view::View;

pub(super) fn backoff(view: View<'_>, connect_timeout: Duration) -> Result<BackoffConfig, Problem> {
    let time = |path| view.time(path).unwrap_or_default();
    let number = |path| view.number(path).unwrap_or_default();
    BackoffConfig::try_new(
        time("backoff.initial"),
        number("backoff.multiplier"),
        time("backoff.max"),
        number("backoff.jitter"),
        connect_timeout,
    )
    .map_err(|error| view.blame("backoff", &error))
}

pub(super) fn transport(view: View<'_>) -> Result<TransportConfig, Problem> {
    let time = |name: &str| view.time(&format!("transport.{name}"));
    let bytes = |name: &str| view.whole_u32(&format!("transport.{name}")).unwrap_or_default();
    let local: Option<IpAddr> = match view.text("transport.localAddress") {
        None => None,
        Some(text) => Some(text.parse().map_err(|_| view.wrong("transport.localAddress", &format!("{text:?}"), "an IP address"))?),
    };
    Ok(TransportConfig::new()
        .attempt_delay(time("attemptDelay").unwrap_or_default())
        .local_address(local)
        .tcp_keepalive(time("tcpKeepalive"))
        .keepalive_time(time("keepaliveTime"))
        .keepalive_timeout(time("keepaliveTimeout").unwrap_or_default())
        .keepalive_without_calls(view.flag("transport.keepaliveWithoutCalls"))
        .initial_stream_window(bytes("streamWindow"))
        .initial_connection_window(bytes("connectionWindow"))
        .adaptive_window(view.flag("transport.adaptiveWindow"))
        .max_frame_size(bytes("maxFrameSize"))
        .max_header_list_size(bytes("maxHeaderListSize"))
        .max_connections_per_endpoint(view.size("transport.connectionsPerEndpoint").unwrap_or(1)))
}

pub(super) fn failures(view: View<'_>, problems: &mut Gathered) -> Option<FailureSettings> {
    let mut section = Sections { view, problems };
    let breaker = section.optional("circuitBreaker", BreakerConfig::from_json);
    let outliers = section.optional("outlierDetection", outliers);
    let failover = section.read("failover", FailoverConfig::from_json);
    let replicas = section.read("replicas", ReplicaConfig::from_json);
    let panic = section.read("panic", PanicConfig::from_json);
    let recovery = section.optional("recovery", |ramp| {
        let neither = ramp.get("linear").is_none() && ramp.get("steps").is_none();
        if neither { RampConfig::from_json(&json!({"steps": {}})) } else { RampConfig::from_json(ramp) }
    });
    let health = if view.is_on("healthCheck") { section.keep("healthCheck", health(view)).map(Some) } else { Some(None) };
    let degraded = section.keep("degraded", degraded(view));
    let backend = view.text("circuitBreaker.backendUrl").filter(|_| view.is_on("circuitBreaker"));
    Some(FailureSettings {
        breaker: breaker?,
        remote_breaker: backend.map(|url| Backend {
            url,
            token_file: view.text("circuitBreaker.backendTokenFile").map(Into::into),
            ca_file: view.text("circuitBreaker.backendCaFile").map(Into::into),
            every: view.time("circuitBreaker.checkInterval").unwrap_or(Duration::from_secs(5)),
        }),
        outliers: outliers?.unwrap_or_default(),
        health: health?,
        failover: failover?,
        replicas: replicas?,
        recovery: recovery?,
        degraded: degraded?,
        panic: panic?,
        removal_deadline: view.time("removalDeadline"),
    })
}

/// By success rate, if no measure is named: whoever switches it on means that something is ejected.
fn outliers(config: &Value) -> Result<OutlierConfig, ConfigError> {
    let mut outliers = OutlierConfig::from_json(config)?;
    if !outliers.is_on() {
        outliers.success_rate = Some(SuccessRateEjection::default());
    }
    Ok(outliers)
}

struct Sections<'a, 'p> {
    view: View<'a>,
    problems: &'p mut Gathered,
}

impl Sections<'_, '_> {
    fn keep<T>(&mut self, section: &str, read: Result<T, ConfigError>) -> Option<T> {
        self.problems.keep(read.map_err(|error| self.view.blame(section, &error)))
    }

    fn read<T>(&mut self, section: &str, read: impl FnOnce(&Value) -> Result<T, ConfigError>) -> Option<T> {
        self.keep(section, read(&self.view.object(section)))
    }

    fn optional<T>(&mut self, section: &str, read: impl FnOnce(&Value) -> Result<T, ConfigError>) -> Option<Option<T>> {
        if self.view.is_on(section) { self.read(section, read).map(Some) } else { Some(None) }
    }
}

fn degraded(view: View<'_>) -> Result<DegradedConfig, ConfigError> {
    let degraded = DegradedConfig::default().with_share(view.number("degraded.share").unwrap_or(0.5))?;
    Ok(if view.flag("degraded.registryHealth") { degraded.with_registry_health() } else { degraded })
}

fn health(view: View<'_>) -> Result<HealthSettings, ConfigError> {
    let time = |name: &str| view.time(&format!("healthCheck.{name}")).unwrap_or_default();
    let count = |name: &str| view.whole_u32(&format!("healthCheck.{name}")).unwrap_or(1);
    let poll = PollConfig::default()
        .with_interval(time("interval"))?
        .with_timeout(time("timeout"))?
        .with_healthy_threshold(count("healthyThreshold"))?
        .with_unhealthy_threshold(count("unhealthyThreshold"))?
        .with_jitter(view.number("healthCheck.jitter").unwrap_or_default())?;
    let poll = if view.flag("healthCheck.degraded") { poll.with_degraded() } else { poll };
    let service = view.text("healthCheck.service").unwrap_or_default();
    let fallback = |config: HealthConfig| {
        if view.flag("healthCheck.pollFallback") { config.with_poll_fallback() } else { config }
    };
    Ok(match view.text("healthCheck.mode").as_deref() {
        _ if view.flag("healthCheck.byServiceConfig") => HealthSettings::ByServiceConfig,
        Some("tcp") => HealthSettings::Tcp(poll),
        Some("poll") => HealthSettings::Grpc(HealthConfig::poll(service).with_poll(poll)),
        _ => HealthSettings::Grpc(fallback(HealthConfig::watch(service).with_poll(poll))),
    })
}

/// The rates that are on; what is wrong in the list of methods, its unknown keys too, is found here.
pub(super) fn rates(view: View<'_>, problems: &mut Gathered) -> Option<RateLimits> {
    const FIELDS: [&str; 4] = ["service", "method", "perSecond", "burst"];
    let config = view.object("rateLimits");
    for (index, method) in config["methods"].as_array().into_iter().flatten().enumerate() {
        let unknown = method.as_object().into_iter().flat_map(|method| method.keys()).find(|key| !FIELDS.contains(&key.as_str()));
        if let Some(key) = unknown {
            let value = format!("an object with the key {:?} at [{index}]", crate::keys::cut(key));
            let problem = view.wrong("rateLimits.methods", &value, format!("the keys {}", FIELDS.join(", ")));
            problems.add(problem.suggest(nearest(key, FIELDS)));
            return None;
        }
    }
    Sections { view, problems }.keep("rateLimits", RateLimits::from_json(&config))
}

pub(super) fn sessions(view: View<'_>, registry: &PolicyRegistry, problems: &mut Gathered) -> Option<SessionSettings> {
    let mode = match view.text("sessions.mode").as_deref() {
        Some("hash") => hash(view, registry),
        Some("token") => token(view),
        _ => limits(view).map(SessionMode::Table),
    };
    let fate = |name: &str| match view.text(&format!("sessions.rules.{name}")).as_deref() {
        Some("keep") => SessionFate::Keep,
        Some("lend") => SessionFate::Lend,
        _ => SessionFate::Move,
    };
    let mut rules = SessionRules::default();
    rules.draining = fate("draining");
    rules.hidden = fate("hidden");
    rules.unfit = fate("unfit");
    rules.failing = fate("failing");
    rules.gone = fate("gone");
    Some(SessionSettings {
        mode: problems.keep(mode)?,
        rules,
        patience: view.time("sessions.patience")?,
        across_services: view.flag("sessions.acrossServices"),
    })
}

/// `ttl` stands for the idle time and no limit to the age, as far as those are not set themselves.
fn limits(view: View<'_>) -> Result<SessionLimits, Problem> {
    let ttl = view.time("sessions.ttl");
    let or_ttl = |path: &str, with: Option<Duration>| match ttl {
        Some(_) if !view.is_set(path) => with,
        _ => view.time(path),
    };
    let (idle, age) = (or_ttl("sessions.idleTtl", ttl), or_ttl("sessions.absoluteTtl", None));
    SessionLimits::try_new(idle, age, view.size("sessions.maxSessions").unwrap_or(1))
        .map_err(|error| view.blame("sessions", &error))
}

fn hash(view: View<'_>, registry: &PolicyRegistry) -> Result<SessionMode, Problem> {
    let name = view.text("sessions.hashPolicy").unwrap_or_default();
    match registry.build(&name, &json!({})) {
        Ok(_) => Ok(SessionMode::Hash(name)),
        Err(error) => {
            let problem = view.wrong("sessions.hashPolicy", &format!("{name:?}"), error.allowed);
            Err(problem.suggest(nearest(&name, registry.names())))
        }
    }
}

fn token(view: View<'_>) -> Result<SessionMode, Problem> {
    let (keys, keys_file) = (view.texts("sessions.tokenKeys"), view.text("sessions.tokenKeysFile").map(Into::into));
    if keys.is_empty() && keys_file.is_none() {
        return Err(view.wrong("sessions.mode", "token without keys", "token with sessions.tokenKeys or sessions.tokenKeysFile"));
    }
    let ttl = view.time("sessions.ttl").filter(|_| !view.is_set("sessions.tokenTtl"));
    Ok(SessionMode::Token(TokenSettings {
        keys,
        keys_file,
        ttl: ttl.or_else(|| view.time("sessions.tokenTtl")).unwrap_or_default(),
        path: view.text("sessions.tokenPath").unwrap_or_default(),
        cookie: view.text("sessions.tokenCookie").unwrap_or_default(),
        metadata: view.text("sessions.tokenMetadata"),
    }))
}

pub(super) fn dns(view: View<'_>, problems: &mut Gathered) -> Option<DnsSettings> {
    let is_set = crate::keys::below("dns").any(|key| view.find(key).is_some());
    if is_set && cfg!(not(feature = "dns")) {
        problems.add(view.wrong("dns", "set", "nothing: it needs the feature dns"));
        return None;
    }
    let (floor, ceiling) = (view.time("dns.refreshFloor")?, view.time("dns.refreshCeiling")?);
    if floor > ceiling {
        let shown = lb_core::human::show(floor);
        problems.add(view.wrong("dns.refreshFloor", &shown, format!("at most the ceiling, {}", lb_core::human::show(ceiling))));
        return None;
    }
    let servers = view.texts("dns.nameServers").into_iter().map(|text| {
        text.parse::<SocketAddr>().map_err(|_| view.wrong("dns.nameServers", &format!("{text:?}"), "IP addresses with ports"))
    });
    Some(DnsSettings {
        is_set,
        timeout: view.time("dns.timeout")?,
        refresh: (floor, ceiling),
        min_interval: view.time("dns.minInterval")?,
        name_servers: problems.keep(servers.collect())?,
        srv: view.flag("dns.srv"),
        service_config: view.flag("dns.serviceConfig"),
        hosts_file: view.flag("dns.hostsFile"),
    })
}

pub(crate) fn metrics(view: View<'_>) -> MetricsSettings {
    let interval = view.time("metrics.collectionInterval").unwrap_or(Duration::from_secs(30));
    let enabled = view.is_on("metrics");
    let url = view.text("metrics.backendUrl").filter(|_| enabled);
    let file = |path: &str| view.text(path).map(Into::into);
    let (token_file, ca_file) = (file("metrics.backendTokenFile"), file("metrics.backendCaFile"));
    MetricsSettings {
        enabled,
        interval,
        backend: url.map(|url| Backend { url, token_file, ca_file, every: interval }),
        window: view.time("metrics.performanceWindow").unwrap_or(Duration::from_secs(300)),
    }
}
