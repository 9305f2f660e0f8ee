//! The dashboard at `/`, and its stream of changes.
//!
//! **What.** A page that shows every service of this server as it is now, says why an endpoint gets no calls, and has the levers of the API
//! as buttons. It is part of the program: no build step, no library, nothing fetched from elsewhere, so it works where there is no network
//! but the one between an operator and the program.
//!
//! **How.** The page's files ([`assets`]) hold no data and are served to anybody; what they show comes by a [`stream`] of server-sent
//! events: everything once, then what has changed, at most twice a second ([`feed`]). Events are remembered from the server's start
//! ([`history`]), because whoever opens the page wants to know what happened before.
//!
//! **Why not `EventSource`.** It cannot send a token; the page reads the stream itself.
//!
//! **Its bound.** [`STREAMS`] streams at once, each with one row of some 400 bytes per endpoint of one service; nothing is computed for a
//! reader that does not read, and the server closes it. With more than [`ROWS_PER_TICK`] endpoints changes come less often.
//!
//! **Hostile names.** Registries name endpoints. The page writes them as text, never as markup, and the policy in [`assets`] makes the
//! browser refuse anything else.

mod assets;
mod changes;
mod feed;
mod history;
mod row;
pub(crate) mod stream;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use tokio::sync::Semaphore;

use crate::app::Shared;
use history::History;

pub(crate) use assets::is_public;
pub(crate) use history::record;

/// Streams at once, over all browsers: more people than look at one program at a time, and few enough to bound what they hold and do.
pub(crate) const STREAMS: usize = 16;

/// How often a stream may speak: often enough to look alive, and slow enough to be read.
const TICK: Duration = Duration::from_millis(500);

/// Endpoints of all services that a stream looks at in one tick; with more, it looks only every second tick, every third, and so on.
const ROWS_PER_TICK: usize = 1_000;

/// What the dashboards of one server share.
pub(crate) struct Dashboard {
    history: History,
    streams: Arc<Semaphore>,
}

impl Default for Dashboard {
    fn default() -> Self {
        Self { history: History::default(), streams: Arc::new(Semaphore::new(STREAMS)) }
    }
}

impl fmt::Debug for Dashboard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dashboard").field("free_streams", &self.streams.available_permits()).finish_non_exhaustive()
    }
}

/// The dashboard's routes: `/` and what it loads, `/api/v1/loadbalancer/stream`.
pub(crate) fn routes() -> Router<Shared> {
    assets::routes().route("/api/v1/loadbalancer/stream", get(stream::open))
}
