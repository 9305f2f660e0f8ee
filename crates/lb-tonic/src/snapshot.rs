//! What a call sees of its channel: the core's snapshot and the connections that go with it.

use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use lb_core::{Address, Endpoint, EndpointStats, Slot, Snapshot};

use crate::load::Probes;
use crate::rules::Rules;
use crate::shared::Shared;
use crate::transport::AnyTransport;

/// One generation of the channel.
pub(crate) struct ChannelSnapshot {
    pub(crate) core: Arc<Snapshot>,
    /// Connections by slot index.
    connected: Box<[Option<Arc<Connected>>]>,
    /// What the service config says.
    pub(crate) rules: Rules,
}

/// A subchannel that has a connection.
#[derive(Debug)]
pub(crate) struct Connected {
    pub(crate) slot: Slot,
    pub(crate) endpoint: Arc<Endpoint>,
    pub(crate) address: Address,
    pub(crate) stats: Arc<EndpointStats>,
    pub(crate) transport: AnyTransport,
    pub(crate) probes: Arc<Probes>,
    /// Why the calls in progress on the connection have been ended, once they have been.
    pub(crate) ended: Arc<OnceLock<Arc<str>>>,
}

impl fmt::Debug for ChannelSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.core.fmt(f)
    }
}

impl ChannelSnapshot {
    pub(crate) fn new(core: Arc<Snapshot>, connected: Box<[Option<Arc<Connected>>]>, rules: Rules) -> Self {
        Self { core, connected, rules }
    }

    /// What a channel shows before its driver has run.
    pub(crate) fn initial(rules: Rules) -> Self {
        Self::new(Arc::new(Snapshot::initial()), Box::default(), rules)
    }

    /// The connection of a slot; `None` if the slot has none in this generation.
    #[inline]
    pub(crate) fn connected(&self, slot: Slot) -> Option<&Arc<Connected>> {
        self.connected.get(slot.index())?.as_ref().filter(|connected| connected.slot == slot)
    }

    /// Asks the server of a slot how loaded it is, if it is connected.
    pub(crate) fn probe(&self, slot: Slot) {
        if let Some(connected) = self.connected(slot) {
            connected.probes.ask();
        }
    }
}

/// Lets every clone of a channel keep the newest snapshot at hand: a load of one pointer and a comparison.
#[derive(Debug, Clone)]
pub(crate) struct SnapshotSource(pub(crate) Arc<Shared>);

impl Deref for SnapshotSource {
    type Target = ArcSwap<ChannelSnapshot>;

    fn deref(&self) -> &Self::Target {
        &self.0.snapshot
    }
}
