use std::collections::BTreeSet;
use std::thread;

use serde_json::json;

use super::memory::BLIND;
use super::*;
use crate::connectivity::ConnectivityState::{Ready, TransientFailure};
use crate::feedback::{Done, Reported};
use crate::load::LoadReport;
use crate::pick::{PickResult, Picker};
use crate::policies::testing::{Caller, ready, rebuild, slot, view};
use crate::slot::Slot;
use crate::stats::Outcome;

const MS: Duration = Duration::from_millis(1);

fn load(in_flight: u32, millis: u32) -> LoadReport {
    LoadReport { in_flight: Some(in_flight), latency: Some(millis * MS), ..LoadReport::default() }
}

fn report(picker: &dyn Picker, now: Instant, slot: Slot, load: &LoadReport) {
    picker.feedback().unwrap().reported(&Reported::probe(slot, now, load));
}

/// A call that was placed with this token, and answered with this report.
fn answer(picker: &dyn Picker, view: &[SubchannelView], now: Instant, slot: Slot, outcome: Outcome, load: Option<&LoadReport>) {
    let done = Done::new(slot, now, MS, outcome).with_token(BLIND).with_load(load);
    view[slot.index()].stats.begin();
    view[slot.index()].stats.finish(&done);
    picker.feedback().unwrap().finished(&done);
}

/// Picks, each of which finds the pool as `refill` leaves it; counts per endpoint.
fn count(picker: &dyn Picker, endpoints: usize, picks: usize, mut refill: impl FnMut(Instant)) -> Vec<usize> {
    let mut caller = Caller::new(1);
    let mut counts = vec![0; endpoints];
    for _ in 0..picks {
        refill(caller.now);
        counts[caller.slot(picker).index()] += 1;
    }
    counts
}

#[test]
fn configurations() {
    let full = json!({
        "poolSize": 64, "maxAge": "0.5s", "hotQuantile": 0, "probesPerCall": 0.25, "latencyMemory": "0s", "unknown": [], "other": null,
    });
    let policy = Prequal::from_config(&full).unwrap();
    assert_eq!(
        (policy.settings.pool_size, policy.settings.max_age, policy.settings.latency_memory),
        (64, 500 * MS, Duration::ZERO)
    );
    assert_eq!((policy.settings.hot_quantile, policy.settings.probes_per_call), (0.0, 0.25));
    for (field, value) in [
        ("poolSize", json!(1)),
        ("poolSize", json!(65)),
        ("poolSize", json!("16")),
        ("maxAge", json!("0s")),
        ("maxAge", json!("3601s")),
        ("maxAge", json!("-1s")),
        ("maxAge", json!(1)),
        ("hotQuantile", json!(1.01)),
        ("hotQuantile", json!(-0.1)),
        ("hotQuantile", json!("0.5")),
        ("probesPerCall", json!(3)),
        ("probesPerCall", json!([])),
        ("latencyMemory", json!("4")),
        ("latencyMemory", json!("315576000000s")),
    ] {
        let error = Prequal::from_config(&json!({field: value})).unwrap_err();
        assert_eq!(error.field, format!("prequal.{field}"), "{value}");
    }
    assert!(Prequal::default().with_probes_per_call(f64::NAN).is_err() && Prequal::default().with_hot_quantile(f64::NAN).is_err());
}

#[test]
fn the_pool_decides_but_for_one_call_in_64() {
    let view = ready(10);
    let picker = rebuild(&mut Prequal::default(), &view).picker;
    // Theta is 3, the .66 quantile: 7 is hot though fastest.
    let loads = [(3, 3, 50), (5, 3, 20), (7, 9, 1)];
    let refill = |now: Instant| {
        loads.iter().for_each(|(index, in_flight, millis)| report(&*picker, now, slot(*index), &load(*in_flight, *millis)))
    };
    let counts = count(&*picker, 10, 6_400, refill);
    // 100 are blind, and a tenth of those hits it; four sigma are 40.
    assert!(counts[5].abs_diff(6_310) < 40, "{counts:?}");
}

#[test]
fn a_report_serves_one_call() {
    let view = ready(100);
    let picker = rebuild(&mut Prequal::default(), &view).picker;
    let mut caller = Caller::new(3);
    (0..16).for_each(|index| report(&*picker, caller.now, slot(index), &load(index, 10)));
    let picked: BTreeSet<Slot> = (0..15).map(|_| caller.slot(&*picker)).collect();
    assert_eq!(picked.len(), 15);
}

