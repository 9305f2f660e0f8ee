//! Waiting for a place at an endpoint: tasks for the rules of [`lb_core::queue`].

mod line;
mod waiting;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lb_core::queue::{Queue, QueueConfig, QueueStats};
use lb_core::{Endpoint, PickHints};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

/// What [`line`] is made of; its model brings its own.
mod sync {
    pub(super) use std::sync::atomic::{AtomicUsize, Ordering, fence};
    pub(super) use std::sync::{Mutex, MutexGuard, PoisonError};
    pub(super) use std::time::Instant;
}

use crate::error::CallError;

use line::Line;
use waiting::{Bell, Place};
pub(crate) use waiting::{Queued, QueuedAt, Turn};

/// How long at most until those who wait look again although no gate has said anything. A gate should say until when it refuses or signal
/// when it opens; one that does neither must not make calls wait for ever.
const LOOK_AGAIN: Duration = Duration::from_millis(320);

/// The queue of one channel.
#[derive(Debug)]
pub(crate) struct CallQueue {
    config: QueueConfig,
    line: Line<Bell>,
    /// When everybody shall look again.
    look_at: Mutex<Option<Instant>>,
    /// There is an earlier time to look at.
    earlier: Notify,
}

impl CallQueue {
    pub(crate) fn new(config: QueueConfig) -> Arc<Self> {
        let line = Line::new(Queue::new(config.clone()));
        Arc::new(Self { config, line, look_at: Mutex::default(), earlier: Notify::new() })
    }

    /// Whether a call that has just come must join without a look.
    #[inline]
    pub(crate) fn must_join(&self) -> bool {
        self.line.must_join()
    }

    /// A call begins to wait.
    pub(crate) fn join(self: &Arc<Self>, hints: Option<&PickHints>, bound: bool) -> Result<Queued, CallError> {
        Queued::join(Arc::clone(self), hints, bound)
    }

    /// Gives the place of an attempt back, at this endpoint or anywhere.
    #[inline]
    pub(crate) fn free(&self, endpoint: Option<&Arc<Endpoint>>, give_back: impl FnOnce()) {
        ring(self.line.free(|| Place(endpoint.cloned()), give_back));
    }

    /// Something changed that may let anybody through: everybody looks, in order.
    pub(crate) fn look_all(&self) {
        ring(self.line.look_all());
    }

    /// There is no room, or no more. Who waits now has been served or has given up after the longest wait.
    fn full(&self, waiting: usize, displaced: bool) -> CallError {
        CallError::QueueFull { waiting, displaced, retry_after: self.config.max_wait }
    }

    pub(crate) fn stats(&self) -> QueueStats {
        self.line.stats(Instant::now().into_std())
    }

    /// Everybody shall look again at this time or before.
    fn look_at(&self, at: Instant) {
        let mut look_at = self.look_at.lock().unwrap_or_else(PoisonError::into_inner);
        if look_at.is_none_or(|known| at < known) {
            *look_at = Some(at);
            drop(look_at);
            self.earlier.notify_one();
        }
    }

    /// Waits until it is time for everybody to look. Cancel safe.
    pub(crate) async fn due(&self) {
        loop {
            let at = *self.look_at.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(at) = at else {
                self.earlier.notified().await;
                continue;
            };
            tokio::select! {
                () = sleep_until(at) => {
                    *self.look_at.lock().unwrap_or_else(PoisonError::into_inner) = None;
                    return;
                }
                () = self.earlier.notified() => {}
            }
        }
    }
}

fn ring(bell: Option<Bell>) {
    if let Some(bell) = bell {
        bell.ring();
    }
}
