use serde_json::json;

use super::*;
use crate::connectivity::ConnectivityState::{Connecting, TransientFailure};
use crate::feedback::Done;
use crate::policies::testing::{Caller, ready, slot, start, view, weighted};
use crate::policies::{Maglev, RingHash};
use crate::policy::Policy;
use crate::stats::Outcome;

const NAMES: [&str; 2] = ["ring_hash", "maglev"];

fn policy(name: &str, factor: u32) -> Box<dyn Policy> {
    let config = json!({"hashBalanceFactor": factor});
    match name {
        "ring_hash" => Box::new(RingHash::from_config(&config).unwrap()),
        _ => Box::new(Maglev::from_config(&config).unwrap()),
    }
}

fn picker(policy: &mut dyn Policy, view: &[SubchannelView]) -> Arc<dyn Picker> {
    policy.rebuild(start(), view, &mut Plan::default()).picker
}

/// Places a call and counts it, as a channel does.
fn place(caller: &mut Caller, picker: &dyn Picker, view: &[SubchannelView]) -> Slot {
    let slot = caller.slot(picker);
    view[slot.index()].stats.begin();
    slot
}

fn place_many(calls: usize, caller: &mut Caller, picker: &dyn Picker, view: &[SubchannelView]) {
    (0..calls).for_each(|_| _ = place(caller, picker, view));
}

fn finish(picker: &dyn Picker, view: &[SubchannelView], slot: Slot) {
    view[slot.index()].stats.end(Outcome::Success);
    let done = Done::new(slot, start(), Duration::ZERO, Outcome::Success);
    picker.feedback().expect("it counts").finished(&done);
}

fn loads(view: &[SubchannelView]) -> Vec<u32> {
    view.iter().map(|row| row.stats.in_flight()).collect()
}

#[test]
fn the_factor_is_checked() {
    let factor = |config: Value| Bounds::from_config("p", &config).map(|bounds| bounds.map(|bounds| bounds.factor));
    assert_eq!((factor(json!({})), factor(json!({"hashBalanceFactor": null}))), (Ok(None), Ok(None)));
    assert_eq!(factor(json!({"hashBalanceFactor": 100})), Ok(Some(100)));
    for bad in [json!(0), json!(99), json!(-1), json!("125"), json!(1.5)] {
        assert_eq!(factor(json!({"hashBalanceFactor": bad})).unwrap_err().field, "p.hashBalanceFactor", "{bad}");
    }
}

#[test]
fn no_endpoint_is_ever_above_its_bound() {
    for name in NAMES {
        for (factor, weights) in [(100, &[1; 7][..]), (125, &[1; 10]), (150, &[1, 2, 3, 4]), (300, &[1; 3])] {
            let view = weighted(weights);
            let total: u32 = weights.iter().sum();
            let (mut policy, mut caller) = (policy(name, factor), Caller::new(3));
            let picker = picker(&mut *policy, &view);
            let mut open = Vec::new();
            for step in 0..2_000_u32 {
                // One key in two is hot; calls come and go, with more and more of them at a time.
                let key = if step % 2 == 0 { "hot".to_owned() } else { format!("k{step}") };
                let placed = place(caller.with_key(&key), &*picker, &view);
                open.push(placed);
                let (calls, weight) = (open.len() as u64, u64::from(weights[placed.index()]));
                let most = (u64::from(factor) * calls * weight).div_ceil(100 * u64::from(total));
                let load = u64::from(view[placed.index()].stats.in_flight());
                assert!(load <= most, "{name} {factor}: {load} of {calls} at {placed}, at most {most}");
                if step % 3 == 0 {
                    finish(&*picker, &view, open.swap_remove((step as usize * 7) % open.len()));
                }
            }
        }
    }
}

#[test]
fn without_pressure_calls_are_where_they_belong() {
    for name in NAMES {
        let view = ready(10);
        let (mut bounded, mut caller) = (policy(name, 200), Caller::new(1));
        let picker = picker(&mut *bounded, &view);
        let mut plain: Box<dyn Policy> = match name {
            "ring_hash" => Box::new(RingHash::from_config(&json!({})).unwrap()),
            _ => Box::new(Maglev::from_config(&json!({})).unwrap()),
        };
        let homes = caller.slots_of_keys(&*plain.rebuild(start(), &view, &mut Plan::default()).picker, 200);
        for (key, home) in homes.into_iter().enumerate() {
            let placed = place(caller.with_key(&format!("k{key}")), &*picker, &view);
            assert_eq!(placed, home);
            finish(&*picker, &view, placed);
        }
    }
}

