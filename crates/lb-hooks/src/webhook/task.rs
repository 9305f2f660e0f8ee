//! The task that delivers.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http::Method;
use lb_core::{Backoff, Entropy};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::config::WebhookConfig;
use super::message::{body, since_1970};
use super::queue::{Batch, Fate, Queue};
use crate::http::{Ask, Client, HookError};

/// What is still to be told when nobody is left has so long, or the backend's timeout if that is longer.
const GRACE: Duration = Duration::from_secs(5);

/// Nothing is expected of an answer but its status.
const ANSWER: usize = 64 * 1024;

/// Delivers until the last handle is gone, and what waits then within the grace.
pub(super) async fn run(config: WebhookConfig, queue: Arc<Queue>, entropy: Entropy, alive: watch::Receiver<()>) {
    let grace = GRACE.max(config.backend.timeout);
    let client = Client::new(config.backend.clone());
    let delivery = Delivery { config, queue: Arc::clone(&queue), entropy, client, failing: false };
    tokio::select! {
        () = delivery.forever() => {}
        () = ended(alive, &queue, grace) => {}
    }
}

async fn ended(mut alive: watch::Receiver<()>, queue: &Queue, grace: Duration) {
    // Nothing is ever sent: it only ends.
    while alive.changed().await.is_ok() {}
    if timeout(grace, queue.flushed()).await.is_err() {
        tracing::warn!(target: "evenkeel", "a webhook ends with {} events not delivered", queue.stats().waiting);
    }
}

struct Delivery {
    config: WebhookConfig,
    queue: Arc<Queue>,
    entropy: Entropy,
    client: Client,
    /// Whether the last message could not be delivered at once.
    failing: bool,
}

impl Delivery {
    async fn forever(mut self) {
        loop {
            let batch = self.queue.take(self.config.linger).await;
            let fate = self.deliver(&batch).await;
            self.queue.settle(&batch, fate);
        }
    }

    async fn deliver(&mut self, batch: &Batch) -> Fate {
        let id = format!("msg_{:016x}{:016x}", self.entropy.draw(), self.entropy.draw());
        let Ok(body) = body(batch) else { return Fate::Refused };
        let mut backoff = Backoff::new(self.config.backoff);
        loop {
            match self.send(&id, &body).await {
                Ok(()) => {
                    self.tell(None);
                    return Fate::Delivered;
                }
                Err(error) => {
                    self.tell(Some(&error));
                    if !error.is_passing() {
                        return Fate::Refused;
                    }
                    let now = Instant::now();
                    let pause = backoff.begin(now, self.entropy.draw()).retry_at - now;
                    let pause = pause.max(self.client.asked_to_wait().unwrap_or_default());
                    if backoff.attempts() >= self.config.attempts {
                        return Fate::GivenUp;
                    }
                    sleep(pause).await;
                }
            }
        }
    }

    /// Signed anew each time: a receiver refuses old timestamps.
    async fn send(&mut self, id: &str, body: &Bytes) -> Result<(), HookError> {
        let timestamp = since_1970(SystemTime::now()).as_secs();
        let signature = self.config.signer.sign(id, timestamp, body);
        let headers =
            vec![("webhook-id", id.to_owned()), ("webhook-timestamp", timestamp.to_string()), ("webhook-signature", signature)];
        let ask = Ask { method: Method::POST, headers, body: body.clone(), limit: ANSWER };
        self.client.ask(&ask).await.map(drop)
    }

    fn tell(&mut self, failure: Option<&HookError>) {
        let url = &self.config.backend.url;
        match failure {
            Some(error) => {
                self.queue.failed(error.to_string());
                if !self.failing {
                    tracing::warn!(target: "evenkeel", "the webhook {url:?} {error}");
                }
            }
            None if self.failing => tracing::info!(target: "evenkeel", "the webhook {url:?} takes events again"),
            None => {}
        }
        self.failing = failure.is_some();
    }
}
