//! Connections that are closed gracefully and get only so much time for it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use lb_core::{LbEvent, Slot};
use lb_transport::ConnectionHandle;
use tokio::time::Instant;

use crate::snapshot::Connected;

/// Longer than this is for ever.
const FOR_EVER: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// When there are this many, those that are done are looked for, and again at twice as many as are left.
const FEW: usize = 16;

/// The connections on their way out, by when their calls are ended. Those with no call left go as soon as somebody looks.
#[derive(Debug)]
pub(crate) struct Leaving {
    by_time: BTreeMap<(Instant, u64), Departing>,
    /// Tells those of one time apart.
    added: u64,
    /// How many there may be before it is worth looking for those that are done.
    many: usize,
}

/// A connection on its way out.
#[derive(Debug)]
pub(crate) struct Departing {
    pub(crate) connected: Arc<Connected>,
    pub(crate) handle: ConnectionHandle,
    /// What its calls are told.
    pub(crate) reason: Arc<str>,
}

impl Default for Leaving {
    fn default() -> Self {
        Self { by_time: BTreeMap::new(), added: 0, many: FEW }
    }
}

impl Leaving {
    /// Closes it gracefully, and remembers to end its calls unless it has none.
    pub(crate) fn add(&mut self, departing: Departing, within: Duration) {
        // Before the calls are counted, so that none can begin in between.
        departing.handle.retire();
        if departing.is_done() || within > FOR_EVER {
            return;
        }
        self.added += 1;
        self.by_time.insert((Instant::now() + within, self.added), departing);
        if self.by_time.len() > self.many {
            self.by_time.retain(|_, departing| !departing.is_done());
            self.many = FEW.max(self.by_time.len() * 2);
        }
    }

    /// Lets the calls on the connections of a subchannel take as long as they need.
    pub(crate) fn spare(&mut self, slot: Slot) {
        self.by_time.retain(|_, departing| departing.connected.slot != slot);
    }

    /// When [`end`](Self::end) has something to do.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.by_time.first_key_value().map(|((at, _), _)| *at)
    }

    /// Ends the calls whose time is over, and tells about it.
    pub(crate) fn end(&mut self) -> Vec<LbEvent> {
        let now = Instant::now();
        let mut told = Vec::new();
        while let Some(first) = self.by_time.first_entry().filter(|first| first.key().0 <= now) {
            let Departing { connected, handle, reason } = first.remove();
            let calls = connected.stats.in_flight();
            if calls > 0 {
                // Said before it happens: the calls read it when their connection is gone.
                let _ = connected.ended.set(Arc::clone(&reason));
                told.push(LbEvent::CallsEnded { endpoint: connected.endpoint.key().clone(), calls, reason });
            }
            handle.abort();
        }
        told
    }
}

impl Departing {
    fn is_done(&self) -> bool {
        self.connected.stats.in_flight() == 0
    }
}
