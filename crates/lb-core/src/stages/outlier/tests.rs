use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;

use super::*;
use crate::connectivity::ConnectivityState::{Ready, TransientFailure};
use crate::feedback::Done;
use crate::policies::testing::{ready, slot, start};
use crate::stats::Outcome;

/// A stage over endpoints whose calls the test makes up.
struct World {
    stage: OutlierStage,
    view: Vec<SubchannelView>,
    now: Instant,
}

impl World {
    fn new(config: serde_json::Value, endpoints: usize) -> Self {
        let mut world =
            Self { stage: OutlierStage::new(OutlierConfig::from_json(&config).unwrap()), view: ready(endpoints), now: start() };
        assert_eq!(world.ejected(), [0; 0], "nothing is judged at once");
        world
    }

    /// Calls at endpoint `index`, of which `failed` fail; each takes 20 ms.
    fn calls(&self, index: usize, count: usize, failed: usize) {
        self.calls_of(index, count, failed, Duration::from_millis(20));
    }

    fn calls_of(&self, index: usize, count: usize, failed: usize, took: Duration) {
        let row = &self.view[index];
        for call in 0..count {
            let outcome = if call < failed { Outcome::Failure } else { Outcome::Success };
            row.stats.begin();
            row.stats.finish(&Done::new(row.slot, self.now, took, outcome));
        }
    }

    /// Lets an interval of 10 s end, and says who is ejected.
    fn interval(&mut self) -> Vec<usize> {
        self.now += Duration::from_secs(10);
        self.ejected()
    }

    fn ejected(&mut self) -> Vec<usize> {
        let (mut view, mut plan) = (self.view.clone(), Plan::new(7));
        self.stage.apply(self.now, &mut view, &mut plan);
        assert_eq!(view.len(), self.view.len(), "nobody is hidden");
        let ejected: Vec<_> = view.iter().filter(|row| row.state == TransientFailure).collect();
        assert!(ejected.iter().all(|row| row.error.is_some() && plan.connect.contains(&row.slot)), "it stays connected");
        ejected.iter().map(|row| row.slot.index()).collect()
    }
}

fn by_rate(more: serde_json::Value) -> serde_json::Value {
    json!({"maxEjectionPercent": 100, "successRateEjection": more})
}

fn by_failures(more: serde_json::Value) -> serde_json::Value {
    json!({"maxEjectionPercent": 100, "failurePercentageEjection": more})
}

#[test]
fn config_table() {
    let config = |json| OutlierConfig::from_json(&json);
    assert_eq!(config(json!({})), Ok(OutlierConfig::default()));
    assert!(!OutlierConfig::default().is_on());
    assert_eq!(config(json!({"successRateEjection": {}})).unwrap().success_rate, Some(SuccessRateEjection::default()));
    assert_eq!(config(json!({"failurePercentageEjection": {}})).unwrap().failure_percentage.unwrap().threshold, 85);
    assert_eq!(config(json!({"baseEjectionTime": "400s"})).unwrap().max_ejection_time, Duration::from_secs(400));
    let zeros = json!({"interval": "0s", "baseEjectionTime": "0s", "maxEjectionTime": "0s", "maxEjectionPercent": 0, "x": 1,
        "successRateEjection": {"stdevFactor": 0, "enforcementPercentage": 0, "minimumHosts": 0, "requestVolume": 0}});
    assert!(config(zeros).is_ok());
    for (json, field) in [
        (json!({"interval": "-1s"}), "interval"),
        (json!({"interval": 10}), "interval"),
        (json!({"baseEjectionTime": "1"}), "baseEjectionTime"),
        (json!({"maxEjectionPercent": 101}), "maxEjectionPercent"),
        (json!({"successRateEjection": 1}), "successRateEjection"),
        (json!({"successRateEjection": {"enforcementPercentage": 101}}), "successRateEjection.enforcementPercentage"),
        (json!({"failurePercentageEjection": {"threshold": 101}}), "failurePercentageEjection.threshold"),
        (json!({"latencyEjection": {"factor": 999}}), "latencyEjection.factor"),
    ] {
        assert_eq!(config(json.clone()).unwrap_err().field, format!("outlier_detection_experimental.{field}"), "{json}");
    }
}

#[test]
fn one_that_succeeds_less_than_the_others_is_ejected() {
    let mut world = World::new(by_rate(json!({"minimumHosts": 3, "requestVolume": 3, "stdevFactor": 500})), 3);
    world.calls(0, 3, 0);
    world.calls(1, 3, 0);
    world.calls(2, 3, 3);
    assert_eq!(world.interval(), [2]);
}

