//! gRPC's channelz: channels, subchannels and sockets for standard tools.
//!
//! [`Channelz`] knows the channels that were given to it, [`ChannelzService`] shows them as `grpc.channelz.v1.Channelz` (gRFC A14) on a tonic
//! server of the program's own:
//!
//! ```text
//! channel      LbChannel     state, calls (not attempts), trace: endpoints that came and went, policy, service config, resolver
//! └ subchannel endpoint      state, attempts, trace: states with their reasons, drains, breakers, health
//!   └ socket   connection    addresses, TLS, streams, messages, keepalives, flow-control windows, options
//! ```
//!
//! Every method is there; the program's servers are not ours to know, so there are none. Numbers are the process's own: unique over
//! channels, subchannels and sockets, and never used again. A channel is kept alive by nobody who looks at it, and is gone from the list
//! with its last user. An endpoint that is removed takes its subchannel along, and one that comes back is another subchannel.
//! Sockets are listed while they take calls; those that drain are not. Connections of connectors of others are not known.
//!
//! **What it costs.** Connections count always, which costs a call a few additions to memory that it writes anyway. The calls of a channel
//! are counted, and its events kept, from the moment it is watched. Looking is linear in the endpoints of all channels that are watched.
//!
//! **Bound.** A channel keeps 128 events and a subchannel 8, of 240 bytes each, unless [`ChannelzConfig`] says otherwise: some 2.5 KiB
//! for an endpoint that sees much, 25 MiB for 10 000 of them. A page has 2 MiB of channels, and one at least.
//!
//! **When not to use it.** For time series: `lb-telemetry` has those. And not where strangers can call: it shows addresses and what servers
//! said.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use lb_admin::channelz::Channelz;
//! use lb_tonic::LbChannel;
//!
//! let channelz = Channelz::new();
//! let orders = LbChannel::builder("static:///10.0.0.1:50051,10.0.0.2:50051").build()?;
//! channelz.watch(&orders);
//! // Among the program's other services: `tonic::transport::Server::builder().add_service(service)`.
//! let service = channelz.service();
//! # Ok(())
//! # }
//! ```

mod answers;
mod messages;
mod record;
mod registry;
mod service;
mod trace;

use std::sync::Arc;

use lb_tonic::LbChannel;

use crate::Services;
use registry::Registry;
pub use service::ChannelzService;

/// Enough for what happened around a failure, and read by people.
const CHANNEL_EVENTS: usize = 128;

/// An outage and its end are five; there may be ten thousand subchannels.
const SUBCHANNEL_EVENTS: usize = 8;

/// More would be a log, for which there are better places.
const MOST_EVENTS: usize = 10_000;

/// How much is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChannelzConfig {
    channel_events: usize,
    subchannel_events: usize,
}

impl Default for ChannelzConfig {
    fn default() -> Self {
        Self { channel_events: CHANNEL_EVENTS, subchannel_events: SUBCHANNEL_EVENTS }
    }
}

impl ChannelzConfig {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many of the latest events each channel keeps. Default 128; 0 keeps none, more than 10 000 become 10 000.
    #[must_use]
    pub fn channel_events(mut self, events: usize) -> Self {
        self.channel_events = events.min(MOST_EVENTS);
        self
    }

    /// How many of the latest events each subchannel keeps. Default 8; 0 keeps none, more than 10 000 become 10 000.
    #[must_use]
    pub fn subchannel_events(mut self, events: usize) -> Self {
        self.subchannel_events = events.min(MOST_EVENTS);
        self
    }
}

/// The channels that are shown. Cheap to clone; all clones are the same. See the [module](self).
#[derive(Debug, Clone, Default)]
pub struct Channelz(Arc<Registry>);

impl Channelz {
    /// Shows no channel yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same with other bounds.
    pub fn with_config(config: ChannelzConfig) -> Self {
        Self(Arc::new(Registry::new(config, None)))
    }

    /// Shows the channels of `services` and those given to [`watch`](Self::watch). A channel is noticed when somebody first looks; give it
    /// to `watch` as well for it to keep its events before that.
    pub fn of(services: &Services, config: ChannelzConfig) -> Self {
        Self(Arc::new(Registry::new(config, Some(services.clone()))))
    }

    /// Shows a channel as long as somebody else has it, and counts its calls and keeps its events from now on. Does nothing to one that
    /// is shown already, by whichever of its clones.
    pub fn watch(&self, channel: &LbChannel) {
        self.0.watch(channel);
    }

    /// Shows a channel no more; whether it was shown. One of [`Services`] comes back with the next look.
    pub fn forget(&self, channel: &LbChannel) -> bool {
        self.0.forget(channel)
    }

    /// The service, for a tonic server. Several may be made; they show the same.
    pub fn service(&self) -> ChannelzService {
        ChannelzService::new(Arc::clone(&self.0))
    }
}

/// A number as the messages have it.
fn id(serial: u64) -> i64 {
    i64::try_from(serial).unwrap_or(i64::MAX)
}
