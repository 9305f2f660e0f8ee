use std::thread;
use std::time::Duration;

use super::picker::kind;
use super::*;
use crate::feedback::{Done, Feedback};
use crate::load::LoadReport;
use crate::pick::{PickArgs, PickResult, Picker, Score};
use crate::policies::testing::{Caller, ready, rebuild, slot, start, view};
use crate::slot::Slot;
use crate::stats::Outcome;

const METHOD: &str = "/s/m";

fn adaptive(config: Value) -> Result<Adaptive, ConfigError> {
    Adaptive::from_config(&config, &PolicyRegistry::default())
}

/// Two children, one that hashes and so is easy to tell apart.
fn two() -> Adaptive {
    adaptive(json!({"children": [{"round_robin": {}}, {"pick_first": {}}]})).unwrap()
}

#[test]
fn configurations() {
    let names = |config| adaptive(config).map(|policy| policy.weights().save().children.join(" "));
    assert_eq!(names(json!({"unknown": 1})).unwrap(), "prequal peak_ewma maglev");
    assert_eq!(names(json!({"children": [{"random": {}}, {"round_robin": {}}], "weights": null})).unwrap(), "random round_robin");
    let nine = vec![json!({"random": {}}); 9];
    for (config, field) in [
        (json!({"children": []}), "adaptive.children"),
        (json!({"children": [{"random": {}}]}), "adaptive.children"),
        (json!({"children": nine}), "adaptive.children"),
        (json!({"children": {"random": {}}}), "adaptive.children"),
        (json!({"children": [{"random": {}}, {"not_yet": {}}]}), "adaptive.children[1]"),
        (json!({"children": [{"random": {}}, 5]}), "adaptive.children[1]"),
        (json!({"children": [{"prequal": {"poolSize": 1}}, {"random": {}}]}), "adaptive.children[0].prequal.poolSize"),
        (json!({"weights": 5}), "adaptive.weights"),
        (json!({"weights": {"children": ["random"], "kinds": {}}}), "adaptive.weights.children"),
        (
            json!({"weights": {"children": ["prequal", "peak_ewma", "maglev"], "kinds": {"64": [1, 1, 1]}}}),
            "adaptive.weights.kinds",
        ),
        (
            json!({"weights": {"children": ["prequal", "peak_ewma", "maglev"], "kinds": {"1": [1, -1, 1]}}}),
            "adaptive.weights.kinds",
        ),
        (json!({"weights": {"children": ["prequal", "peak_ewma", "maglev"], "kinds": {"1": [1, 1]}}}), "adaptive.weights.kinds"),
    ] {
        assert_eq!(adaptive(config.clone()).unwrap_err().field, field, "{config}");
    }
}

/// Calls until the end: each takes as long as its endpoint does; returns how many went to the first endpoint.
fn call(picker: &dyn Picker, caller: &mut Caller, calls: usize, took: impl Fn(Slot) -> (u64, Outcome)) -> usize {
    let mut first = 0;
    for _ in 0..calls {
        let (slot, token) = caller.token(picker);
        let (millis, outcome) = took(slot);
        caller.now += Duration::from_millis(1);
        let done = Done::new(slot, caller.now, Duration::from_millis(millis), outcome).with_token(token);
        picker.feedback().unwrap().finished(&done);
        first += usize::from(slot.index() == 0);
    }
    first
}

#[test]
fn the_child_that_does_better_places_the_calls_and_others_when_that_flips() {
    let mut policy = two();
    let weights = policy.weights();
    let picker = rebuild(&mut policy, &ready(10)).picker;
    let mut caller = Caller::new(1);
    let fast_first = |slot: Slot| (if slot.index() == 0 { 5 } else { 50 }, Outcome::Success);
    call(&*picker, &mut caller, 2_000, fast_first);
    assert!(call(&*picker, &mut caller, 1_000, fast_first) > 900);
    assert!(weights.of(METHOD, false)[1].1 > 0.9, "{:?}", weights.of(METHOD, false));
    assert!(weights.of("/other/method", false)[1].1 < 0.2, "kinds are apart");
    let first_fails = |slot: Slot| (5, if slot.index() == 0 { Outcome::Failure } else { Outcome::Success });
    call(&*picker, &mut caller, 600, first_fails);
    let first = call(&*picker, &mut caller, 1_000, first_fails);
    assert!(first < 250, "a tenth of round_robin's, and little else: {first}");
}

#[test]
fn cancelled_calls_teach_nothing() {
    let mut policy = two();
    let weights = policy.weights();
    let picker = rebuild(&mut policy, &ready(10)).picker;
    call(&*picker, &mut Caller::new(1), 1_000, |_| (9_999, Outcome::Cancelled));
    assert!(weights.save().kinds.is_empty());
}

#[test]
fn what_was_saved_can_be_restored_elsewhere() {
    let mut policy = two();
    let picker = rebuild(&mut policy, &ready(10)).picker;
    call(&*picker, &mut Caller::new(1), 3_000, |slot| (if slot.index() == 0 { 5 } else { 50 }, Outcome::Success));
    let saved = serde_json::to_value(policy.weights().save()).unwrap();
    let config = json!({"children": [{"round_robin": {}}, {"pick_first": {}}], "weights": saved});
    let restored = adaptive(config).unwrap();
    let (before, after) = (policy.weights().of(METHOD, false), restored.weights().of(METHOD, false));
    assert!((before[1].1 - after[1].1).abs() < 0.01 && after[1].1 > 0.9, "{before:?} {after:?}");
    assert!(restored.weights().of("/other/method", false)[1].1 < 0.2);
    let other = adaptive(json!({"children": [{"pick_first": {}}, {"round_robin": {}}]})).unwrap();
    assert_eq!(other.weights().restore(&policy.weights().save()).unwrap_err().field, "adaptive.weights.children");
}

