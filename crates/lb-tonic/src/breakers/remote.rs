//! The task between a channel's breakers and a remote one.

use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use lb_core::breaker::{RemoteBreaker, RemoteError, RemoteReport, RemoteUpdate};
use tokio::runtime;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until, timeout};

use super::ChannelBreakers;

/// How long a report may take before it counts as lost.
const PATIENCE: Duration = Duration::from_secs(10);

/// More often would be a report per call.
const SOONEST: Duration = Duration::from_millis(10);

/// Ends with the breakers.
#[derive(Debug)]
pub(super) struct Task(AbortHandle);

impl Task {
    pub(super) fn start(remote: Arc<dyn RemoteBreaker>, breakers: Weak<ChannelBreakers>, runtime: &runtime::Handle) -> Self {
        let exchange = Exchange {
            states: Some(remote.states()),
            every: remote.report_every().max(SOONEST),
            remote,
            breakers,
            delivery: None,
            failing: false,
        };
        Self(runtime.spawn(exchange.run()).abort_handle())
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

struct Exchange {
    remote: Arc<dyn RemoteBreaker>,
    breakers: Weak<ChannelBreakers>,
    every: Duration,
    states: Option<BoxStream<'static, RemoteUpdate>>,
    delivery: Option<Delivery>,
    /// Whether the last report could not be delivered.
    failing: bool,
}

/// A report on its way.
struct Delivery {
    reports: Vec<RemoteReport>,
    sent: BoxFuture<'static, Result<(), RemoteError>>,
}

impl Exchange {
    async fn run(mut self) {
        let mut next = Instant::now() + self.every;
        loop {
            // A remote that never stops talking must not keep others from running.
            tokio::task::coop::consume_budget().await;
            let idle = self.delivery.is_none();
            tokio::select! {
                update = heard(&mut self.states) => match (update, self.breakers.upgrade()) {
                    (_, None) => return,
                    (Some(update), Some(breakers)) => breakers.told(update),
                    (None, Some(_)) => self.states = None,
                },
                result = delivered(&mut self.delivery) => self.settle(result),
                () = sleep_until(next), if idle => {
                    let Some(breakers) = self.breakers.upgrade() else { return };
                    self.send(breakers.take_reports());
                    next = Instant::now() + self.every;
                }
            }
        }
    }

    fn send(&mut self, reports: Vec<RemoteReport>) {
        if reports.is_empty() {
            return;
        }
        let report = self.remote.report(reports.clone());
        let late = |_| Err(RemoteError::new(format!("no answer within {PATIENCE:?}")));
        let sent = Box::pin(async move { timeout(PATIENCE, report).await.unwrap_or_else(late) });
        self.delivery = Some(Delivery { reports, sent });
    }

    fn settle(&mut self, result: Result<(), RemoteError>) {
        let delivery = self.delivery.take();
        match (&result, self.failing) {
            (Err(error), false) => {
                tracing::warn!(target: "evenkeel", "the remote circuit breaker hears no outcomes: {error}");
            }
            (Ok(()), true) => tracing::info!(target: "evenkeel", "the remote circuit breaker hears outcomes again"),
            _ => {}
        }
        self.failing = result.is_err();
        if let (Some(delivery), true, Some(breakers)) = (delivery, self.failing, self.breakers.upgrade()) {
            breakers.put_back(&delivery.reports);
        }
    }
}

async fn heard(states: &mut Option<BoxStream<'static, RemoteUpdate>>) -> Option<RemoteUpdate> {
    match states {
        Some(states) => states.next().await,
        None => std::future::pending().await,
    }
}

async fn delivered(delivery: &mut Option<Delivery>) -> Result<(), RemoteError> {
    match delivery {
        Some(delivery) => delivery.sent.as_mut().await,
        None => std::future::pending().await,
    }
}
