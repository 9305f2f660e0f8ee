//! Conditions on load are what they are said to be: shares divided, rounded and compared.

use proptest::prelude::*;

use super::condition::{Limits, load_of};
use super::*;
use crate::stats::EndpointStats;

fn stats(taken: u32, utilization: f64) -> EndpointStats {
    let stats = EndpointStats::default();
    stats.set_in_flight(taken.min(1000));
    stats.hold(taken.saturating_sub(1000));
    stats.report(start(), &LoadReport { application_utilization: utilization, ..LoadReport::default() });
    stats
}

/// As the docs of [`PickHints`] have it.
fn fits(hints: &PickHints, stats: &EndpointStats, capacity: Option<u32>) -> bool {
    let above = |threshold: f64| load_of(stats, capacity).is_some_and(|load| load as f32 > threshold as f32);
    let room = |capacity: u32| stats.taken() + u64::from(hints.cost) <= capacity.into();
    !hints.threshold().is_some_and(above) && (hints.cost == 0 || capacity.is_none_or(room))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn they_agree_with_their_definition(
        capacity in prop_oneof![Just(None), (0..12_u32).prop_map(Some), (0..2000_u32).prop_map(Some), (0..1_u32 << 24).prop_map(Some)],
        taken in prop_oneof![0..12_u32, 0..2000_u32, 0..1_u32 << 24],
        of_capacity in 0..=100_u32,
        near in any::<bool>(),
        threshold in prop_oneof![Just(None), (0..=100_u32).prop_map(|percent| Some(f64::from(percent) / 100.0)), (0.0..=1.0).prop_map(Some)],
        cost in prop_oneof![Just(0), 1..12_u32, any::<u32>()],
        utilization in prop_oneof![Just(0.0), (0..=150_u32).prop_map(|percent| f64::from(percent) / 100.0)],
    ) {
        let mut hints = PickHints::new().cost(cost);
        hints.load_threshold = threshold;
        // As often as not a number of calls that is just the threshold, or one more or less.
        let edge = capacity.map(|capacity| (f64::from(capacity) * threshold.unwrap_or(0.5)).round() as u32 + of_capacity % 3);
        let taken = edge.filter(|_| near).map_or(taken, |edge| edge.saturating_sub(1));
        let stats = stats(taken, utilization);
        let limits = Limits::of(&hints);
        prop_assert_eq!(limits.admits(&stats, capacity), fits(&hints, &stats, capacity));
        prop_assert_eq!(limits.admits(&stats, capacity), limits.misfit(&stats, capacity).is_none());
    }
}

#[test]
fn every_share_of_a_hundred_is_at_its_own_threshold_and_not_above_it() {
    for capacity in [1, 3, 7, 10, 100, 999, 65_536, 1 << 23] {
        for taken in (0..=100).map(|percent| (u64::from(percent as u32) * u64::from(capacity) / 100) as u32) {
            let share = f64::from(taken) / f64::from(capacity);
            let (limits, stats) = (Limits::of(&PickHints::new().below_load(share)), stats(taken, 0.0));
            assert!(limits.admits(&stats, Some(capacity)), "{taken} of {capacity}");
            stats.begin();
            assert!(!limits.admits(&stats, Some(capacity)), "{taken} + 1 of {capacity}");
        }
    }
}
