//! Statistics of channels, sent to an HTTP backend now and then.
//!
//! **What.** Every interval one POST with [`LbChannel::stats`] of each channel, as JSON, `time` in seconds since 1970:
//!
//! ```json
//! {"type": "evenkeel.stats", "time": 1763722800.125, "channels": [{"channel": "orders", "stats": {"target": "…", "totals": {}}}]}
//! ```
//!
//! **Why so.** Counters only grow and everything else is a state, so a report that failed is not sent again: the next one says more.
//!
//! **Bound.** One report at a time, linear in the endpoints; nothing is kept between them. The time until the next is counted from the start
//! of one, and one that takes longer than the interval delays it; so does a `Retry-After` of a backend that refuses, up to an hour.
//!
//! **When not.** A Prometheus or an OpenTelemetry collector is served better, and cheaper, by `lb-telemetry`.

use std::fmt;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::Method;
use lb_core::ConfigError;
use lb_tonic::{ChannelStats, LbChannel, WeakChannel};
use serde::Serialize;
use tokio::runtime;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until};

use crate::http::{Ask, Client, HookError, HttpBackend};

/// Nothing is expected of an answer but its status.
const ANSWER: usize = 64 * 1024;

/// Statistics of many endpoints are large: not all the time.
const INTERVALS: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(24 * 3600);

/// Sends the statistics of channels to a backend until it is dropped or its channels are gone. Does not keep channels alive.
pub struct StatsReporter {
    shared: Arc<Shared>,
    task: AbortHandle,
}

#[derive(Default)]
struct Shared {
    sent: AtomicU64,
    failed: AtomicU64,
    failing: Mutex<Option<String>>,
}

/// What became of reports. As data, names are in camel case.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct ReporterStats {
    /// Reports that the backend has taken.
    pub sent: u64,
    /// Reports that failed, and are not sent again.
    pub failed: u64,
    /// Why the last one failed; `None` if it did not.
    pub failing: Option<String>,
}

#[derive(Serialize)]
struct Report<'a> {
    r#type: &'static str,
    time: f64,
    channels: Vec<OfChannel<'a>>,
}

#[derive(Serialize)]
struct OfChannel<'a> {
    channel: &'a str,
    stats: ChannelStats,
}

impl StatsReporter {
    /// Reports these channels, each under a name of yours, every `interval` of 100 ms to 24 h, the first time at once. Must be called within
    /// a tokio runtime.
    ///
    /// # Errors
    /// It is not, or the interval is another.
    pub fn start<'a, N: Into<Arc<str>>>(
        backend: HttpBackend,
        interval: Duration,
        channels: impl IntoIterator<Item = (N, &'a LbChannel)>,
    ) -> Result<Self, ConfigError> {
        if !INTERVALS.contains(&interval) {
            return Err(ConfigError::new("hooks.interval", format!("{interval:?}"), "100ms to 24h"));
        }
        let runtime = runtime::Handle::try_current()
            .map_err(|_| ConfigError::new("hooks.runtime", "none", "a call within a tokio runtime"))?;
        let shared = Arc::new(Shared::default());
        let channels = channels.into_iter().map(|(name, channel)| (name.into(), channel.downgrade())).collect();
        let reporting = Reporting { client: Client::new(backend), interval, channels, shared: Arc::clone(&shared) };
        let task = runtime.spawn(reporting.run()).abort_handle();
        Ok(Self { shared, task })
    }

    /// What became of reports so far.
    pub fn stats(&self) -> ReporterStats {
        ReporterStats {
            sent: self.shared.sent.load(Ordering::Relaxed),
            failed: self.shared.failed.load(Ordering::Relaxed),
            failing: self.shared.failing.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    /// Whether its channels are gone, and it with them.
    pub fn is_finished(&self) -> bool {
        self.task.is_finished()
    }
}

impl Drop for StatsReporter {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl fmt::Debug for StatsReporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StatsReporter").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

struct Reporting {
    client: Client,
    interval: Duration,
    channels: Vec<(Arc<str>, WeakChannel)>,
    shared: Arc<Shared>,
}

impl Reporting {
    async fn run(mut self) {
        loop {
            let next = Instant::now() + self.interval;
            let Some(body) = self.body() else { return };
            let sent = match body {
                Ok(body) => self.send(body).await,
                Err(error) => Err(HookError::Unreadable(error.to_string())),
            };
            self.shared.settle(sent.err());
            let asked = self.client.asked_to_wait().map(|wait| Instant::now() + wait);
            sleep_until(asked.map_or(next, |asked| asked.max(next))).await;
        }
    }

    /// `None` when no channel is left.
    fn body(&mut self) -> Option<serde_json::Result<Vec<u8>>> {
        self.channels.retain(|(_, channel)| channel.upgrade().is_some());
        let living = self.channels.iter().filter_map(|(name, channel)| Some((name, channel.upgrade()?)));
        let channels: Vec<_> = living.map(|(channel, living)| OfChannel { channel, stats: living.stats() }).collect();
        let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as f64 / 1000.0;
        let some = !channels.is_empty();
        some.then(|| serde_json::to_vec(&Report { r#type: "evenkeel.stats", time, channels }))
    }

    async fn send(&mut self, body: Vec<u8>) -> Result<(), HookError> {
        let ask = Ask { method: Method::POST, headers: Vec::new(), body: body.into(), limit: ANSWER };
        self.client.ask(&ask).await.map(drop)
    }
}

impl Shared {
    fn settle(&self, failure: Option<HookError>) {
        let failure = failure.map(|error| error.to_string());
        let mut failing = self.failing.lock().unwrap_or_else(PoisonError::into_inner);
        match (&failure, &*failing) {
            (Some(error), None) => tracing::warn!(target: "evenkeel", "the backend for statistics {error}"),
            (None, Some(_)) => tracing::info!(target: "evenkeel", "the backend for statistics takes them again"),
            _ => {}
        }
        let counter = if failure.is_some() { &self.failed } else { &self.sent };
        counter.fetch_add(1, Ordering::Relaxed);
        *failing = failure;
    }
}
