//! When the channel's own task drops sessions whose time is over.

use std::time::Duration;

use tokio::time::Instant;

use super::store::SessionStore;

/// Often enough that memory follows, and never so often that a channel without sessions is busy.
const MOST: Duration = Duration::from_secs(30);
const LEAST: Duration = Duration::from_secs(1);

/// Sweeps per time to live: what is over is kept for another eighth at the most, half a minute.
const PER_TTL: u32 = 8;

/// A store to sweep and the next time to do it.
#[derive(Debug)]
pub(crate) struct Sweep {
    store: SessionStore,
    every: Duration,
    next: Instant,
}

impl Sweep {
    /// `None` if no session ever ends by time.
    pub(super) fn new(store: &SessionStore) -> Option<Self> {
        let limits = store.limits();
        let ttl = [limits.idle_ttl(), limits.absolute_ttl()].into_iter().flatten().min()?;
        let every = (ttl / PER_TTL).clamp(LEAST, MOST);
        Some(Self { store: store.clone(), every, next: Instant::now() + every })
    }

    pub(crate) fn next(&self) -> Instant {
        self.next
    }

    pub(crate) fn run(&mut self) {
        self.store.sweep();
        self.next = Instant::now() + self.every;
    }
}
