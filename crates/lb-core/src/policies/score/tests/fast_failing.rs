//! One endpoint that fails in a millisecond among ten that take twenty, under every preset, of two and of all; nothing ejects it.

use std::sync::Arc;
use std::time::Duration;

use crate::policies::Preset;
use crate::policies::fast_failing::World;

const SECOND: Duration = Duration::from_secs(1);

/// Endpoints alike, and calls for a kind of work that all are capable of, so that no preset has another reason to leave one out.
fn world(name: &str, config: &str) -> World {
    let mut world = World::new(name, config);
    for row in &mut world.view {
        Arc::make_mut(&mut row.endpoint).attributes.capabilities = ["gpu".into()].into();
        row.weight = 1;
    }
    world.caller.hints.kind = Some("gpu".into());
    world.caller.hints.require.push("gpu".into());
    world
}

fn policies() -> impl Iterator<Item = (&'static str, &'static str)> {
    let names = Preset::ALL.into_iter().map(Preset::name).chain(["score"]);
    names.flat_map(|name| [(name, "{}"), (name, r#"{"choiceCount": 0}"#)])
}

#[test]
fn under_two_per_cent_of_calls_reach_it_after_five_seconds() {
    // From a call now and then to four in flight at each endpoint.
    for rate in [50, 500, 2_000] {
        for (name, config) in policies() {
            let mut world = world(name, config);
            let before = world.run(5 * SECOND, rate);
            let after = world.run(5 * SECOND, rate);
            assert!(after < 0.02, "{name} {config} at {rate}/s: {before} then {after}");
        }
    }
}

#[test]
fn also_if_it_worked_before() {
    for (name, config) in policies() {
        let mut world = world(name, config);
        world.broken = false;
        let healthy = world.run(10 * SECOND, 500);
        world.broken = true;
        world.run(5 * SECOND, 500);
        let after = world.run(20 * SECOND, 250);
        assert!(after < 0.02, "{name} {config}: {healthy} then {after}");
    }
}

#[test]
fn once_it_works_again_it_gets_calls_again() {
    // Reliability never forgets, and among all endpoints there is always one of better repute.
    let forgives = |policy: &(&str, &str)| policy.1 == "{}" || !["performance", "task"].contains(&policy.0);
    for (name, config) in policies().filter(forgives) {
        let mut world = world(name, config);
        world.run(10 * SECOND, 500);
        world.broken = false;
        world.run(100 * SECOND, 250);
        let after = world.run(20 * SECOND, 250);
        // Its share is 1/11.
        assert!((0.03..0.3).contains(&after), "{name} {config}: {after}");
    }
}
