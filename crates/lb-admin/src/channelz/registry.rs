//! The channels that are shown.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lb_tonic::{CallCounts, LbChannel, SocketRef, Subchannel, WeakChannel};

use super::ChannelzConfig;
use super::record::Record;
use crate::Services;

/// The channels that are shown, by their numbers; none is kept alive.
#[derive(Debug, Default)]
pub(super) struct Registry {
    config: ChannelzConfig,
    services: Option<Services>,
    watched: Mutex<BTreeMap<u64, Watched>>,
}

#[derive(Debug, Clone)]
struct Watched {
    channel: WeakChannel,
    record: Arc<Record>,
    calls: Arc<CallCounts>,
}

/// A channel that is there.
#[derive(Debug)]
pub(super) struct Shown {
    pub(super) serial: u64,
    pub(super) channel: LbChannel,
    pub(super) record: Arc<Record>,
    pub(super) calls: Arc<CallCounts>,
}

impl Registry {
    pub(super) fn new(config: ChannelzConfig, services: Option<Services>) -> Self {
        Self { config, services, watched: Mutex::default() }
    }

    /// Shows a channel from now on; does nothing to one that is shown.
    pub(super) fn watch(&self, channel: &LbChannel) {
        let mut watched = self.lock();
        watched.retain(|_, watched| watched.channel.upgrade().is_some());
        watched.entry(channel.serial()).or_insert_with(|| {
            let record = Record::new(self.config, channel.created_at());
            channel.observe(record.observer());
            Watched { channel: channel.downgrade(), record, calls: channel.count_calls() }
        });
    }

    /// Shows it no more; whether it was.
    pub(super) fn forget(&self, channel: &LbChannel) -> bool {
        self.lock().remove(&channel.serial()).is_some()
    }

    /// The channels from this number on that still exist, in the order of their numbers.
    pub(super) fn from(&self, start: u64) -> Vec<Shown> {
        self.services.iter().flat_map(Services::all).for_each(|(_, channel)| self.watch(&channel));
        // A channel that ends here, as its last owner, must not do so under the lock.
        let found: Vec<_> = self.lock().range(start..).map(|(serial, watched)| (*serial, watched.clone())).collect();
        let shown =
            |(serial, Watched { channel, record, calls })| Some(Shown { serial, channel: channel.upgrade()?, record, calls });
        found.into_iter().filter_map(shown).collect()
    }

    /// The channel of this number.
    pub(super) fn channel(&self, serial: u64) -> Option<Shown> {
        self.from(serial).into_iter().next().filter(|shown| shown.serial == serial)
    }

    /// The subchannel of this number, and its channel.
    pub(super) fn subchannel(&self, serial: u64) -> Option<(Shown, Subchannel)> {
        self.from(0).into_iter().find_map(|shown| {
            // One that was never listed has no number yet.
            let subchannel = shown.channel.subchannel(&shown.record.find(serial)?)?;
            Some((shown, subchannel))
        })
    }

    /// The connection of this number.
    pub(super) fn socket(&self, serial: u64) -> Option<SocketRef> {
        self.from(0).into_iter().find_map(|shown| shown.channel.socket(serial))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Watched>> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
