//! A circuit breaker kept by an HTTP backend.
//!
//! **What.** The backend's URL is asked every `interval` with GET which endpoints to leave alone, and told with POST how calls ended:
//!
//! | | body |
//! |---|---|
//! | `GET` answers | `{"10.0.0.1:50051": "open", "10.0.0.2:50051": "half_open"}`; endpoints that are not in it are closed |
//! | `POST` sends | `[{"endpoint": "10.0.0.1:50051", "group": "*", "succeeded": 12, "failed": 3, "state": "closed"}]` |
//!
//! **Why so.** Every process that calls an endpoint learns what one of them has found out. The answer is whole each time, so one that was
//! missed does no harm.
//!
//! **Bound.** An answer may have 1 MiB; larger ones, and those that are not of this form, change nothing. `open` holds for three intervals
//! after it was said last, and trial calls come then: a backend that is gone does not keep endpoints from their calls. Counts that could
//! not be delivered go with the next report. One that refuses with `Retry-After` is not asked before that, up to an hour.
//!
//! **When not.** Where a process sees enough calls to judge by itself: a breaker of its own is quicker than any interval.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream, StreamExt};
use http::Method;
use lb_core::ConfigError;
use lb_core::breaker::{RemoteBreaker, RemoteError, RemoteReport, RemoteState, RemoteUpdate};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until};

use crate::http::{Ask, Client, HookError, HttpBackend};

/// Tens of thousands of endpoints.
const ANSWER: usize = 1024 * 1024;

/// What is said of so many looks ago is old.
const LOOKS: u32 = 3;

/// More often would be a load of its own; seldom enough would be never.
const INTERVALS: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(3600);

type States = BTreeMap<String, RemoteState>;

/// Follows a circuit breaker kept by an HTTP backend; for
/// [`LbChannelBuilder::remote_breaker`](lb_tonic::LbChannelBuilder::remote_breaker).
pub struct HttpBreaker {
    backend: HttpBackend,
    interval: Duration,
    /// Kept between reports, for its connection.
    reporting: Arc<Mutex<Client>>,
}

impl HttpBreaker {
    /// Asks and reports so often, 10 ms to 1 h.
    pub fn new(backend: HttpBackend, interval: Duration) -> Result<Self, ConfigError> {
        if !INTERVALS.contains(&interval) {
            return Err(ConfigError::new("hooks.interval", format!("{interval:?}"), "10ms to 1h"));
        }
        let reporting = Arc::new(Mutex::new(Client::new(backend.clone())));
        Ok(Self { backend, interval, reporting })
    }
}

impl fmt::Debug for HttpBreaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpBreaker").field("backend", &self.backend).field("interval", &self.interval).finish_non_exhaustive()
    }
}

impl RemoteBreaker for HttpBreaker {
    fn states(&self) -> BoxStream<'static, RemoteUpdate> {
        let look = Look {
            client: Client::new(self.backend.clone()),
            interval: self.interval,
            known: States::new(),
            next: Instant::now(),
            failing: false,
        };
        stream::unfold(look, |mut look| async move { Some((stream::iter(look.next().await), look)) }).flatten().boxed()
    }

    fn report(&self, reports: Vec<RemoteReport>) -> BoxFuture<'static, Result<(), RemoteError>> {
        let client = Arc::clone(&self.reporting);
        Box::pin(async move {
            let body = serde_json::to_vec(&reports).map_err(|error| RemoteError::new(error.to_string()))?;
            let ask = Ask { method: Method::POST, headers: Vec::new(), body: body.into(), limit: ANSWER };
            let sent = client.lock().await.ask(&ask).await;
            sent.map(drop).map_err(|error| RemoteError::new(error.to_string()))
        })
    }

    fn report_every(&self) -> Duration {
        self.interval
    }
}

/// One who looks now and then.
struct Look {
    client: Client,
    interval: Duration,
    /// What was said last, of those that are not closed.
    known: States,
    next: Instant,
    failing: bool,
}

impl Look {
    /// Waits for the next look, and says what it brought.
    async fn next(&mut self) -> Vec<RemoteUpdate> {
        sleep_until(self.next).await;
        self.next = Instant::now() + self.interval;
        let ask = Ask { method: Method::GET, headers: Vec::new(), body: Bytes::new(), limit: ANSWER };
        let answer = self.client.ask(&ask).await;
        if let Some(wait) = self.client.asked_to_wait() {
            self.next = self.next.max(Instant::now() + wait);
        }
        let said = answer.and_then(|body| serde_json::from_slice(&body).map_err(|error| HookError::Unreadable(error.to_string())));
        match (&said, self.failing) {
            (Err(error), false) => tracing::warn!(target: "evenkeel", "the remote circuit breaker {error}"),
            (Ok(_), true) => tracing::info!(target: "evenkeel", "the remote circuit breaker answers again"),
            _ => {}
        }
        self.failing = said.is_err();
        // One that cannot be asked says nothing: what it said last holds until its time is over.
        said.map(|said| self.news(said)).unwrap_or_default()
    }

    fn news(&mut self, mut said: States) -> Vec<RemoteUpdate> {
        said.retain(|_, state| *state != RemoteState::Closed);
        let held = self.interval * LOOKS;
        let closed = self.known.keys().filter(|endpoint| !said.contains_key(*endpoint));
        let closed = closed.map(|endpoint| RemoteUpdate::new(endpoint.clone(), RemoteState::Closed));
        let others = said.iter().map(|(endpoint, state)| RemoteUpdate::new(endpoint.clone(), *state).open_for(held));
        let news = closed.chain(others).collect();
        self.known = said;
        news
    }
}
