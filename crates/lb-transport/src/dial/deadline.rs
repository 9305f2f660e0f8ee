//! When an attempt to connect is over.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use crate::error::{ConnectFailure, ConnectStage};

/// A timeout of `Duration::MAX` means no limit; this one can be added to the present.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// The end of one attempt to connect, over all addresses and handshakes.
#[derive(Debug, Clone, Copy)]
pub struct Deadline {
    at: Instant,
    /// How long the whole attempt was allowed to take, for errors.
    timeout: Duration,
}

impl Deadline {
    /// This long from now; more than a year is a year.
    pub fn after(timeout: Duration) -> Self {
        let timeout = timeout.min(LONGEST);
        Self { at: Instant::now() + timeout, timeout }
    }

    /// The same time again, from now.
    pub(crate) fn restarted(&self) -> Self {
        Self::after(self.timeout)
    }

    pub(super) fn has_passed(&self) -> bool {
        Instant::now() >= self.at
    }

    /// Drops the future at the deadline; `Err` is [`ConnectFailure::Timeout`] and says in which stage that was. Cancel safe if the
    /// future is.
    pub async fn bound<T>(&self, stage: ConnectStage, future: impl Future<Output = T>) -> Result<T, ConnectFailure> {
        timeout_at(self.at, future).await.map_err(|_| ConnectFailure::Timeout { stage, after: self.timeout })
    }
}
