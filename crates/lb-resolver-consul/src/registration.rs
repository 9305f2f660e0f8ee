//! A server in the registry, for as long as it lives.
//!
//! One task keeps the registration: it registers, says that the server lives (or, where the agent checks by itself, looks whether the
//! agent still knows it), registers again with an agent that forgot, and with the next agent when one is gone. It ends with the
//! handle: [`shutdown`](ConsulRegistration::shutdown) waits until the server is out of the registry, dropping the handle only
//! asks for it, which works for as long as the runtime turns.

use std::time::Duration;

use lb_core::ConfigError;
use lb_core::RegistryHealth;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio::time::sleep_until;
use tracing::Instrument;

use crate::config::ConsulConfig;
use crate::failure::Failure;
use crate::keeper::Keeper;
use crate::service::ConsulService;
use crate::setup::Setup;

/// A server's registration, kept alive until it is shut down or dropped.
///
/// ```no_run
/// # use std::time::Duration;
/// # use lb_resolver_consul::{ConsulCheck, ConsulConfig, ConsulRegistration, ConsulService};
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let service = ConsulService::new("orders", 50051)?.with_check(ConsulCheck::ttl(Duration::from_secs(10))?).with_meta("zone", "a");
/// let registration = ConsulRegistration::register(ConsulConfig::from_env()?, service).await?;
/// // … serve …
/// registration.shutdown().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct ConsulRegistration {
    health: watch::Sender<RegistryHealth>,
    registered: watch::Receiver<bool>,
    task: JoinHandle<Result<(), RegistrationError>>,
}

/// The registry did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{service}: {why}")]
pub struct RegistrationError {
    service: String,
    why: String,
}

impl RegistrationError {
    pub(crate) fn new(service: &str, agent: &str, failure: &Failure) -> Self {
        Self { service: service.to_owned(), why: format!("Consul at {agent} {failure}") }
    }

    fn other(service: &str, why: impl ToString) -> Self {
        Self { service: service.to_owned(), why: why.to_string() }
    }
}

impl ConsulRegistration {
    /// Registers a server and keeps it registered. Must be called within a tokio runtime. Not cancel safe: dropped in the middle it may
    /// leave the server registered.
    ///
    /// # Errors
    /// The configuration makes no sense, or no agent could be reached or accepts the registration. Nothing is kept then.
    pub async fn register(config: ConsulConfig, service: ConsulService) -> Result<Self, RegistrationError> {
        let setup = Setup::new(config).map_err(|error| RegistrationError::other(&service.id(), error))?;
        let (mut keeper, wiring) = wire(setup, service);
        keeper.first().await?;
        Ok(Self::keep(keeper, wiring))
    }

    /// Registers a server as soon as an agent lets it, and keeps it registered: for servers that start without their registry too. Must
    /// be called within a tokio runtime.
    ///
    /// # Errors
    /// The configuration makes no sense.
    pub fn start(config: ConsulConfig, service: ConsulService) -> Result<Self, ConfigError> {
        let (keeper, wiring) = wire(Setup::new(config)?, service);
        Ok(Self::keep(keeper, wiring))
    }

    /// Whether the server was registered when an agent was last asked.
    pub fn is_registered(&self) -> bool {
        *self.registered.borrow()
    }

    /// Waits until the server is registered. Cancel safe.
    pub async fn registered(&mut self) {
        // The keeper ends with this handle only.
        let _ = self.registered.wait_for(|registered| *registered).await;
    }

    /// Says how the server fares; first it is healthy. Degraded and unhealthy servers warn and fail their TTL check; draining puts the
    /// service into maintenance, and with any kind of check.
    pub fn set_health(&self, health: RegistryHealth) {
        self.health.send_replace(health);
    }

    /// Takes the server out of the registry and waits until it is. Gives up after the configuration's timeout.
    ///
    /// # Errors
    /// The agent could not be reached, or refused. A TTL check then runs out by itself.
    pub async fn shutdown(self) -> Result<(), RegistrationError> {
        let Self { health, task, .. } = self;
        drop(health);
        task.await.unwrap_or_else(|error| Err(RegistrationError::other("the registration's task", error)))
    }

    fn keep(keeper: Keeper, Wiring { health, registered, wanted }: Wiring) -> Self {
        let span = tracing::info_span!("consul_registration", service = keeper.id());
        let task = tokio::spawn(run(keeper, wanted).instrument(span));
        Self { health, registered, task }
    }
}

/// The ends of a keeper's channels.
struct Wiring {
    health: watch::Sender<RegistryHealth>,
    wanted: watch::Receiver<RegistryHealth>,
    registered: watch::Receiver<bool>,
}

fn wire(setup: Setup, service: ConsulService) -> (Keeper, Wiring) {
    let (health, wanted) = watch::channel(RegistryHealth::Healthy);
    let (told, registered) = watch::channel(false);
    (Keeper::new(setup, service, told), Wiring { health, wanted, registered })
}

async fn run(mut keeper: Keeper, mut wanted: watch::Receiver<RegistryHealth>) -> Result<(), RegistrationError> {
    loop {
        let health = *wanted.borrow_and_update();
        // A registration under way is not cut off: it might reach the agent after its own removal.
        let registered = keeper.is_registered();
        let pause: Duration = tokio::select! {
            pause = keeper.keep(health) => pause,
            () = closed(wanted.clone()), if registered => break,
        };
        tokio::select! {
            () = sleep_until(Instant::now() + pause) => {}
            changed = wanted.changed() => if changed.is_err() { break },
        }
    }
    keeper.remove().await
}

/// Waits for the handle to go; a change of health is for later.
async fn closed(mut wanted: watch::Receiver<RegistryHealth>) {
    while wanted.changed().await.is_ok() {}
}
