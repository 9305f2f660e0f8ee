//! What each factor says, by hand-made cases.

use std::time::Duration;

use serde_json::json;

use super::{MS, begin, best_of_all, finish, picker_of, totals, with_attributes};
use crate::attributes::{Attributes, Locality, RegistryHealth};
use crate::load::LoadReport;
use crate::pick::Picker;
use crate::policies::Scored;
use crate::policies::testing::{Caller, ready, start};
use crate::policy::{Plan, Policy, SubchannelView};
use crate::stats::Outcome;

fn close(totals: &[f64], expected: &[f64]) {
    assert_eq!(totals.len(), expected.len());
    assert!(totals.iter().zip(expected).all(|(total, expected)| (total - expected).abs() < 1e-3), "{totals:?}, not {expected:?}");
}

fn check(factors: serde_json::Value, caller: &mut Caller, view: &[SubchannelView], expected: &[f64]) {
    let picker = picker_of(best_of_all(factors), view);
    close(&totals(caller, &*picker, view.len()), expected);
}

fn capacity<const N: u32>(attributes: &mut Attributes) {
    attributes.capacity = Some(N);
}

#[test]
fn free_capacity_counts_the_call_itself() {
    let view = with_attributes(&[capacity::<8>, capacity::<4>, capacity::<2>, capacity::<0>]);
    begin(&view, &[3, 0, 5, 0]);
    let mut caller = Caller::new(1);
    // A capacity of 0 is none said: it is rated beside the busiest, which has 5.
    check(json!({"capacity": 1}), &mut caller, &view, &[0.5, 0.75, 0.0, 5.0 / 6.0]);
    caller.hints.cost = 4;
    check(json!({"capacity": 1}), &mut caller, &view, &[0.125, 0.0, 0.0, 5.0 / 9.0]);
}

#[test]
fn without_capacity_utilisation_and_calls_in_flight_count() {
    let (view, mut caller) = (ready(3), Caller::new(1));
    begin(&view, &[0, 3, 1]);
    check(json!({"capacity": 1}), &mut caller, &view, &[0.75, 0.0, 0.5]);
    check(json!({"connections": 1}), &mut caller, &view, &[1.0, 0.0, 2.0 / 3.0]);
    view[0].stats.report(caller.now, &LoadReport { cpu_utilization: 0.9, ..LoadReport::default() });
    check(json!({"capacity": 1}), &mut caller, &view, &[(0.1 + 0.75) / 2.0, 0.0, 0.5]);
    // What everybody has in flight there counts, if the server says so, while the report is fresh.
    view[2].stats.report(caller.now, &LoadReport { in_flight: Some(6), ..LoadReport::default() });
    check(json!({"connections": 1}), &mut caller, &view, &[1.0, 0.5, 0.0]);
    caller.now += Duration::from_secs(60);
    check(json!({"capacity": 1}), &mut caller, &view, &[0.75, 0.0, 0.5]);
}

#[test]
fn weight_health_and_cost_are_relative_to_the_best() {
    let mut caller = Caller::new(1);
    let view = with_attributes(&[|a| a.weight = 1, |a| a.weight = 4, |a| a.weight = 2]);
    check(json!({"weight": 1}), &mut caller, &view, &[0.25, 1.0, 0.5]);
    let view = with_attributes(&[|a| a.health = RegistryHealth::Degraded, |a| a.health = RegistryHealth::Healthy]);
    check(json!({"health": 2}), &mut caller, &view, &[1.0, 2.0]);
    let costs: [fn(&mut Attributes); 5] =
        [|a| a.cost = Some(2.0), |a| a.cost = Some(0.5), |_| {}, |a| a.cost = Some(f64::NAN), |a| a.cost = Some(-1.0)];
    check(json!({"cost": 1}), &mut caller, &with_attributes(&costs), &[0.25, 1.0, 0.5, 0.5, 0.5]);
    check(json!({"cost": 1}), &mut caller, &with_attributes(&[|a| a.cost = Some(0.0), |a| a.cost = Some(9.0)]), &[1.0, 0.0]);
}

