//! The gates of one endpoint, and the leave to make one attempt there.

use std::mem;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::feedback::Done;
use crate::slot::Slot;
use crate::snapshot::Row;

use super::{Entry, Gate, Refusal};

/// The gates of one endpoint, in the order of their keepers.
#[derive(Debug)]
pub struct Gates(Box<[Arc<dyn Gate>]>);

impl Gates {
    /// These gates, to be entered in this order.
    pub fn new(gates: impl Into<Box<[Arc<dyn Gate>]>>) -> Self {
        Self(gates.into())
    }

    /// Enters all of them, or none.
    ///
    /// # Errors
    /// The refusal of the first that refuses; those before it are told that the attempt was not made.
    pub fn enter(self: &Arc<Self>, entry: &Entry<'_>) -> Result<Permit, Refusal> {
        // Dropped on the way out, it takes back what was entered.
        let mut permit = Permit { gates: Arc::clone(self), tokens: SmallVec::new() };
        for gate in &self.0 {
            permit.tokens.push(gate.enter(entry)?);
        }
        Ok(permit)
    }

    /// The first refusal there would be now.
    pub fn refusal(&self, entry: &Entry<'_>) -> Option<Refusal> {
        self.0.iter().find_map(|gate| gate.refusal(entry))
    }
}

/// The leave to make one attempt. Give it back with [`leave`](Self::leave) when the attempt is over; dropped without, the gates hear that
/// the attempt was never made.
#[derive(Debug)]
#[must_use = "a permit that is dropped is given back unused"]
pub struct Permit {
    gates: Arc<Gates>,
    /// Of the gates entered, in their order. No more than four gates allocate nothing.
    tokens: SmallVec<[u64; 4]>,
}

impl Permit {
    /// Tells the gates how the attempt ended.
    pub fn leave(mut self, done: &Done<'_>) {
        for (gate, token) in self.gates.0.iter().zip(mem::take(&mut self.tokens)) {
            gate.left(token, done);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        for (gate, token) in self.gates.0.iter().zip(mem::take(&mut self.tokens)) {
            gate.unused(token);
        }
    }
}

/// An endpoint with gates in a snapshot.
#[derive(Debug)]
pub(crate) struct Post {
    pub(crate) slot: Slot,
    pub(crate) row: u32,
    pub(crate) gates: Arc<Gates>,
}

/// The endpoints with gates by slot index; empty if there are none.
pub(crate) fn posts(rows: &[Row]) -> Box<[Option<Post>]> {
    let gated = rows.iter().enumerate().filter(|(_, row)| row.view.gates.is_some());
    let size = gated.clone().map(|(_, row)| row.view.slot.index() + 1).max().unwrap_or(0);
    let mut posts: Vec<Option<Post>> = (0..size).map(|_| None).collect();
    for (position, row) in gated {
        let (slot, gates) = (row.view.slot, row.view.gates.clone());
        posts[slot.index()] = gates.map(|gates| Post { slot, row: position as u32, gates });
    }
    posts.into()
}
