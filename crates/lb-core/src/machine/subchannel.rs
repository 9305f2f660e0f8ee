//! One subchannel: an endpoint, at most one attempt or connection, and the backoff of each of its addresses.
//!
//! A subchannel has three links: none, an attempt, or a connection. What policies see is derived from the link, from whether the
//! last attempt failed (which sticks until READY) and from the health check. Backoff belongs to the address and survives
//! attempts on the others; only a completed handshake resets it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::address::Address;
use crate::backoff::{Backoff, BackoffConfig};
use crate::connectivity::ConnectivityState;
use crate::endpoint::Endpoint;
use crate::event::LbEvent;
use crate::gate::{self, GateSignal, Gatekeeper, Gates};
use crate::health::ServingStatus;
use crate::policy::SubchannelView;
use crate::slot::Slot;
use crate::stats::EndpointStats;

use super::event::AttemptId;

/// What every subchannel of a channel is made with.
#[derive(Debug)]
pub(super) struct Outfit {
    pub(super) backoff: BackoffConfig,
    pub(super) gatekeepers: Vec<Arc<dyn Gatekeeper>>,
    pub(super) gate_signal: GateSignal,
}

#[derive(Debug)]
pub(super) struct Subchannel {
    pub(super) slot: Slot,
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) stats: Arc<EndpointStats>,
    gates: Option<Arc<Gates>>,
    /// Whether some policy wants it connected.
    pub(super) wanted: bool,
    link: Link,
    failure: Option<Arc<str>>,
    /// Whether its health check has said last that it serves, on this connection or an earlier one.
    serves: Option<bool>,
    addresses: Vec<AddressState>,
    /// Not before this time, for connections that were lost right after they came up.
    not_before: Option<Instant>,
}

#[derive(Debug)]
enum Link {
    None,
    Attempt(AttemptId, Instant),
    Connection { attempt: AttemptId, started: Instant, health: ServingStatus },
}

#[derive(Debug)]
struct AddressState {
    address: Address,
    backoff: Backoff,
    /// In backoff until then.
    retry_at: Option<Instant>,
    /// Whether the last attempt tried it.
    tried: bool,
}

/// What an attempt is to be made with.
#[derive(Debug)]
pub(super) struct AttemptPlan {
    pub(super) addresses: Vec<Address>,
    pub(super) timeout: Duration,
}

impl Subchannel {
    pub(super) fn new(slot: Slot, endpoint: Arc<Endpoint>, outfit: &Outfit) -> Self {
        let addresses = endpoint.addresses().iter().map(|address| AddressState::new(address, &outfit.backoff)).collect();
        let (stats, gates) = (Arc::default(), gate::gates(&outfit.gatekeepers, &endpoint, &outfit.gate_signal));
        Self {
            slot,
            endpoint,
            stats,
            gates,
            wanted: false,
            link: Link::None,
            failure: None,
            serves: None,
            addresses,
            not_before: None,
        }
    }

    /// Takes over another order of addresses and other attributes; backoff stays with each address.
    pub(super) fn update(&mut self, endpoint: Arc<Endpoint>) {
        let rank = |address: &Address| endpoint.addresses().iter().position(|other| other == address);
        self.addresses.sort_by_key(|state| rank(&state.address));
        self.endpoint = endpoint;
    }

    /// The attempt or connection this subchannel has.
    pub(super) fn attempt(&self) -> Option<AttemptId> {
        match self.link {
            Link::None => None,
            Link::Attempt(attempt, _) | Link::Connection { attempt, .. } => Some(attempt),
        }
    }

    pub(super) fn is_connected(&self) -> bool {
        matches!(self.link, Link::Connection { .. })
    }

    pub(super) fn state(&self) -> ConnectivityState {
        match (&self.link, &self.failure) {
            (Link::Connection { health: ServingStatus::Serving | ServingStatus::Degraded(_), .. }, _) => ConnectivityState::Ready,
            (Link::Connection { health: ServingStatus::NotServing(_), .. }, _) | (_, Some(_)) => {
                ConnectivityState::TransientFailure
            }
            (Link::None, None) => ConnectivityState::Idle,
            (Link::Attempt(..) | Link::Connection { .. }, None) => ConnectivityState::Connecting,
        }
    }

    /// Why it is in TRANSIENT_FAILURE.
    pub(super) fn error(&self) -> Option<&Arc<str>> {
        match &self.link {
            Link::Connection { health: ServingStatus::NotServing(reason), .. } => Some(reason),
            _ => self.failure.as_ref(),
        }
    }

    /// What its health check holds against it, if it serves all the same.
    fn degraded(&self) -> Option<&Arc<str>> {
        match &self.link {
            Link::Connection { health: ServingStatus::Degraded(reason), .. } => Some(reason),
            _ => None,
        }
    }

