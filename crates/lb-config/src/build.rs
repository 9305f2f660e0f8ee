//! From settings to a channel.

mod registries;

use std::path::{Path, PathBuf};

use lb_core::{Address, ConcurrencyLimit, ConfigError, Endpoint};
use lb_health::{GrpcHealthCheck, TcpProbe};
use lb_resolver_static::{FileResolver, ManualHandle, ManualResolver};
use lb_tonic::{BuildError, LbChannel, LbChannelBuilder, RequestLimit, SessionConfig, SessionTokens};

use crate::settings::{
    CallSettings, ConnectionSettings, FailureSettings, HealthSettings, LoadSettings, ServiceSettings, SessionMode, SessionSettings,
    Source, TokenSettings,
};

/// The scheme of endpoints that are in the configuration.
const SCHEME: &str = "configured";

/// Why a configured channel could not be built, or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigureError {
    /// There is no such service.
    #[error("no service {name:?} is configured; there are {known}")]
    UnknownService {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// A file that the configuration names cannot be read.
    #[error("service {service}: {key} {}: {error}", path.display())]
    File {
        /// Of which service.
        service: String,
        /// Which key names it.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong.
        error: std::io::Error,
    },
    /// The channel cannot be built.
    #[error("service {service}: {error}")]
    Build {
        /// Of which service.
        service: String,
        /// What is wrong.
        #[source]
        error: BuildError,
    },
    /// A setting that only the channel could judge.
    #[error("service {service}: {error}")]
    Setting {
        /// Of which service.
        service: String,
        /// What is wrong.
        #[source]
        error: ConfigError,
    },
    /// A hook cannot be built: metrics, a webhook, a report.
    #[error("{key}: {error}")]
    Hook {
        /// Which key or section asks for it.
        key: &'static str,
        /// What is wrong.
        #[source]
        error: ConfigError,
    },
    /// The configuration itself.
    #[error(transparent)]
    Config(#[from] crate::Problems),
}

/// What can be moved while the channel runs.
#[derive(Debug, Default)]
pub(crate) struct Levers {
    pub(crate) endpoints: Option<ManualHandle>,
    pub(crate) max_requests: Option<RequestLimit>,
    pub(crate) per_endpoint: Option<ConcurrencyLimit>,
}

/// A builder with all settings, and the levers of the channel that it will build.
pub(crate) fn builder(settings: &ServiceSettings) -> Result<(LbChannelBuilder, Levers), ConfigureError> {
    let mut levers = Levers::default();
    let builder = source(settings, &mut levers);
    let builder = resolvers(builder, settings).map_err(|error| setting(settings, error))?;
    let builder = registries::resolvers(builder, settings)?;
    let builder = builder
        .policy((&*settings.policy, settings.policy_config.clone()))
        .resolver_service_config(settings.resolver_service_config);
    let builder = settings.further_policies.iter().fold(builder, |builder, name| builder.further_policy(&**name));
    let builder = calls(builder, &settings.calls);
    let builder = connection(builder, &settings.connection);
    let builder = tls(builder, settings)?;
    let builder = failures(builder, &settings.failures);
    let builder = load(builder, &settings.load, &mut levers);
    let builder = match &settings.sessions {
        Some(wanted) => builder.sessions(sessions(wanted, settings)?),
        None => builder,
    };
    Ok((builder, levers))
}

pub(crate) fn setting(settings: &ServiceSettings, error: ConfigError) -> ConfigureError {
    ConfigureError::Setting { service: settings.name.to_string(), error }
}

/// What the channel leads to, as its metrics name it.
pub(crate) fn target(settings: &ServiceSettings) -> String {
    match &settings.source {
        Source::Target(target) => target.clone(),
        Source::Endpoints(_) => format!("{SCHEME}:///{}", settings.name),
    }
}

fn source(settings: &ServiceSettings, levers: &mut Levers) -> LbChannelBuilder {
    match &settings.source {
        Source::Target(target) => LbChannel::builder(target),
        Source::Endpoints(endpoints) => {
            let (resolver, handle) = ManualResolver::new(SCHEME);
            handle.set(endpoints.iter().cloned());
            levers.endpoints = Some(handle);
            LbChannel::builder(target(settings)).resolver(resolver).authority(authority(endpoints))
        }
    }
}

/// The first endpoint's, as a `static:` target has it.
fn authority(endpoints: &[Endpoint]) -> String {
    match endpoints.first().and_then(|endpoint| endpoint.addresses().first()) {
        Some(address @ (Address::Tcp(_) | Address::Host(..))) => address.to_string(),
        _ => "localhost".to_owned(),
    }
}

fn resolvers(builder: LbChannelBuilder, settings: &ServiceSettings) -> Result<LbChannelBuilder, ConfigError> {
    let file = FileResolver::new().with_debounce(settings.file.debounce).with_poll_interval(settings.file.poll);
    let builder = builder.resolver(file);
    #[cfg(feature = "dns")]
    if settings.dns.is_set {
        use lb_resolver_dns::{DnsConfig, DnsResolver};
        let dns = &settings.dns;
        let config = DnsConfig::new()
            .with_timeout(dns.timeout)?
            .with_refresh(dns.refresh.0, dns.refresh.1)?
            .with_min_interval(dns.min_interval)?
            .with_name_servers(dns.name_servers.iter().copied())
            .with_srv(dns.srv)
            .with_service_config(dns.service_config)
            .with_hosts_file(dns.hosts_file);
        return Ok(builder.resolver(DnsResolver::with_config(config)));
    }
    Ok(builder)
}

fn calls(mut builder: LbChannelBuilder, calls: &CallSettings) -> LbChannelBuilder {
    builder = builder
        .wait_for_ready(calls.wait_for_ready)
        .max_attempts(calls.max_attempts)
        .retry_buffer(calls.retry_buffer.0, calls.retry_buffer.1);
    if let Some(timeout) = calls.timeout {
        builder = builder.timeout(timeout);
    }
    if let Some(bytes) = calls.max_request_message {
        builder = builder.max_request_message(bytes);
    }
    if let Some(bytes) = calls.max_response_message {
        builder = builder.max_response_message(bytes);
    }
    if let Some(policy) = &calls.retry {
        builder = builder.retry(policy.clone());
    }
    if let Some(policy) = &calls.hedging {
        builder = builder.hedging(policy.clone());
    }
    if let Some(throttling) = calls.throttling {
        builder = builder.retry_throttling(throttling);
    }
    builder
}

fn connection(mut builder: LbChannelBuilder, connection: &ConnectionSettings) -> LbChannelBuilder {
    builder = builder
        .transport(connection.transport.clone())
        .backoff(connection.backoff)
        .connect_timeout(connection.connect_timeout)
        .idle_timeout(connection.idle_timeout);
    if let Some(authority) = &connection.authority {
        builder = builder.authority(authority);
    }
    if let Some(user_agent) = &connection.user_agent {
        builder = builder.user_agent(user_agent.clone());
    }
    builder
}

fn failures(mut builder: LbChannelBuilder, failures: &FailureSettings) -> LbChannelBuilder {
    builder = builder
        .outlier_detection(failures.outliers.clone())
        .failover(failures.failover.clone())
        .replicas(failures.replicas.clone())
        .degraded(failures.degraded.clone())
        .panic(failures.panic.clone());
    if let Some(breaker) = &failures.breaker {
        builder = builder.circuit_breaker(breaker.clone());
    }
    if let Some(ramp) = &failures.recovery {
        builder = builder.recovery(ramp.clone());
    }
    if let Some(within) = failures.removal_deadline {
        builder = builder.removal_deadline(within);
    }
    match &failures.health {
        None => builder,
        Some(HealthSettings::Grpc(config)) => builder.health(GrpcHealthCheck::new(config.clone())),
        Some(HealthSettings::Tcp(poll)) => builder.health(TcpProbe::new(*poll)),
        Some(HealthSettings::ByServiceConfig) => builder.health_check_by_service_config(),
    }
}

fn load(mut builder: LbChannelBuilder, load: &LoadSettings, levers: &mut Levers) -> LbChannelBuilder {
    builder = builder.rate_limits(load.rates.clone());
    if let Some(config) = load.concurrency {
        builder = builder.concurrency_limit(config);
    }
    if let Some(max) = load.max_requests {
        let limit = levers.max_requests.insert(RequestLimit::new(max)).clone();
        builder = builder.max_requests(limit);
    }
    if let Some(max) = load.max_requests_per_endpoint {
        let limit = levers.per_endpoint.insert(ConcurrencyLimit::new(max)).clone();
        builder = builder.max_requests_per_endpoint(limit);
    }
    match &load.queue {
        Some(queue) => builder.queue(queue.clone()),
        None => builder,
    }
}

fn sessions(wanted: &SessionSettings, settings: &ServiceSettings) -> Result<SessionConfig, ConfigureError> {
    let config = match &wanted.mode {
        SessionMode::Table(limits) => SessionConfig::table(*limits),
        SessionMode::Hash(policy) => SessionConfig::hash(&**policy),
        SessionMode::Token(tokens) => SessionConfig::token(session_tokens(tokens, settings)?),
    };
    let config = config.rules(wanted.rules).patience(wanted.patience);
    Ok(if wanted.across_services { config.across_services() } else { config })
}

fn session_tokens(wanted: &TokenSettings, settings: &ServiceSettings) -> Result<SessionTokens, ConfigureError> {
    let mut keys = wanted.keys.clone();
    if let Some(path) = &wanted.keys_file {
        let text = String::from_utf8(read(settings, "sessions.tokenKeysFile", path)?);
        let text = text.map_err(|_| file(settings, "sessions.tokenKeysFile", path, std::io::ErrorKind::InvalidData.into()))?;
        keys.extend(text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned));
    }
    let made = SessionTokens::new(keys).and_then(|tokens| {
        let tokens = tokens.ttl(wanted.ttl)?.path(&wanted.path)?;
        match &wanted.metadata {
            Some(name) => tokens.metadata(name),
            None => tokens.cookie(&wanted.cookie),
        }
    });
    made.map_err(|error| setting(settings, error))
}

