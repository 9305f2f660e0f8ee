//! What happens next: a queue by time, and by order of entry among equals, so that every run is repeatable.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use lb_core::Slot;

use crate::call::CallId;
use crate::signal::Said;
use crate::time::Time;

/// Something that happens at a time.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Happening {
    /// The next call begins.
    Arrival,
    /// A call reaches its server.
    Reach(CallId),
    /// A server may be done with a call.
    Due(usize),
    /// A call's answer reaches its client.
    Answer(CallId),
    /// A probe reaches the server.
    ProbeReaches { client: usize, slot: Slot, server: usize },
    /// Its answer reaches the client.
    ProbeAnswer { client: usize, slot: Slot, said: Said },
    /// News of connections or a wake-up the client asked for.
    Wake(usize),
    /// A client asks its servers for reports.
    Poll(usize),
    /// Neighbours of a server change.
    Weather(usize),
    /// Something the scenario has planned, and to which server.
    Incident { event: usize, server: usize },
    /// A server that restarts is back.
    Back(usize),
    /// A server that answered nothing answers again.
    Resume(usize),
    /// The resolver tells a client the newest list.
    Resolved(usize),
}

#[derive(Debug, Default)]
pub(crate) struct Agenda {
    heap: BinaryHeap<Reverse<Entry>>,
    entries: u64,
}

#[derive(Debug)]
struct Entry {
    at: Time,
    order: u64,
    what: Happening,
}

impl Agenda {
    pub(crate) fn add(&mut self, at: Time, what: Happening) {
        self.entries += 1;
        self.heap.push(Reverse(Entry { at, order: self.entries, what }));
    }

    pub(crate) fn next_at(&self) -> Option<Time> {
        self.heap.peek().map(|Reverse(entry)| entry.at)
    }

    pub(crate) fn pop(&mut self) -> Option<(Time, Happening)> {
        self.heap.pop().map(|Reverse(entry)| (entry.at, entry.what))
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.order) == (other.at, other.order)
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}