#[test]
fn with_fewer_than_two_fresh_reports_it_chooses_by_its_own_knowledge() {
    let view = ready(10);
    let picker = rebuild(&mut Prequal::default(), &view).picker;
    (0..5).for_each(|_| view[0].stats.begin());
    let alone = count(&*picker, 10, 1_000, |now| report(&*picker, now, slot(0), &load(0, 1)));
    assert_eq!(alone[0], 0, "the busier one of a pair never wins");
    assert!(alone[1..].iter().all(|count| count.abs_diff(111) < 60), "{alone:?}");
    let mut caller = Caller::new(1);
    report(&*picker, caller.now, slot(0), &load(0, 1));
    report(&*picker, caller.now, slot(1), &load(0, 1));
    caller.now += 1_002 * MS;
    assert!((0..100).all(|_| caller.slot(&*picker) != slot(0)), "both are too old");
}

#[test]
fn probes_are_rounded_deterministically_whoever_calls() {
    for (rate, picks, expected) in [(0.0, 1_000, 0), (0.5, 1_000, 500), (0.3, 1_000, 300), (1.0, 1_000, 1_000), (0.01, 1_000, 10)] {
        let mut policy = Prequal::default().with_probes_per_call(rate).unwrap();
        let picker = rebuild(&mut policy, &ready(5)).picker;
        let mut kept = Caller::new(1);
        let from_one = (0..picks).filter(|_| kept.probe(&*picker).is_some()).count();
        let from_many = (0..picks).filter(|seed| Caller::new(*seed).probe(&*picker).is_some()).count();
        assert!(from_one.abs_diff(expected) <= 1 && from_many.abs_diff(expected) <= 1, "{rate}: {from_one}, {from_many}");
    }
}

#[test]
fn probes_go_everywhere_and_never_to_the_only_endpoint() {
    let (many, one) = (rebuild(&mut Prequal::default(), &ready(20)).picker, rebuild(&mut Prequal::default(), &ready(1)).picker);
    let mut caller = Caller::new(1);
    let probed: BTreeSet<Slot> = (0..400).filter_map(|_| caller.probe(&*many)).collect();
    // Each is missed with probability 0.95^400 = 1e-9.
    assert_eq!(probed.len(), 20);
    assert!((0..10).all(|_| caller.probe(&*one).is_none()));
}

#[test]
fn latencies_are_averaged_over_time() {
    let view = ready(3);
    let picker = rebuild(&mut Prequal::default(), &view).picker;
    let mut caller = Caller::new(1);
    report(&*picker, caller.now, slot(0), &load(1, 100));
    let told = |caller: &mut Caller| caller.explain(&*picker)[0].parts[1].1 * 1e3;
    assert!((told(&mut caller) - 100.0).abs() < 0.5);
    // After the memory a new one counts half, at once nothing.
    report(&*picker, caller.now, slot(0), &load(1, 200));
    assert!((told(&mut caller) - 100.0).abs() < 0.5);
    caller.now += 4_000 * MS;
    report(&*picker, caller.now, slot(0), &load(1, 200));
    assert!((told(&mut caller) - 150.0).abs() < 1.0, "{}", told(&mut caller));
}

#[test]
fn a_failing_endpoint_does_not_look_fast() {
    let view = ready(3);
    let picker = rebuild(&mut Prequal::default(), &view).picker;
    let now = Caller::new(1).now;
    report(&*picker, now, slot(0), &load(0, 1));
    (1..50).for_each(|call| answer(&*picker, &view, now + call * 20 * MS, slot(0), Outcome::Failure, Some(&load(0, 1))));
    let mut caller = Caller::new(1);
    caller.now = now + 1_000 * MS;
    assert!(caller.explain(&*picker).iter().all(|score| !score.reason.contains("ms ago")), "its reports are forgotten");
    let refill = |_| {
        report(&*picker, now + 1_000 * MS, slot(0), &load(0, 1));
        report(&*picker, now + 1_000 * MS, slot(1), &load(20, 80));
        report(&*picker, now + 1_000 * MS, slot(2), &load(30, 90));
    };
    let mut counts = [0; 3];
    for _ in 0..1_000 {
        refill(now);
        counts[caller.slot(&*picker).index()] += 1;
    }
    assert!(counts[0] <= 2, "{counts:?}");
}

