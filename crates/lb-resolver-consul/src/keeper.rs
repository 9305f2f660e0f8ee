//! What has to be done to keep a server registered: one step at a time, each bounded in time.

use std::time::Duration;

use http::Method;
use http::StatusCode;
use lb_core::Backoff;
use lb_core::RegistryHealth;
use percent_encoding::NON_ALPHANUMERIC;
use percent_encoding::utf8_percent_encode;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::client::Ask;
use crate::client::Client;
use crate::entropy;
use crate::failure::Failure;
use crate::registration::RegistrationError;
use crate::service::ConsulService;
use crate::service::Kind;
use crate::setup::Setup;
use lb_core::Entropy;

/// How often an agent that checks by itself is asked whether it still knows the server: an agent that lost its data is repaired
/// this soon.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Of a time to live, so that two words may be lost.
const BEATS: u32 = 3;

/// Keeps one server registered.
pub(crate) struct Keeper {
    setup: Setup,
    service: ConsulService,
    client: Client,
    agent: usize,
    backoff: Backoff,
    entropy: Entropy,
    told: watch::Sender<bool>,
    /// Whether the agent was told that the service is in maintenance.
    draining: bool,
    /// Whether the last step failed, for one line per change.
    failing: bool,
}

impl Keeper {
    pub(crate) fn new(setup: Setup, service: ConsulService, told: watch::Sender<bool>) -> Self {
        Self {
            client: Client::new(setup.clone(), setup.agents()[0].clone()),
            backoff: Backoff::new(setup.config().backoff),
            entropy: entropy::seeded(setup.config().seed),
            setup,
            service,
            agent: 0,
            told,
            draining: false,
            failing: false,
        }
    }

    pub(crate) fn id(&self) -> String {
        self.service.id()
    }

    /// Registers with the first agent that accepts.
    pub(crate) async fn first(&mut self) -> Result<(), RegistrationError> {
        let mut left = self.setup.agents().len();
        loop {
            let Err(failure) = self.register().await else { return Ok(()) };
            let error = self.error(&failure);
            left -= 1;
            if left == 0 {
                return Err(error);
            }
            self.next_agent();
        }
    }

    /// One step: registers if need be, says how the server fares. Returns how long to rest.
    pub(crate) async fn keep(&mut self, health: RegistryHealth) -> Duration {
        let outcome = match self.step(health).await {
            // The agent knows nothing of it any more: told anew at once, which is no trouble yet.
            Err(Failure::Status(StatusCode::NOT_FOUND | StatusCode::INTERNAL_SERVER_ERROR, _)) if self.is_registered() => {
                self.set_registered(false);
                self.step(health).await
            }
            outcome => outcome,
        };
        match outcome {
            Ok(()) => self.kept(),
            Err(failure) => self.failed(&failure),
        }
    }

    /// Takes the server out of the registry.
    pub(crate) async fn remove(&mut self) -> Result<(), RegistrationError> {
        let ask = self.put(&format!("service/deregister/{}", encoded(&self.id())), "");
        match self.client.ask(&ask).await {
            Ok(_) | Err(Failure::Status(StatusCode::NOT_FOUND, _)) => {}
            Err(Failure::Status(_, text)) if text.contains("nknown service") => {}
            Err(failure) => return Err(self.error(&failure)),
        }
        self.set_registered(false);
        tracing::info!("out of the registry");
        Ok(())
    }

    async fn step(&mut self, health: RegistryHealth) -> Result<(), Failure> {
        if !self.is_registered() {
            self.register().await?;
        }
        let draining = health == RegistryHealth::Draining;
        if draining != self.draining {
            let id = encoded(&self.id());
            let ask = self.put(&format!("service/maintenance/{id}?enable={draining}&reason=draining"), "");
            self.client.ask(&ask).await?;
            self.draining = draining;
        }
        let ask = match self.service.check.0 {
            Kind::Ttl(_) => {
                let word = match health {
                    RegistryHealth::Degraded => "warn",
                    RegistryHealth::Unhealthy => "fail",
                    _ => "pass",
                };
                self.put(&format!("check/{word}/{}", encoded(&self.service.check_id())), "")
            }
            _ => Ask::get(self.path(&format!("service/{}", encoded(&self.id())))),
        };
        self.client.ask(&ask).await.map(drop)
    }

    async fn register(&mut self) -> Result<(), Failure> {
        let ask = self.put("service/register?replace-existing-checks=true", &self.service.body().to_string());
        self.client.ask(&ask).await?;
        self.draining = false;
        self.set_registered(true);
        tracing::info!(agent = %self.client.agent(), "registered");
        Ok(())
    }

    fn kept(&mut self) -> Duration {
        self.backoff.reset();
        self.failing = false;
        match self.service.check.0 {
            Kind::Ttl(ttl) => ttl / BEATS,
            _ => LOOK_EVERY,
        }
    }

    fn failed(&mut self, failure: &Failure) -> Duration {
        if !self.failing {
            self.failing = true;
            tracing::warn!(agent = %self.client.agent(), %failure, "not kept registered; trying on");
        }
        // Where there is only one, it may well remember; the next step finds out.
        if self.setup.agents().len() > 1 {
            self.next_agent();
        }
        let now = Instant::now().into_std();
        self.backoff.begin(now, self.entropy.draw()).retry_at - now
    }

    fn next_agent(&mut self) {
        let agents = self.setup.agents();
        self.agent = (self.agent + 1) % agents.len();
        self.client = Client::new(self.setup.clone(), agents[self.agent].clone());
        self.set_registered(false);
    }

    pub(crate) fn is_registered(&self) -> bool {
        *self.told.borrow()
    }

    fn set_registered(&self, registered: bool) {
        self.told.send_replace(registered);
    }

    fn put(&self, path: &str, body: &str) -> Ask {
        Ask::send(Method::PUT, self.path(path), body.to_owned())
    }

    fn path(&self, path: &str) -> String {
        let namespace = self.setup.config().namespace.as_ref();
        let and = if path.contains('?') { '&' } else { '?' };
        let namespace = namespace.map_or_else(String::new, |name| format!("{and}ns={}", encoded(name)));
        format!("/v1/agent/{path}{namespace}")
    }

    fn error(&self, failure: &Failure) -> RegistrationError {
        RegistrationError::new(&self.id(), &self.client.agent().to_string(), failure)
    }
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}
