//! Who is picked, and how it is explained.

use serde_json::json;

use super::{MS, begin, best_of_all, finish, picker_of, preset, totals, with_attributes};
use crate::attributes::Locality;
use crate::connectivity::ConnectivityState::{Ready, TransientFailure};
use crate::feedback::Done;
use crate::hints::PickHints;
use crate::pick::{PickArgs, PickResult};
use crate::policies::testing::{Caller, ready, rebuild, slot, view};
use crate::policies::{Preset, Scored};
use crate::scratch::Scratch;
use crate::stats::Outcome;

#[test]
fn the_best_of_all_is_the_one_with_the_highest_total() {
    let view = with_attributes(&[|a| a.weight = 3, |a| a.weight = 8, |a| a.weight = 5]);
    begin(&view, &[0, 2, 1]);
    let (picker, mut caller) = (picker_of(best_of_all(json!({"weight": 0.3, "connections": 0.7})), &view), Caller::new(1));
    let totals = totals(&mut caller, &*picker, 3);
    assert!(totals[0] > totals[1] && totals[0] > totals[2], "{totals:?}");
    // One in 64 goes anywhere: 10 or 11 of 1000 to another, five sigma are 16.
    assert!(caller.count(&*picker, 3, 1_000)[0] > 973);
    begin(&view, &[3, 0, 0]);
    assert!(caller.count(&*picker, 3, 1_000)[2] > 973, "counters are read at the pick");
}

#[test]
fn equals_are_each_as_likely_wherever_they_stand() {
    let view = with_attributes(&[|_| {}, |a| a.weight = 2, |a| a.weight = 2, |_| {}, |a| a.weight = 2]);
    let picker = picker_of(best_of_all(json!({"weight": 1})), &view);
    let counts = Caller::new(3).count(&*picker, 5, 30_000);
    // One in 64 goes anywhere: 94 to each. Five sigma of a binomial with n = 30 000 and p = 1/3 are 408.
    assert!([1, 2, 4].iter().all(|at| counts[*at].abs_diff(9_938) < 408), "{counts:?}");
    assert!([0, 3].iter().all(|at| counts[*at].abs_diff(94) < 49), "{counts:?}");
}

#[test]
fn two_choices_bound_what_any_score_can_do() {
    let view = with_attributes(&[|a| a.weight = 1, |a| a.weight = 1_000, |a| a.weight = 10, |a| a.weight = 100]);
    let picker = picker_of(Scored::from_config(&json!({"factors": {"weight": 1}})).unwrap(), &view);
    let counts = Caller::new(3).count(&*picker, 4, 32_000);
    // By rank 3, 2, 1 and 0 of 6 pairs, and a fourth of one in 64; five sigma are at most 447.
    let expected = [125, 15_875, 5_375, 10_625];
    assert!(counts.iter().zip(expected).all(|(count, expected): (&usize, usize)| count.abs_diff(expected) < 447), "{counts:?}");
}

#[test]
fn explained_in_parts_and_words() {
    let view = with_attributes(&[
        |a| (a.capacity, a.locality) = (Some(8), Locality::new("eu-west", "", "")),
        |a| (a.capacity, a.locality) = (Some(8), Locality::new("us-east", "", "")),
    ]);
    begin(&view, &[1, 3]);
    let mut caller = Caller::new(1);
    finish(&caller, &view[0], 20 * MS, Outcome::Success, 99);
    finish(&caller, &view[1], MS, Outcome::Failure, 10);
    caller.hints.locality = Some(Locality::new("eu-west", "", ""));
    let config = json!({"factors": {"capacity": 0.5, "locality": 0.3, "latency": 0.2}, "errorPenalty": 1});
    let scores = caller.explain(&*picker_of(Scored::from_config(&config).unwrap(), &view));
    assert_eq!(scores[0].reason, "free capacity 0.75 of 8, takes 20.0 ms, prefers eu-west");
    assert!((scores[0].total - 0.875).abs() < 1e-9, "{:?}", scores[0]);
    assert_eq!(scores[0].parts, [("capacity", 0.375), ("latency", 0.2), ("locality", 0.3), ("errors", -0.0)]);
    let failing = 1.0 - view[1].stats.success_rate().unwrap();
    assert_eq!(
        scores[1].reason,
        format!("free capacity 0.50 of 8, speed unknown, far, in us-east, {:.0} % errors", failing * 100.0)
    );
    for score in &scores {
        assert!((score.parts.iter().map(|(_, part)| part).sum::<f64>() - score.total).abs() < 1e-12);
    }
}

