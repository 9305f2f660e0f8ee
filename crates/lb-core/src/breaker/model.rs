//! Every order in which threads can meet at the word of a breaker, tried by a model checker.
#![expect(clippy::disallowed_types, reason = "a list of what happened; no part of what is modelled")]

use loom::sync::Arc;
use loom::sync::atomic::{AtomicU64, Ordering};

use super::cell::{Cell, Made, Word};
use super::change::BreakerState;
use super::config::BreakerConfig;
use super::log::Log;
use super::state::{Admission, Ms, Order, Pass, PassKind, Phase, State, Verdict};

impl Word for AtomicU64 {
    fn new(word: u64) -> Self {
        Self::new(word)
    }

    fn read(&self) -> u64 {
        self.load(Ordering::Acquire)
    }

    fn swap(&self, old: u64, new: u64) -> Result<(), u64> {
        self.compare_exchange(old, new, Ordering::AcqRel, Ordering::Acquire).map(drop)
    }
}

const NOW: Ms = Ms(1_000_000_000_000);

fn config() -> BreakerConfig {
    BreakerConfig::default().consecutive_failures(2).trials(2, 2)
}

/// A breaker that threads of a model share, and the steps they made, in whatever order they were written down.
#[derive(Clone)]
struct Shared {
    cell: Arc<Cell<AtomicU64>>,
    steps: std::sync::Arc<std::sync::Mutex<Vec<Made>>>,
    config: std::sync::Arc<BreakerConfig>,
}

impl Shared {
    fn new(phase: Phase) -> Self {
        let state = State { phase, ..State::new() };
        Self {
            cell: Arc::new(Cell(AtomicU64::new(state.pack()))),
            steps: std::sync::Arc::default(),
            config: std::sync::Arc::new(config()),
        }
    }

    fn enter(&self, now: Ms) -> Option<Pass> {
        let (admission, made) = self.cell.admit(now, &self.config);
        self.note(made);
        match admission {
            Admission::Pass(pass) => Some(pass),
            Admission::Refused(_) | Admission::Full(_) => None,
        }
    }

    fn leave(&self, pass: Pass, verdict: Verdict) {
        let made = self.cell.settle(pass, verdict, None, NOW, &self.config, 7);
        self.note(made);
    }

    fn note(&self, made: Option<Made>) {
        self.steps.lock().unwrap().extend(made);
    }

    /// The changes of phase form one chain: none is lost, none is made twice.
    fn check_chain(&self, first: u16) {
        let mut epochs: Vec<u16> =
            self.steps.lock().unwrap().iter().filter(|made| made.reason.is_some()).map(|made| made.to.epoch).collect();
        epochs.sort_unstable();
        let expected: Vec<u16> = (first + 1..=self.cell.state().epoch).collect();
        assert_eq!(epochs, expected);
    }
}

#[test]
fn there_are_never_more_trials_than_allowed() {
    loom::model(|| {
        let shared = Shared::new(Phase::Open { until: NOW });
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let shared = shared.clone();
                loom::thread::spawn(move || shared.enter(NOW))
            })
            .collect();
        let mut passes: Vec<Pass> = vec![shared.enter(NOW)].into_iter().flatten().collect();
        passes.extend(threads.into_iter().filter_map(|thread| thread.join().unwrap()));
        assert_eq!(passes.len(), 2, "of three who ask at once");
        assert!(passes.iter().all(|pass| pass.kind == PassKind::Trial));
        shared.check_chain(0);
        let Phase::HalfOpen { trials, .. } = shared.cell.state().phase else { panic!("half-open") };
        assert_eq!(trials, 2);
    });
}

#[test]
fn a_cancelled_trial_gives_its_place_back_once_whoever_asks_meanwhile() {
    loom::model(|| {
        let shared = Shared::new(Phase::Open { until: NOW });
        let first = shared.enter(NOW).unwrap();
        let second = shared.enter(NOW).unwrap();
        let other = shared.clone();
        let leaving = loom::thread::spawn(move || other.leave(first, Verdict::Neither));
        let third = shared.enter(NOW);
        leaving.join().unwrap();
        let fourth = shared.enter(NOW);
        assert!(third.is_some() != fourth.is_some(), "one place was given back");
        [Some(second), third, fourth].into_iter().flatten().for_each(|pass| shared.leave(pass, Verdict::Neither));
        assert!(matches!(shared.cell.state().phase, Phase::HalfOpen { trials: 0, successes: 0, .. }));
    });
}

#[test]
fn no_failure_and_no_transition_is_lost() {
    loom::model(|| {
        let shared = Shared::new(State::new().phase);
        let passes = [shared.enter(NOW).unwrap(), shared.enter(NOW).unwrap()];
        let other = shared.clone();
        let thread = loom::thread::spawn(move || other.leave(passes[0], Verdict::Failure));
        shared.leave(passes[1], Verdict::Failure);
        thread.join().unwrap();
        assert!(matches!(shared.cell.state().phase, Phase::Open { .. }), "two failures open it, however they meet");
        shared.check_chain(0);
    });
}

#[test]
fn a_success_and_a_failure_of_trials_end_in_one_chain_of_changes() {
    loom::model(|| {
        let shared = Shared::new(Phase::HalfOpen { trials: 0, successes: 1, overdue: u32::MAX >> 2 });
        let passes = [shared.enter(NOW).unwrap(), shared.enter(NOW).unwrap()];
        let other = shared.clone();
        let thread = loom::thread::spawn(move || other.leave(passes[0], Verdict::Success));
        shared.leave(passes[1], Verdict::Failure);
        thread.join().unwrap();
        // Whoever was first decided; the other belongs to a time that is over.
        let state = shared.cell.state();
        assert!(matches!(state.phase, Phase::Closed { failures: 0, .. } | Phase::Open { .. }), "{state:?}");
        assert_eq!(state.epoch, 1);
        shared.check_chain(0);
    });
}

#[test]
fn a_reader_hears_every_change_once_and_in_order_whenever_it_comes() {
    loom::model(|| {
        let shared = Shared::new(State::new().phase);
        let log = Arc::new(Log::<AtomicU64>::new());
        let order = |shared: &Shared, log: &Log<AtomicU64>, order| {
            let made = shared.cell.order(order, NOW, &shared.config);
            made.iter().for_each(|made| log.write(made, made.reason.unwrap()));
        };
        let (other, others) = (shared.clone(), Arc::clone(&log));
        let thread = loom::thread::spawn(move || order(&other, &others, Order::ForceOpen));
        order(&shared, &log, Order::ForceClosed);
        let mut told = Vec::new();
        log.read(shared.cell.state(), |from, to, _| told.push((from, to)));
        thread.join().unwrap();
        log.read(shared.cell.state(), |from, to, _| told.push((from, to)));
        assert_eq!(told.len(), 2, "{told:?}");
        assert_eq!((told[0].0, told[0].1, told[1].1), (BreakerState::Closed, told[1].0, shared.cell.state().shown()));
    });
}
