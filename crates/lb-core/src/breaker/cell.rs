//! The word in memory, and the race for it.

use std::sync::atomic::{AtomicU64, Ordering};

use super::change::BreakerReason;
use super::config::BreakerConfig;
use super::state::{Admission, Ms, Order, Pass, State, Step, Verdict};

/// An atomic word: the one of `std`, and in a model that of the model checker.
pub(super) trait Word {
    fn new(word: u64) -> Self;

    fn read(&self) -> u64;

    /// Puts `new` in the place of `old`; `Err` has what is there instead.
    fn swap(&self, old: u64, new: u64) -> Result<(), u64>;
}

impl Word for AtomicU64 {
    fn new(word: u64) -> Self {
        Self::new(word)
    }

    #[inline]
    fn read(&self) -> u64 {
        self.load(Ordering::Acquire)
    }

    #[inline]
    fn swap(&self, old: u64, new: u64) -> Result<(), u64> {
        self.compare_exchange_weak(old, new, Ordering::AcqRel, Ordering::Acquire).map(drop)
    }
}

/// A step that was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Made {
    pub(super) from: State,
    pub(super) to: State,
    /// `None` if only something within a phase was counted.
    pub(super) reason: Option<BreakerReason>,
}

/// The state of a breaker, for many to use at once without waiting: of two who want to step one does, and the other looks again.
#[derive(Debug)]
pub(super) struct Cell<W>(pub(super) W);

impl<W: Word> Cell<W> {
    #[inline]
    pub(super) fn state(&self) -> State {
        State::unpack(self.0.read())
    }

    #[inline]
    pub(super) fn admit(&self, now: Ms, config: &BreakerConfig) -> (Admission, Option<Made>) {
        self.step(|state| state.admit(now, config))
    }

    #[inline]
    pub(super) fn settle(
        &self,
        pass: Pass,
        verdict: Verdict,
        rate: Option<BreakerReason>,
        now: Ms,
        config: &BreakerConfig,
        seed: u64,
    ) -> Option<Made> {
        self.step(|state| ((), state.settle(pass, verdict, rate, now, config, seed))).1
    }

    pub(super) fn order(&self, order: Order, now: Ms, config: &BreakerConfig) -> Option<Made> {
        self.step(|state| ((), state.order(order, now, config))).1
    }

    #[inline]
    fn step<T>(&self, next: impl Fn(State) -> (T, Option<Step>)) -> (T, Option<Made>) {
        let mut word = self.0.read();
        loop {
            let from = State::unpack(word);
            let (answer, step) = next(from);
            let Some((to, reason)) = step else { return (answer, None) };
            match self.0.swap(word, to.pack()) {
                Ok(()) => return (answer, Some(Made { from, to, reason })),
                Err(newer) => word = newer,
            }
        }
    }
}