#[test]
fn endpoints_that_report_nothing_get_their_share() {
    let view = ready(10);
    let picker = rebuild(&mut Prequal::default(), &view).picker;
    let mut caller = Caller::new(1);
    let mut counts = [0; 10];
    for call in 0..4_000 {
        caller.now += MS;
        let (slot, token) = caller.token(&*picker);
        let said = load(1, 10);
        let said = (slot.index() < 5).then_some(&said);
        let done = Done::new(slot, caller.now, 10 * MS, Outcome::Success).with_token(token).with_load(said);
        picker.feedback().unwrap().finished(&done);
        counts[slot.index()] += u32::from(call >= 1_000);
    }
    let silent: u32 = counts[5..].iter().sum();
    // Half of all calls are blind, and half of those go there; the estimate behind it has a sigma of a twentieth.
    assert!((450..1_200).contains(&silent) && counts.iter().all(|count| *count > 50), "{counts:?}");
}

#[test]
fn knowledge_outlives_the_picker_but_not_the_endpoint() {
    let mut view = ready(4);
    let mut policy = Prequal::default();
    let (old, mut caller) = (rebuild(&mut policy, &view).picker, Caller::new(1));
    report(&*old, caller.now, slot(1), &load(0, 100));
    let new = rebuild(&mut policy, &view).picker;
    assert!(caller.explain(&*new)[1].reason.starts_with("cold: 0 in flight"));
    caller.now += 1_000 * MS;
    report(&*old, caller.now, slot(1), &load(0, 200));
    assert!((caller.explain(&*new)[1].parts[1].1 - 0.12).abs() < 0.001, "a fifth of the way, from what was known before");
    view[1].slot = Slot::new(1, 1);
    let newest = rebuild(&mut policy, &view).picker;
    report(&*newest, caller.now, slot(1), &load(0, 1));
    report(&*newest, caller.now, slot(0), &load(0, 50));
    assert!((0..200).all(|_| caller.slot(&*newest) != slot(1)), "it is another endpoint");
}

#[test]
fn restrictions_and_later_attempts_keep_to_what_is_left() {
    let view = view(&[Ready, Ready, Ready, TransientFailure]);
    let picker = rebuild(&mut Prequal::default(), &view).picker;
    let mut caller = Caller::new(1);
    let refill = |caller: &Caller| (0..3).for_each(|index| report(&*picker, caller.now, slot(index), &load(0, 1 + index)));
    let rest = picker.restrict(&|s| s == slot(2) || s == slot(3));
    assert!(rest.feedback().is_some());
    for _ in 0..200 {
        refill(&caller);
        assert_eq!(caller.slot(&*rest), slot(2));
        assert_ne!(caller.slot_after(&*picker, &[slot(0)]), slot(0));
    }
    assert!(caller.error(&*picker.restrict(&|_| false)).contains("restrictions"));
    assert!(caller.error(&*picker.restrict(&|s| s == slot(3))).contains("refused by 3"));
}

#[test]
fn reports_are_asked_for() {
    let mut plan = Plan::default();
    let _ = Prequal::default().rebuild(Caller::new(1).now, &ready(2), &mut plan);
    assert!(plan.load_reports.per_call && plan.load_reports.out_of_band.is_none());
}

#[test]
fn many_threads_pick_ready_endpoints_while_reports_arrive_and_views_change() {
    let states: Vec<_> = (0..40).map(|index| if index % 4 == 0 { TransientFailure } else { Ready }).collect();
    let view = view(&states);
    let mut policy = Prequal::default();
    let pickers: Vec<_> = (0..4).map(|_| rebuild(&mut policy, &view).picker).collect();
    thread::scope(|scope| {
        for (thread, picker) in pickers.iter().enumerate() {
            let states = &states;
            scope.spawn(move || {
                let mut caller = Caller::new(thread as u64);
                for call in 0..5_000_u32 {
                    let PickResult::Pick(picked) = caller.pick(&**picker) else { panic!("all threads see READY endpoints") };
                    assert_eq!(states[picked.index()], Ready);
                    caller.now += MS / 10;
                    report(&**picker, caller.now, slot(call * 7 % 60), &load(call % 50, call % 90));
                    let done = Done::new(picked, caller.now, MS, Outcome::Success);
                    picker.feedback().unwrap().finished(&done.with_load(Some(&load(call % 30, 5))));
                }
            });
        }
    });
}
