//! A client: one channel's machine, what it published last, and the connections it was given.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use http::HeaderMap;
use lb_core::machine::{AttemptId, Effect, Event, MachineConfig, NamedPolicy};
use lb_core::{Address, Choice, Endpoint, EndpointStats, LoadReports, Machine, PickArgs, PickHints};
use lb_core::{ResolverUpdate, Scratch, Slot, Snapshot};

use crate::call::{CallId, Placed};
use crate::dice::{Dice, Purpose};
use crate::time::Time;

#[derive(Debug)]
pub(crate) struct Client {
    machine: Machine,
    effects: Vec<Effect>,
    scratch: Scratch,
    headers: HeaderMap,
    snapshot: Option<Arc<Snapshot>>,
    pub(crate) wanted: LoadReports,
    /// By slot index.
    known: Vec<Option<Known>>,
    /// Attempts on their way, in order of time.
    pub(crate) inbox: VecDeque<(Time, Opening)>,
    /// The wake-up the machine asked for.
    pub(crate) wake_at: Option<Instant>,
    /// Calls that wait for the next generation.
    pub(crate) waiting: Vec<CallId>,
    /// Whether a poll for reports is planned.
    pub(crate) polling: bool,
}

/// An endpoint the client has or had a connection to.
#[derive(Debug, Clone)]
struct Known {
    slot: Slot,
    server: usize,
    stats: Arc<EndpointStats>,
    connection: Option<AttemptId>,
}

/// A connection attempt that is about to succeed or fail.
#[derive(Debug, Clone)]
pub(crate) struct Opening {
    pub(crate) slot: Slot,
    pub(crate) attempt: AttemptId,
    pub(crate) server: usize,
    address: Address,
}

/// What a pick came to.
#[derive(Debug)]
pub(crate) enum Picked {
    /// Send it there, and probe that one.
    Send { server: usize, placed: Placed, probe: Option<(Slot, usize)> },
    /// Wait for the next generation.
    Wait,
    /// It is over.
    Fail,
}

impl Client {
    pub(crate) fn new(seed: u64, index: usize, policy: NamedPolicy) -> Self {
        let mut dice = Dice::new(seed, Purpose::Caller, index);
        Self {
            machine: Machine::new(MachineConfig::new(dice.bits()), policy),
            effects: Vec::new(),
            scratch: Scratch::new(dice.bits()),
            headers: HeaderMap::new(),
            snapshot: None,
            wanted: LoadReports::default(),
            known: Vec::new(),
            inbox: VecDeque::new(),
            wake_at: None,
            waiting: Vec::new(),
            polling: false,
        }
    }

    pub(crate) fn tell(&mut self, now: Instant, event: Event) {
        self.machine.handle(now, event, &mut self.effects);
    }

    /// The newest list of endpoints.
    pub(crate) fn resolved(&mut self, now: Instant, endpoints: Vec<Endpoint>) {
        self.tell(now, Event::Resolved(ResolverUpdate::new(endpoints)));
    }

    /// Answers an attempt.
    pub(crate) fn opened(&mut self, now: Instant, opening: Opening, accepted: bool) {
        let Opening { slot, attempt, server, address } = opening;
        if !accepted {
            return self.tell(now, Event::ConnectFailed { slot, attempt, error: format!("{address}: refused").into() });
        }
        self.known_mut(slot, server).connection = Some(attempt);
        self.tell(now, Event::Connected { slot, attempt, address });
    }

    /// Loses the connections to a server, if it has any.
    pub(crate) fn lost(&mut self, now: Instant, server: usize) -> bool {
        let connected = |known: &&mut Known| known.server == server && known.connection.is_some();
        let Some(known) = self.known.iter_mut().flatten().find(connected) else { return false };
        let Some(attempt) = known.connection.take() else { return false };
        let slot = known.slot;
        self.tell(now, Event::Closed { slot, attempt, reason: "the server went away".into() });
        true
    }

    /// Lets the machine decide; what it wants opened comes back with whether anything was published.
    pub(crate) fn settle(&mut self, now: Instant) -> (Vec<Opening>, bool) {
        self.machine.settle(now, &mut self.effects);
        let (mut openings, mut published) = (Vec::new(), false);
        for effect in std::mem::take(&mut self.effects) {
            match effect {
                Effect::Connect { slot, attempt, endpoint, addresses, .. } => {
                    let address = addresses.into_iter().next().unwrap_or_else(|| endpoint.addresses()[0].clone());
                    openings.push(Opening { slot, attempt, server: server_of(&address), address });
                }
                Effect::Close { slot, attempt } => self.closed(slot, attempt),
                Effect::WakeAt(at) => self.wake_at = at,
                Effect::Publish(snapshot) => {
                    self.publish(&snapshot);
                    published = true;
                }
                _ => {}
            }
        }
        (openings, published)
    }

