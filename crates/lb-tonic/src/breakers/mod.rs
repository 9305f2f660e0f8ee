//! The circuit breakers of a channel: who has which, what people force, and what a remote breaker says.
//!
//! The breakers themselves are gates, kept with their endpoints ([`lb_core::breaker`]). Here is the list of them, for people to read and
//! for the driver to tell their changes from, and what outlives an endpoint: forced states and a remote's word. The lock is never
//! taken where calls are.

mod book;
mod post;
mod remote;

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use lb_core::breaker::{
    BreakerChange, BreakerConfig, BreakerForce, BreakerInfo, Breakers, EndpointBreakers, RemoteBreaker, RemoteReport, RemoteUpdate,
};
use lb_core::gate::{Gate, GateSignal, Gatekeeper};
use lb_core::{ConfigError, Endpoint, EndpointKey};
use tokio::runtime;
use tokio::time::Instant;

use book::Book;
use remote::Task;

/// The breakers of a channel.
#[derive(Debug)]
pub(crate) struct ChannelBreakers {
    book: Mutex<Book>,
    remote: OnceLock<Task>,
}

/// Why a breaker cannot be forced.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoBreaker {
    /// The channel was built without circuit breakers.
    #[error("the channel has no circuit breakers")]
    NotConfigured,
    /// There are as many groups of methods as there may be, or all methods are one.
    #[error("there is no circuit breaker for the group {group:?}")]
    NoGroup {
        /// The group that was asked for.
        group: String,
    },
}

impl ChannelBreakers {
    /// Breakers of this configuration, led and followed by `remote` if there is one.
    pub(crate) fn new(
        config: BreakerConfig,
        seed: u64,
        remote: Option<Arc<dyn RemoteBreaker>>,
        runtime: &runtime::Handle,
    ) -> Result<Arc<Self>, ConfigError> {
        let book = Book::new(Breakers::try_new(config, seed, remote.is_some())?);
        let breakers = Arc::new(Self { book: Mutex::new(book), remote: OnceLock::new() });
        if let Some(remote) = remote {
            breakers.remote.get_or_init(|| Task::start(remote, Arc::downgrade(&breakers), runtime));
        }
        Ok(breakers)
    }

    /// Other breakers from now on, which go on where those there are stand; [`EndpointBreakers::by`] says how far. What those there are have
    /// done is to be [told](Self::changes) before.
    ///
    /// # Errors
    /// A value is not allowed; nothing is changed then.
    pub(crate) fn configure(&self, config: BreakerConfig) -> Result<(), ConfigError> {
        self.book().configure(config, Instant::now())
    }

    /// Every breaker of an endpoint that a call has asked so far.
    pub(crate) fn info(&self, endpoint: &EndpointKey, now: Instant) -> Vec<BreakerInfo> {
        let breakers = self.book().find(endpoint);
        breakers.map_or_else(Vec::new, |breakers| breakers.info(now.into_std()))
    }

    pub(crate) fn force(&self, endpoint: EndpointKey, group: Option<&str>, force: BreakerForce) -> Result<(), NoBreaker> {
        let breakers = self.book().find(&endpoint);
        if let (Some(breakers), now) = (breakers, Instant::now().into_std())
            && !breakers.force(group, force, now)
        {
            return Err(NoBreaker::NoGroup { group: group.unwrap_or_default().to_owned() });
        }
        self.book().force(endpoint, group, force);
        Ok(())
    }

    /// Every change since the last time. Only the driver asks.
    pub(crate) fn changes(&self) -> Vec<BreakerChange> {
        let mut changes = Vec::new();
        self.all().iter().for_each(|breakers| breakers.changes(|change| changes.push(change)));
        changes
    }

    fn told(&self, update: RemoteUpdate) {
        let now = Instant::now();
        let breakers = self.book().find(&update.endpoint);
        if let Some(breakers) = breakers {
            breakers.told(&update, now.into_std());
        }
        self.book().remember(update, now);
    }

    fn take_reports(&self) -> Vec<RemoteReport> {
        let mut reports = Vec::new();
        self.all().iter().for_each(|breakers| breakers.take_reports(&mut reports));
        reports
    }

    fn put_back(&self, reports: &[RemoteReport]) {
        for report in reports {
            let breakers = self.book().find(&report.endpoint);
            breakers.iter().for_each(|breakers| breakers.put_back(report));
        }
    }

    fn all(&self) -> Vec<Arc<EndpointBreakers>> {
        self.book().all()
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        // No code that can panic runs under the lock.
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Gatekeeper for ChannelBreakers {
    fn gate(&self, endpoint: &Endpoint, signal: &GateSignal) -> Option<Arc<dyn Gate>> {
        Some(self.book().enter(endpoint, signal, Instant::now()))
    }
}
