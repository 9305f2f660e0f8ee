//! Making a channel.

mod build;
mod loads;
mod observe;
mod repeats;
mod service_config;

use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use lb_core::advice::{Limits, ScalingConfig};
use lb_core::breaker::{BreakerConfig, RemoteBreaker};
use lb_core::gate::Gatekeeper;
use lb_core::queue::QueueConfig;
use lb_core::recovery::{DegradedConfig, RampConfig};
use lb_core::stages::{FailoverConfig, OutlierConfig, PanicConfig, ReplicaConfig};
use lb_core::{
    BackoffConfig, ConcurrencyLimit, HealthCheck, Observer, PolicyBuilder, PolicyRegistry, Resolver, ServiceConfigUpdate, Stage,
};
use lb_health::{GrpcHealthCheck, HealthConfig};
use lb_transport::{Connector, TransportConfig};
use tonic::body::Body;
use tower_service::Service;

use crate::connection_service::ConnectionService;
use crate::limits::LimitsConfig;
use crate::observe::CallObserver;
use crate::policy_choice::PolicyChoice;
use crate::repeats::Repeats;
use crate::request_limit::RequestLimit;
use crate::resolvers::ResolverRegistry;
use crate::sessions::SessionConfig;
use crate::transport::{AnyConnector, Boxed};

/// How long a channel without calls keeps its connections (gRFC A62).
const IDLE_TIMEOUT: Duration = Duration::from_secs(30 * 60);

/// Collects what a channel shall be. Every setting has a default; only the target is needed.
///
/// ```no_run
/// # async fn example() -> Result<(), lb_tonic::BuildError> {
/// use std::time::Duration;
/// use lb_tonic::LbChannel;
///
/// let channel = LbChannel::builder("static:///10.0.0.1:50051,10.0.0.2:50051")
///     .policy("least_request")
///     .timeout(Duration::from_secs(5))
///     .connect(Duration::from_secs(10))
///     .await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "a builder does nothing until it is built"]
pub struct LbChannelBuilder {
    target: String,
    resolvers: ResolverRegistry,
    policies: PolicyRegistry,
    policy: PolicyChoice,
    further: Vec<PolicyChoice>,
    outliers: OutlierConfig,
    failover: FailoverConfig,
    replicas: ReplicaConfig,
    recovery: Option<RampConfig>,
    degraded: DegradedConfig,
    panic: PanicConfig,
    removal_deadline: Option<Duration>,
    stages: Vec<Box<dyn Stage>>,
    gatekeepers: Vec<Arc<dyn Gatekeeper>>,
    pub(crate) limits: LimitsConfig,
    remote_breaker: Option<Arc<dyn RemoteBreaker>>,
    max_requests: Option<RequestLimit>,
    per_endpoint: Option<ConcurrencyLimit>,
    queue: Option<QueueConfig>,
    transport: TransportConfig,
    #[cfg(any(feature = "tls-ring", feature = "tls-aws-lc"))]
    tls: Option<lb_transport::ClientTls>,
    connector: Option<Arc<dyn AnyConnector>>,
    health: Option<Arc<dyn HealthCheck<ConnectionService>>>,
    authority: Option<String>,
    backoff: BackoffConfig,
    connect_timeout: Option<Duration>,
    user_agent: Option<HeaderValue>,
    idle_timeout: Option<Duration>,
    timeout: Option<Duration>,
    wait_for_ready: bool,
    max_request: Option<usize>,
    max_response: Option<usize>,
    observers: Vec<Arc<dyn Observer>>,
    call_observers: Vec<Arc<dyn CallObserver>>,
    pub(crate) overload: Limits,
    pub(crate) scaling: Option<ScalingConfig>,
    sessions: Option<SessionConfig>,
    service_config: ServiceConfigUpdate,
    follow_resolver: bool,
    health_by_config: bool,
    repeats: Repeats,
    seed: Option<u64>,
}

impl LbChannelBuilder {
    pub(crate) fn new(target: String) -> Self {
        Self {
            target,
            resolvers: ResolverRegistry::default(),
            policies: PolicyRegistry::default(),
            policy: "round_robin".into(),
            further: Vec::new(),
            outliers: OutlierConfig::default(),
            failover: FailoverConfig::default(),
            replicas: ReplicaConfig::default(),
            recovery: None,
            degraded: DegradedConfig::default(),
            panic: PanicConfig::default(),
            removal_deadline: None,
            stages: Vec::new(),
            gatekeepers: Vec::new(),
            limits: LimitsConfig::default(),
            remote_breaker: None,
            max_requests: None,
            per_endpoint: None,
            queue: None,
            transport: TransportConfig::new(),
            #[cfg(any(feature = "tls-ring", feature = "tls-aws-lc"))]
            tls: None,
            connector: None,
            health: None,
            authority: None,
            backoff: BackoffConfig::default(),
            connect_timeout: None,
            user_agent: None,
            idle_timeout: Some(IDLE_TIMEOUT),
            timeout: None,
            wait_for_ready: false,
            max_request: None,
            max_response: None,
            observers: Vec::new(),
            call_observers: Vec::new(),
            overload: Limits::default(),
            scaling: None,
            sessions: None,
            service_config: ServiceConfigUpdate::Absent,
            follow_resolver: true,
            health_by_config: false,
            repeats: Repeats::default(),
            seed: None,
        }
    }

