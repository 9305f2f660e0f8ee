//! When a channel has been idle long enough to give everything up.
//!
//! Calls do not tell the driver that they happen, since that would cost every call. The driver looks instead: it compares how many
//! attempts there have been since the last look. An idle period is therefore measured to within a sixteenth of the timeout.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::shared::Shared;

/// Looks per timeout.
const LOOKS: u32 = 16;

/// As long as this is for ever, as in grpc-java.
const FOR_EVER: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Watches for idleness.
#[derive(Debug)]
pub(crate) struct Idle {
    timeout: Option<Duration>,
    /// `None` while the channel is IDLE.
    active: Option<Activity>,
}

#[derive(Debug)]
struct Activity {
    last: Instant,
    next_check: Instant,
    seen: u64,
}

impl Idle {
    /// `None` never idles, nor does 0 or a month.
    pub(crate) fn new(timeout: Option<Duration>) -> Self {
        Self { timeout: timeout.filter(|timeout| !timeout.is_zero() && *timeout < FOR_EVER), active: None }
    }

    /// The channel leaves IDLE.
    pub(crate) fn exit(&mut self) {
        let Some(timeout) = self.timeout.filter(|_| self.active.is_none()) else { return };
        let now = Instant::now();
        self.active = Some(Activity { last: now, next_check: now + timeout / LOOKS, seen: 0 });
    }

    /// The channel has entered IDLE.
    pub(crate) fn enter(&mut self) {
        self.active = None;
    }

    pub(crate) fn next_check(&self) -> Option<Instant> {
        self.active.as_ref().map(|active| active.next_check)
    }

    /// Looks; `true` if nothing has happened for the whole timeout.
    pub(crate) fn check(&mut self, shared: &Arc<Shared>) -> bool {
        let (Some(timeout), Some(active)) = (self.timeout, &mut self.active) else { return false };
        let now = Instant::now();
        active.next_check = now + timeout / LOOKS;
        let (waiting, sought) = shared.seeks();
        let snapshot = shared.snapshot.load();
        let (mut busy, mut seen) = (waiting > 0, sought);
        for row in &snapshot.core.rows {
            let stats = &row.view.stats;
            busy |= stats.in_flight() > 0;
            seen = seen.wrapping_add(stats.succeeded()).wrapping_add(stats.failed()).wrapping_add(stats.cancelled());
        }
        if busy || std::mem::replace(&mut active.seen, seen) != seen {
            active.last = now;
        }
        now.duration_since(active.last) >= timeout
    }
}
