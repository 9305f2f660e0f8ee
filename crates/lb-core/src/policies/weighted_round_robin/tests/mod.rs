//! Weights of the view; `by_load` has those of load reports.

mod by_load;

use std::sync::Arc;

use super::WeightedRoundRobin;
use crate::pick::Picker;
use crate::policies::testing::{Caller, count_fresh, rebuild, slot, weighted};

fn picker(weights: &[u32]) -> Arc<dyn Picker> {
    rebuild(&mut WeightedRoundRobin::default(), &weighted(weights)).picker
}

#[test]
fn shares_are_exact_for_kept_and_fresh_clones() {
    assert_eq!(Caller::new(1).count(&*picker(&[1, 2, 3]), 3, 60_000), [10_000, 20_000, 30_000]);
    assert_eq!(count_fresh(&*picker(&[1, 2, 3]), 3, 60_000), [10_000, 20_000, 30_000]);
}

#[test]
fn the_sequence_of_picks_is_the_published_one() {
    let (picker, mut caller) = (picker(&[4, 3, 2, 1]), Caller::new(1));
    let picked: Vec<usize> = (0..18).map(|_| caller.slot(&*picker).index()).collect();
    assert_eq!(picked, [0, 1, 2, 0, 2, 0, 1, 3, 0, 1, 2, 0, 1, 0, 2, 3, 0, 1]);
}

#[test]
fn weight_zero_takes_nothing_unless_all_are_zero() {
    assert_eq!(Caller::new(1).count(&*picker(&[0, 5, 5]), 3, 100), [0, 50, 50]);
    assert_eq!(Caller::new(1).count(&*picker(&[0, 5]), 2, 10), [0, 10]);
    assert_eq!(Caller::new(1).count(&*picker(&[0, 0, 0, 0]), 4, 100), [25; 4]);
    assert_eq!(Caller::new(1).count(&*picker(&[0]), 1, 10), [10]);
}

#[test]
fn a_restriction_weighs_the_rest_anew() {
    let picker = picker(&[1, 3, 0, 50]);
    assert_eq!(Caller::new(1).count(&*picker.restrict(&|s| s != slot(3)), 4, 400), [100, 300, 0, 0]);
    assert_eq!(Caller::new(1).count(&*picker.restrict(&|s| s == slot(2)), 4, 5), [0, 0, 5, 0]);
    assert!(Caller::new(1).error(&*picker.restrict(&|_| false)).contains("restrictions"));
}

#[test]
fn absurd_weights_do_not_overflow_and_nothing_starves() {
    let counts = Caller::new(1).count(&*picker(&[1, u32::MAX, u32::MAX, 0]), 4, 100_000);
    // The least share is 1 % of the mean: (2/3 · 0.01) / (2 + 2/3 · 0.01) of all.
    assert!((300..=360).contains(&counts[0]) && counts[3] == 0, "{counts:?}");
    assert!(counts[1].abs_diff(counts[2]) <= 2, "{counts:?}");
}

#[test]
fn a_change_of_weight_applies_to_the_next_picker() {
    let (mut policy, mut caller) = (WeightedRoundRobin::default(), Caller::new(1));
    assert_eq!(caller.count(&*rebuild(&mut policy, &weighted(&[1, 1])).picker, 2, 100), [50, 50]);
    assert_eq!(caller.count(&*rebuild(&mut policy, &weighted(&[1, 3])).picker, 2, 400), [100, 300]);
}

#[test]
fn later_attempts_go_elsewhere() {
    let (picker, mut caller) = (picker(&[1, 1000]), Caller::new(1));
    assert!((0..100).all(|_| caller.slot_after(&*picker, &[slot(1)]) == slot(0)));
}

#[test]
fn explanation_names_weight_and_share() {
    let scores = Caller::new(1).explain(&*picker(&[1, 0, 3]));
    let shares: Vec<f64> = scores.iter().map(|score| (score.total * 100.0).round()).collect();
    assert_eq!(shares, [25.0, 0.0, 75.0]);
    assert_eq!(scores[1].reason, "weight 0, and others have more");
}