#[test]
fn at_the_default_factor_one_bad_endpoint_needs_four_good_ones() {
    for (endpoints, expected) in [(4, vec![]), (5, vec![0])] {
        let mut world = World::new(by_rate(json!({"minimumHosts": 3})), endpoints);
        (0..endpoints).for_each(|index| world.calls(index, 100, if index == 0 { 100 } else { 0 }));
        assert_eq!(world.interval(), expected, "of {endpoints}");
    }
    // Two of five hide each other; a middling one among good ones does not.
    for (failures, expected) in [([100, 100, 0, 0, 0], vec![]), ([1, 2, 3, 1, 50], vec![4]), ([5; 5], vec![])] {
        let mut world = World::new(by_rate(json!({})), 5);
        failures.iter().enumerate().for_each(|(index, failed)| world.calls(index, 100, *failed));
        assert_eq!(world.interval(), expected, "{failures:?}");
    }
}

#[test]
fn more_failures_than_the_threshold_eject_and_as_many_do_not() {
    let mut world = World::new(by_failures(json!({"threshold": 50})), 5);
    [0, 50, 51, 100, 0].iter().enumerate().for_each(|(index, failed)| world.calls(index, 100, *failed));
    assert_eq!(world.interval(), [2, 3]);
}

#[test]
fn nobody_is_judged_without_enough_calls_or_peers_and_nobody_ejected_without_enforcement() {
    for (more, calls) in [
        (json!({"requestVolume": 101}), 100),
        (json!({"minimumHosts": 6}), 100),
        (json!({"enforcementPercentage": 0}), 100),
        (json!({}), 0),
    ] {
        for config in [by_rate(more.clone()), by_failures(more.clone())] {
            let mut world = World::new(config, 5);
            (0..5).for_each(|index| world.calls(index, calls, if index == 0 { calls } else { 0 }));
            assert_eq!(world.interval(), [0; 0], "{more}");
        }
    }
}

#[test]
fn the_share_that_may_be_ejected_holds_with_one_to_begin_with() {
    for (percent, expected) in [(0, 0), (10, 1), (30, 2), (50, 3), (100, 5)] {
        let mut config = by_failures(json!({}));
        config["maxEjectionPercent"] = percent.into();
        let mut world = World::new(config, 5);
        (0..5).for_each(|index| world.calls(index, 100, 100));
        assert_eq!(world.interval().len(), expected, "{percent} % of 5");
    }
}

#[test]
fn an_ejection_ends_and_the_next_is_longer_until_a_clean_time() {
    let mut world = World::new(by_failures(json!({"minimumHosts": 1})), 2);
    let mut lengths = Vec::new();
    for _ in 0..2 {
        world.calls(0, 100, 100);
        let mut intervals = 0;
        while world.interval() == [0] {
            intervals += 1;
        }
        lengths.push(intervals);
    }
    // 30 s and 60 s, each to the first sweep after it; the sweep that takes it back is not yet a clean one.
    assert_eq!(lengths, [4, 7]);
    let record = world.stage.records.values().find(|record| record.multiplier > 0);
    assert!(record.is_some(), "it is not forgiven at once");
    (0..3).for_each(|_| assert_eq!(world.interval(), [0; 0]));
    assert!(world.stage.records.values().all(|record| record.multiplier == 0), "a clean time forgives");
}

#[test]
fn no_ejection_is_longer_than_the_longest() {
    let mut config = by_failures(json!({"minimumHosts": 1}));
    config["maxEjectionTime"] = "45s".into();
    let mut world = World::new(config, 1);
    let lengths = [(); 4].map(|()| {
        world.calls(0, 100, 100);
        std::iter::repeat_with(|| world.interval()).take_while(|ejected| *ejected == [0]).count()
    });
    assert_eq!(lengths, [4, 5, 5, 5]);
}

#[test]
fn endpoints_that_left_are_forgotten_and_come_back_clean() {
    let mut world = World::new(by_failures(json!({"minimumHosts": 1})), 2);
    world.calls(1, 100, 100);
    assert_eq!(world.interval(), [1]);
    let gone = world.view.pop().unwrap();
    assert_eq!(world.ejected(), [0; 0]);
    world.view.push(gone);
    assert_eq!(world.ejected(), [0; 0]);
    assert_eq!(world.interval(), [0; 0], "its calls of before do not count");
}

