//! Looking at a channel closely: its subchannels with their connections, its calls counted, and its events from now on.
//!
//! For those who show a channel to people, as gRPC's channelz does. A channel that nobody looks at keeps a number
//! and the time it was made, and its calls pay one branch.

mod calls;
mod subchannel;

use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use lb_core::{EndpointKey, Observer};
use lb_transport::SocketRef;

use crate::channel::LbChannel;
use crate::transport::AnyTransport;

pub use calls::CallCounts;
pub(crate) use calls::Tally;
pub use subchannel::Subchannel;

impl LbChannel {
    /// Its number, which nothing else in this process has, from [`next_serial`](crate::next_serial); the same for all its clones.
    pub fn serial(&self) -> u64 {
        self.handle().birth().serial
    }

    /// When it was built.
    pub fn created_at(&self) -> SystemTime {
        self.handle().birth().at
    }

    /// What it was built for.
    pub fn target(&self) -> &str {
        &self.handle().config().target
    }

    /// Its endpoints with what they are connected by, in the resolver's order. Linear in the endpoints.
    pub fn subchannels(&self) -> Vec<Subchannel> {
        let snapshot = self.load();
        snapshot.core.rows.iter().map(|row| Subchannel::new(row, snapshot.connected(row.view.slot))).collect()
    }

    /// One of [`subchannels`](Self::subchannels).
    pub fn subchannel(&self, endpoint: &EndpointKey) -> Option<Subchannel> {
        let snapshot = self.load();
        let row = snapshot.core.rows.iter().find(|row| row.view.endpoint.key() == endpoint)?;
        Some(Subchannel::new(row, snapshot.connected(row.view.slot)))
    }

    /// The connection of this number, whichever subchannel has it.
    pub fn socket(&self, serial: u64) -> Option<SocketRef> {
        let snapshot = self.load();
        let mut connected = snapshot.core.rows.iter().filter_map(|row| snapshot.connected(row.view.slot));
        connected.find_map(|connected| match &connected.transport {
            AnyTransport::H2(transport) => transport.socket(serial),
            AnyTransport::Other(_) => None,
        })
    }

    /// Counts the calls of the channel and all its clones from now on; if they are counted already, the counts there are.
    pub fn count_calls(&self) -> Arc<CallCounts> {
        Arc::clone(self.handle().birth().calls.get_or_init(Arc::default))
    }

    /// Tells `observer` every event from now on, as one given to the [builder](crate::LbChannelBuilder::observer) is told; it stays as long
    /// as the channel. What happened before can be read from [`subchannels`](Self::subchannels) after this.
    pub fn observe(&self, observer: Arc<dyn Observer>) {
        self.handle().shared().inbox.observe(observer);
    }
}

/// When a channel was made, and as which; and its calls.
#[derive(Debug)]
pub(crate) struct Birth {
    serial: u64,
    at: SystemTime,
    /// Set once somebody wants them counted.
    calls: OnceLock<Arc<CallCounts>>,
}

impl Birth {
    pub(crate) fn now() -> Self {
        Self { serial: lb_transport::next_serial(), at: SystemTime::now(), calls: OnceLock::new() }
    }

    /// Counts a call, if somebody wants that.
    #[inline]
    pub(crate) fn tally(&self) -> Option<Tally> {
        self.calls.get().map(Tally::begin)
    }
}
