//! The latest changes of a breaker, for one reader who comes now and then.
//!
//! Who makes a step writes it down, at the place of its epoch; the reader follows the epochs. A step that is made and not yet written
//! holds the reader up, whom its writer will call again, so nothing is told out of order. What was overwritten before the reader
//! came is told as one change from the last state told.

use super::cell::{Made, Word};
use super::change::{BreakerReason, BreakerState};
use super::state::{EPOCH_BITS, Phase, State};

/// Changes kept for the reader; a breaker changes twice a second at the most unless somebody forces it, and the reader comes at once.
const KEPT: usize = 8;

const EPOCH_MASK: u64 = (1 << EPOCH_BITS) - 1;

#[derive(Debug)]
pub(super) struct Log<W> {
    /// Reason in the lower 44 bits, then 3 bits for the state after, then the epoch after; 0 is nothing.
    kept: [W; KEPT],
    /// Epoch and state the reader was told last.
    told: W,
}

impl State {
    pub(super) fn shown(self) -> BreakerState {
        match self.phase {
            Phase::Closed { .. } => BreakerState::Closed,
            Phase::Open { .. } => BreakerState::Open,
            Phase::HalfOpen { .. } => BreakerState::HalfOpen,
            Phase::ForcedOpen => BreakerState::ForcedOpen,
            Phase::ForcedClosed => BreakerState::ForcedClosed,
        }
    }
}

fn bits(state: BreakerState) -> u64 {
    state as u64
}

fn state(bits: u64) -> BreakerState {
    match bits & 7 {
        0 => BreakerState::Closed,
        1 => BreakerState::Open,
        2 => BreakerState::HalfOpen,
        3 => BreakerState::ForcedOpen,
        _ => BreakerState::ForcedClosed,
    }
}

/// Whether the epoch `one` comes after `other`, less than half a round.
fn is_after(one: u64, other: u64) -> bool {
    let ahead = one.wrapping_sub(other) & EPOCH_MASK;
    ahead != 0 && ahead < EPOCH_MASK / 2
}

impl<W: Word> Log<W> {
    pub(super) fn new() -> Self {
        Self::told(State::new())
    }

    /// For a reader who knows of everything up to this state.
    pub(super) fn told(state: State) -> Self {
        let told = u64::from(state.epoch) << 3 | bits(state.shown());
        Self { kept: std::array::from_fn(|_| W::new(0)), told: W::new(told) }
    }

    pub(super) fn write(&self, made: &Made, reason: BreakerReason) {
        let epoch = u64::from(made.to.epoch);
        let entry = epoch << 47 | bits(made.to.shown()) << 44 | reason.pack();
        let place = &self.kept[epoch as usize % KEPT];
        let mut there = place.read();
        // One who was held up between the step and this must not overwrite a later one.
        while there == 0 || is_after(epoch, there >> 47) {
            match place.swap(there, entry) {
                Ok(()) => return,
                Err(newer) => there = newer,
            }
        }
    }

    /// Every change up to `now` that the reader does not know, in order. There may be one reader at a time.
    pub(super) fn read(&self, now: State, mut tell: impl FnMut(BreakerState, BreakerState, BreakerReason)) {
        let known = self.told.read();
        let mut told = known;
        let end = u64::from(now.epoch);
        // Further behind, the places it would look at have all been written again.
        let behind = end.wrapping_sub(told >> 3) & EPOCH_MASK;
        let mut at = end.wrapping_sub(behind.min(KEPT as u64)) & EPOCH_MASK;
        while at != end {
            let next = (at + 1) & EPOCH_MASK;
            let entry = self.kept[next as usize % KEPT].read();
            if entry == 0 || is_after(next, entry >> 47) {
                break;
            }
            if entry >> 47 == next {
                let (from, to) = (state(told), state(entry >> 44));
                if from != to {
                    tell(from, to, BreakerReason::unpack(entry));
                }
                told = next << 3 | bits(to);
            }
            at = next;
        }
        // Alone here, a swap that fails fails for no reason.
        while self.told.swap(known, told) == Err(known) {}
    }
}
