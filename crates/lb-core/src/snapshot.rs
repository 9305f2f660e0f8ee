//! What the machine publishes: everything a call needs to pick, as one immutable value.

use std::sync::Arc;

use crate::connectivity::ConnectivityState;
use crate::load::LoadReports;
use crate::pick::{Always, Picker};
use crate::policy::SubchannelView;

/// One generation of a channel.
#[derive(Debug)]
#[non_exhaustive]
pub struct Snapshot {
    /// Counts up by one with every publication.
    pub generation: u64,
    /// The state of the channel.
    pub state: ConnectivityState,
    /// Pickers by policy name; the first is the channel's own.
    pub pickers: Box<[NamedPicker]>,
    /// Every subchannel in the resolver's order, those no policy may use included.
    pub rows: Box<[Row]>,
    /// Which load reports the policies want.
    pub load_reports: LoadReports,
}

/// A policy's picker and the name calls ask for it by.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct NamedPicker {
    /// The policy's name.
    pub name: Arc<str>,
    /// Its picker for this generation.
    pub picker: Arc<dyn Picker>,
}

/// One subchannel in a snapshot.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Row {
    /// The subchannel as the policies see it, or would see it.
    pub view: SubchannelView,
    /// The stage that hides it from the policies, if one does.
    pub excluded: Option<&'static str>,
}

impl Snapshot {
    /// Generation 0: IDLE, nothing known. What a channel shows until its machine has published for the first time.
    pub fn initial() -> Self {
        let picker = NamedPicker { name: "".into(), picker: Always::queue() };
        Self {
            generation: 0,
            state: ConnectivityState::Idle,
            pickers: [picker].into(),
            rows: Box::default(),
            load_reports: LoadReports::default(),
        }
    }

    /// The picker of the channel's own policy, or of the one asked for.
    pub fn picker(&self, policy: Option<&str>) -> Option<&Arc<dyn Picker>> {
        match policy {
            None => self.pickers.first(),
            Some(name) => self.pickers.iter().find(|candidate| *candidate.name == *name),
        }
        .map(|named| &named.picker)
    }

    /// The name of the channel's own policy.
    pub fn policy(&self) -> &str {
        self.pickers.first().map_or("", |named| &named.name)
    }
}
