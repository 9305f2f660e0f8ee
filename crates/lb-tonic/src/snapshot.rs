//! What a call sees of its channel: the core's snapshot and the connections that go with it.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use arc_swap::ArcSwap;
use lb_core::{Address, Endpoint, EndpointStats, PickHints, Picker, Slot, Snapshot};

use crate::load::Probes;
use crate::shared::Shared;
use crate::transport::AnyTransport;

/// The most distinct restrictions remembered per generation; further ones are built for each call that brings them.
const MAX_RESTRICTED: usize = 64;

/// One generation of the channel.
pub(crate) struct ChannelSnapshot {
    pub(crate) core: Arc<Snapshot>,
    /// Connections by slot index.
    connected: Box<[Option<Arc<Connected>>]>,
    /// Pickers over fewer endpoints, built when a call first needs them.
    restricted: ArcSwap<Vec<Restricted>>,
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
}

#[derive(Debug, Clone)]
struct Restricted {
    hints: PickHints,
    picker: Arc<dyn Picker>,
}

impl fmt::Debug for ChannelSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.core.fmt(f)
    }
}

impl ChannelSnapshot {
    pub(crate) fn new(core: Arc<Snapshot>, connected: Box<[Option<Arc<Connected>>]>) -> Self {
        Self { core, connected, restricted: ArcSwap::default() }
    }

    /// What a channel shows before its driver has run.
    pub(crate) fn initial() -> Self {
        Self::new(Arc::new(Snapshot::initial()), Box::default())
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

    /// The picker over the endpoints the hints allow, under the policy they ask for; `None` if there is no such policy.
    pub(crate) fn restricted(&self, hints: &PickHints) -> Option<Arc<dyn Picker>> {
        let same = |other: &PickHints| other.policy == hints.policy && other.pin == hints.pin && other.exclude == hints.exclude;
        if let Some(known) = self.restricted.load().iter().find(|known| same(&known.hints)) {
            return Some(Arc::clone(&known.picker));
        }
        let picker = self.restrict(hints)?;
        self.restricted.rcu(|known| {
            let mut known = Vec::clone(known);
            if known.len() < MAX_RESTRICTED {
                known.push(Restricted { hints: hints.clone(), picker: Arc::clone(&picker) });
            }
            known
        });
        Some(picker)
    }

    fn restrict(&self, hints: &PickHints) -> Option<Arc<dyn Picker>> {
        let picker = self.core.picker(hints.policy.as_deref())?;
        let rows = self.core.rows.iter().map(|row| &row.view);
        let mut allowed: Vec<Slot> = rows.filter(|view| hints.allows(view.endpoint.key())).map(|view| view.slot).collect();
        allowed.sort_unstable();
        Some(picker.restrict(&|slot| allowed.binary_search(&slot).is_ok()))
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
