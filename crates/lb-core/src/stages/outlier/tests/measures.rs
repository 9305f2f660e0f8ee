//! What is judged at the end of an interval, and for how long.

use super::*;

#[test]
fn config_table() {
    let config = |json| OutlierConfig::from_json(&json);
    assert_eq!(config(json!({})), Ok(OutlierConfig::default()));
    // gRFC A50's numbers.
    let (OutlierConfig { interval, base_ejection_time, max_ejection_time, max_ejection_percent, .. }, seconds) =
        (OutlierConfig::default(), Duration::from_secs);
    assert_eq!((interval, base_ejection_time, max_ejection_time), (seconds(10), seconds(30), seconds(300)));
    assert!(max_ejection_percent == 10 && !OutlierConfig::default().is_on());
    let rate = config(json!({"successRateEjection": {}})).unwrap().success_rate.unwrap();
    assert_eq!([rate.stdev_factor, rate.enforcement_percentage, rate.minimum_hosts, rate.request_volume], [1900, 100, 5, 100]);
    let share = config(json!({"failurePercentageEjection": {}})).unwrap().failure_percentage.unwrap();
    assert_eq!([share.threshold, share.enforcement_percentage, share.minimum_hosts, share.request_volume], [85, 100, 5, 50]);
    assert_eq!(config(json!({"baseEjectionTime": "400s"})).unwrap().max_ejection_time, Duration::from_secs(400));
    let zeros = json!({"interval": "0s", "baseEjectionTime": "0s", "maxEjectionTime": "0s", "maxEjectionPercent": 0, "x": 1,
        "successRateEjection": {"stdevFactor": 0, "enforcementPercentage": 0, "minimumHosts": 0, "requestVolume": 0}});
    assert!(config(zeros).is_ok());
    for (json, field) in [
        (json!({"interval": "-1s"}), "interval"),
        (json!({"interval": 10}), "interval"),
        (json!({"baseEjectionTime": "1"}), "baseEjectionTime"),
        (json!({"baseEjectionTime": "-1s"}), "baseEjectionTime"),
        (json!({"maxEjectionTime": "-0.5s"}), "maxEjectionTime"),
        (json!({"maxEjectionPercent": 101}), "maxEjectionPercent"),
        (json!({"successRateEjection": 1}), "successRateEjection"),
        (json!({"successRateEjection": {"enforcementPercentage": 101}}), "successRateEjection.enforcementPercentage"),
        (json!({"failurePercentageEjection": {"threshold": 101}}), "failurePercentageEjection.threshold"),
        (json!({"failurePercentageEjection": {"enforcementPercentage": 101}}), "failurePercentageEjection.enforcementPercentage"),
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