    fn closed(&mut self, slot: Slot, attempt: AttemptId) {
        self.inbox.retain(|(_, opening)| opening.attempt != attempt);
        if let Some(known) = self.known.get_mut(slot.index()).and_then(Option::as_mut).filter(|known| known.slot == slot) {
            known.connection = None;
        }
    }

    fn publish(&mut self, snapshot: &Arc<Snapshot>) {
        self.snapshot = Some(Arc::clone(snapshot));
        self.wanted = snapshot.load_reports;
        for row in &snapshot.rows {
            let view = &row.view;
            match self.known.get_mut(view.slot.index()).and_then(Option::as_mut).filter(|known| known.slot == view.slot) {
                Some(known) if Arc::ptr_eq(&known.stats, &view.stats) => {}
                Some(known) => known.stats = Arc::clone(&view.stats),
                None => self.known_mut(view.slot, server_of(&view.endpoint.addresses()[0])).stats = Arc::clone(&view.stats),
            }
        }
    }

    fn known_mut(&mut self, slot: Slot, server: usize) -> &mut Known {
        if self.known.len() <= slot.index() {
            self.known.resize(slot.index() + 1, None);
        }
        let place = &mut self.known[slot.index()];
        if place.as_ref().is_none_or(|known| known.slot != slot) {
            *place = None;
        }
        place.get_or_insert_with(|| Known { slot, server, stats: Arc::default(), connection: None })
    }

    /// Chooses for one call.
    pub(crate) fn pick(&mut self, now: Instant, hints: &PickHints) -> Picked {
        let Some(snapshot) = self.snapshot.clone() else { return Picked::Wait };
        let mut args = PickArgs::new(now, "/lab.Lab/Call", &self.headers, hints, &mut self.scratch);
        let choice = snapshot.choose(&mut args);
        let (token, probe) = (args.token, args.probe);
        match choice {
            Choice::Pick { slot, feedback, permit } => match self.find(slot) {
                Some(known) => {
                    let (stats, feedback) = (Arc::clone(&known.stats), feedback.cloned());
                    let placed = Placed { slot, token, stats, feedback, permit };
                    let probe = probe.and_then(|slot| self.find(slot)).map(|known| (known.slot, known.server));
                    Picked::Send { server: known.server, placed, probe }
                }
                None => Picked::Wait,
            },
            Choice::Connect(slot) => {
                self.tell(now, Event::ConnectRequested(slot));
                Picked::Wait
            }
            Choice::Queue => Picked::Wait,
            _ => Picked::Fail,
        }
    }

    /// An endpoint with a connection.
    fn find(&self, slot: Slot) -> Option<&Known> {
        let known = self.known.get(slot.index())?.as_ref();
        known.filter(|known| known.slot == slot && known.connection.is_some())
    }

    /// Every endpoint with a connection, for reports out of band.
    pub(crate) fn connected(&self) -> impl Iterator<Item = (Slot, usize)> {
        self.known.iter().flatten().filter(|known| known.connection.is_some()).map(|known| (known.slot, known.server))
    }

    /// Calls it has begun and not ended.
    #[cfg(test)]
    pub(crate) fn in_flight(&self) -> u32 {
        self.known.iter().flatten().map(|known| known.stats.in_flight()).sum()
    }

    /// The counters of an endpoint, and who else wants to hear of it.
    pub(crate) fn listeners(&self, slot: Slot) -> Option<(&EndpointStats, Option<&Arc<dyn lb_core::Feedback>>)> {
        let known = self.find(slot)?;
        Some((&known.stats, self.snapshot.as_ref().and_then(|snapshot| snapshot.picker(None)?.feedback())))
    }
}

/// Servers are `10.a.b.c:1`, numbered by `a.b.c`.
pub(crate) fn address_of(server: usize) -> std::net::SocketAddr {
    ([10, (server >> 16) as u8, (server >> 8) as u8, server as u8], 1).into()
}

fn server_of(address: &Address) -> usize {
    match address {
        Address::Tcp(std::net::SocketAddr::V4(address)) => {
            let [_, a, b, c] = address.ip().octets();
            usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c)
        }
        // Nothing here makes others; server 0 is as good as any.
        _ => 0,
    }
}
