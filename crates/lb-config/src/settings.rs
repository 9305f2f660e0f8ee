//! What a configuration says of one service, in the types of the rooms it is for.

mod hooks;
mod read;
mod registries;
mod sections;
mod traces;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use lb_core::breaker::BreakerConfig;
use lb_core::limits::{GradientConfig, RateLimits};
use lb_core::queue::QueueConfig;
use lb_core::recovery::{DegradedConfig, RampConfig};
use lb_core::retry::{HedgingPolicy, RetryPolicy, Throttling};
use lb_core::sessions::{SessionLimits, SessionRules};
use lb_core::stages::{FailoverConfig, OutlierConfig, PanicConfig, ReplicaConfig};
use lb_core::{BackoffConfig, Endpoint};
use lb_health::{HealthConfig, PollConfig};
use lb_transport::TransportConfig;
use serde_json::Value;

pub use hooks::WebhookSettings;
pub(crate) use hooks::webhook;
pub(crate) use read::{check, read};
pub use registries::{ConsulSettings, EtcdSettings, KubernetesSettings, RegistryTls};
pub(crate) use sections::metrics;
pub use traces::{TraceHeaders, TracingSettings};

/// Where the endpoints of a service come from.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Source {
    /// From a resolver.
    Target(String),
    /// From the configuration itself; changed when it changes.
    Endpoints(Vec<Endpoint>),
}

/// Everything that is configured for one service.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ServiceSettings {
    /// Its name.
    pub name: Arc<str>,
    /// Where its endpoints come from.
    pub source: Source,
    /// The policy that picks.
    pub policy: String,
    /// Its own fields.
    pub policy_config: Value,
    /// Policies that calls can ask for.
    pub further_policies: Vec<String>,
    /// A service config that counts before the resolver's.
    pub service_config: Option<Value>,
    /// Whether the resolver's counts.
    pub resolver_service_config: bool,
    /// What calls may take.
    pub calls: CallSettings,
    /// Connections.
    pub connection: ConnectionSettings,
    /// What is done about failures.
    pub failures: FailureSettings,
    /// What is limited.
    pub load: LoadSettings,
    /// How sessions are kept together.
    pub sessions: Option<SessionSettings>,
    /// How names are looked up.
    pub dns: DnsSettings,
    /// How files of endpoints are watched.
    pub file: FileSettings,
    /// How Consul is asked.
    pub consul: ConsulSettings,
    /// How etcd is asked.
    pub etcd: EtcdSettings,
    /// How Kubernetes is asked.
    pub kubernetes: KubernetesSettings,
    /// How calls are traced; `None` is not at all.
    pub tracing: Option<TracingSettings>,
}

/// What calls may take, and how they are repeated. `None` is no limit, or off.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct CallSettings {
    /// For calls that do not say themselves.
    pub timeout: Option<Duration>,
    /// Whether they wait while no endpoint is reachable.
    pub wait_for_ready: bool,
    /// In bytes.
    pub max_request_message: Option<usize>,
    /// In bytes.
    pub max_response_message: Option<usize>,
    /// Whatever the policies say.
    pub max_attempts: u32,
    /// Retries.
    pub retry: Option<RetryPolicy>,
    /// Hedges.
    pub hedging: Option<HedgingPolicy>,
    /// When there are neither.
    pub throttling: Option<Throttling>,
    /// Bytes kept for another attempt, per call and per channel.
    pub retry_buffer: (usize, usize),
}

/// How connections are made.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ConnectionSettings {
    /// In place of the target's.
    pub authority: Option<String>,
    /// In place of `evenkeel/` and the version.
    pub user_agent: Option<HeaderValue>,
    /// For one attempt over all addresses.
    pub connect_timeout: Duration,
    /// `None` is never.
    pub idle_timeout: Option<Duration>,
    /// Pacing of attempts.
    pub backoff: BackoffConfig,
    /// HTTP/2.
    pub transport: TransportConfig,
    /// `None` is plain text.
    pub tls: Option<TlsSettings>,
}

/// TLS, by the files it is in; they are read when a channel is built.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TlsSettings {
    /// Whom to trust.
    pub roots: TlsRoots,
    /// Certificate authorities, beside the roots or alone.
    pub ca_file: Option<PathBuf>,
    /// The client's chain and key.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// The name to verify.
    pub domain_name: Option<String>,
}

/// Whom to trust.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TlsRoots {
    /// Whom the system trusts.
    Native,
    /// Mozilla's authorities.
    Webpki,
    /// Nobody but those of the file.
    File,
}

