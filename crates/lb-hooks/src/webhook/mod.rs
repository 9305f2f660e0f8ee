//! Events as signed messages to a URL.
//!
//! **What.** A [`Webhook`] takes events from any number of channels, each through a [`WebhookObserver`], and posts them in batches to one
//! URL, signed as [`Signer`](crate::Signer) describes. One message at a time, in order; one that fails is sent again with growing
//! pauses ([`lb_core::BackoffConfig`]), or when the receiver says in `Retry-After` if that is later, so often and no more.
//!
//! **Why so.** The channel's own task only puts the event into a queue: a lock that is held for a few instructions, no input or output,
//! never a wait. A receiver may therefore be as slow as it likes. Messages in order and one at a time let a receiver that was away take
//! what it missed without a crowd; the price is that one message that fails holds up those behind it until it is given up, while the
//! queue drops and counts.
//!
//! **Bound.** At most `capacity` events wait, and one batch is on its way. A receiver that is gone sees `attempts` requests for each batch,
//! then the next batch's. What was lost is counted in [`WebhookStats`] and told to the receiver with the next message (`lost`). A message may
//! arrive twice, when its answer was lost; its `webhook-id` is the same then.
//!
//! **When not.** As the only way a fact reaches somebody: events are news, and some may be lost. A receiver that must be right looks at the
//! channel's statistics too.
//!
//! The body, times in seconds since 1970:
//!
//! ```json
//! {"type": "evenkeel.events", "lost": 0, "events": [
//!   {"time": 1763722800.125, "channel": "orders", "kind": "scaling_advised", "severity": "info",
//!    "message": "5 endpoints advised, there are 3: …", "detail": {"current": 3, "desired": 5, "reason": "…"}}]}
//! ```
//!
//! `kind` is [`LbEvent::kind`](lb_core::LbEvent::kind), `detail` the data of the event, `endpoint` is there if the event is about one.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use lb_hooks::{HttpBackend, Signer, Webhook, WebhookConfig};
//! use lb_tonic::LbChannel;
//!
//! let signer = Signer::new([std::env::var("HOOK_SECRET")?])?;
//! let config = WebhookConfig::new(HttpBackend::new("http://scaler.internal:8080/events")?, signer).kinds(["scaling_advised"])?;
//! let webhook = Webhook::start(config)?;
//! let channel = LbChannel::builder("dns:///orders.internal:50051").observer(webhook.observer("orders")).build()?;
//! # Ok(())
//! # }
//! ```

mod config;
mod message;
mod queue;
mod task;

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::SystemTime;

use lb_core::{ConfigError, Entropy, LbEvent, Observer};
use serde::Serialize;
use tokio::runtime;
use tokio::sync::watch;

use config::Wanted;
pub use config::{Overflow, WebhookConfig};
use queue::{Entry, Queue};

/// A webhook at work. Cheap to clone; clones are the same one.
///
/// It ends when its last clone and the last channel with an observer of it are gone: what still waits then has 5 s, or the backend's
/// timeout if that is longer, to be delivered.
#[derive(Clone)]
pub struct Webhook {
    queue: Arc<Queue>,
    wanted: Wanted,
    /// The task sees the last of these go.
    alive: Arc<watch::Sender<()>>,
}

/// Puts the events of one channel into a [`Webhook`]; for
/// [`LbChannelBuilder::observer`](lb_tonic::LbChannelBuilder::observer).
pub struct WebhookObserver {
    webhook: Webhook,
    channel: Arc<str>,
}

/// What became of events that a webhook was to tell. As data, names are in camel case.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct WebhookStats {
    /// Events that wait or are on their way.
    pub waiting: usize,
    /// Events that the receiver has taken.
    pub delivered: u64,
    /// Events that the full queue had no room for.
    pub dropped: u64,
    /// Events of messages that failed as often as was allowed.
    pub given_up: u64,
    /// Events of messages that the receiver will never take, by the status it answered.
    pub refused: u64,
    /// Requests that failed, whatever came of their message.
    pub failures: u64,
    /// Why the last request failed; `None` if it did not.
    pub failing: Option<String>,
}

impl Webhook {
    /// Starts the task that delivers; must be called within a tokio runtime.
    ///
    /// # Errors
    /// It is not.
    pub fn start(config: WebhookConfig) -> Result<Self, ConfigError> {
        let runtime = runtime::Handle::try_current()
            .map_err(|_| ConfigError::new("hooks.runtime", "none", "a call within a tokio runtime"))?;
        let queue = Arc::new(Queue::new(config.capacity, config.overflow, config.batch));
        let (alive, watched) = watch::channel(());
        let wanted = config.wanted.clone();
        let entropy = Entropy::from_seed(RandomState::new().hash_one(0_u8));
        runtime.spawn(task::run(config, Arc::clone(&queue), entropy, watched));
        Ok(Self { queue, wanted, alive: Arc::new(alive) })
    }

    /// Takes the events of one channel, under a name of yours by which the receiver tells channels apart.
    pub fn observer(&self, channel: impl Into<Arc<str>>) -> WebhookObserver {
        WebhookObserver { webhook: self.clone(), channel: channel.into() }
    }

    /// What became of events so far.
    pub fn stats(&self) -> WebhookStats {
        self.queue.stats()
    }

    /// Waits until nothing waits any more: everything was delivered, refused or given up. Batches are sent at once meanwhile. Cancel safe.
    pub async fn flush(&self) {
        self.queue.flushed().await;
    }
}

impl Observer for WebhookObserver {
    fn on_event(&self, event: &LbEvent) {
        if self.webhook.wanted.includes(event) {
            let (channel, event) = (Arc::clone(&self.channel), event.clone());
            self.webhook.queue.put(Entry { time: SystemTime::now(), channel, event });
        }
    }
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhook")
            .field("handles", &Arc::strong_count(&self.alive))
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for WebhookObserver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebhookObserver").field("channel", &self.channel).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::net::TcpListener;
    use tokio::time::{Instant, sleep};

    use super::*;
    use crate::{HttpBackend, Signer};

    #[tokio::test(start_paused = true)]
    async fn with_the_last_handle_it_ends_even_if_nobody_answers() {
        let silent = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
        let url = format!("http://{}/", silent.local_addr().expect("an address"));
        let signer = Signer::new(["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"]).expect("a secret");
        let config = WebhookConfig::new(HttpBackend::new(&url).expect("a URL"), signer).attempts(100).expect("a number");
        let webhook = Webhook::start(config).expect("a runtime");
        let (observer, queue) = (webhook.observer("c"), Arc::downgrade(&webhook.queue));
        observer.on_event(&LbEvent::ResolverRecovered);
        drop(webhook);
        sleep(Duration::from_secs(60)).await;
        assert_eq!(queue.upgrade().map(|queue| queue.stats().waiting), Some(1), "an observer keeps it alive");
        let dropped = Instant::now();
        drop(observer);
        while queue.strong_count() > 0 {
            sleep(Duration::from_millis(100)).await;
        }
        let took = dropped.elapsed();
        assert!((Duration::from_secs(5)..Duration::from_secs(6)).contains(&took), "{took:?}");
    }
}
