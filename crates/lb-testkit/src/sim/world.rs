//! The simulated world: what is at each address, and who is connected to it.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use lb_core::machine::AttemptId;
use lb_core::{Address, ServingStatus, Slot};

/// How long a hanging address is tried alone before the next one is (RFC 8305; the default of gRPC's pick_first).
pub(super) const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// A round trip within a data centre.
const LATENCY: Duration = Duration::from_millis(1);

/// Something the world does at its time.
#[derive(Debug)]
pub(super) enum Happening {
    /// The resolver answers.
    Resolved,
    /// An attempt turns to its nth address.
    Try(AttemptId, usize),
    /// Its nth address answers.
    Arrived(AttemptId, usize),
    /// It has taken too long.
    TimedOut(AttemptId),
    /// A connection reaches its age.
    Ended(AttemptId),
    /// A watched connection's health is told.
    Health(Slot, AttemptId),
}

/// What the next attempt to connect meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    Accept,
    Refuse,
    Hang,
}

/// One address.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) next: Next,
    pub(super) latency: Duration,
    pub(super) lifetime: Option<Duration>,
    pub(super) health: Option<ServingStatus>,
}

impl Default for Place {
    fn default() -> Self {
        Self { next: Next::Refuse, latency: LATENCY, lifetime: None, health: None }
    }
}

#[derive(Debug)]
enum Link {
    Trying { slot: Slot, addresses: Vec<Address>, hangs: bool },
    Connected { slot: Slot, address: Address, watched: bool },
}

/// All addresses and all attempts that are neither failed nor closed.
#[derive(Debug, Default)]
pub(super) struct World {
    places: HashMap<Address, Place>,
    links: BTreeMap<AttemptId, Link>,
}

impl World {
    pub(super) fn place(&mut self, text: &str) -> &mut Place {
        self.places.entry(address(text)).or_default()
    }

    pub(super) fn begin(&mut self, slot: Slot, attempt: AttemptId, addresses: Vec<Address>) {
        self.links.insert(attempt, Link::Trying { slot, addresses, hangs: false });
    }

    /// What the attempt meets at its nth address; `None` past the last one, or if it is over.
    pub(super) fn next(&mut self, attempt: AttemptId, index: usize) -> Option<(Next, Duration)> {
        let Some(Link::Trying { addresses, hangs, .. }) = self.links.get_mut(&attempt) else { return None };
        let place = self.places.entry(addresses.get(index)?.clone()).or_default();
        *hangs |= place.next == Next::Hang;
        Some((place.next, place.latency))
    }

    /// Whether one of the attempt's addresses hangs.
    pub(super) fn hangs(&self, attempt: AttemptId) -> bool {
        matches!(self.links.get(&attempt), Some(Link::Trying { hangs: true, .. }))
    }

    /// The attempt comes through at its nth address.
    pub(super) fn connect(&mut self, attempt: AttemptId, index: usize) -> Option<(Slot, Address, Option<Duration>)> {
        let Some(Link::Trying { slot, addresses, .. }) = self.links.get(&attempt) else { return None };
        let (slot, address) = (*slot, addresses.get(index)?.clone());
        let lifetime = self.places.get(&address).and_then(|place| place.lifetime);
        self.links.insert(attempt, Link::Connected { slot, address: address.clone(), watched: false });
        Some((slot, address, lifetime))
    }

    /// The attempt fails, if it is still one.
    pub(super) fn fail(&mut self, attempt: AttemptId) -> Option<Slot> {
        let Some(Link::Trying { slot, .. }) = self.links.get(&attempt) else { return None };
        let slot = *slot;
        self.links.remove(&attempt);
        Some(slot)
    }

    /// The attempt or connection is over; yields what it was if it was a connection.
    pub(super) fn forget(&mut self, attempt: AttemptId) -> Option<(Slot, Address)> {
        match self.links.remove(&attempt)? {
            Link::Connected { slot, address, .. } => Some((slot, address)),
            Link::Trying { .. } => None,
        }
    }

    pub(super) fn is_connected(&self, attempt: AttemptId) -> bool {
        matches!(self.links.get(&attempt), Some(Link::Connected { .. }))
    }

    /// The open connections to an address.
    pub(super) fn close(&self, text: &str) -> Vec<AttemptId> {
        let at = address(text);
        let there = |link: &Link| matches!(link, Link::Connected { address, .. } if *address == at);
        self.links.iter().filter(|(_, link)| there(link)).map(|(attempt, _)| *attempt).collect()
    }

    /// Notes that a connection's health is watched; whether there is anything to tell.
    pub(super) fn watch(&mut self, attempt: AttemptId) -> bool {
        let Some(Link::Connected { address, watched, .. }) = self.links.get_mut(&attempt) else { return false };
        *watched = true;
        self.places.get(address).is_some_and(|place| place.health.is_some())
    }

    /// The watched connections to an address.
    pub(super) fn watched(&self, text: &str) -> Vec<(Slot, AttemptId)> {
        let at = address(text);
        let of = |(attempt, link): (&AttemptId, &Link)| match link {
            Link::Connected { slot, address, watched: true } if *address == at => Some((*slot, *attempt)),
            _ => None,
        };
        self.links.iter().filter_map(of).collect()
    }

    /// What the health of a watched connection is.
    pub(super) fn health(&self, attempt: AttemptId) -> Option<ServingStatus> {
        let Some(Link::Connected { address, watched: true, .. }) = self.links.get(&attempt) else { return None };
        self.places.get(address)?.health.clone()
    }

    /// The addresses connected now.
    pub(super) fn connections(&self) -> impl Iterator<Item = &Address> {
        self.links.values().filter_map(|link| match link {
            Link::Connected { address, .. } => Some(address),
            Link::Trying { .. } => None,
        })
    }
}

/// # Panics
/// If the text is not an address.
pub(super) fn address(text: &str) -> Address {
    text.parse().unwrap_or_else(|error| panic!("{error}"))
}
