//! Failures in a row.

use super::*;

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