#[test]
fn one_that_is_slow_against_the_median_is_ejected() {
    let config = json!({"maxEjectionPercent": 50, "latencyEjection": {}});
    let mut world = World::new(config, 4);
    for (index, millis) in [20, 22, 18, 90].into_iter().enumerate() {
        world.calls_of(index, 100, 0, Duration::from_millis(millis));
    }
    assert_eq!(world.interval(), [3]);
    let mut world = World::new(json!({"latencyEjection": {}}), 4);
    (0..4).for_each(|index| world.calls_of(index, 100, 0, Duration::from_micros(if index == 0 { 9_000 } else { 10 })));
    assert_eq!(world.interval(), [0; 0], "fast enough for anybody");
}

#[test]
fn both_measures_in_one_sweep_eject_once() {
    let config = json!({"maxEjectionPercent": 100, "successRateEjection": {}, "failurePercentageEjection": {}});
    let mut world = World::new(config, 5);
    (0..5).for_each(|index| world.calls(index, 100, if index == 0 { 100 } else { 0 }));
    assert_eq!(world.interval(), [0]);
    assert_eq!(world.stage.records.values().map(|record| record.multiplier).sum::<u32>(), 1);
}

#[test]
fn sweeps_come_once_an_interval_however_often_the_view_changes() {
    let mut world = World::new(by_failures(json!({"minimumHosts": 1})), 2);
    world.calls(0, 100, 100);
    world.now += Duration::from_millis(9_999);
    assert_eq!(world.ejected(), [0; 0]);
    let mut plan = Plan::default();
    world.stage.apply(world.now, &mut world.view.clone(), &mut plan);
    assert_eq!(plan.wake_at, Some(world.now + Duration::from_millis(1)));
    world.now += Duration::from_millis(1);
    assert_eq!(world.ejected(), [0]);
}

#[test]
fn a_stage_that_is_off_does_nothing() {
    let mut world = World::new(json!({}), 2);
    world.calls(0, 1_000, 1_000);
    assert_eq!(world.interval(), [0; 0]);
    let mut plan = Plan::default();
    let mut view = world.view.clone();
    world.stage.apply(world.now, &mut view, &mut plan);
    assert!(plan.wake_at.is_none() && view.iter().all(|row| row.state == Ready));
}

#[test]
fn the_reason_says_what_is_wrong() {
    let mut world = World::new(by_failures(json!({"minimumHosts": 1})), 1);
    world.calls(0, 100, 93);
    assert_eq!(world.interval(), [0]);
    let mut view = world.view.clone();
    world.stage.apply(world.now, &mut view, &mut Plan::default());
    let reason: Option<Arc<str>> = view[0].error.clone();
    assert_eq!((reason.as_deref(), view[0].slot), (Some("ejected: 93 % of its calls fail, more than 85 %"), slot(0)));
}

/// So many failures in a row, with this code.
fn fail(world: &World, index: usize, count: usize, code: i32) {
    let row = &world.view[index];
    for _ in 0..count {
        row.stats.begin();
        row.stats.finish(&Done::new(row.slot, world.now, Duration::from_millis(1), Outcome::Failure).with_code(code));
    }
}

fn in_a_row(more: serde_json::Value) -> serde_json::Value {
    json!({"maxEjectionPercent": 100, "consecutiveFailures": more})
}

#[test]
fn five_failures_in_a_row_eject_at_once_and_four_do_not() {
    let mut world = World::new(in_a_row(json!({})), 3);
    fail(&world, 0, 4, 13);
    assert_eq!(world.ejected(), [0; 0]);
    world.calls(0, 1, 0);
    fail(&world, 0, 4, 13);
    assert_eq!(world.ejected(), [0; 0], "a success ends the row");
    fail(&world, 0, 1, 2);
    assert_eq!(world.ejected(), [0], "and not at the end of the interval");
    let mut view = world.view.clone();
    world.stage.apply(world.now, &mut view, &mut Plan::default());
    assert_eq!(view[0].error.as_deref(), Some("ejected: 5 calls in a row failed"));
    fail(&world, 1, 50, 5);
    assert_eq!(world.ejected(), [0], "NOT_FOUND is an answer");
}

#[test]
fn gateway_failures_are_a_measure_of_their_own() {
    let mut world = World::new(json!({"maxEjectionPercent": 100, "consecutiveGatewayFailures": {"threshold": 3}}), 2);
    fail(&world, 0, 50, 13);
    fail(&world, 1, 2, 14);
    assert_eq!(world.ejected(), [0; 0]);
    fail(&world, 1, 1, 4);
    assert_eq!(world.ejected(), [1]);
    // Both at once eject once.
    let mut world = World::new(json!({"maxEjectionPercent": 100, "consecutiveFailures": {}, "consecutiveGatewayFailures": {}}), 1);
    fail(&world, 0, 5, 14);
    assert_eq!(world.ejected(), [0]);
    assert_eq!(world.stage.records.values().map(|record| record.multiplier).sum::<u32>(), 1);
}