fn file(settings: &ServiceSettings, key: &'static str, path: &Path, error: std::io::Error) -> ConfigureError {
    ConfigureError::File { service: settings.name.to_string(), key, path: path.to_owned(), error }
}

fn read(settings: &ServiceSettings, key: &'static str, path: &Path) -> Result<Vec<u8>, ConfigureError> {
    std::fs::read(path).map_err(|error| file(settings, key, path, error))
}

#[cfg(not(any(feature = "tls-ring", feature = "tls-aws-lc")))]
fn tls(builder: LbChannelBuilder, _settings: &ServiceSettings) -> Result<LbChannelBuilder, ConfigureError> {
    Ok(builder)
}

#[cfg(any(feature = "tls-ring", feature = "tls-aws-lc"))]
fn tls(builder: LbChannelBuilder, settings: &ServiceSettings) -> Result<LbChannelBuilder, ConfigureError> {
    use crate::settings::TlsRoots;
    use lb_transport::ClientTls;

    let Some(wanted) = &settings.connection.tls else { return Ok(builder) };
    let ca: Option<Vec<u8>> = wanted.ca_file.as_ref().map(|path| read(settings, "tls.caFile", path)).transpose()?;
    let missing = |feature: &str| {
        let allowed = format!("file, or the feature {feature}");
        setting(settings, ConfigError::new("tls.roots", format!("{:?}", wanted.roots), allowed))
    };
    let (tls, more) = match wanted.roots {
        #[cfg(feature = "tls-native-roots")]
        TlsRoots::Native => (ClientTls::native_roots(), ca),
        #[cfg(feature = "tls-webpki-roots")]
        TlsRoots::Webpki => (ClientTls::webpki_roots(), ca),
        TlsRoots::File => (ClientTls::ca_certificate(ca.unwrap_or_default()), None::<Vec<u8>>),
        #[cfg(not(feature = "tls-native-roots"))]
        TlsRoots::Native => return Err(missing("tls-native-roots")),
        #[cfg(not(feature = "tls-webpki-roots"))]
        TlsRoots::Webpki => return Err(missing("tls-webpki-roots")),
    };
    let _ = missing;
    let tls = more.into_iter().fold(tls, ClientTls::and_ca_certificate);
    let tls = match &wanted.identity {
        Some((chain, key)) => tls.identity(read(settings, "tls.certificateFile", chain)?, read(settings, "tls.keyFile", key)?),
        None => tls,
    };
    Ok(builder.tls(wanted.domain_name.iter().fold(tls, ClientTls::domain_name)))
}