#[test]
fn every_preset_explains_itself() {
    let view = with_attributes(&[|a| a.capacity = Some(10), |a| a.capabilities = ["gpu".into()].into()]);
    for which in Preset::ALL {
        let mut caller = Caller::new(1);
        caller.hints.kind = Some("gpu".into());
        caller.hints.require.push("gpu".into());
        let scores = caller.explain(&*preset(which, &view));
        assert!(scores.len() == 2 && scores.iter().all(|score| !score.reason.is_empty()), "{which:?}: {scores:?}");
    }
}

#[test]
fn later_attempts_and_restrictions_go_elsewhere() {
    for choices in [0, 2] {
        for name in ["score", "task", "capability_aware", "workload_aware"] {
            let registry = crate::registry::PolicyRegistry::default();
            let mut policy = registry.build(name, &json!({"choiceCount": choices})).unwrap();
            let view = ready(3);
            begin(&view, &[0, 10, 20]);
            let (picker, mut caller) = (rebuild(&mut *policy, &view).picker, Caller::new(1));
            assert!((0..200).all(|_| caller.slot_after(&*picker, &[slot(0)]) != slot(0)), "{name} {choices}");
            let _ = caller.slot_after(&*picker, &[slot(0), slot(1), slot(2)]);
            let rest = picker.restrict(&|s| s == slot(2));
            assert!((0..20).all(|_| caller.slot(&*rest) == slot(2)));
            assert_eq!(rest.feedback().is_some(), name == "task");
            assert!(caller.error(&*picker.restrict(&|_| false)).contains("restrictions"));
        }
    }
}

#[test]
fn without_ready_endpoints_it_behaves_as_round_robin() {
    let mut policy = Scored::preset(Preset::Weighted);
    let picker = rebuild(&mut policy, &view(&[TransientFailure; 2])).picker;
    let mut caller = Caller::new(1);
    assert!(caller.error(&*picker).contains("refused by 0") && caller.error(&*picker).contains("refused by 1"));
    assert!(caller.error(&*rebuild(&mut policy, &[]).picker).contains("no endpoints"));
    let picker = rebuild(&mut policy, &view(&[TransientFailure, Ready])).picker;
    assert!(caller.error(&*picker.restrict(&|s| s == slot(0))).contains("refused by 0"));
}

#[test]
fn weight_0_gets_calls_only_if_all_have_it() {
    let picker = preset(Preset::Weighted, &with_attributes(&[|a| a.weight = 0, |a| a.weight = 5]));
    assert_eq!(Caller::new(1).count(&*picker, 2, 100), [0, 100]);
    let picker = preset(Preset::Weighted, &with_attributes(&[|a| a.weight = 0, |a| a.weight = 0]));
    assert!(Caller::new(1).count(&*picker, 2, 100).iter().all(|count| *count > 20));
}

/// Calls of two kinds; endpoint 0 does one well, endpoint 1 the other. What is learned outlives pickers.
#[test]
fn task_learns_who_does_what_well() {
    let view = ready(2);
    let mut policy = Scored::preset(Preset::Task);
    let mut scratch = Scratch::new(5);
    let (headers, caller) = (http::HeaderMap::new(), Caller::new(1));
    let mut correct = Vec::new();
    for call in 0..400_u32 {
        let picker = rebuild(&mut policy, &view).picker;
        let kind = call % 2;
        let hints = PickHints { kind: Some(format!("kind {kind}").into()), ..PickHints::default() };
        let mut args = PickArgs::new(caller.now, "/s/m", &headers, &hints, &mut scratch);
        let PickResult::Pick(picked) = picker.pick(&mut args) else { panic!("both are READY") };
        assert_ne!(args.token, 0);
        let good = picked == slot(kind);
        let latency = if good { 10 * MS } else { 100 * MS };
        let done = Done::new(picked, caller.now, latency, Outcome::Success).with_token(args.token);
        picker.feedback().unwrap().finished(&done);
        correct.push(good);
    }
    // Once known, the other one gets half of one in 64.
    let late = correct[200..].iter().filter(|good| **good).count();
    assert!(late > 190, "{late} of 200");
    let outcome = policy.experience().unwrap().outcome(slot(0), "kind 0", caller.now).unwrap();
    assert!(outcome.success_rate > 0.99 && outcome.latency.abs_diff(10 * MS) < MS, "{outcome:?}");
}
