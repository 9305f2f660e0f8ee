//! Registration of a server: a key under a lease.
//!
//! A task keeps the lease alive three times per time to live. A lease that is gone (etcd was away for too long, or lost its data) is
//! replaced and the key written again, so that a server stays registered as long as it runs and etcd answers at all. Whoever stops being
//! heard of, by a crash or a cut network, is gone when the time to live is over.
//!
//! A key that somebody removes by hand while the lease lives stays away: that is how an operator takes a server out.

mod task;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use lb_core::Attributes;
use lb_core::ConfigError;
use lb_core::Endpoint;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::cluster::Cluster;
use crate::config::EtcdConfig;
use crate::entropy;
use crate::pace::Pace;
use crate::target::Range;
use crate::value::EtcdFormat;

use task::Task;

/// etcd makes shorter leases last about as long anyway.
const SHORTEST_TTL: Duration = Duration::from_secs(2);

/// A server that crashed would be tried for longer than anybody wants.
const LONGEST_TTL: Duration = Duration::from_secs(60 * 60);

/// Registers servers in etcd, where an `etcd:` target finds them.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use lb_core::{Address, Endpoint};
/// use lb_resolver_etcd::{EtcdConfig, EtcdRegistrar};
///
/// let endpoint = Endpoint::new("10.0.0.1:50051".parse::<Address>()?).with_weight(3);
/// let mut registration = EtcdRegistrar::new(EtcdConfig::from_env()).register("svc/greeter", endpoint)?;
/// registration.registered().await;
/// // Serve until it is time to go, then:
/// registration.shutdown().await;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct EtcdRegistrar {
    config: EtcdConfig,
    ttl: Duration,
    format: EtcdFormat,
}

/// Why a registration cannot be started.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum EtcdRegisterError {
    /// A value that cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A registration lives on a tokio runtime, and there is none here.
    #[error("no tokio runtime: register from within one")]
    NoRuntime,
}

/// Where a registration stands.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RegistrationState {
    /// Not yet in etcd.
    Starting,
    /// In etcd.
    Registered,
    /// The last attempt to get in or to stay in failed; it is tried again. While the lease lives the server can still be found.
    Failing(Arc<str>),
    /// Taken out, or the runtime is gone.
    Ended,
}

impl fmt::Display for RegistrationState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Starting => f.write_str("starting"),
            Self::Registered => f.write_str("registered"),
            Self::Failing(reason) => write!(f, "failing: {reason}"),
            Self::Ended => f.write_str("ended"),
        }
    }
}

impl EtcdRegistrar {
    /// A registrar with a time to live of 15 s that writes all attributes.
    pub fn new(config: EtcdConfig) -> Self {
        Self { config, ttl: Duration::from_secs(15), format: EtcdFormat::default() }
    }

    /// Sets how long the key stays when nothing is heard of this server any more, 2 s to 1 h in whole seconds; default 15 s.
    ///
    /// # Errors
    /// The time is out of range.
    pub fn with_ttl(self, ttl: Duration) -> Result<Self, ConfigError> {
        if !(SHORTEST_TTL..=LONGEST_TTL).contains(&ttl) {
            return Err(ConfigError::new("etcd.ttl", format!("{ttl:?}"), format!("{SHORTEST_TTL:?} to {LONGEST_TTL:?}")));
        }
        Ok(Self { ttl, ..self })
    }

    /// Sets how the endpoint is written; default [`EtcdFormat::Attributes`].
    #[must_use]
    pub fn with_format(self, format: EtcdFormat) -> Self {
        Self { format, ..self }
    }

    /// Starts to register `endpoint` below `name`, the same as in `etcd:///name`. The key is `name/id`, or `name/` and the addresses if
    /// it has no id; servers of one name need different ids. Returns at once: a server must be able to start while etcd is away.
    ///
    /// # Errors
    /// The name is empty, the configuration cannot be used, or no tokio runtime is running.
    pub fn register(&self, name: &str, endpoint: Endpoint) -> Result<EtcdRegistration, EtcdRegisterError> {
        let runtime = Handle::try_current().map_err(|_| EtcdRegisterError::NoRuntime)?;
        if name.trim_end_matches('/').is_empty() {
            return Err(ConfigError::new("etcd.name", format!("{name:?}"), "a name such as svc/greeter").into());
        }
        let bad = |reason: String| ConfigError::new("etcd.endpoints", reason, "members that can be connected to");
        let members = self.config.members().map_err(bad)?;
        let mut entropy = entropy::seeded(None);
        let cluster = Cluster::new(&self.config, &members, &mut entropy).map_err(bad)?;
        let id = endpoint.attributes.id.as_deref().unwrap_or_else(|| endpoint.key().as_str());
        let key: Arc<str> = format!("{}{id}", Range::below(name).start).into();
        let pace = Pace::new(&self.config, cluster.len(), entropy);
        let (endpoint, endpoints) = watch::channel(endpoint);
        let (states, state) = watch::channel(RegistrationState::Starting);
        let (stop, stopped) = oneshot::channel();
        let task = Task::new(cluster, pace, Arc::clone(&key), self.ttl, self.format, endpoints, states);
        let task = runtime.spawn(task.run(stopped));
        Ok(EtcdRegistration { key, endpoint, state, stop: Some(stop), task: Some(task) })
    }
}

/// A server in etcd, for as long as this lives.
///
/// Dropping it takes the server out too, in the background and only if the runtime lives long enough; [`shutdown`](Self::shutdown) waits.
#[derive(Debug)]
pub struct EtcdRegistration {
    key: Arc<str>,
    endpoint: watch::Sender<Endpoint>,
    state: watch::Receiver<RegistrationState>,
    /// Dropping it stops the task as well.
    stop: Option<oneshot::Sender<()>>,
    task: Option<JoinHandle<()>>,
}

impl EtcdRegistration {
    /// The key in etcd.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Where it stands now.
    pub fn state(&self) -> RegistrationState {
        self.state.borrow().clone()
    }

    /// Waits for the next change of state. Cancel safe.
    pub async fn changed(&mut self) -> RegistrationState {
        match self.state.changed().await {
            Ok(()) => self.state.borrow_and_update().clone(),
            Err(_) => RegistrationState::Ended,
        }
    }

    /// Waits until the server is in etcd; false if it never will be. Waits for as long as etcd is away: bound it where that matters.
    /// Cancel safe.
    pub async fn registered(&mut self) -> bool {
        self.state.wait_for(|state| *state == RegistrationState::Registered).await.is_ok()
    }

    /// Writes other attributes: another weight, or [`Draining`](lb_core::RegistryHealth::Draining) before the end. The key stays the
    /// same, whatever the id. Returns at once.
    pub fn update(&self, attributes: Attributes) {
        self.endpoint.send_modify(|endpoint| endpoint.attributes = attributes);
    }

    /// Takes the server out of etcd and waits until that is done; false if etcd did not answer in time, and then the key goes when the
    /// time to live is over.
    pub async fn shutdown(mut self) -> bool {
        drop(self.stop.take());
        if let Some(task) = self.task.take() {
            // A task that panicked or was cancelled with its runtime has not revoked anything.
            return task.await.is_ok() && *self.state.borrow() == RegistrationState::Ended;
        }
        false
    }
}