#[test]
fn speed_is_that_of_calls_that_end_well() {
    let (view, mut caller) = (ready(4), Caller::new(1));
    finish(&caller, &view[0], 10 * MS, Outcome::Success, 50);
    finish(&caller, &view[1], 40 * MS, Outcome::Success, 50);
    finish(&caller, &view[2], MS, Outcome::Failure, 50);
    check(json!({"latency": 1}), &mut caller, &view, &[1.0, 0.25, 1.0, 1.0]);
    // It never answered: only success and penalty hold that against it.
    let failing = view[2].stats.success_rate().unwrap();
    assert!(failing < 0.9);
    check(json!({"successRate": 1}), &mut caller, &view, &[1.0, 1.0, failing, 1.0]);
    finish(&caller, &view[2], 10 * MS, Outcome::Success, 1);
    let success = view[2].stats.success_rate().unwrap();
    check(json!({"latency": 1}), &mut caller, &view, &[1.0, 0.25, success, 1.0]);
    check(json!({"performance": 1}), &mut caller, &view, &[1.0, (0.35 + 0.25 * 0.25) / 0.6, success, 1.0]);
}

#[test]
fn reliability_is_the_share_of_all_calls_with_a_benefit_of_doubt() {
    let (view, mut caller) = (ready(3), Caller::new(1));
    finish(&caller, &view[0], MS, Outcome::Failure, 1);
    finish(&caller, &view[1], MS, Outcome::Success, 90);
    finish(&caller, &view[1], MS, Outcome::Failure, 100);
    check(json!({"reliability": 1}), &mut caller, &view, &[10.0 / 11.0, 0.5, 1.0]);
}

#[test]
fn specialisation_is_how_exact_the_match_is() {
    let edits: [fn(&mut Attributes); 4] = [
        |a| a.capabilities = ["gpu".into(), "avx".into()].into(),
        |a| a.capabilities = ["gpu".into()].into(),
        |a| a.capabilities = ["avx".into()].into(),
        |_| {},
    ];
    let (view, mut caller) = (with_attributes(&edits), Caller::new(1));
    check(json!({"specialisation": 1}), &mut caller, &view, &[1.0, 1.0, 1.0, 1.0]);
    caller.hints.require.push("gpu".into());
    check(json!({"specialisation": 1}), &mut caller, &view, &[0.5, 1.0, 0.0, 0.0]);
    caller.hints.require.push("avx".into());
    check(json!({"specialisation": 1}), &mut caller, &view, &[1.0, 0.0, 0.0, 0.0]);
    caller.hints.require.push("nobody has it".into());
    check(json!({"specialisation": 1}), &mut caller, &view, &[0.0; 4]);
}

#[test]
fn locality_goes_from_region_to_sub_zone() {
    let edits: [fn(&mut Attributes); 5] = [
        |a| a.locality = Locality::new("eu", "eu-1", "r1"),
        |a| a.locality = Locality::new("eu", "eu-1", "r2"),
        |a| a.locality = Locality::new("eu", "eu-2", "r1"),
        |a| a.locality = Locality::new("us", "eu-1", "r1"),
        |_| {},
    ];
    let (view, mut caller) = (with_attributes(&edits), Caller::new(1));
    check(json!({"locality": 1}), &mut caller, &view, &[1.0; 5]);
    caller.hints.locality = Some(Locality::new("eu", "eu-1", "r1"));
    check(json!({"locality": 1}), &mut caller, &view, &[1.0, 0.8, 0.5, 0.0, 0.0]);
    caller.hints.locality = Some(Locality::new("eu", "", ""));
    check(json!({"locality": 1}), &mut caller, &view, &[1.0, 1.0, 1.0, 0.0, 0.0]);
}

#[test]
fn affinity_comes_from_the_call_a_rule_or_experience() {
    let edits: [fn(&mut Attributes); 3] = [|a| a.id = Some("a".into()), |a| a.capabilities = ["gpu".into()].into(), |_| {}];
    let (view, mut caller) = (with_attributes(&edits), Caller::new(1));
    let config = json!({
        "factors": {"affinity": 1}, "choiceCount": 0, "learnAffinity": true, "rules": [{"kind": "ocr", "capabilities": ["gpu"]}]
    });
    let mut policy = Scored::from_config(&config).unwrap();
    let picker = policy.rebuild(caller.now, &view, &mut Plan::default()).picker;
    close(&totals(&mut caller, &*picker, 3), &[0.0; 3]);
    caller.hints.prefer.push(view[2].endpoint.key().clone());
    close(&totals(&mut caller, &*picker, 3), &[0.0, 0.0, 1.0]);
    caller.hints.prefer.clear();
    caller.hints.kind = Some("ocr".into());
    close(&totals(&mut caller, &*picker, 3), &[1.0 / 3.0, 1.0, 1.0 / 3.0]);
    caller.hints.kind = Some("mail".into());
    close(&totals(&mut caller, &*picker, 3), &[1.0; 3]);
    let experience = policy.experience().unwrap();
    (0..96).for_each(|_| experience.record(view[0].slot, "mail", caller.now, 10 * MS, true));
    (0..96).for_each(|_| experience.record(view[1].slot, "mail", caller.now, 20 * MS, true));
    // Of 100 that count, 4 are the benefit of doubt.
    close(&totals(&mut caller, &*picker, 3), &[1.0, 0.52, 1.0]);
    let reason = caller.explain(&*picker)[1].reason.clone();
    assert_eq!(reason, "affinity 0.52 to mail: 96 before, 100 % succeeded, 20.0 ms");
}

