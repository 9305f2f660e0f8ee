//! What every handler can reach.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use serde_json::Value;
use tokio::sync::{Mutex, Semaphore, watch};

use crate::config::ConfigSource;
use crate::dashboard::Dashboard;
use crate::limits::AdminLimits;
use crate::services::Services;
use crate::token::AdminToken;

/// So many changes are made at once. They are short; whoever comes with more is in a loop.
const CHANGES: usize = 16;

/// Writes the exposition, or says why it cannot.
type Exposition = dyn Fn() -> Result<String, String> + Send + Sync;

/// One admin server's possessions; shared by its connections.
pub(crate) struct App {
    pub(crate) services: Services,
    pub(crate) tokens: Vec<AdminToken>,
    pub(crate) read_only: bool,
    pub(crate) limits: AdminLimits,
    pub(crate) metrics: Option<Box<Exposition>>,
    pub(crate) dashboard: Dashboard,
    pub(crate) config: Option<Arc<dyn ConfigSource>>,
    /// When the server began.
    pub(crate) began: Instant,
    /// Places for requests that change something.
    pub(crate) changing: Arc<Semaphore>,
    /// The policies that were asked for, by service. Who changes what others may want to change, too, holds it from look to effect.
    pub(crate) asked: Mutex<BTreeMap<Arc<str>, Asked>>,
    refused_tokens: AtomicU64,
    /// Becomes `true` when the server stops.
    pub(crate) stopping: watch::Receiver<bool>,
}

/// A policy that was asked for.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    /// The one before.
    pub(crate) before: String,
    /// The new one.
    pub(crate) policy: String,
    /// Its configuration.
    pub(crate) config: Value,
}

/// What the builder gives.
#[derive(Default)]
pub(crate) struct Settings {
    pub(crate) services: Services,
    pub(crate) tokens: Vec<AdminToken>,
    pub(crate) read_only: bool,
    pub(crate) limits: AdminLimits,
    pub(crate) metrics: Option<Box<Exposition>>,
    pub(crate) config: Option<Arc<dyn ConfigSource>>,
}

/// How handlers hold it.
pub(crate) type Shared = Arc<App>;

impl App {
    pub(crate) fn new(settings: Settings, stopping: watch::Receiver<bool>) -> Self {
        let Settings { services, tokens, read_only, limits, metrics, config } = settings;
        Self {
            services,
            tokens,
            read_only,
            limits,
            metrics,
            config,
            dashboard: Dashboard::default(),
            began: Instant::now(),
            changing: Arc::new(Semaphore::new(CHANGES)),
            asked: Mutex::default(),
            refused_tokens: AtomicU64::new(0),
            stopping,
        }
    }

    /// Somebody came with a token that is none.
    pub(crate) fn refuse_token(&self) {
        self.refused_tokens.fetch_add(1, Ordering::Relaxed);
    }

    /// How often that happened.
    pub(crate) fn refused_tokens(&self) -> u64 {
        self.refused_tokens.load(Ordering::Relaxed)
    }

    /// Waits until the server stops: for answers that would go on for ever. Cancel safe.
    pub(crate) async fn stopped(&self) {
        let mut stopping = self.stopping.clone();
        // A sender that is gone has stopped, too.
        let _ = stopping.wait_for(|stopping| *stopping).await;
    }
}

impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("App").field("services", &self.services).field("tokens", &self.tokens).finish_non_exhaustive()
    }
}
