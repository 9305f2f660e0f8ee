use std::sync::Arc;

use serde_json::json;

use super::*;
use crate::connectivity::ConnectivityState::{self, Idle};
use crate::policies::testing::{self, Caller, slot, start};
use crate::slot::Slot;

fn policy() -> PrioritySpillover {
    let config = json!({"childPolicy": [{"round_robin": {}}]});
    PrioritySpillover::from_config(&config, &PolicyRegistry::default()).unwrap()
}

/// Per group the states of its endpoints, and whether those that failed are connected.
fn view(groups: &[&[ConnectivityState]], connected: bool) -> Vec<SubchannelView> {
    let states: Vec<ConnectivityState> = groups.iter().flat_map(|states| states.iter().copied()).collect();
    let priorities = groups.iter().zip(0..).flat_map(|(states, priority)| states.iter().map(move |_| priority));
    let mut view = testing::view(&states);
    for (row, priority) in view.iter_mut().zip(priorities) {
        Arc::make_mut(&mut row.endpoint).attributes.priority = priority;
        row.connected |= connected && row.state == TransientFailure;
    }
    view
}

fn decide(view: &[SubchannelView]) -> (LbState, Plan) {
    let mut plan = Plan::default();
    (policy().rebuild(start(), view, &mut plan), plan)
}

/// The first `healthy` of ten endpoints are READY, the others have failed.
fn ten(healthy: usize) -> Vec<ConnectivityState> {
    (0..10).map(|index| if index < healthy { Ready } else { TransientFailure }).collect()
}

#[test]
fn configuration_table() {
    let child = json!([{"round_robin": {}}]);
    let build = |config: Value| {
        PrioritySpillover::from_config(&config, &PolicyRegistry::default()).map(|policy| (policy.factor, policy.threshold))
    };
    assert_eq!(build(json!({"childPolicy": child})), Ok((140, 50)));
    assert_eq!(build(json!({"childPolicy": child, "overprovisioningFactor": 100, "healthyPanicThreshold": 0})), Ok((100, 0)));
    for (config, field) in [
        (json!({}), "childPolicy"),
        (json!({"childPolicy": child, "overprovisioningFactor": 99}), "overprovisioningFactor"),
        (json!({"childPolicy": child, "healthyPanicThreshold": 101}), "healthyPanicThreshold"),
        (json!({"childPolicy": child, "healthyPanicThreshold": "50"}), "healthyPanicThreshold"),
    ] {
        let error = build(config.clone()).unwrap_err();
        assert_eq!(error.field.strip_prefix("priority_spillover."), Some(field), "{config}: {error}");
    }
}

#[test]
fn shares_are_those_of_the_published_tables() {
    for (healthy, expected) in [
        (&[100, 100, 100][..], &[100.0, 0.0, 0.0][..]),
        (&[72, 72, 100], &[100.0, 0.0, 0.0]),
        (&[71, 71, 100], &[99.4, 0.6, 0.0]),
        (&[50, 50, 100], &[70.0, 30.0, 0.0]),
        (&[25, 100, 100], &[35.0, 65.0, 0.0]),
        (&[25, 25, 100], &[35.0, 35.0, 30.0]),
        (&[25, 25, 20], &[35.7, 35.7, 28.6]),
        (&[25, 25], &[50.0, 50.0]),
        (&[0, 100], &[0.0, 100.0]),
        (&[0, 0], &[50.0, 50.0]),
    ] {
        let tallies: Vec<Tally> = healthy.iter().map(|healthy| Tally { all: 100, healthy: *healthy }).collect();
        let shares: Vec<f64> = loads(&tallies, 140, 50).iter().map(|load| load.share * 100.0).collect();
        assert!(shares.iter().zip(expected).all(|(share, expected)| (share - expected).abs() < 0.06), "{healthy:?}: {shares:?}");
    }
    assert!(loads(&[], 140, 50).is_empty());
}

#[test]
fn panic_needs_too_little_everywhere_and_in_the_group() {
    for (healthy, expected) in [
        (&[25, 100][..], &[false, false][..]),
        (&[25, 25], &[true, true]),
        (&[10, 55], &[true, false]),
        (&[0, 0], &[true, true]),
        (&[49], &[true]),
        (&[50], &[false]),
        (&[72], &[false]),
    ] {
        let tallies: Vec<Tally> = healthy.iter().map(|healthy| Tally { all: 100, healthy: *healthy }).collect();
        let panics: Vec<bool> = loads(&tallies, 140, 50).iter().map(|load| load.panics).collect();
        assert_eq!(panics, expected, "{healthy:?}");
        assert!(loads(&tallies, 140, 0).iter().all(|load| !load.panics));
    }
}