#[test]
fn a_hot_key_spreads_along_its_walk_and_returns() {
    let view = ready(10);
    let (mut policy, mut caller) = (policy("ring_hash", 125), Caller::new(1));
    let picker = picker(&mut *policy, &view);
    caller.with_key("hot");
    let placed: Vec<Slot> = (0..100).map(|_| place(&mut caller, &*picker, &view)).collect();
    let home = placed[0];
    assert!(loads(&view).iter().all(|load| *load <= 13), "{:?}", loads(&view));
    placed.into_iter().for_each(|slot| finish(&*picker, &view, slot));
    assert_eq!((caller.slot(&*picker), loads(&view)), (home, vec![0; 10]));
}

#[test]
fn the_count_survives_rebuilds_and_is_corrected_by_them() {
    let view = ready(4);
    let (mut policy, mut caller) = (policy("maglev", 100), Caller::new(1));
    let mut plan = Plan::default();
    let now = start();
    let first = policy.rebuild(now, &view, &mut plan).picker;
    assert_eq!(plan.wake_at, Some(now + RECOUNT));
    let placed: Vec<Slot> = (0..8).map(|_| place(caller.with_key("hot"), &*first, &view)).collect();
    assert_eq!(loads(&view), [2; 4]);
    // Picks that never became calls count until the next look.
    assert!((0..40).map(|_| caller.slot(&*first)).count() == 40);
    let second = picker(&mut *policy, &view);
    place_many(4, &mut caller, &*second, &view);
    assert_eq!(loads(&view), [3; 4]);
    // Calls of the first picker end at the second one's count.
    placed.into_iter().for_each(|slot| finish(&*first, &view, slot));
    assert_eq!(loads(&view), [1; 4]);
    place_many(4, &mut caller, &*second, &view);
    assert_eq!(loads(&view), [2; 4]);
}

#[test]
fn every_endpoint_is_connected_and_those_not_ready_take_nothing() {
    let view = view(&[Ready, Connecting, TransientFailure, Ready]);
    let (mut policy, mut caller) = (policy("ring_hash", 100), Caller::new(1));
    let mut plan = Plan::default();
    let lb = policy.rebuild(start(), &view, &mut plan);
    assert_eq!((lb.state, plan.connect.len()), (Ready, 4));
    place_many(10, caller.with_key("hot"), &*lb.picker, &view);
    assert_eq!(loads(&view), [5, 0, 0, 5]);
}

#[test]
fn later_attempts_and_restrictions_go_elsewhere() {
    let view = ready(5);
    let (mut policy, mut caller) = (policy("maglev", 150), Caller::new(1));
    let picker = picker(&mut *policy, &view);
    let home = caller.with_key("k").slot(&*picker);
    assert_ne!(caller.slot_after(&*picker, &[home]), home);
    let all: Vec<Slot> = (0..5).map(slot).collect();
    assert!(all.contains(&caller.slot_after(&*picker, &all)));
    let rest = picker.restrict(&|slot| slot != home);
    assert_ne!(caller.slot(&*rest), home);
    assert!(rest.feedback().is_some());
    let only = picker.restrict(&|s| s == slot(2));
    assert!((0..20).all(|_| place(&mut caller, &*only, &view) == slot(2)), "no other is left, bound or not");
    assert!(caller.error(&*picker.restrict(&|_| false)).contains("restrictions"));
}

#[test]
fn explanation_names_load_and_limit() {
    let view = ready(2);
    let (mut policy, mut caller) = (policy("maglev", 150), Caller::new(1));
    let picker = picker(&mut *policy, &view);
    place_many(3, caller.with_key("hot"), &*picker, &view);
    let scores = caller.explain(&*picker);
    let total: f64 = scores.iter().map(|score| score.total).sum();
    assert!((total - 1.0).abs() < 1e-9 && scores.iter().all(|score| score.reason.ends_with("calls in flight of at most 3")));
}