    /// The policy that picks; default `round_robin` (gRPC's own default is `pick_first`, which does not balance).
    pub fn policy(mut self, policy: impl Into<PolicyChoice>) -> Self {
        self.policy = policy.into();
        self
    }

    /// A further policy that single calls can ask for with [`PickOptions::policy`](crate::PickOptions::policy).
    pub fn further_policy(mut self, policy: impl Into<PolicyChoice>) -> Self {
        self.further.push(policy.into());
        self
    }

    /// Makes a policy of your own known by its name, in place of a built-in one of that name.
    pub fn register_policy(mut self, builder: impl PolicyBuilder) -> Self {
        self.policies.register(Arc::new(builder));
        self
    }

    /// Makes a resolver known by its schemes, in place of those that served them.
    pub fn resolver(mut self, resolver: impl Resolver) -> Self {
        self.resolvers.register(Arc::new(resolver));
        self
    }

    /// Ejects endpoints whose calls go wrong while they go well elsewhere; off by default. `OutlierConfig::from_json` has gRPC's fields.
    pub fn outlier_detection(mut self, config: OutlierConfig) -> Self {
        self.outliers = config;
        self
    }

    /// How calls move between the groups of endpoints of equal priority, and back; default gRPC's: to the next group when one fails or
    /// has not connected within 10 s, and back at once.
    pub fn failover(mut self, config: FailoverConfig) -> Self {
        self.failover = config;
        self
    }

    /// When endpoints that are [replicas](lb_core::Attributes::replica_of) of others take over, and when they hand back.
    pub fn replicas(mut self, config: ReplicaConfig) -> Self {
        self.replicas = config;
        self
    }

    /// Leaves endpoints alone that fail, and tries them again after a while; off by default. See [`lb_core::breaker`]. A service config may
    /// have others (`evenkeel.circuitBreaker`), for a channel that has some: [`BreakerConfig::off`] are some that never open.
    pub fn circuit_breaker(mut self, config: BreakerConfig) -> Self {
        self.limits.breaker = Some(config);
        self
    }

    /// Lets a circuit breaker elsewhere open and close those of this channel, and tells it how calls end. Without
    /// [`circuit_breaker`](Self::circuit_breaker) the channel's own have the default configuration; for a channel that follows the
    /// remote alone, give it one that counts nothing.
    pub fn remote_breaker(mut self, remote: impl RemoteBreaker) -> Self {
        self.remote_breaker = Some(Arc::new(remote));
        self
    }

    /// Lets endpoints that are new, or come back after a failure, take their calls step by step; default all at once. With
    /// [`RampConfig::steps`] the share grows by 10 % every 30 s while calls succeed, with [`RampConfig::linear`] by time alone.
    pub fn recovery(mut self, ramp: RampConfig) -> Self {
        self.recovery = Some(ramp);
        self
    }

    /// What endpoints get that serve with reservations; by default half of what others get, if their health check or the registry's
    /// metadata call them degraded.
    pub fn degraded(mut self, config: DegradedConfig) -> Self {
        self.degraded = config;
        self
    }

    /// Uses every endpoint that has a connection, whatever is thought of it, while too few are thought well of; default never.
    pub fn panic(mut self, config: PanicConfig) -> Self {
        self.panic = config;
        self
    }

    /// How long the calls in progress at an endpoint may take that the resolver lists no more. Those that take longer end with
    /// UNAVAILABLE, and its connection is closed. Default none: they take as long as they need. More than 30 days is for ever. The
    /// deadline holds while the channel lives.
    pub fn removal_deadline(mut self, within: Duration) -> Self {
        self.removal_deadline = Some(within);
        self
    }

    /// A stage that edits the view after the built-in ones.
    pub fn stage(mut self, stage: impl Stage) -> Self {
        self.stages.push(Box::new(stage));
        self
    }

    /// Gates of your own, one for each endpoint, that admit attempts or refuse them; several are asked in the order they are given here.
    /// See [`lb_core::gate`]. Keep a clone to read the state of what it made.
    pub fn gatekeeper(mut self, keeper: Arc<dyn Gatekeeper>) -> Self {
        self.gatekeepers.push(keeper);
        self
    }