/// What is done about endpoints that fail.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct FailureSettings {
    /// Circuit breakers.
    pub breaker: Option<BreakerConfig>,
    /// A circuit breaker elsewhere. With the feature `hooks` a channel follows it; without, it is for who builds the
    /// [`RemoteBreaker`](lb_core::breaker::RemoteBreaker) that asks it.
    pub remote_breaker: Option<Backend>,
    /// Outliers.
    pub outliers: OutlierConfig,
    /// Health checks.
    pub health: Option<HealthSettings>,
    /// Groups by priority.
    pub failover: FailoverConfig,
    /// Replicas.
    pub replicas: ReplicaConfig,
    /// How endpoints come back.
    pub recovery: Option<RampConfig>,
    /// What they get that serve with reservations.
    pub degraded: DegradedConfig,
    /// When too few are left.
    pub panic: PanicConfig,
    /// For calls at endpoints that are listed no more.
    pub removal_deadline: Option<Duration>,
}

/// How health is checked.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum HealthSettings {
    /// By grpc.health.v1.
    Grpc(HealthConfig),
    /// By a TCP connection.
    Tcp(PollConfig),
    /// By grpc.health.v1, while a service config names a service.
    ByServiceConfig,
}

/// What is limited; `None` is not.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct LoadSettings {
    /// Calls a second.
    pub rates: RateLimits,
    /// At once at each endpoint, measured.
    pub concurrency: Option<GradientConfig>,
    /// At once over all endpoints.
    pub max_requests: Option<u32>,
    /// At once at each.
    pub max_requests_per_endpoint: Option<u32>,
    /// Where calls wait.
    pub queue: Option<QueueConfig>,
}

/// How sessions are kept together.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct SessionSettings {
    /// By what.
    pub mode: SessionMode,
    /// When an endpoint cannot.
    pub rules: SessionRules,
    /// While it connects.
    pub patience: Duration,
    /// To the same id everywhere.
    pub across_services: bool,
}

/// What keeps a session together.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum SessionMode {
    /// A table.
    Table(SessionLimits),
    /// A policy that hashes.
    Hash(String),
    /// A token the caller carries.
    Token(TokenSettings),
}

/// Session tokens.
#[derive(Clone)]
#[non_exhaustive]
pub struct TokenSettings {
    /// Keys given in the configuration.
    pub keys: Vec<String>,
    /// A file with further ones, read when a channel is built.
    pub keys_file: Option<PathBuf>,
    /// How long a token is good for.
    pub ttl: Duration,
    /// For calls below it.
    pub path: String,
    /// The cookie.
    pub cookie: String,
    /// The metadata in its place.
    pub metadata: Option<String>,
}

impl std::fmt::Debug for TokenSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenSettings")
            .field("keys", &self.keys.len())
            .field("keys_file", &self.keys_file)
            .field("ttl", &self.ttl)
            .field("path", &self.path)
            .field("cookie", &self.cookie)
            .field("metadata", &self.metadata)
            .finish()
    }
}

/// An HTTP backend that is asked, or told, now and then.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Backend {
    /// Where it is.
    pub url: String,
    /// A file with the bearer token it wants.
    pub token_file: Option<PathBuf>,
    /// A file with the certificate authorities to trust alone, read when channels are built.
    pub ca_file: Option<PathBuf>,
    /// How often.
    pub every: Duration,
}

/// What is configured of metrics: [`Channels`](crate::Channels) exports them with the feature `prometheus`, and reports statistics with the
/// feature `hooks`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct MetricsSettings {
    /// Whether there shall be any.
    pub enabled: bool,
    /// How often they are collected.
    pub interval: Duration,
    /// Where they are sent, at that interval.
    pub backend: Option<Backend>,
    /// The time that figures of performance look back.
    pub window: Duration,
}

/// How `dns:` targets are looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DnsSettings {
    /// Whether anything differs from the defaults.
    pub is_set: bool,
    /// For a whole look.
    pub timeout: Duration,
    /// The bounds of looking again.
    pub refresh: (Duration, Duration),
    /// After a failure.
    pub min_interval: Duration,
    /// Empty is the system's.
    pub name_servers: Vec<SocketAddr>,
    /// For every name.
    pub srv: bool,
    /// From TXT records.
    pub service_config: bool,
    /// First.
    pub hosts_file: bool,
}

/// How `file:` targets are watched.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FileSettings {
    /// How long it must be quiet.
    pub debounce: Duration,
    /// How often it is read in any case.
    pub poll: Duration,
}
