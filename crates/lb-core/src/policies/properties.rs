//! What holds for every policy of the registry, whatever the view.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::thread;

use proptest::prelude::*;
use serde_json::Value;

use super::testing::{Caller, ready, start, view, weighted};
use super::{LeastRequest, RoundRobin, WeightedRoundRobin};
use crate::connectivity::ConnectivityState::{self, Connecting, Idle, Ready, TransientFailure};
use crate::pick::{PickResult, Picker};
use crate::policy::{LbState, Plan, Policy, SubchannelView};
use crate::registry::PolicyRegistry;
use crate::slot::Slot;
use crate::stats::Outcome;

const NAMES: [&str; 17] = [
    "pick_first",
    "round_robin",
    "random",
    "weighted_round_robin",
    "least_request",
    "peak_ewma",
    "least_latency",
    "score",
    "weighted",
    "performance",
    "task",
    "health_aware",
    "capability_aware",
    "workload_aware",
    "cost_aware",
    "prequal",
    "adaptive",
];

/// Those that explain a share of calls, not a score.
const SHARES: [&str; 8] =
    ["pick_first", "round_robin", "random", "weighted_round_robin", "least_request", "peak_ewma", "least_latency", "prequal"];

fn policy(name: &str) -> Box<dyn Policy> {
    PolicyRegistry::default().build(name, &Value::Null).unwrap()
}

fn rebuild(policy: &mut dyn Policy, view: &[SubchannelView], entropy: u64) -> (LbState, Plan) {
    let mut plan = Plan::new(entropy);
    (policy.rebuild(start(), view, &mut plan), plan)
}

fn states() -> impl Strategy<Value = Vec<ConnectivityState>> {
    prop::collection::vec(prop_oneof![Just(Idle), Just(Connecting), Just(Ready), Just(TransientFailure)], 0..20)
}

fn weights() -> impl Strategy<Value = Vec<u32>> {
    prop::collection::vec(prop_oneof![Just(0), 1_u32..100, Just(u32::MAX)], 20)
}

/// The legal pairs of [`LbState::new`].
fn is_legal(state: ConnectivityState, result: &PickResult) -> bool {
    matches!(
        (state, result),
        (Ready, PickResult::Pick(_))
            | (Connecting, PickResult::Queue)
            | (Idle, PickResult::Connect(_))
            | (TransientFailure, PickResult::Fail(_))
    )
}

proptest! {
    #[test]
    fn picks_are_ready_allowed_and_not_tried_before(
        name in prop::sample::select(&NAMES),
        steps in prop::collection::vec((states(), weights(), any::<u64>()), 1..4),
        excluded in any::<u32>(),
        tried in prop::collection::vec(0_u32..20, 0..5),
    ) {
        let (mut policy, mut caller) = (policy(name), Caller::new(1));
        let tried: Vec<Slot> = tried.into_iter().map(|index| Slot::new(index, 0)).collect();
        for (states, weights, entropy) in steps {
            let mut view = view(&states);
            view.iter_mut().zip(weights).for_each(|(row, weight)| row.weight = weight);
            let (lb, plan) = rebuild(&mut *policy, &view, entropy);
            let ready = |slot: Slot| states[slot.index()] == Ready;
            for _ in 0..10 {
                let result = caller.pick(&*lb.picker);
                prop_assert!(is_legal(lb.state, &result), "{name}: {} with {result:?}", lb.state);
                if let PickResult::Pick(slot) = result {
                    prop_assert!(ready(slot));
                    let again = caller.slot_after(&*lb.picker, &tried);
                    let others = view.iter().any(|row| ready(row.slot) && row.weight > 0 && !tried.contains(&row.slot));
                    prop_assert!(ready(again) && (name == "pick_first" || !others || !tried.contains(&again)));
                }
            }
            let keep = |slot: Slot| excluded & (1 << slot.index()) == 0;
            let restricted = lb.picker.restrict(&keep);
            if let PickResult::Pick(slot) | PickResult::Connect(slot) = caller.pick(&*restricted) {
                prop_assert!(keep(slot) && (ready(slot) || lb.state == Idle));
            }
            prop_assert!(plan.connect.iter().chain(&plan.disconnect).all(|slot| slot.index() < states.len()));
            prop_assert!(plan.connect.iter().all(|slot| !plan.disconnect.contains(slot)));
        }
    }

    #[test]
    fn explained_shares_add_up(name in prop::sample::select(&SHARES), weights in weights(), count in 1_usize..20) {
        let (lb, _) = rebuild(&mut *policy(name), &weighted(&weights[..count]), 3);
        let scores = Caller::new(1).explain(&*lb.picker);
        let total: f64 = scores.iter().map(|score| score.total).sum();
        prop_assert!(scores.len() == count && (total - 1.0).abs() < 1e-9, "{total} over {}", scores.len());
        prop_assert!(scores.iter().all(|score| (0.0..=1.0).contains(&score.total) && !score.reason.is_empty()));
    }

    #[test]
    fn same_calls_same_answers(name in prop::sample::select(&NAMES), states in states(), entropy in any::<u64>(), seed in any::<u64>()) {
        let run = || {
            let (lb, plan) = rebuild(&mut *policy(name), &view(&states), entropy);
            let mut caller = Caller::new(seed);
            let picks: Vec<String> = (0..20).map(|_| format!("{:?}", caller.pick(&*lb.picker))).collect();
            (lb.state, plan.connect, plan.disconnect, picks)
        };
        prop_assert_eq!(run(), run());
    }
}