#[test]
fn kinds_are_told_apart_by_work_or_method_and_by_key() {
    assert_ne!(kind("/a/b", false), kind("/a/b", true));
    let mut policy = two();
    let weights = policy.weights();
    let picker = rebuild(&mut policy, &ready(10)).picker;
    let mut caller = Caller::new(1);
    caller.hints.kind = Some("images".into());
    call(&*picker, &mut caller, 2_000, |slot| (if slot.index() == 0 { 5 } else { 50 }, Outcome::Success));
    assert!(weights.of("images", false)[1].1 > 0.9 && weights.of(METHOD, false)[1].1 < 0.2);
}

#[test]
fn if_a_child_cannot_pick_another_does() {
    let mut policy = two();
    // pick_first begins with the first endpoint and has not connected it; round_robin has the second.
    let view = view(&[Connecting, Ready]);
    let lb = rebuild(&mut policy, &view);
    assert_eq!(lb.state, Ready);
    assert_eq!(Caller::new(1).count(&*lb.picker, 2, 300), [0, 300]);
}

#[test]
fn explanations_name_children_and_shares_add_up() {
    let picker = rebuild(&mut two(), &ready(4)).picker;
    let scores = Caller::new(1).explain(&*picker);
    let total: f64 = scores.iter().map(|score| score.total).sum();
    assert!(scores.len() == 4 && (total - 1.0).abs() < 1e-6, "{scores:?}");
    assert!(scores[0].reason.contains("round_robin places 94.6 % of calls"), "{}", scores[0].reason);
}

#[test]
fn restrictions_keep_children_weights_and_feedback() {
    let picker = rebuild(&mut two(), &ready(4)).picker;
    let rest = picker.restrict(&|s| s == slot(2));
    let mut caller = Caller::new(1);
    assert!((0..100).all(|_| caller.slot(&*rest) == slot(2)));
    assert!(Arc::ptr_eq(rest.feedback().unwrap(), picker.feedback().unwrap()));
    assert!(caller.error(&*picker.restrict(&|_| false)).contains("restrictions"));
}

/// A child that wants its token back.
#[derive(Debug, Default)]
struct Told(std::sync::atomic::AtomicU64);

impl Feedback for Told {
    fn finished(&self, done: &Done<'_>) {
        self.0.fetch_add(done.token, std::sync::atomic::Ordering::Relaxed);
    }
}

#[derive(Debug)]
struct Teller(Arc<dyn Feedback>);

impl Picker for Teller {
    fn pick(&self, args: &mut PickArgs<'_>) -> PickResult {
        args.token = 1_000;
        args.probe = Some(slot(1));
        PickResult::Pick(slot(0))
    }

    fn restrict(&self, _keep: &dyn Fn(Slot) -> bool) -> Arc<dyn Picker> {
        Arc::new(Self(Arc::clone(&self.0)))
    }

    fn explain(&self, _args: &mut PickArgs<'_>) -> Vec<Score> {
        Vec::new()
    }

    fn feedback(&self) -> Option<&Arc<dyn Feedback>> {
        Some(&self.0)
    }
}

#[test]
fn children_hear_of_their_own_calls_with_their_own_tokens() {
    let told = Arc::new(Told::default());
    let learner = Arc::new(Learner::new(["a".into(), "b".into()].into()));
    let child = || Arc::new(Teller(Arc::clone(&told) as Arc<dyn Feedback>)) as Arc<dyn Picker>;
    let experts = Experts::new([child(), child()].into(), learner);
    assert_eq!(Caller::new(1).probe(&experts), Some(slot(1)), "the chosen child's probe");
    call(&experts, &mut Caller::new(1), 5, |_| (5, Outcome::Success));
    assert_eq!(told.0.load(std::sync::atomic::Ordering::Relaxed), 5_000, "once each, with what the child left");
}

#[test]
fn many_threads_learn_at_once() {
    let mut policy = adaptive(json!({})).unwrap();
    let weights = policy.weights();
    let picker = rebuild(&mut policy, &ready(20)).picker;
    thread::scope(|scope| {
        for thread in 0..4 {
            let picker = &picker;
            scope.spawn(move || {
                let mut caller = Caller::new(thread);
                let said = LoadReport { in_flight: Some(3), ..LoadReport::default() };
                for call in 0..5_000_u64 {
                    let (slot, token) = caller.token(&**picker);
                    let outcome = if call % 7 == 0 { Outcome::Failure } else { Outcome::Success };
                    let done = Done::new(slot, start(), Duration::from_millis(call % 50), outcome);
                    picker.feedback().unwrap().finished(&done.with_token(token).with_load(Some(&said)));
                }
            });
        }
    });
    let total: f64 = weights.of(METHOD, false).iter().map(|(_, share)| share).sum();
    assert!((total - 1.0).abs() < 1e-4, "{total}");
}
