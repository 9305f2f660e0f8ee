//! Calls in progress, and names for them that cannot go stale unnoticed.

use std::sync::Arc;

use lb_core::gate::Permit;
use lb_core::{EndpointStats, Feedback, Outcome, Slot};

use crate::server::Ticket;
use crate::signal::Said;
use crate::time::Time;

/// Names a call: its place, which is reused, and its number, which is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct CallId {
    number: u64,
    place: u32,
}

/// A call that has not ended.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) client: usize,
    /// When the caller began it.
    pub(crate) begun: Time,
    pub(crate) work: f64,
    pub(crate) key: Option<usize>,
    /// Where it went, once it was picked.
    pub(crate) attempt: Option<Attempt>,
}

/// One attempt of a call; calls have one, as nothing here retries.
#[derive(Debug)]
pub(crate) struct Attempt {
    pub(crate) server: usize,
    pub(crate) picked: Time,
    pub(crate) placed: Option<Placed>,
    /// Where it stands at the server, while it is there.
    pub(crate) ticket: Option<Ticket>,
    /// When it reached the server, and how many were in flight there.
    pub(crate) reached: (Time, usize),
    pub(crate) outcome: Outcome,
    /// What came with its trailers.
    pub(crate) said: Option<Said>,
}

/// What a policy must be told about when the attempt ends; the oracles need none of it.
#[derive(Debug)]
pub(crate) struct Placed {
    pub(crate) slot: Slot,
    pub(crate) token: u64,
    pub(crate) stats: Arc<EndpointStats>,
    pub(crate) feedback: Option<Arc<dyn Feedback>>,
    pub(crate) permit: Option<Permit>,
}

/// All calls in progress.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    places: Vec<Option<(u64, Call)>>,
    free: Vec<u32>,
    begun: u64,
}

impl Calls {
    pub(crate) fn begin(&mut self, call: Call) -> CallId {
        self.begun += 1;
        let place = self.free.pop().unwrap_or_else(|| {
            self.places.push(None);
            (self.places.len() - 1) as u32
        });
        self.places[place as usize] = Some((self.begun, call));
        CallId { number: self.begun, place }
    }

    /// The call, unless it has ended.
    pub(crate) fn get_mut(&mut self, id: CallId) -> Option<&mut Call> {
        let place = self.places.get_mut(id.place as usize)?.as_mut();
        place.filter(|(number, _)| *number == id.number).map(|(_, call)| call)
    }

    /// Ends the call, unless it has ended.
    pub(crate) fn end(&mut self, id: CallId) -> Option<Call> {
        self.get_mut(id)?;
        self.free.push(id.place);
        self.places[id.place as usize].take().map(|(_, call)| call)
    }

    /// Calls that have not ended.
    pub(crate) fn open(&self) -> usize {
        self.places.len() - self.free.len()
    }
}