#[test]
fn one_endpoint_takes_everything() {
    for name in NAMES {
        let (lb, _) = rebuild(&mut *policy(name), &ready(1), 9);
        assert_eq!(Caller::new(1).count(&*lb.picker, 1, 100), [100], "{name}");
    }
}

#[test]
fn no_endpoint_is_a_failure_that_says_so() {
    for name in NAMES {
        let (lb, plan) = rebuild(&mut *policy(name), &[], 9);
        assert_eq!((lb.state, plan.connect.len()), (TransientFailure, 0), "{name}");
        assert_eq!(Caller::new(1).error(&*lb.picker), "there are no endpoints");
        assert!(Caller::new(1).explain(&*lb.picker).is_empty());
    }
}

#[test]
fn all_of_ten_thousand_endpoints_are_used() {
    for name in NAMES.into_iter().skip(1) {
        let (lb, plan) = rebuild(&mut *policy(name), &ready(10_000), 9);
        assert_eq!(plan.connect.len(), 10_000);
        let counts = Caller::new(1).count(&*lb.picker, 10_000, 200_000);
        // Mean 20; a Poisson variable of mean 20 is 0 with probability 2e-9.
        assert!(counts.iter().all(|count| *count > 0), "{name} never used some");
    }
}

/// Picks on four threads at once: `fresh` with a clone per call, else with one clone per thread. Counts per endpoint.
fn from_four_threads(picker: &Arc<dyn Picker>, endpoints: usize, picks: usize, fresh: bool) -> Vec<usize> {
    let run = |thread: u64| {
        let mut caller = Caller::new(thread);
        let mut counts = vec![0; endpoints];
        for pick in 0..picks {
            if fresh {
                caller = Caller::new(thread << 32 | pick as u64);
            }
            counts[caller.slot(&**picker).index()] += 1;
        }
        counts
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|thread| scope.spawn(move || run(thread))).collect();
        let counts = threads.into_iter().map(|thread| thread.join().unwrap());
        counts.fold(vec![0; endpoints], |sums, counts| sums.iter().zip(counts).map(|(sum, count)| sum + count).collect())
    })
}

#[test]
fn turns_stay_balanced_from_many_threads() {
    let (lb, _) = rebuild(&mut RoundRobin::default(), &ready(7), 9);
    assert_eq!(from_four_threads(&lb.picker, 7, 700, true), [400; 7], "together they take consecutive turns");
    assert_eq!(from_four_threads(&lb.picker, 7, 700, false), [400; 7], "each walks whole cycles");

    let (lb, _) = rebuild(&mut WeightedRoundRobin::default(), &weighted(&[1, 2, 3]), 9);
    // A thread of its own takes whole cycles of 6 picks, from wherever it starts.
    assert_eq!(from_four_threads(&lb.picker, 3, 6_000, false), [4_000, 8_000, 12_000]);
    let counts = from_four_threads(&lb.picker, 3, 6_000, true);
    // Interleaved turns are each decided alone. A thread that gets only passing ones for `n` turns takes the heaviest, which is
    // rare unless threads march in step; none was seen, and a tenth of the smallest share is allowed.
    for (count, expected) in counts.iter().zip([4_000, 8_000, 12_000_usize]) {
        assert!(count.abs_diff(expected) <= 400, "{counts:?}");
    }
}

#[test]
fn counters_are_zero_once_all_calls_have_ended() {
    let view = ready(5);
    let (lb, _) = rebuild(&mut LeastRequest::default(), &view, 9);
    thread::scope(|scope| {
        for thread in 0..4 {
            let (view, picker) = (&view, &lb.picker);
            scope.spawn(move || {
                let mut caller = Caller::new(thread);
                for outcome in [Outcome::Success, Outcome::Failure, Outcome::Cancelled].into_iter().cycle().take(3_000) {
                    let stats = &view[caller.slot(&**picker).index()].stats;
                    stats.begin();
                    stats.end(outcome);
                }
            });
        }
    });
    let ended: u64 = view.iter().map(|row| row.stats.succeeded() + row.stats.failed()).sum();
    assert_eq!((view.iter().map(|row| row.stats.in_flight()).sum::<u32>(), ended), (0, 8_000));
}

#[test]
fn many_channels_do_not_begin_at_the_same_endpoint() {
    let first = |entropy: u64| Caller::new(1).slot(&*rebuild(&mut RoundRobin::default(), &ready(100), entropy << 33).0.picker);
    let firsts: BTreeSet<Slot> = (0..100).map(first).collect();
    assert_eq!(firsts.len(), 100);
}
