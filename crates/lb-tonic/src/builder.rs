//! Making a channel.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use http::uri::Authority;
use lb_core::breaker::{BreakerConfig, RemoteBreaker};
use lb_core::gate::{GateSignal, Gatekeeper};
use lb_core::machine::{Command, MachineConfig};
use lb_core::stages::{FailoverConfig, OutlierConfig, ReplicaConfig};
use lb_core::{
    BackoffConfig, ConfigError, ConnectivityState, HealthCheck, Machine, Observer, PolicyBuilder, PolicyRegistry, Resolver, Stage,
};
use lb_health::{GrpcHealthCheck, HealthConfig};
use lb_transport::{Connector, H2Connector, TransportConfig};
use tokio::runtime;
use tonic::body::Body;
use tower_service::Service;

use crate::breakers::ChannelBreakers;
use crate::channel::LbChannel;
use crate::connection_service::ConnectionService;
use crate::driver::{Connections, ConnectorSettings, Driver, Idle, ServiceConfigs, Source};
use crate::error::BuildError;
use crate::load::Readers;
use crate::policy_choice::PolicyChoice;
use crate::resolvers::ResolverRegistry;
use crate::sessions::{ChannelSessions, Prepared, SessionConfig};
use crate::shared::{CallConfig, Handle, Shared};
use crate::snapshot::ChannelSnapshot;
use crate::transport::{AnyConnector, Boxed, Direct};

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
    stages: Vec<Box<dyn Stage>>,
    gatekeepers: Vec<Arc<dyn Gatekeeper>>,
    breaker: Option<BreakerConfig>,
    remote_breaker: Option<Arc<dyn RemoteBreaker>>,
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
    sessions: Option<SessionConfig>,
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
            stages: Vec::new(),
            gatekeepers: Vec::new(),
            breaker: None,
            remote_breaker: None,
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
            sessions: None,
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

    /// Leaves endpoints alone that fail, and tries them again after a while; off by default. See [`lb_core::breaker`].
    pub fn circuit_breaker(mut self, config: BreakerConfig) -> Self {
        self.breaker = Some(config);
        self
    }

    /// Lets a circuit breaker elsewhere open and close those of this channel, and tells it how calls end. Without
    /// [`circuit_breaker`](Self::circuit_breaker) the channel's own have the default configuration; for a channel that follows the
    /// remote alone, give it one that counts nothing.
    pub fn remote_breaker(mut self, remote: impl RemoteBreaker) -> Self {
        self.remote_breaker = Some(Arc::new(remote));
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
    /// calls only while it serves. Off by default.
    pub fn health_check(self, service: impl Into<Arc<str>>) -> Self {
        self.health(GrpcHealthCheck::new(HealthConfig::watch(service)))
    }

    /// Checks the health of endpoints in another way.
    pub fn health(mut self, check: impl HealthCheck<ConnectionService>) -> Self {
        self.health = Some(Arc::new(check));
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

    /// Builds the channel without waiting for anything. It is IDLE until the first call or [`LbChannel::exit_idle`]. Must be
    /// called within a tokio runtime, on which the channel's own task then runs.
    pub fn build(mut self) -> Result<LbChannel, BuildError> {
        let runtime = runtime::Handle::try_current().map_err(|_| BuildError::NoRuntime)?;
        let (resolver, target) = self.resolvers.find(&self.target)?;
        let seed = self.seed.unwrap_or_else(|| RandomState::new().hash_one(0));
        let authority = self.authority.take().or_else(|| resolver.authority(&target)).unwrap_or_else(|| target.default_authority());
        let settings =
            ConnectorSettings { authority: checked(authority)?, connector: self.make_connector()?, health: self.health.clone() };
        let calls = CallConfig {
            target: target.as_str().into(),
            timeout: self.timeout,
            wait_for_ready: self.wait_for_ready,
            max_request: self.max_request,
            max_response: self.max_response,
        };
        let idle = Idle::new(self.idle_timeout);
        let source = Source { resolver, target, configs: ServiceConfigs::new(self.policies.clone()) };
        let observers = std::mem::take(&mut self.observers);
        let sessions = self.prepare_sessions()?;
        let sweep = sessions.as_ref().and_then(ChannelSessions::sweep);
        let backoff = self.backoff;
        let shared = Shared::new(ChannelSnapshot::initial(), self.prepare_breakers(seed, &runtime)?);
        let (machine, policies) = self.make_machine(seed, shared.gate_signal())?;

        let handle = Handle::new(Arc::clone(&shared), calls, policies, sessions, seed);
        let readers = Readers::new(Arc::clone(&shared), backoff, runtime.clone(), seed);
        let connections = Connections::new(settings, readers);
        runtime.spawn(Driver::new(machine, shared, source, connections, idle, observers, sweep).run());
        Ok(LbChannel::new(handle))
    }

    /// Asked after all other gates: a trial call that another gate refuses would give its place back at once, and the calls that wait
    /// for it would look again and again.
    fn prepare_breakers(&mut self, seed: u64, runtime: &runtime::Handle) -> Result<Option<Arc<ChannelBreakers>>, ConfigError> {
        let remote = self.remote_breaker.take();
        let Some(config) = self.breaker.take().or_else(|| remote.as_ref().map(|_| BreakerConfig::default())) else {
            return Ok(None);
        };
        let breakers = ChannelBreakers::new(config, seed, remote, runtime)?;
        self.gatekeepers.push(Arc::clone(&breakers) as Arc<dyn Gatekeeper>);
        Ok(Some(breakers))
    }

    fn prepare_sessions(&mut self) -> Result<Option<ChannelSessions>, ConfigError> {
        let Some(config) = self.sessions.take() else { return Ok(None) };
        let Prepared { sessions, policy } = config.prepare(&self.policies)?;
        self.further.extend(policy.map(PolicyChoice::built));
        Ok(Some(sessions))
    }

    fn make_connector(&mut self) -> Result<Arc<dyn AnyConnector>, BuildError> {
        if let Some(connector) = self.connector.take() {
            return Ok(connector);
        }
        let mut config = std::mem::take(&mut self.transport);
        if let Some(timeout) = self.connect_timeout {
            config = config.connect_timeout(timeout);
        }
        if let Some(user_agent) = self.user_agent.take() {
            config = config.user_agent(user_agent);
        }
        let connector = H2Connector::new(config)?;
        #[cfg(any(feature = "tls-ring", feature = "tls-aws-lc"))]
        let connector = match self.tls.take() {
            Some(tls) => connector.with_tls(tls)?,
            None => connector,
        };
        Ok(Arc::new(Direct(connector)))
    }

    fn make_machine(self, seed: u64, signal: GateSignal) -> Result<(Machine, PolicyRegistry), BuildError> {
        let mut config = MachineConfig::new(seed);
        config.backoff = match self.connect_timeout {
            Some(timeout) => self.backoff.with_min_connect_timeout(timeout)?,
            None => self.backoff,
        };
        config.watch_health = self.health.is_some();
        config.outlier_detection = self.outliers;
        self.failover.check()?;
        config.failover = self.failover;
        self.replicas.check()?;
        config.replicas = self.replicas;
        config.stages = self.stages;
        (config.gatekeepers, config.gate_signal) = (self.gatekeepers, signal);
        let mut machine = Machine::new(config, self.policy.build(&self.policies)?);
        for policy in self.further {
            machine.command(Command::AddPolicy(policy.build(&self.policies)?));
        }
        Ok((machine, self.policies))
    }

    /// Builds the channel, connects, and waits until an endpoint is READY. `Err` says why none was in time. Cancel safe:
    /// dropping the future drops the channel.
    pub async fn connect(self, timeout: Duration) -> Result<LbChannel, BuildError> {
        let target = self.target.clone();
        let channel = self.build()?;
        channel.exit_idle();
        let ready = async {
            let mut state = channel.state();
            while state != ConnectivityState::Ready {
                state = channel.wait_for_state_change(state).await;
            }
        };
        match tokio::time::timeout(timeout, ready).await {
            Ok(()) => Ok(channel),
            Err(_) => Err(BuildError::NotReady { target, timeout, reason: channel.failure() }),
        }
    }
}

/// An authority that can stand in a request.
fn checked(authority: String) -> Result<Arc<str>, ConfigError> {
    match Authority::try_from(authority.as_str()) {
        Ok(_) => Ok(authority.into()),
        Err(_) => Err(ConfigError::new("authority", format!("{authority:?}"), "a host name or address, with or without a port")),
    }
}
