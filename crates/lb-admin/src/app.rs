//! What every handler can reach.

use std::fmt;
use std::sync::Arc;

use tokio::sync::watch;

use crate::dashboard::Dashboard;
use crate::limits::AdminLimits;
use crate::services::Services;
use crate::token::AdminToken;

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
    /// Becomes `true` when the server stops.
    pub(crate) stopping: watch::Receiver<bool>,
}

/// How handlers hold it.
pub(crate) type Shared = Arc<App>;

impl App {
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
