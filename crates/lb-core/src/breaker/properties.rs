//! What must hold whatever happens to a breaker.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::change::{BreakerReason, BreakerState};
use super::config::{BreakerConfig, FailureRate};
use super::state::{Ms, Order, Pass, Phase, State, Verdict};
use super::tests::{SECOND, World};
use crate::policies::testing::start;

fn phases() -> impl Strategy<Value = Phase> {
    prop_oneof![
        (0_u16..8192, 0_u32..1 << 30).prop_map(|(failures, since)| Phase::Closed { failures, since }),
        (0_u64..1 << 43).prop_map(|until| Phase::Open { until: Ms(until) }),
        (0_u8..64, 0_u8..64, 0_u32..1 << 30).prop_map(|(trials, successes, overdue)| Phase::HalfOpen {
            trials,
            successes,
            overdue
        }),
        Just(Phase::ForcedOpen),
        Just(Phase::ForcedClosed),
    ]
}

/// What can happen to a breaker.
#[derive(Debug, Clone, Copy)]
enum Happening {
    Enter,
    Leave(usize, u8),
    Wait(u64),
    Force(u8),
}

fn happenings() -> impl Strategy<Value = Vec<Happening>> {
    let one = prop_oneof![
        6 => Just(Happening::Enter),
        6 => (0..8_usize, 0..4_u8).prop_map(|(which, how)| Happening::Leave(which, how)),
        2 => (0..70_000_u64).prop_map(Happening::Wait),
        1 => (0..8_u8).prop_map(Happening::Force),
    ];
    proptest::collection::vec(one, 1..200)
}

/// Runs them, checks what must always hold, and returns everything told.
fn run(begun: Instant, happenings: &[Happening]) -> (Vec<(BreakerState, BreakerState, BreakerReason)>, String) {
    let rate = FailureRate::new(60, 10 * SECOND, 8);
    let mut world =
        World::new(BreakerConfig::default().consecutive_failures(3).failure_rate(rate).trials(2, 2).growth(2.0, 200 * SECOND));
    world.now = begun;
    let mut passes: Vec<Pass> = Vec::new();
    let mut told = Vec::new();
    for happening in happenings {
        match *happening {
            Happening::Enter => passes.extend(world.enter()),
            Happening::Leave(which, how) if !passes.is_empty() => {
                let pass = passes.swap_remove(which % passes.len());
                match how {
                    0 => world.leave(pass, Verdict::Success),
                    1 => world.leave(pass, Verdict::Failure),
                    2 => world.leave(pass, Verdict::Neither),
                    _ => world.breaker.give_back(pass, &world.config),
                };
            }
            Happening::Leave(..) => {}
            Happening::Wait(ms) => world.now += Duration::from_millis(ms),
            Happening::Force(how) => {
                let order = [Order::ForceOpen, Order::ForceClosed, Order::Open(5 * SECOND), Order::HalfOpen];
                let order = order.get(usize::from(how)).copied().unwrap_or(Order::Reset(BreakerReason::Reset));
                world.breaker.order(order, world.now, &world.config);
            }
        }
        let info = world.breaker.info(world.now);
        assert!(info.trials <= 2 && info.trial_successes < 2 && info.failures_in_a_row < 3, "{info:?}");
        assert!(info.trials as usize <= passes.len(), "a trial that is nobody's: {info:?}");
        assert!(info.recent_failures <= info.recent_calls, "{info:?}");
        let longest = 200 * SECOND + 20 * SECOND + Duration::from_millis(3);
        assert!(info.next_trial.is_none_or(|wait| wait <= longest), "{info:?}");
        told.extend(world.changes());
    }
    // Let go of all, and let time pass: it must be possible to call again, unless somebody forbade it.
    for pass in passes {
        world.leave(pass, Verdict::Neither);
    }
    world.now += 400 * SECOND;
    assert!(world.state() == BreakerState::ForcedOpen || world.enter().is_ok(), "{:?}", world.breaker.info(world.now));
    let info = world.breaker.info(world.now);
    (told, format!("{info:?}"))
}

proptest! {
    #[test]
    fn a_state_survives_its_word(epoch in 0_u16..8192, streak in 0_u8..32, phase in phases()) {
        let state = State { epoch, streak, phase };
        prop_assert_eq!(State::unpack(state.pack()), state);
    }

    #[test]
    fn whatever_happens_counts_stay_in_bounds_changes_are_a_chain_and_the_same_again(happenings in happenings()) {
        let begun = start();
        let (told, end) = run(begun, &happenings);
        prop_assert!(told.first().is_none_or(|first| first.0 == BreakerState::Closed));
        prop_assert!(told.windows(2).all(|pair| pair[0].1 == pair[1].0), "{:?}", told);
        prop_assert_eq!(run(begun, &happenings), (told, end));
    }

    #[test]
    fn any_word_is_some_state_and_can_be_used(word: u64, now in 0_u64..1 << 43) {
        let state = State::unpack(word);
        state.admit(Ms(now), &BreakerConfig::default());
    }

    #[test]
    fn reasons_survive_their_bits(percent in 0_u8..=100, calls: u32) {
        use BreakerReason::{FailureRate, FailuresInARow, Forced, Remote, Reset, TimeOver, TrialFailed, TrialsOverdue, TrialsSucceeded};
        for reason in [
            FailureRate { percent, calls }, FailuresInARow(calls), TrialsSucceeded(calls), TimeOver, TrialFailed, TrialsOverdue,
            Forced, Reset, Remote,
        ] {
            prop_assert_eq!(BreakerReason::unpack(reason.pack()), reason);
            prop_assert!(reason.pack() >> 44 == 0 && reason.pack() != 0);
        }
    }
}
