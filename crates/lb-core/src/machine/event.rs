//! What the machine is told and what it asks for.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::address::Address;
use crate::endpoint::{Endpoint, EndpointKey};
use crate::event::LbEvent;
use crate::health::ServingStatus;
use crate::observer::Measurement;
use crate::policy::Policy;
use crate::resolver::{ResolveError, ResolverUpdate};
use crate::slot::Slot;
use crate::snapshot::Snapshot;
use crate::stats::EndpointStats;

/// Names one connection attempt and the connection it became; never reused, so that late news of an old one is recognised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AttemptId(pub(super) u64);

impl fmt::Display for AttemptId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Something happened.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// Somebody wants to call or to be connected; leaves IDLE.
    ExitIdle,
    /// The channel was idle long enough: give everything up until somebody calls.
    EnterIdle,
    /// The resolver's newest full set.
    Resolved(ResolverUpdate),
    /// The resolver could not answer.
    ResolveFailed(ResolveError),
    /// A picker answered `Connect`.
    ConnectRequested(Slot),
    /// An attempt succeeded: handshakes done and the server's SETTINGS seen.
    Connected {
        /// Which subchannel.
        slot: Slot,
        /// Which attempt.
        attempt: AttemptId,
        /// Which of the endpoint's addresses answered.
        address: Address,
    },
    /// An attempt failed on all its addresses.
    ConnectFailed {
        /// Which subchannel.
        slot: Slot,
        /// Which attempt.
        attempt: AttemptId,
        /// For people: each address and what went wrong.
        error: Arc<str>,
    },
    /// A connection takes no more calls: lost, closed, or told to go away.
    Closed {
        /// Which subchannel.
        slot: Slot,
        /// The attempt it came from.
        attempt: AttemptId,
        /// For people.
        reason: Arc<str>,
    },
    /// News of an endpoint's health on a connection.
    Health {
        /// Which subchannel.
        slot: Slot,
        /// The attempt its connection came from.
        attempt: AttemptId,
        /// What the check says.
        status: ServingStatus,
    },
    /// Somebody pulled a lever.
    Command(Command),
    /// The time of the last [`Effect::WakeAt`] has come.
    Tick,
    /// The channel is closed for good.
    Shutdown,
}

/// A lever an operator or a program can pull.
#[derive(Debug)]
#[non_exhaustive]
pub enum Command {
    /// Switch gracefully to this policy: the old one serves until the new one is ready or the old one is not.
    SetPolicy(NamedPolicy),
    /// Keep a further policy that single calls can ask for by name; replaces one of the same name, and takes over what that one, or the
    /// one it [follows](NamedPolicy::follows), learnt.
    AddPolicy(NamedPolicy),
    /// Give up a further policy; calls that ask for it by name find none.
    RemovePolicy(Arc<str>),
    /// Fail calls with this reason, whatever the policies say, until it is taken back with `None` or the channel is IDLE: there is no
    /// service config to begin with (gRFC A21). Endpoints are connected meanwhile.
    Withhold(Option<Arc<str>>),
    /// Whether connections serve only once a health check says so. Switched off, every connection serves; switched on, those that serve go on
    /// until their check says otherwise, and new ones wait for it.
    WatchHealth(bool),
    /// Give an endpoint no new calls (`true`) or take it back (`false`). Remembered even while it is not listed.
    Drain(EndpointKey, bool),
    /// Drain an endpoint, and end the calls that are still in progress there after this time. Its connection is closed and not made
    /// again before it is taken back, which also gives the calls all the time they need.
    DrainWithin(EndpointKey, Duration),
    /// Use the endpoints of this priority before all others, or with `None` those that would be used anyway, without waiting for them to
    /// prove themselves; replicas then hand back to primaries that are READY, too.
    ForceGroup(Option<u32>),
    /// Give an endpoint no new calls and no connection (`true`) or enable it (`false`): its calls finish, then its connection is closed.
    /// Remembered even while it is not listed.
    Disable(EndpointKey, bool),
    /// Give an endpoint this share of what its peers get: from 0.001 to 1; 1 or more is the full one again.
    /// Remembered even while it is not listed.
    Degrade(EndpointKey, f64),
    /// Give an endpoint that [recovers](crate::recovery) its full share now.
    ForceRecovery(EndpointKey),
    /// End every current wait between connection attempts, as if none had failed.
    ResetBackoff,
    /// Ask stages and policies again, because something changed that they look at.
    Rebuild,
}

/// A policy and the name calls ask for it by.
#[derive(Debug)]
pub struct NamedPolicy {
    /// Its name in the service config.
    pub name: Arc<str>,
    /// The policy.
    pub policy: Box<dyn Policy>,
    /// The further policy in whose place it comes if it is added: it [takes over](Policy::inherit) what that one learnt. None that is not
    /// there is needed, and one of its own name counts before it.
    pub follows: Option<Arc<str>>,
}

impl NamedPolicy {
    /// A policy with its name.
    pub fn new(name: impl Into<Arc<str>>, policy: Box<dyn Policy>) -> Self {
        Self { name: name.into(), policy, follows: None }
    }

    /// The same, in the place of the further policy of this name, which may go afterwards or stay.
    #[must_use]
    pub fn following(mut self, name: Option<Arc<str>>) -> Self {
        self.follows = name;
        self
    }
}

/// Something to do. The machine does nothing itself.
#[derive(Debug)]
#[non_exhaustive]
pub enum Effect {
    /// Start the resolver; one is not running.
    StartResolver,
    /// Drop the resolver.
    StopResolver,
    /// Ask the resolver to look again.
    ReResolve,
    /// Try to connect.
    Connect {
        /// For which subchannel.
        slot: Slot,
        /// To be told back.
        attempt: AttemptId,
        /// The endpoint.
        endpoint: Arc<Endpoint>,
        /// Those of its addresses that are not waiting for their backoff, most preferred first.
        addresses: Vec<Address>,
        /// How long the whole attempt may take.
        timeout: Duration,
    },
    /// Cancel the attempt, or close its connection gracefully: no new calls, calls in progress finish.
    Close {
        /// Which subchannel.
        slot: Slot,
        /// Which attempt.
        attempt: AttemptId,
    },
    /// Close a connection gracefully, and end the calls that are still in progress on it after this time.
    Retire {
        /// Which subchannel.
        slot: Slot,
        /// Which attempt.
        attempt: AttemptId,
        /// How long they have.
        within: Duration,
        /// What the calls that are ended are told.
        reason: Arc<str>,
    },
    /// Let the calls on connections this subchannel has retired take as long as they need.
    Spare(Slot),
    /// Watch the health of a fresh connection.
    WatchHealth {
        /// Which subchannel.
        slot: Slot,
        /// The attempt its connection came from.
        attempt: AttemptId,
        /// Where the check may note what it finds.
        stats: Arc<EndpointStats>,
    },
    /// Send [`Event::Tick`] at this time; replaces the last one. `None` cancels it.
    WakeAt(Option<Instant>),
    /// Use this from now on.
    Publish(Arc<Snapshot>),
    /// Tell observers.
    Emit(LbEvent),
    /// Tell observers, for metrics.
    Measured(Measurement),
}