#[test]
fn a_rising_load_is_seen_before_it_is_there() {
    let mut policy = Scored::from_config(&json!({"factors": {"loadForecast": 1}, "choiceCount": 0})).unwrap();
    let view = with_attributes(&[capacity::<100>, capacity::<100>]);
    begin(&view, &[0, 30]);
    let mut caller = Caller::new(1);
    let mut rebuild = |caller: &mut Caller, plan: &mut Plan| policy.rebuild(caller.now, &view, plan).picker;
    for _ in 0..20 {
        let mut plan = Plan::default();
        let _ = rebuild(&mut caller, &mut plan);
        assert_eq!(plan.wake_at, Some(caller.now + Duration::from_secs(1)), "asks to look again");
        // Another change of the view in between counts as no observation.
        let _ = policy_untouched(&mut rebuild, &mut caller);
        begin(&view, &[1, 0]);
        caller.now += Duration::from_secs(1);
    }
    let picker = rebuild(&mut caller, &mut Plan::default());
    // 20 calls now, one more each second: the slope is learned to about two thirds, and 30 stay 30.
    let expected = totals(&mut caller, &*picker, 2);
    assert!(expected[0] < 0.79 && expected[0] > 0.72 && (expected[1] - 0.69).abs() < 1e-3, "{expected:?}");
    assert!(caller.explain(&*picker)[1].reason.starts_with("30.0 ± 0.0 calls expected"));
}

fn policy_untouched(
    rebuild: &mut impl FnMut(&mut Caller, &mut Plan) -> std::sync::Arc<dyn Picker>,
    caller: &mut Caller,
) -> std::sync::Arc<dyn Picker> {
    let (at, mut plan) = (caller.now, Plan::default());
    caller.now += 500 * MS;
    let picker = rebuild(caller, &mut plan);
    caller.now = at;
    assert_eq!(plan.wake_at, Some(at + Duration::from_secs(1)));
    picker
}

#[test]
fn absurd_numbers_stay_numbers() {
    let all: serde_json::Map<_, _> = super::super::Factor::ALL.iter().map(|factor| (factor.name().into(), json!(1000))).collect();
    let edits: [fn(&mut Attributes); 3] = [
        |a| (a.weight, a.capacity, a.cost) = (u32::MAX, Some(u32::MAX), Some(f64::MAX)),
        |a| (a.weight, a.capacity, a.cost) = (0, Some(1), Some(f64::MIN_POSITIVE)),
        |a| (a.weight, a.priority) = (1, u32::MAX),
    ];
    let (view, mut caller) = (with_attributes(&edits), Caller::new(1));
    view[0].stats.report(caller.now, &LoadReport { cpu_utilization: 1e300, in_flight: Some(u32::MAX), ..LoadReport::default() });
    finish(&caller, &view[2], Duration::MAX, Outcome::Success, 3);
    finish(&caller, &view[2], Duration::ZERO, Outcome::Failure, 3);
    caller.hints.cost = u32::MAX;
    caller.hints.kind = Some("".into());
    for choices in [0, 2] {
        let config = json!({"factors": all, "choiceCount": choices, "errorPenalty": 1000, "learnAffinity": true});
        let mut policy = Scored::from_config(&config).unwrap();
        let picker = policy.rebuild(start(), &view, &mut Plan::default()).picker;
        let scores = caller.explain(&*picker);
        assert!(scores.len() == 2 && scores.iter().all(|score| score.total.is_finite()), "{scores:?}");
        assert!((0..100).all(|_| view[caller.slot(&*picker).index()].weight > 0));
    }
}
