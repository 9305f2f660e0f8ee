//! The channels whose state is exported.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use lb_tonic::{ChannelStats, LbChannel, WeakChannel};

/// One collection asks once per instrument. What was read for the first of them serves the others.
const FRESH: Duration = Duration::from_millis(50);

/// Channels that are watched, none of them kept alive by it.
#[derive(Debug, Default)]
pub(crate) struct Watched(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    channels: Vec<WeakChannel>,
    read: Option<(Instant, Arc<[ChannelStats]>)>,
}

impl Watched {
    pub(crate) fn add(&self, channel: &LbChannel) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.channels.push(channel.downgrade());
        inner.read = None;
    }

    /// What the channels that still exist say of themselves.
    pub(crate) fn stats(&self) -> Arc<[ChannelStats]> {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, stats)) = &inner.read
            && at.elapsed() < FRESH
        {
            return Arc::clone(stats);
        }
        let mut stats = Vec::with_capacity(inner.channels.len());
        inner.channels.retain(|channel| {
            let channel = channel.upgrade();
            stats.extend(channel.as_ref().map(LbChannel::stats));
            channel.is_some()
        });
        let stats: Arc<[ChannelStats]> = stats.into();
        inner.read = Some((Instant::now(), Arc::clone(&stats)));
        stats
    }
}