    /// At most so many attempts at once at each endpoint: a number, or a [limit](ConcurrencyLimit) that knows their capacity or changes; off
    /// by default. A call goes to another endpoint then, waits in the [queue](Self::queue) if all are at their limit, or is shed.
    pub fn max_requests_per_endpoint(mut self, limit: impl Into<ConcurrencyLimit>) -> Self {
        self.per_endpoint = Some(limit.into());
        self
    }

    /// At most so many attempts at once over all endpoints (gRFC A32); off by default. Takes a number, or a clone of a limit that other
    /// channels share. One too many waits in the [queue](Self::queue), or fails with UNAVAILABLE.
    pub fn max_requests(mut self, limit: impl Into<RequestLimit>) -> Self {
        self.max_requests = Some(limit.into());
        self
    }

    /// Lets calls wait for a place, by [priority](crate::PickOptions::priority) and age, while every endpoint they could go to is at its limit;
    /// off by default. Has no effect without limits.
    pub fn queue(mut self, config: QueueConfig) -> Self {
        self.queue = Some(config);
        self
    }

    /// Options of connections: keepalive, windows, pool, user agent and more.
    pub fn transport(mut self, config: TransportConfig) -> Self {
        self.transport = config;
        self
    }

    /// What requests say in `user-agent`; default `evenkeel/` and the version.
    pub fn user_agent(mut self, value: HeaderValue) -> Self {
        self.user_agent = Some(value);
        self
    }

    /// Speaks TLS. The name to verify is the target's authority unless the endpoint or the options say otherwise.
    #[cfg(any(feature = "tls-ring", feature = "tls-aws-lc"))]
    pub fn tls(mut self, tls: lb_transport::ClientTls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Makes connections in another way than the built-in `h2` transport; transport and TLS options do not apply then.
    pub fn connector<C>(mut self, connector: C) -> Self
    where
        C: Connector,
        C::Transport: Service<http::Request<Body>, Response = http::Response<Body>>,
        <C::Transport as Service<http::Request<Body>>>::Future: Send + 'static,
        <C::Transport as Service<http::Request<Body>>>::Error: Into<lb_transport::BoxError>,
    {
        self.connector = Some(Arc::new(Boxed(connector)));
        self
    }

    /// Watches this gRPC service's health on every connection (grpc.health.v1); `""` is the server as a whole. An endpoint gets
    /// calls only while it serves. A service config's `healthCheckConfig` may name another service. Off by default.
    pub fn health_check(self, service: impl Into<Arc<str>>) -> Self {
        self.health(GrpcHealthCheck::new(HealthConfig::watch(service)))
    }

    /// Checks the health of endpoints in another way.
    pub fn health(mut self, check: impl HealthCheck<ConnectionService>) -> Self {
        self.health = Some(Arc::new(check));
        self.health_by_config = false;
        self
    }

    /// The `:authority` of calls and the name to verify, in place of the target's.
    pub fn authority(mut self, authority: impl Into<String>) -> Self {
        self.authority = Some(authority.into());
        self
    }

    /// Pacing of connection attempts; default gRPC's.
    pub fn backoff(mut self, backoff: BackoffConfig) -> Self {
        self.backoff = backoff;
        self
    }

    /// How long one attempt to connect may take, over all addresses and handshakes; default 20 s, at most 24 h.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = Some(timeout);
        self
    }

    /// How long a channel without calls keeps its connections and its resolver; default 30 min; `None`, zero, and 30 days or more are
    /// for ever.
    pub fn idle_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.idle_timeout = timeout.into();
        self
    }

    /// How long a call may take, waiting and body included, if it does not say itself; where both do the earlier counts.
    /// Default none.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Whether calls that do not say themselves wait while no endpoint is reachable; default no.
    pub fn wait_for_ready(mut self, wait: bool) -> Self {
        self.wait_for_ready = wait;
        self
    }

    /// The largest request message in bytes; a larger one fails with RESOURCE_EXHAUSTED before it is sent. Default unlimited.
    pub fn max_request_message(mut self, bytes: usize) -> Self {
        self.max_request = Some(bytes);
        self
    }

    /// The largest response message in bytes; a larger one fails with RESOURCE_EXHAUSTED as it begins. Default unlimited here,
    /// and 4 MiB in tonic's generated clients.
    pub fn max_response_message(mut self, bytes: usize) -> Self {
        self.max_response = Some(bytes);
        self
    }

    /// Is told every event on the channel's own task.
    pub fn observer(mut self, observer: impl Observer) -> Self {
        self.observers.push(Arc::new(observer));
        self
    }

    /// Keeps the calls of a session together; default not.
    pub fn sessions(mut self, sessions: SessionConfig) -> Self {
        self.sessions = Some(sessions);
        self
    }

    /// Where randomness starts, for reproducible runs; default random.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }
}
