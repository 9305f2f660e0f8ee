//! What one clone of a channel keeps to itself, so that picking writes to no shared memory.
//!
//! A shared pick counter costs 10 ns alone and 25 to 100 ns when two threads pick at once. A counter per channel clone costs 2 ns
//! always. Two traps, and how they are avoided:
//!
//! - *A channel cloned for every call must balance as exactly as one kept.* A fresh clone takes its first turn from the policy's
//!   shared [`Sequence`] and only then goes on alone, so calls through fresh clones take consecutive turns.
//! - *One clone that uses two pickers alternately must not skip every other endpoint of both.* Turns are kept per sequence.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How many sequences a clone follows on its own; beyond that the least recently added falls back to its shared one.
const FOLLOWED: usize = 4;

/// How many notes of where a constraint was found a clone keeps.
const NOTES: usize = 8;

/// A turn counter shared by all clones of a channel; one per policy that takes turns, kept across rebuilds of its picker.
#[derive(Debug)]
pub struct Sequence {
    next: AtomicU64,
}

impl Sequence {
    /// A sequence that starts at `start`; a random start keeps many channels from beginning at the same endpoint.
    pub fn new(start: u64) -> Arc<Self> {
        Arc::new(Self { next: AtomicU64::new(start) })
    }
}

/// State of one channel clone that pickers may use and change: a generator and its places in sequences.
#[derive(Debug)]
pub struct Scratch {
    random: u64,
    followed: [(usize, u64); FOLLOWED],
    oldest: usize,
    /// The place of the sequence it began to follow in this call; none is past the last place.
    started: usize,
    /// Where constraints were found that calls brought before; see `wishes::recall`. Guesses, of any generation.
    notes: [u16; NOTES],
}

impl Scratch {
    /// Scratch for one clone. `seed` must differ between clones for their random choices to be independent.
    pub fn new(seed: u64) -> Self {
        Self { random: seed, followed: [(0, 0); FOLLOWED], oldest: 0, started: FOLLOWED, notes: [0; NOTES] }
    }

    /// 64 uniform bits (wyrand: one addition, one wide multiplication).
    #[inline]
    pub fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0xa076_1d64_78bd_642f);
        let wide = u128::from(self.random) * u128::from(self.random ^ 0xe703_7ed1_a0b4_28db);
        (wide >> 64) as u64 ^ wide as u64
    }

    /// A uniform number below `bound`, by multiplication instead of division (bias below `bound / 2^32`).
    #[inline]
    pub fn below(&mut self, bound: u32) -> u32 {
        ((u64::from((self.random() >> 32) as u32) * u64::from(bound)) >> 32) as u32
    }

    /// The next turn in `sequence`.
    #[inline]
    pub fn turn(&mut self, sequence: &Arc<Sequence>) -> u64 {
        self.turns(sequence).next_turn()
    }

    /// A cursor for pickers that may take several turns for one pick.
    #[inline]
    pub fn turns<'a>(&'a mut self, sequence: &'a Arc<Sequence>) -> Turns<'a> {
        let id = Arc::as_ptr(sequence) as usize;
        match self.followed.iter().position(|(followed, _)| *followed == id) {
            Some(place) => Turns { shared: None, own: &mut self.followed[place].1 },
            None => self.start_following(id, sequence),
        }
    }

    /// The note kept by this trace, or by another that falls into its place.
    #[inline]
    pub(crate) fn noted(&self, trace: u64) -> usize {
        self.notes[note(trace)].into()
    }

    /// Notes a position.
    pub(crate) fn note(&mut self, trace: u64, position: usize) {
        // A position that is too great is a wrong guess.
        self.notes[note(trace)] = position as u16;
    }

    /// A call begins, whose pick may have to be made [again](Self::again).
    pub(crate) fn begin(&mut self) {
        self.started = FOLLOWED;
    }

    /// A pick is to be made again: a clone that began to follow a sequence in this call begins once more, with the next shared turn. Else
    /// the second turn of every fresh clone would be its first one's neighbour, who would get all that is refused elsewhere.
    pub(crate) fn again(&mut self) {
        if let Some(started) = self.followed.get_mut(std::mem::replace(&mut self.started, FOLLOWED)) {
            *started = (0, 0);
        }
    }

    #[cold]
    fn start_following<'a>(&'a mut self, id: usize, sequence: &'a Sequence) -> Turns<'a> {
        let place = self.oldest;
        self.oldest = (place + 1) % FOLLOWED;
        self.followed[place] = (id, 0);
        self.started = place;
        Turns { shared: Some(sequence), own: &mut self.followed[place].1 }
    }
}

/// The place of a trace: the top bits of a product, which all of its bits have a part in.
#[inline]
fn note(trace: u64) -> usize {
    (trace.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (u64::BITS - NOTES.ilog2())) as usize
}

/// Consecutive turns of one pick.
#[derive(Debug)]
pub struct Turns<'a> {
    /// Where turns come from until the end of the first pick; a fresh clone must leave every turn it takes unused for others.
    shared: Option<&'a Sequence>,
    own: &'a mut u64,
}

impl Turns<'_> {
    /// The next turn; wraps around after 2^64.
    #[inline]
    pub fn next_turn(&mut self) -> u64 {
        let turn = match self.shared {
            Some(sequence) => sequence.next.fetch_add(1, Ordering::Relaxed),
            None => *self.own,
        };
        *self.own = turn.wrapping_add(1);
        turn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fresh_clones_take_consecutive_turns() {
        let sequence = Sequence::new(7);
        let turns: Vec<u64> = (0..5).map(|seed| Scratch::new(seed).turn(&sequence)).collect();
        assert_eq!(turns, [7, 8, 9, 10, 11]);
    }

    #[test]
    fn a_kept_clone_walks_on_alone() {
        let sequence = Sequence::new(0);
        let (mut kept, mut other) = (Scratch::new(1), Scratch::new(2));
        assert_eq!((kept.turn(&sequence), other.turn(&sequence)), (0, 1));
        assert_eq!([kept.turn(&sequence), kept.turn(&sequence), other.turn(&sequence)], [1, 2, 2]);
    }

    #[test]
    fn a_fresh_clone_that_picks_again_takes_another_shared_turn() {
        let sequence = Sequence::new(0);
        let (mut fresh, mut other) = (Scratch::new(1), Scratch::new(2));
        assert_eq!((fresh.turn(&sequence), other.turn(&sequence)), (0, 1));
        fresh.again();
        assert_eq!((fresh.turn(&sequence), fresh.turn(&sequence)), (2, 3));
        fresh.begin();
        fresh.again();
        assert_eq!(fresh.turn(&sequence), 4, "a kept clone walks on alone");
        assert_eq!(Scratch::new(3).turn(&sequence), 3);
    }

    #[test]
    fn alternating_between_two_sequences_skips_nothing() {
        let (one, two) = (Sequence::new(0), Sequence::new(0));
        let mut scratch = Scratch::new(1);
        for expected in 0..10 {
            assert_eq!((scratch.turn(&one), scratch.turn(&two)), (expected, expected));
        }
    }

    #[test]
    fn below_is_uniform_within_five_sigma() {
        let mut scratch = Scratch::new(42);
        let mut counts = [0_i64; 10];
        for _ in 0..100_000 {
            counts[scratch.below(10) as usize] += 1;
        }
        // Binomial with n = 100 000 and p = 0.1 has sigma 95; five sigma is 475.
        assert!(counts.iter().all(|count| (count - 10_000).abs() < 475), "{counts:?}");
    }
}
