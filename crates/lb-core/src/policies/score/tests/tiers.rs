//! Endpoints of the better tier first.

use serde_json::json;

use super::{MS, begin, finish, preset, with_attributes};
use crate::attributes::Attributes;
use crate::policies::testing::{Caller, rebuild, slot};
use crate::policies::{Preset, Scored};
use crate::slot::Slot;
use crate::stats::Outcome;

const KINDS: [fn(&mut Attributes); 6] = [
    |a| a.capabilities = ["gpu".into(), "avx".into(), "tpu".into()].into(),
    |a| a.capabilities = ["gpu".into()].into(),
    |_| {},
    |a| a.capabilities = ["gpu".into()].into(),
    |a| a.capabilities = ["gpu".into(), "avx".into()].into(),
    |a| a.capabilities = ["avx".into(), "tpu".into()].into(),
];

fn counts(caller: &mut Caller, picker: &dyn crate::pick::Picker) -> Vec<usize> {
    caller.count(picker, KINDS.len(), 6_000)
}

#[test]
fn the_most_exact_match_is_preferred_and_load_breaks_ties() {
    let (view, mut caller) = (with_attributes(&KINDS), Caller::new(1));
    let picker = preset(Preset::CapabilityAware, &view);
    // Nothing required: all alike. Five sigma of a binomial with n = 6 000 and p = 1/6 are 145.
    assert!(counts(&mut caller, &*picker).iter().all(|count| count.abs_diff(1_000) < 145));
    caller.hints.require.push("gpu".into());
    let both = counts(&mut caller, &*picker);
    assert!(both[1].abs_diff(3_000) < 194 && both[1] + both[3] == 6_000, "{both:?}");
    begin(&view, &[0, 5, 0, 2, 0, 0]);
    let fewer = counts(&mut caller, &*picker);
    // The busier one gets half of one in 64: 47, five sigma are 34.
    assert!(fewer[1].abs_diff(47) < 34 && fewer[1] + fewer[3] == 6_000, "{fewer:?}");
    caller.hints.require.push("avx".into());
    assert_eq!(counts(&mut caller, &*picker)[4], 6_000);
    // Nobody can: the call goes somewhere, as it is for others to refuse it.
    caller.hints.require.push("quantum".into());
    assert!(counts(&mut caller, &*picker).iter().all(|count| *count > 0));
}

#[test]
fn a_tier_that_is_full_or_fails_is_passed_over() {
    let (mut view, mut caller) = (with_attributes(&KINDS), Caller::new(1));
    for index in [1, 3] {
        std::sync::Arc::make_mut(&mut view[index].endpoint).attributes.capacity = Some(4);
    }
    let picker = preset(Preset::CapabilityAware, &view);
    caller.hints.require.push("gpu".into());
    begin(&view, &[0, 4, 0, 4, 0, 0]);
    // But for one in 64, which is 94 of 6 000; five sigma are 48.
    let mostly = |count: usize| count.abs_diff(5_906) < 48;
    assert!(mostly(counts(&mut caller, &*picker)[4]), "full: the next exact one");
    finish(&caller, &view[4], MS, Outcome::Failure, 1_000);
    assert!(mostly(counts(&mut caller, &*picker)[0]), "failing: the one after it");
    // Everything that can is full: the first tier's best.
    for index in [0, 4] {
        std::sync::Arc::make_mut(&mut view[index].endpoint).attributes.capacity = Some(1);
    }
    begin(&view, &[1, 0, 0, 0, 1, 0]);
    let picker = preset(Preset::CapabilityAware, &view[..2]);
    assert_eq!(caller.count(&*picker, 2, 100), [0, 100]);
}

#[test]
fn work_goes_where_its_kind_can_be_done_then_by_priority() {
    let (mut view, mut caller) = (with_attributes(&KINDS), Caller::new(1));
    std::sync::Arc::make_mut(&mut view[1].endpoint).attributes.priority = 1;
    let picker = preset(Preset::WorkloadAware, &view);
    let plain = counts(&mut caller, &*picker);
    assert!(plain[1] == 0 && plain.iter().filter(|count| **count > 900).count() == 5, "by priority alone: {plain:?}");
    caller.hints.kind = Some("gpu".into());
    let gpu = counts(&mut caller, &*picker);
    // Five sigma of a binomial with n = 6 000 and p = 1/3 are 183.
    assert!([0, 3, 4].iter().all(|at| gpu[*at].abs_diff(2_000) < 183), "{gpu:?}");
    caller.hints.kind = Some("mail".into());
    assert!(counts(&mut caller, &*picker).iter().filter(|count| **count > 900).count() == 5, "a kind nobody names changes nothing");
}

#[test]
fn a_rule_says_what_a_kind_of_work_needs() {
    let config = json!({"rules": [{"kind": "training", "capabilities": ["gpu", "tpu"]}]});
    let mut policy = Scored::preset_from_config(Preset::WorkloadAware, &config).unwrap();
    let (view, mut caller) = (with_attributes(&KINDS), Caller::new(1));
    let picker = rebuild(&mut policy, &view).picker;
    caller.hints.kind = Some("training".into());
    assert_eq!(counts(&mut caller, &*picker)[0], 6_000);
}

#[test]
fn tiers_are_explained_in_their_order() {
    let (view, mut caller) = (with_attributes(&KINDS), Caller::new(1));
    caller.hints.require.push("gpu".into());
    let scores = caller.explain(&*preset(Preset::CapabilityAware, &view));
    let order: Vec<Slot> = scores.iter().map(|score| score.slot).collect();
    assert_eq!(order, [1, 3, 4, 0, 2, 5].map(slot));
    assert!(scores.windows(2).all(|pair| pair[0].total >= pair[1].total));
    assert!(scores[2].reason.ends_with("after 1 better tier") && scores[5].reason.ends_with("after 3 better tiers"));
}

#[test]
fn more_words_than_can_be_told_apart_harm_nobody() {
    let mut view = with_attributes(&[|_| {}, |_| {}]);
    let words = &mut std::sync::Arc::make_mut(&mut view[0].endpoint).attributes.capabilities;
    *words = (0..300).map(|word| format!("w{word:03}").into()).collect();
    let (picker, mut caller) = (preset(Preset::CapabilityAware, &view), Caller::new(1));
    caller.hints.require.push("w127".into());
    assert!((0..50).all(|_| caller.slot(&*picker) == slot(0)));
    caller.hints.require.push("w128".into());
    assert!(caller.count(&*picker, 2, 100).iter().all(|count| *count > 0), "beyond the 128th nobody is known to match");
}
