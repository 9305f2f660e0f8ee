//! What every handler can reach.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::sync::{Mutex, Semaphore, watch};

use crate::config::ConfigSource;
use crate::dashboard::Dashboard;
use crate::limits::AdminLimits;
use crate::services::Services;
use crate::token::AdminToken;

/// So many changes are made at once. They are short; whoever comes with more is in a loop.
const CHANGES: usize = 16;

/// Refused tokens leave a line at most this often: enough to be seen, and too seldom to fill a disk.
const TOKEN_LINES: Duration = Duration::from_secs(10);

/// Writes the exposition, or says why it cannot.
type Exposition = dyn Fn() -> Result<String, String> + Send + Sync;

/// How far back figures of performance look for who does not say.
type Window = dyn Fn() -> Duration + Send + Sync;

/// One admin server's possessions; shared by its connections.
pub(crate) struct App {
    pub(crate) services: Services,
    pub(crate) tokens: Vec<AdminToken>,
    pub(crate) read_only: bool,
    pub(crate) limits: AdminLimits,
    pub(crate) metrics: Option<Box<Exposition>>,
    pub(crate) dashboard: Dashboard,
    pub(crate) config: Option<Arc<dyn ConfigSource>>,
    window: Option<Box<Window>>,
    /// When the server began.
    pub(crate) began: Instant,
    /// Places for requests that change something.
    pub(crate) changing: Arc<Semaphore>,
    /// The policies that were asked for, by service. Who changes what others may want to change, too, holds it from look to effect.
    pub(crate) asked: Mutex<BTreeMap<Arc<str>, Asked>>,
    refused_tokens: AtomicU64,
    /// When a line was last written of them, and how many there were then.
    told_of_tokens: std::sync::Mutex<Option<(Instant, u64)>>,
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
    pub(crate) window: Option<Box<Window>>,
}

/// How handlers hold it.
pub(crate) type Shared = Arc<App>;

impl App {
    pub(crate) fn new(settings: Settings, stopping: watch::Receiver<bool>) -> Self {
        let Settings { services, tokens, read_only, limits, metrics, config, window } = settings;
        Self {
            services,
            tokens,
            read_only,
            limits,
            metrics,
            config,
            window,
            dashboard: Dashboard::default(),
            began: Instant::now(),
            changing: Arc::new(Semaphore::new(CHANGES)),
            asked: Mutex::default(),
            refused_tokens: AtomicU64::new(0),
            told_of_tokens: std::sync::Mutex::default(),
            stopping,
        }
    }

    /// Somebody came with a token that is none. How many there were since the last line, if it is time for one again.
    pub(crate) fn refuse_token(&self) -> Option<u64> {
        let refused = self.refused_tokens.fetch_add(1, Ordering::Relaxed) + 1;
        let mut told = self.told_of_tokens.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_some_and(|(at, _)| at.elapsed() < TOKEN_LINES) {
            return None;
        }
        let before = told.replace((Instant::now(), refused)).map_or(0, |(_, count)| count);
        Some(refused.saturating_sub(before))
    }

    /// How often that happened.
    pub(crate) fn refused_tokens(&self) -> u64 {
        self.refused_tokens.load(Ordering::Relaxed)
    }

    /// How far back to look for who does not say, if that is configured.
    pub(crate) fn window(&self) -> Option<Duration> {
        self.window.as_ref().map(|window| window())
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
