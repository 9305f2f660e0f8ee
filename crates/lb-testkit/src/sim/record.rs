//! What happened in a simulation, in order.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use lb_core::machine::AttemptId;
use lb_core::{Address, ConnectivityState, EndpointKey, LbEvent, ServingStatus, Slot};

/// One thing that happened, and when.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// Since the simulation began.
    pub at: Duration,
    /// What.
    pub what: What,
}

/// A thing that can happen: the machine's effects, and the world's answers to them.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum What {
    /// The machine started the resolver.
    ResolverStarted,
    /// The machine stopped the resolver.
    ResolverStopped,
    /// The machine asked the resolver to look again.
    ReResolve,
    /// The machine began an attempt.
    Connect {
        /// Which subchannel.
        slot: Slot,
        /// Which attempt.
        attempt: AttemptId,
        /// Which endpoint.
        endpoint: EndpointKey,
        /// The addresses to try, in order.
        addresses: Vec<Address>,
    },
    /// An attempt came through.
    Connected(AttemptId, Address),
    /// An attempt failed, and why.
    ConnectFailed(AttemptId, Arc<str>),
    /// The world ended a connection.
    Lost(AttemptId, Address),
    /// The machine cancelled an attempt or closed a connection.
    Close(AttemptId),
    /// The machine wants to know a connection's health.
    WatchHealth(AttemptId),
    /// The health of a connection was told.
    Health(AttemptId, ServingStatus),
    /// The machine published a snapshot.
    Published {
        /// Its generation.
        generation: u64,
        /// The channel's state.
        state: ConnectivityState,
    },
    /// The machine told its observers.
    Event(LbEvent),
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>12.3?} {:?}", self.at, self.what)
    }
}
