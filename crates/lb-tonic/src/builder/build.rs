//! From what was collected to a channel.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use http::uri::Authority;
use lb_core::breaker::BreakerConfig;
use lb_core::gate::{GateSignal, Gatekeeper};
use lb_core::machine::{Command, MachineConfig};
use lb_core::{ConfigError, ConnectivityState, Machine, PolicyRegistry, SecurityLevel};
use lb_transport::H2Connector;
use tokio::runtime;

use crate::breakers::ChannelBreakers;
use crate::call::Observers;
use crate::channel::LbChannel;
use crate::driver::{Chores, Connections, ConnectorSettings, Driver, Idle, ServiceConfigs, Source};
use crate::error::BuildError;
use crate::limits::ChannelLimits;
use crate::load::Readers;
use crate::policy_choice::PolicyChoice;
use crate::queue::CallQueue;
use crate::sessions::{ChannelSessions, Prepared};
use crate::shared::{CallConfig, Handle, Shared};
use crate::snapshot::ChannelSnapshot;
use crate::transport::{AnyConnector, Direct};

use super::LbChannelBuilder;

impl LbChannelBuilder {
    /// Builds the channel without waiting for anything. It is IDLE until the first call or [`LbChannel::exit_idle`]. Must be
    /// called within a tokio runtime, on which the channel's own task then runs.
    pub fn build(mut self) -> Result<LbChannel, BuildError> {
        let runtime = runtime::Handle::try_current().map_err(|_| BuildError::NoRuntime)?;
        let (resolver, target) = self.resolvers.find(&self.target)?;
        let seed = self.seed.unwrap_or_else(|| RandomState::new().hash_one(0));
        let authority = self.authority.take().or_else(|| resolver.authority(&target)).unwrap_or_else(|| target.default_authority());
        let settings = ConnectorSettings {
            authority: checked(authority)?,
            security: self.security(),
            connector: self.make_connector()?,
            health: self.health.clone(),
        };
        let mut calls = CallConfig {
            target: target.as_str().into(),
            timeout: self.timeout,
            wait_for_ready: self.wait_for_ready,
            max_request: self.max_request,
            max_response: self.max_response,
            repeats: std::mem::take(&mut self.repeats).settle(),
            observers: None,
        };
        let configs = ServiceConfigs::new(self.config_settings()?, self.backoff, seed);
        let rules = configs.rules();
        let observers = std::mem::take(&mut self.observers);
        let sessions = self.prepare_sessions()?;
        let sweep = sessions.as_ref().and_then(ChannelSessions::sweep);
        let backoff = self.backoff;
        let (requests, per_endpoint) = (self.max_requests.take(), self.per_endpoint.take());
        let limits = ChannelLimits::new(configs.limits(), configs.gates(), requests, per_endpoint);
        self.gatekeepers.extend(limits.gatekeepers());
        let breakers = self.prepare_breakers(configs.limits().breaker, seed, &runtime)?;
        let queue = self.queue.take().map(CallQueue::new);
        let shared = Shared::new(ChannelSnapshot::initial(rules), breakers, limits, calls.repeats.throttling, queue);
        shared.limits.requests().iter().for_each(|limit| limit.join(&shared));
        calls.observers = Observers::new(std::mem::take(&mut self.call_observers), &calls.target, &shared);
        let chores = Chores { idle: Idle::new(self.idle_timeout), sweep, loads: self.loads()? };
        let (machine, policies) = self.make_machine(seed, shared.gate_signal(), &configs)?;
        let health_service = configs.health_service();
        let checks_health = configs.checks_health(health_service.as_ref());
        let source = Source { resolver, target, configs };

        let handle = Handle::new(Arc::clone(&shared), calls, policies, sessions, seed);
        let readers = Readers::new(Arc::clone(&shared), backoff, runtime.clone(), seed);
        let mut connections = Connections::new(settings, readers);
        connections.set_health_service(health_service, checks_health);
        runtime.spawn(Driver::new(machine, shared, source, connections, chores, observers).run());
        Ok(LbChannel::new(handle))
    }

    /// Asked after all other gates: a trial call that another gate refuses would give its place back at once, and the calls that wait
    /// for it would look again and again.
    fn prepare_breakers(
        &mut self,
        config: Option<BreakerConfig>,
        seed: u64,
        runtime: &runtime::Handle,
    ) -> Result<Option<Arc<ChannelBreakers>>, ConfigError> {
        let Some(config) = config else { return Ok(None) };
        let breakers = ChannelBreakers::new(config, seed, self.remote_breaker.take(), runtime)?;
        self.gatekeepers.push(Arc::clone(&breakers) as Arc<dyn Gatekeeper>);
        Ok(Some(breakers))
    }

    fn prepare_sessions(&mut self) -> Result<Option<ChannelSessions>, ConfigError> {
        let Some(config) = self.sessions.take() else { return Ok(None) };
        let Prepared { sessions, policy } = config.prepare(&self.policies)?;
        self.further.extend(policy.map(PolicyChoice::built));
        Ok(Some(sessions))
    }

    /// How connections will be protected, if it is not a connector of the program's own that knows.
    fn security(&self) -> Option<SecurityLevel> {
        if self.connector.is_some() {
            return None;
        }
        #[cfg(any(feature = "tls-ring", feature = "tls-aws-lc"))]
        if self.tls.is_some() {
            return Some(SecurityLevel::PrivacyAndIntegrity);
        }
        Some(SecurityLevel::None)
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

    fn make_machine(
        self,
        seed: u64,
        signal: GateSignal,
        configs: &ServiceConfigs,
    ) -> Result<(Machine, PolicyRegistry), BuildError> {
        let mut config = MachineConfig::new(seed);
        config.backoff = match self.connect_timeout {
            Some(timeout) => self.backoff.with_min_connect_timeout(timeout)?,
            None => self.backoff,
        };
        config.watch_health = self.health.is_some() && configs.checks_health(configs.health_service().as_ref());
        config.outlier_detection = self.outliers;
        config.recovery = self.recovery;
        config.degraded = self.degraded;
        self.failover.check()?;
        config.failover = self.failover;
        self.replicas.check()?;
        config.replicas = self.replicas;
        self.panic.check()?;
        config.panic = self.panic;
        config.removal_deadline = self.removal_deadline;
        config.stages = self.stages;
        (config.gatekeepers, config.gate_signal) = (self.gatekeepers, signal);
        let policy = match configs.policy() {
            Some(policy) => policy.build(&self.policies)?,
            None => self.policy.build(&self.policies)?,
        };
        let mut machine = Machine::new(config, policy);
        for policy in configs.first_policies() {
            machine.command(Command::AddPolicy(policy));
        }
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
