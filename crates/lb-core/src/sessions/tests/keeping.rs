//! Listing sessions, and keeping them over a restart.

use super::*;

fn filled(limits: SessionLimits) -> Sim {
    let mut sim = Sim::new(limits);
    for n in 0..10 {
        sim.wait(SECOND).call(&format!("s{n}"), &format!("e{}", n % 3));
        if n % 2 == 0 {
            sim.call(&format!("s{n}"), "other");
        }
    }
    sim
}

#[test]
fn pages_hold_every_session_once_while_others_come_and_go() {
    let mut sim = filled(SessionLimits::default());
    sim.table.clear(sim.now, "s3");
    let (mut seen, mut from) = (Vec::new(), Some(0));
    while let Some(start) = from {
        let (page, next) = sim.table.page(sim.now, start, 4);
        assert!(page.len() <= 4);
        seen.extend(page.into_iter().map(|info| info.session.to_string()));
        from = next;
        sim.call(&format!("late{start}"), "x");
        sim.table.clear(sim.now, "s3");
    }
    for n in (0..10).filter(|n| *n != 3) {
        assert_eq!(seen.iter().filter(|session| **session == format!("s{n}")).count(), 1, "s{n} of {seen:?}");
    }
    assert_eq!(sim.table.iter(sim.now).count(), sim.table.len());
    assert_eq!(sim.table.page(sim.now, usize::MAX, 4), (vec![], None));
}

#[test]
fn sessions_survive_a_restart_with_their_times() {
    let limits = SessionLimits::try_new(60 * SECOND, 120 * SECOND, 100).unwrap();
    let before = filled(limits);
    let text = serde_json::to_string(&before.table.export(before.now)).unwrap();
    let mut after = Sim::new(limits);
    after.now += 1000 * SECOND;
    after.table.place(after.now, "s1", "already here");
    let records = serde_json::from_str(&text).unwrap();
    // s0 has been idle for 9 s then, s1 for 8, s9 for none; the process was away for 52 s.
    assert_eq!(after.table.import(after.now, 52 * SECOND, records), 8);
    assert!(!after.knows("s0") && after.knows("s2"), "60 s of idleness have passed for s0 and s1");
    assert_eq!(after.call("s1", "x"), "already here");
    assert_eq!(after.call("s5", "x"), "e2");
    assert_eq!(after.table.get(after.now, "s9").unwrap().idle, 52 * SECOND);
    after.wait(8 * SECOND);
    assert!(!after.knows("s9") && after.knows("s5"));
}

#[test]
fn too_many_records_leave_out_the_idlest_and_proven_ones_keep_their_rank() {
    let before = filled(SessionLimits::default());
    let mut after = Sim::bounded(5);
    let records = before.table.export(before.now);
    assert_eq!(after.table.import(after.now, Duration::ZERO, records.clone()), 5);
    let kept: Vec<_> = (0..10).filter(|n| after.knows(&format!("s{n}"))).collect();
    assert_eq!(kept, [5, 6, 7, 8, 9]);
    (0..10).for_each(|n| drop(after.call(&format!("flood{n}"), "x")));
    let kept: Vec<_> = (0..10).filter(|n| after.knows(&format!("s{n}"))).collect();
    assert_eq!(kept, [6, 8], "those with two calls");
    assert_eq!(after.table.import(after.now, Duration::ZERO, records), 0, "it is full");
}

#[test]
fn records_that_make_no_sense_are_left_out() {
    let mut sim = Sim::new(SessionLimits::default());
    let record =
        |age: u64, idle: u64| serde_json::json!({ "session": format!("{age}"), "endpoint": "x", "ageMs": age, "idleMs": idle });
    let records = [record(u64::MAX, 0), record(0, u64::MAX), record(1, 1), record(7, 1)];
    let records: Vec<SessionRecord> = serde_json::from_value(records.into_iter().collect()).unwrap();
    assert_eq!(sim.table.import(sim.now, Duration::ZERO, records.clone()), 2);
    assert_eq!(Sim::bounded(9).table.import(sim.now, Duration::MAX, records), 0);
    let long = "x".repeat(1000);
    sim.call(&long, "x");
    let mut other = Sim::new(SessionLimits::default());
    other.table.import(other.now, Duration::ZERO, sim.table.export(sim.now));
    assert_eq!(other.call(&long, "y"), "x", "a hashed id is found again");
}
