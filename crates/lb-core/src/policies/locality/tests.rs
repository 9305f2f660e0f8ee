use serde_json::json;

use super::*;
use crate::connectivity::ConnectivityState::{self, Connecting, Idle, Ready, TransientFailure};
use crate::feedback::Done;
use crate::pick::PickResult;
use crate::policies::testing::{self, Caller, slot, start};
use crate::slot::Slot;
use crate::stats::Outcome;

fn policy(child: Value) -> WrrLocality {
    WrrLocality::from_config(&json!({"childPolicy": child}), &PolicyRegistry::default()).unwrap()
}

fn round_robin() -> WrrLocality {
    policy(json!([{"round_robin": {}}]))
}

/// Endpoints as (zone, locality weight in metadata, state).
fn view(rows: &[(&str, &str, ConnectivityState)]) -> Vec<SubchannelView> {
    let states: Vec<ConnectivityState> = rows.iter().map(|(_, _, state)| *state).collect();
    let mut view = testing::view(&states);
    for (row, (zone, weight, _)) in view.iter_mut().zip(rows) {
        let attributes = &mut Arc::make_mut(&mut row.endpoint).attributes;
        attributes.locality = Locality::new("", *zone, "");
        if !weight.is_empty() {
            attributes.metadata.insert(WrrLocality::WEIGHT.into(), (*weight).into());
        }
    }
    view
}

fn decide(policy: &mut WrrLocality, view: &[SubchannelView]) -> (LbState, Plan) {
    let mut plan = Plan::new(1);
    (policy.rebuild(start(), view, &mut plan), plan)
}

fn counts(policy: &mut WrrLocality, view: &[SubchannelView]) -> Vec<usize> {
    Caller::new(1).count(&*decide(policy, view).0.picker, view.len(), 10_000)
}

#[test]
fn the_child_policy_is_required_and_checked() {
    for (config, field) in [
        (json!({}), "wrr_locality_experimental.childPolicy"),
        (json!({"childPolicy": {}}), "wrr_locality_experimental.childPolicy"),
        (json!({"childPolicy": [{"unknown": {}}]}), "wrr_locality_experimental.childPolicy"),
        (json!({"childPolicy": [5]}), "wrr_locality_experimental.childPolicy[0]"),
        (
            json!({"childPolicy": [{"least_request": {"choiceCount": 0}}]}),
            "wrr_locality_experimental.childPolicy.least_request_experimental.choiceCount",
        ),
    ] {
        assert_eq!(WrrLocality::from_config(&config, &PolicyRegistry::default()).unwrap_err().field, field, "{config}");
    }
}

#[test]
fn localities_get_shares_by_weight_and_endpoints_theirs_within() {
    let counts = counts(&mut round_robin(), &view(&[("a", "1", Ready), ("b", "3", Ready), ("b", "", Ready)]));
    // Binomial: five sigma of 10 000 at a quarter are 217.
    assert!(counts[0].abs_diff(2_500) < 217 && counts[1].abs_diff(counts[2]) <= 1, "{counts:?}");
}

#[test]
fn without_weights_every_endpoint_gets_the_same() {
    let counts = counts(&mut round_robin(), &view(&[("a", "", Ready), ("b", "", Ready), ("b", "x", Ready), ("", "", Ready)]));
    assert!(counts.iter().all(|count| count.abs_diff(2_500) < 217), "{counts:?}");
}

#[test]
fn weight_zero_is_left_alone_unless_all_are_zero() {
    let (lb, plan) = decide(&mut round_robin(), &view(&[("a", "0", Ready), ("b", "5", Ready)]));
    assert_eq!((Caller::new(1).count(&*lb.picker, 2, 10), plan.connect), (vec![0, 10], vec![slot(1)]));
    let counts = counts(&mut round_robin(), &view(&[("a", "0", Ready), ("b", "0", Ready)]));
    assert!(counts[0].abs_diff(5_000) < 250, "{counts:?}");
}

#[test]
fn a_change_of_weights_keeps_the_policies_within() {
    let mut policy = round_robin();
    let first = counts(&mut policy, &view(&[("a", "1", Ready), ("b", "1", Ready)]));
    let second = counts(&mut policy, &view(&[("a", "9", Ready), ("b", "1", Ready)]));
    assert!(first[0].abs_diff(5_000) < 250 && second[0].abs_diff(9_000) < 150, "{first:?} {second:?}");
    assert_eq!(decide(&mut policy, &view(&[("a", "9", Ready), ("b", "1", Ready)])).1.disconnect, []);
}

#[test]
fn a_locality_that_failed_or_left_gives_its_share_to_the_others() {
    let mut policy = round_robin();
    assert_eq!(counts(&mut policy, &view(&[("a", "9", TransientFailure), ("b", "1", Ready)])), [0, 10_000]);
    assert_eq!(counts(&mut policy, &view(&[("a", "9", Connecting), ("b", "1", Ready)])), [0, 10_000]);
    assert_eq!(counts(&mut policy, &view(&[("b", "1", Ready)])), [10_000]);
}