#[test]
fn what_is_too_much_spills_over_and_stays_within_what_is_ready() {
    let view = view(&[&ten(5), &[Ready; 10]], false);
    let (lb, plan) = decide(&view);
    let counts = Caller::new(1).count(&*lb.picker, 20, 20_000);
    let first: usize = counts[..10].iter().sum();
    // Binomial: five sigma of 20 000 at 0.7 are 324.
    assert!(first.abs_diff(14_000) < 324 && counts[5..10].iter().all(|count| *count == 0), "{counts:?}");
    assert_eq!(plan.connect.len(), 20);
    let scores = Caller::new(1).explain(&*lb.picker);
    assert!(scores[0].reason.starts_with("priority 0 (5 of 10 healthy), 70.0 % of calls: "), "{}", scores[0].reason);
    let total: f64 = scores.iter().map(|score| score.total).sum();
    assert!((total - 1.0).abs() < 1e-9);
}

#[test]
fn a_group_without_share_is_not_connected_and_a_failed_one_above_is_retried() {
    let (_, plan) = decide(&view(&[&[Ready, Ready], &[Idle, Idle]], false));
    assert_eq!(plan.connect, [slot(0), slot(1)]);
    let (lb, plan) = decide(&view(&[&[TransientFailure, TransientFailure], &[Ready], &[Idle]], false));
    let mut wanted = plan.connect;
    wanted.sort_unstable();
    assert_eq!((lb.state, wanted), (Ready, vec![slot(0), slot(1), slot(2)]));
    assert_eq!(Caller::new(1).count(&*lb.picker, 4, 10), [0, 0, 10, 0]);
}

#[test]
fn a_share_for_a_group_that_is_still_connecting_stays_above() {
    let (lb, plan) = decide(&view(&[&ten(5), &[Idle; 2]], false));
    assert_eq!((lb.state, plan.connect.len()), (Ready, 12));
    let counts = Caller::new(1).count(&*lb.picker, 12, 1_000);
    assert_eq!(counts[..5].iter().sum::<usize>(), 1_000);
}

#[test]
fn a_group_that_panics_uses_what_is_connected_and_says_so() {
    let (lb, _) = decide(&view(&[&ten(2)], true));
    let counts = Caller::new(1).count(&*lb.picker, 10, 1_000);
    assert_eq!(counts, [100; 10]);
    let scores = Caller::new(1).explain(&*lb.picker);
    assert!(scores[9].reason.contains("(2 of 10 healthy, panic: health is disregarded)"), "{}", scores[9].reason);

    let (lb, _) = decide(&view(&[&ten(2)], false));
    assert_eq!(Caller::new(1).count(&*lb.picker, 10, 100)[..2], [50, 50], "nothing can be sent without a connection");
    let (lb, _) = decide(&view(&[&ten(5)], true));
    assert_eq!(Caller::new(1).count(&*lb.picker, 10, 100)[5..], [0; 5], "half is enough");
}

#[test]
fn all_failed_is_a_failure_and_everything_is_retried() {
    let (lb, plan) = decide(&view(&[&[TransientFailure; 2], &[TransientFailure]], false));
    assert_eq!((lb.state, plan.connect.len()), (TransientFailure, 3));
    assert!(Caller::new(1).error(&*lb.picker).contains("refused by"));
    assert_eq!(Caller::new(1).error(&*decide(&[]).0.picker), "there are no endpoints");
}

#[test]
fn later_attempts_and_restrictions_go_to_other_groups() {
    let (lb, _) = decide(&view(&[&[Ready, TransientFailure, TransientFailure], &[Ready]], false));
    let mut caller = Caller::new(1);
    assert!((0..50).all(|_| caller.slot_after(&*lb.picker, &[slot(0)]) == slot(3)));
    let rest = lb.picker.restrict(&|slot: Slot| slot.index() < 3);
    assert!((0..50).all(|_| caller.slot(&*rest) == slot(0)));
    assert!(caller.error(&*lb.picker.restrict(&|_| false)).contains("restrictions"));
}
