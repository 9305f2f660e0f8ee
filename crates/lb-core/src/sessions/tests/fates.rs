//! What becomes of a session when its endpoint does not serve.

use super::*;

const ALL: [Standing; 7] =
    [Standing::Serving, Standing::Draining, Standing::Hidden, Standing::Unfit, Standing::Coming, Standing::Failing, Standing::Gone];

/// A session at `x`, which then stands like this; where two calls go of which the policy sends one to `y` and one to `z`.
fn calls(rules: SessionRules, standing: Standing) -> (Sim, [Option<String>; 2]) {
    let mut sim = Sim::new(SessionLimits::default());
    sim.rules = rules;
    sim.call("a", "x");
    sim.set("x", standing);
    let goes = ["y", "z"].map(|chosen| {
        let waits_or_fails = matches!(sim.seek("a"), Sought::Wait(_) | Sought::Fail(_));
        (!waits_or_fails).then(|| sim.call("a", chosen))
    });
    (sim, goes)
}

#[test]
fn the_defaults() {
    for standing in ALL {
        let (mut sim, goes) = calls(SessionRules::default(), standing);
        let expected = match standing {
            Standing::Serving | Standing::Draining => Some("x"),
            Standing::Hidden | Standing::Unfit | Standing::Failing | Standing::Gone => Some("y"),
            Standing::Coming => None,
        };
        assert_eq!(goes.each_ref().map(|place| place.as_deref()), [expected; 2], "{standing:?}");
        sim.set("x", Standing::Serving);
        let comes_back = !matches!(standing, Standing::Failing | Standing::Gone);
        assert_eq!(sim.call("a", "z"), if comes_back { "x" } else { "y" }, "{standing:?}");
        let stats = sim.table.stats();
        assert_eq!(stats.moved, u64::from(!comes_back), "{standing:?}: moved once or never");
    }
}

#[test]
fn every_fate_for_every_standing() {
    for fate in [SessionFate::Keep, SessionFate::Lend, SessionFate::Move] {
        let rules = SessionRules { draining: fate, hidden: fate, unfit: fate, failing: fate, gone: fate };
        for standing in [Standing::Draining, Standing::Hidden, Standing::Unfit, Standing::Failing, Standing::Gone] {
            let (sim, goes) = calls(rules, standing);
            let connected = matches!(standing, Standing::Draining | Standing::Hidden);
            let expected = match fate {
                SessionFate::Keep => connected.then_some("x"),
                SessionFate::Lend | SessionFate::Move => Some("y"),
            };
            assert_eq!(goes.each_ref().map(|place| place.as_deref()), [expected; 2], "{fate:?} {standing:?}");
            let info = sim.table.get(sim.now, "a").unwrap();
            let (home, guest) = match fate {
                SessionFate::Keep => ("x", None),
                SessionFate::Lend => ("x", Some("y")),
                SessionFate::Move => ("y", None),
            };
            assert_eq!((&*info.endpoint, info.guest.as_deref()), (home, guest), "{fate:?} {standing:?}");
        }
    }
}

#[test]
fn a_guest_that_does_not_serve_is_replaced_and_one_that_does_is_kept() {
    let mut sim = Sim::new(SessionLimits::default());
    sim.call("a", "x");
    sim.set("x", Standing::Hidden);
    assert_eq!([sim.call("a", "y"), sim.call("a", "z")], ["y", "y"]);
    sim.set("y", Standing::Draining);
    assert_eq!([sim.call("a", "z"), sim.call("a", "w")], ["z", "z"], "a guest has no right to stay where others may not come");
    sim.set("x", Standing::Serving);
    assert_eq!(sim.call("a", "w"), "x");
    let stats = sim.table.stats();
    assert_eq!((stats.hits, stats.lent, stats.moved), (1, 4, 0));
    assert_eq!(sim.table.homes.len(), 2, "the guest before is forgotten");
}

#[test]
fn of_moves_at_once_one_settles() {
    let mut sim = Sim::new(SessionLimits::default());
    sim.call("a", "x");
    sim.set("x", Standing::Gone);
    let (Sought::Choose(one), Sought::Choose(other)) = (sim.seek("a"), sim.seek("a")) else { panic!("x is gone") };
    let settled = sim.table.settle(sim.now, "a", &one, "y");
    assert!(matches!(settled, Settled::Placed { moved_from: Some(from), .. } if &*from == "x"));
    assert_eq!(sim.table.settle(sim.now, "a", &other, "z"), Settled::Again);
    assert_eq!((sim.call("a", "z"), sim.table.stats().moved), ("y".into(), 1));
}

#[test]
fn a_choice_for_a_session_that_was_cleared_or_replaced_meanwhile() {
    let mut sim = Sim::new(SessionLimits::default());
    sim.call("a", "x");
    sim.set("x", Standing::Gone);
    let Sought::Choose(choice) = sim.seek("a") else { panic!("x is gone") };
    sim.table.clear(sim.now, "a");
    assert!(matches!(sim.table.settle(sim.now, "a", &choice, "y"), Settled::Placed { moved_from: None, .. }));
    let Sought::Choose(choice) = sim.seek("b") else { panic!("b is new") };
    sim.table.place(sim.now, "b", "w");
    assert_eq!(sim.table.settle(sim.now, "b", &choice, "y"), Settled::Again);
}