    pub(super) fn view(&self) -> SubchannelView {
        let mut view = SubchannelView::new(self.slot, Arc::clone(&self.endpoint), self.state(), Arc::clone(&self.stats));
        view.error = self.error().cloned();
        view.gates = self.gates.clone();
        view.connected = self.is_connected();
        view.degraded = self.degraded().cloned();
        view
    }

    /// When an attempt may start: `None` while there is an attempt or a connection, else a time that may have passed.
    pub(super) fn next_attempt(&self, now: Instant) -> Option<Instant> {
        if !matches!(self.link, Link::None) {
            return None;
        }
        let address = self.addresses.iter().map(|state| state.retry_at.unwrap_or(now)).min().unwrap_or(now);
        Some(address.max(self.not_before.unwrap_or(address)))
    }

    /// Begins an attempt with every address that is not in backoff.
    pub(super) fn begin(&mut self, now: Instant, attempt: AttemptId, mut entropy: impl FnMut() -> u64) -> AttemptPlan {
        let mut plan = AttemptPlan { addresses: Vec::new(), timeout: Duration::ZERO };
        for state in &mut self.addresses {
            state.tried = state.retry_at.is_none_or(|at| at <= now);
            if !state.tried {
                continue;
            }
            let timing = state.backoff.begin(now, entropy());
            state.retry_at = Some(timing.retry_at);
            plan.timeout = plan.timeout.max(timing.timeout);
            plan.addresses.push(state.address.clone());
        }
        self.link = Link::Attempt(attempt, now);
        plan
    }

    /// The attempt succeeded; without a health check it serves at once. Which of the other addresses failed meanwhile is not
    /// known, so all of them start afresh. `false` if there was no attempt.
    pub(super) fn connected(&mut self, watched: bool) -> bool {
        let Link::Attempt(attempt, started) = self.link else { return false };
        self.reset_backoff();
        let health = if watched { ServingStatus::Unknown } else { ServingStatus::Serving };
        if !watched {
            self.failure = None;
        }
        self.link = Link::Connection { attempt, started, health };
        true
    }

    /// The attempt failed on all its addresses. `false` if there was no attempt.
    pub(super) fn failed(&mut self, error: Arc<str>) -> bool {
        let Link::Attempt(..) = self.link else { return false };
        self.link = Link::None;
        self.failure = Some(error);
        true
    }

    /// The connection is gone: IDLE, not a failure. One that was lost within `pause` of its start is not replaced before that,
    /// so that a server which sends every connection away is not hammered.
    pub(super) fn closed(&mut self, pause: Duration) {
        if let Link::Connection { started, .. } = self.link {
            self.not_before = Some(started + pause);
        }
        self.link = Link::None;
    }

    /// Gives up the attempt or connection on purpose, and forgets failures: the subchannel is IDLE.
    pub(super) fn abandon(&mut self) -> Option<AttemptId> {
        let attempt = self.attempt();
        if let Link::Attempt(..) = self.link {
            // Nothing was learnt about the addresses it tried: they may be tried again at once.
            self.addresses.iter_mut().filter(|state| state.tried).for_each(|state| state.retry_at = None);
        }
        self.link = Link::None;
        self.failure = None;
        attempt
    }

    /// News of the connection's health; `false` if it is no news.
    pub(super) fn health(&mut self, status: ServingStatus) -> bool {
        let Link::Connection { health, .. } = &mut self.link else { return false };
        if *health == status {
            return false;
        }
        if matches!(status, ServingStatus::Serving | ServingStatus::Degraded(_)) {
            self.failure = None;
        }
        *health = status;
        true
    }

    /// What its health check says, if that is another than it said before.
    pub(super) fn health_news(&mut self) -> Option<LbEvent> {
        let Link::Connection { health, .. } = &self.link else { return None };
        let (healthy, reason) = match health {
            ServingStatus::Unknown => return None,
            ServingStatus::Serving | ServingStatus::Degraded(_) => (true, None),
            ServingStatus::NotServing(reason) => (false, Some(Arc::clone(reason))),
        };
        let news = self.serves.replace(healthy) != Some(healthy);
        news.then(|| LbEvent::HealthChanged { endpoint: self.endpoint.key().clone(), healthy, reason })
    }

    pub(super) fn reset_backoff(&mut self) {
        self.not_before = None;
        for state in &mut self.addresses {
            state.backoff.reset();
            state.retry_at = None;
        }
    }
}

impl AddressState {
    fn new(address: &Address, config: &BackoffConfig) -> Self {
        Self { address: address.clone(), backoff: Backoff::new(*config), retry_at: None, tried: false }
    }
}