#[test]
fn an_ejection_for_a_row_lasts_and_grows_like_any_other_and_the_row_begins_anew() {
    let mut world = World::new(in_a_row(json!({})), 2);
    let lengths = [(); 2].map(|()| {
        fail(&world, 0, 5, 13);
        assert_eq!(world.ejected(), [0]);
        // Calls that were in progress end while it is ejected.
        fail(&world, 0, 20, 13);
        std::iter::repeat_with(|| world.interval()).take_while(|ejected| *ejected == [0]).count()
    });
    // 30 s and 60 s, to the first sweep after it, which the ejection did not begin with.
    assert_eq!(lengths, [3, 6]);
    fail(&world, 0, 4, 13);
    assert_eq!(world.ejected(), [0; 0]);
    fail(&world, 0, 1, 13);
    assert_eq!(world.ejected(), [0]);
}

#[test]
fn rows_respect_the_share_the_chance_and_what_was_before() {
    let mut world = World::new(json!({"maxEjectionPercent": 40, "consecutiveFailures": {}}), 5);
    (0..5).for_each(|index| fail(&world, index, 5, 13));
    assert_eq!(world.ejected(), [0, 1]);
    fail(&world, 2, 4, 13);
    assert_eq!(world.ejected(), [0, 1], "one that may not be ejected is judged again after as many more");
    let mut world = World::new(in_a_row(json!({"enforcementPercentage": 0})), 1);
    fail(&world, 0, 1_000, 13);
    assert_eq!(world.ejected(), [0; 0]);
    for (json, field) in [
        (json!({"consecutiveFailures": {"threshold": 0}}), "consecutiveFailures.threshold"),
        (json!({"consecutiveGatewayFailures": {"enforcementPercentage": 101}}), "consecutiveGatewayFailures.enforcementPercentage"),
        (json!({"consecutiveFailures": 5}), "consecutiveFailures"),
    ] {
        let error = OutlierConfig::from_json(&json).unwrap_err();
        assert_eq!(error.field, format!("outlier_detection_experimental.{field}"));
    }
    // A stage that begins over endpoints with a past counts from there.
    let world = World::new(json!({}), 1);
    fail(&world, 0, 100, 13);
    let config = json!({"maxEjectionPercent": 100, "consecutiveFailures": {}, "failurePercentageEjection": {"minimumHosts": 1}});
    let mut later = World { stage: OutlierStage::new(OutlierConfig::from_json(&config).unwrap()), ..world };
    assert_eq!((later.ejected(), later.interval()), (vec![], vec![]));
}

#[test]
fn losing_its_connection_does_not_end_an_ejection() {
    let mut world = World::new(in_a_row(json!({})), 2);
    fail(&world, 0, 5, 13);
    assert_eq!(world.ejected(), [0]);
    world.view[0].state = ConnectivityState::Idle;
    assert_eq!(world.ejected(), [0]);
    world.view[0].state = Ready;
    assert_eq!(world.ejected(), [0]);
}

#[test]
fn the_ejected_share_never_exceeds_its_cap_by_more_than_one() {
    let mut dice = Entropy::from_seed(11);
    for round in 0..60 {
        let (endpoints, percent) = (1 + (dice.draw() % 12) as usize, dice.draw() % 101);
        let measures = json!({"minimumHosts": 1, "requestVolume": 1, "threshold": 30, "stdevFactor": 500, "factor": 1000});
        let mut config = json!({"maxEjectionPercent": percent, "interval": "10s", "baseEjectionTime": "15s"});
        for measure in ["successRateEjection", "failurePercentageEjection", "latencyEjection"] {
            config[measure] = measures.clone();
        }
        config["consecutiveFailures"] = json!({"threshold": 2, "enforcementPercentage": 70});
        config["consecutiveGatewayFailures"] = json!({"threshold": 3});
        let mut world = World::new(config, endpoints);
        // One is the most the rule lets through beyond the share, and none at 0 %.
        let most = if percent == 0 { 0 } else { (endpoints * percent as usize).div_ceil(100) };
        for step in 0..60 {
            let index = (dice.draw() % endpoints as u64) as usize;
            match dice.draw() % 3 {
                0 => world.calls_of(index, 3, 0, Duration::from_millis(dice.draw() % 200)),
                1 => fail(&world, index, (dice.draw() % 7) as usize, 14),
                _ => world.now += Duration::from_millis(dice.draw() % 8_000),
            }
            let ejected = world.ejected().len();
            assert!(ejected <= most, "{ejected} of {endpoints} at {percent} %, round {round}, step {step}");
        }
    }
}