#[test]
fn states_become_one() {
    for (states, expected) in [
        ([Ready, TransientFailure], Ready),
        ([Connecting, TransientFailure], Connecting),
        ([TransientFailure, TransientFailure], TransientFailure),
    ] {
        let (lb, _) = decide(&mut round_robin(), &view(&[("a", "", states[0]), ("b", "", states[1])]));
        assert_eq!(lb.state, expected);
    }
    let lazy = json!([{"ring_hash": {}}]);
    let (lb, _) = decide(&mut policy(lazy), &view(&[("a", "", Idle), ("b", "", TransientFailure)]));
    assert_eq!(lb.state, Idle);
    let picked = Caller::new(1).with_key("k").pick(&*lb.picker);
    assert!(matches!(picked, PickResult::Connect(wanted) if wanted == slot(0)), "{picked:?}");
    let (lb, _) = decide(&mut round_robin(), &[]);
    assert_eq!((lb.state, Caller::new(1).error(&*lb.picker)), (TransientFailure, "there are no endpoints".to_owned()));
}

#[test]
fn one_that_failed_at_first_does_not_fail_calls_while_another_connects() {
    let (lb, _) = decide(&mut round_robin(), &view(&[("a", "", TransientFailure), ("b", "", Connecting)]));
    assert!((0..50).all(|seed| matches!(Caller::new(seed).pick(&*lb.picker), PickResult::Queue)));
}

#[test]
fn a_failed_locality_stays_failed_until_it_is_ready() {
    let mut policy = round_robin();
    let states = |policy: &mut WrrLocality, state| decide(policy, &view(&[("a", "", state)])).0.state;
    assert_eq!(states(&mut policy, Connecting), Connecting);
    assert_eq!(states(&mut policy, TransientFailure), TransientFailure);
    assert_eq!(states(&mut policy, Connecting), TransientFailure);
    assert_eq!(states(&mut policy, Ready), Ready);
    assert_eq!(states(&mut policy, Connecting), Connecting);
}

#[test]
fn all_failed_calls_see_errors_by_weight() {
    let (lb, _) = decide(&mut round_robin(), &view(&[("a", "1", TransientFailure), ("b", "1000", TransientFailure)]));
    assert!(Caller::new(1).error(&*lb.picker).contains("refused by 1"));
}

#[test]
fn later_attempts_and_restrictions_reach_other_localities() {
    let rows = [("a", "9", Ready), ("b", "1", Ready), ("b", "", TransientFailure)];
    let (lb, _) = decide(&mut round_robin(), &view(&rows));
    let mut caller = Caller::new(1);
    assert!((0..50).all(|_| caller.slot_after(&*lb.picker, &[slot(0)]) == slot(1)));
    assert!((0..50).all(|_| caller.slot(&*lb.picker.restrict(&|s| s != slot(0))) == slot(1)));
    assert!(caller.error(&*lb.picker.restrict(&|s| s == slot(2))).contains("refused by 2"));
    assert!(caller.error(&*lb.picker.restrict(&|_| false)).contains("restrictions"));
}

#[test]
fn explanations_name_the_locality_and_add_up() {
    let (lb, _) = decide(&mut round_robin(), &view(&[("a", "1", Ready), ("b", "3", Ready), ("", "", Ready)]));
    let scores = Caller::new(1).explain(&*lb.picker);
    assert!((scores.iter().map(|score| score.total).sum::<f64>() - 1.0).abs() < 1e-9);
    assert!(scores.iter().any(|score| score.reason.starts_with("locality b, 60.0 % of calls: ")), "{scores:?}");
    assert!(scores.iter().any(|score| score.reason.starts_with("no locality, ")));
}

#[test]
fn each_locality_hears_of_its_own_calls() {
    let child = json!([{"maglev": {"hashBalanceFactor": 100}}]);
    let rows = view(&[("a", "1", Ready), ("a", "1", Ready), ("b", "1", Ready)]);
    let (lb, plan) = decide(&mut policy(child), &rows);
    assert!(plan.wake_at.is_some(), "a wish of the policy within");
    let mut caller = Caller::new(1);
    let feedback = lb.picker.feedback().expect("the policy within listens");
    // Were an end not told, the bound would grow with every call, and the hot key keep to one endpoint.
    for _ in 0..1_000 {
        let picked: Vec<Slot> = (0..6).map(|_| caller.with_key("hot").slot(&*lb.picker)).collect();
        picked.iter().for_each(|slot| rows[slot.index()].stats.begin());
        let again: Vec<Slot> = (0..20).map(|_| caller.slot(&*lb.picker)).collect();
        for slot in &again {
            feedback.finished(&Done::new(*slot, start(), std::time::Duration::ZERO, Outcome::Success));
        }
        for slot in picked {
            rows[slot.index()].stats.end(Outcome::Success);
            feedback.finished(&Done::new(slot, start(), std::time::Duration::ZERO, Outcome::Success));
        }
    }
    let placed: Vec<Slot> = (0..40)
        .map(|_| {
            let slot = caller.slot(&*lb.picker);
            rows[slot.index()].stats.begin();
            slot
        })
        .collect();
    let in_a = placed.iter().filter(|slot| slot.index() < 2).count();
    assert!(rows[..2].iter().all(|row| row.stats.in_flight() as usize <= in_a.div_ceil(2)));
    assert!(lb.picker.restrict(&|_| true).feedback().is_some());
}
