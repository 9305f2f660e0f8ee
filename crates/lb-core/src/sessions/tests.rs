//! The table on simulated time.

use std::time::{Duration, Instant};

use super::*;
use crate::policies::testing::start;

mod fairness;
mod fates;
mod keeping;

const SECOND: Duration = Duration::from_secs(1);

/// A table, its clock, and endpoints that all serve unless told otherwise.
struct Sim {
    table: SessionTable,
    rules: SessionRules,
    now: Instant,
    standings: Vec<(&'static str, Standing)>,
}

impl Sim {
    fn new(limits: SessionLimits) -> Self {
        Self { table: SessionTable::new(limits, 7), rules: SessionRules::default(), now: start(), standings: Vec::new() }
    }

    fn bounded(max: usize) -> Self {
        Self::new(SessionLimits::try_new(None, None, max).unwrap())
    }

    fn wait(&mut self, time: Duration) -> &mut Self {
        self.now += time;
        self
    }

    fn set(&mut self, endpoint: &'static str, standing: Standing) {
        self.standings.retain(|(other, _)| *other != endpoint);
        self.standings.push((endpoint, standing));
    }

    fn seek(&mut self, session: &str) -> Sought<String> {
        let standings = &self.standings;
        self.table.seek(self.now, session, &self.rules, |endpoint| {
            let known = standings.iter().find(|(other, _)| *other == endpoint);
            (known.map_or(Standing::Serving, |(_, standing)| *standing), endpoint.to_owned())
        })
    }

    /// Begins a call for which the policy would choose `chosen`; where it goes, and its ticket.
    fn begin(&mut self, session: &str, chosen: &str) -> (String, SessionTicket) {
        loop {
            match self.seek(session) {
                Sought::Use { place, ticket } => return (place, ticket),
                Sought::Choose(choice) => match self.table.settle(self.now, session, &choice, chosen) {
                    Settled::Placed { ticket, .. } => return (chosen.to_owned(), ticket),
                    Settled::Again => {}
                },
                other => panic!("{session} can go nowhere: {other:?}"),
            }
        }
    }

    /// A whole call; where it went.
    fn call(&mut self, session: &str, chosen: &str) -> String {
        let (place, ticket) = self.begin(session, chosen);
        self.table.end(self.now, ticket);
        place
    }

    fn knows(&self, session: &str) -> bool {
        self.table.get(self.now, session).is_some()
    }
}

#[test]
fn a_session_sticks_and_sessions_are_told_apart() {
    let mut sim = Sim::new(SessionLimits::default());
    assert_eq!(sim.call("a", "x"), "x");
    assert_eq!(sim.call("b", "y"), "y");
    for _ in 0..10 {
        assert_eq!((sim.call("a", "y"), sim.call("b", "x")), ("x".into(), "y".into()));
    }
    let stats = sim.table.stats();
    assert_eq!((stats.misses, stats.hits, stats.moved, stats.lent), (2, 20, 0, 0));
    assert_eq!(sim.table.len(), 2);
}

#[test]
fn idle_time_counts_from_the_last_call_and_ends_on_the_dot() {
    let mut sim = Sim::new(SessionLimits::try_new(10 * SECOND, None, 10).unwrap());
    sim.call("a", "x");
    for _ in 0..5 {
        sim.wait(10 * SECOND - Duration::from_nanos(1));
        assert_eq!(sim.call("a", "y"), "x");
    }
    sim.wait(10 * SECOND);
    assert!(!sim.knows("a"));
    assert_eq!(sim.call("a", "y"), "y", "placed anew");
    assert_eq!((sim.table.stats().expired, sim.table.len()), (1, 1));
}

#[test]
fn looking_at_a_session_does_not_keep_it() {
    let mut sim = Sim::new(SessionLimits::try_new(10 * SECOND, None, 10).unwrap());
    sim.call("a", "x");
    assert!(sim.wait(9 * SECOND).knows("a"));
    assert!(!sim.wait(SECOND).knows("a"));
}

#[test]
fn a_call_in_progress_keeps_its_session_from_idling_out_but_not_from_its_age() {
    let mut sim = Sim::new(SessionLimits::try_new(10 * SECOND, 60 * SECOND, 10).unwrap());
    let (_, stream) = sim.begin("a", "x");
    let (_, second) = sim.begin("a", "x");
    sim.wait(30 * SECOND);
    assert_eq!(sim.table.expire(sim.now, 100), 1, "looked at and kept");
    assert_eq!(sim.table.get(sim.now, "a").unwrap().in_flight, 2);
    sim.table.end(sim.now, stream);
    sim.wait(20 * SECOND);
    assert!(sim.knows("a"), "one of two is still open");
    sim.table.end(sim.now, second);
    assert!(sim.wait(9 * SECOND).knows("a"), "idle since its end, not since its beginning");
    assert!(!sim.wait(SECOND).knows("a"), "60 s old");
    let (_, late) = sim.begin("a", "y");
    sim.table.end(sim.now, second);
    assert_eq!(sim.table.get(sim.now, "a").unwrap().in_flight, 1, "a late end is not the new session's");
    sim.table.end(sim.now, late);
}

#[test]
fn age_ends_a_session_however_busy_it_is() {
    let mut sim = Sim::new(SessionLimits::try_new(10 * SECOND, 60 * SECOND, 10).unwrap());
    let mut places = Vec::new();
    for second in 0..=60 {
        places.push(sim.call("a", if second == 60 { "y" } else { "x" }));
        sim.wait(SECOND);
    }
    assert_eq!((places.iter().filter(|place| *place == "x").count(), &*places[60]), (60, "y"));
}

#[test]
fn nothing_ends_without_limits_of_time() {
    let mut sim = Sim::bounded(10);
    sim.call("a", "x");
    sim.wait(Duration::from_secs(100 * 365 * 24 * 3600));
    assert_eq!((sim.table.expire(sim.now, 100), sim.call("a", "y")), (0, "x".into()));
}

#[test]
fn cleaning_up_takes_what_is_over_and_nothing_else_in_bounded_steps() {
    let mut sim = Sim::new(SessionLimits::try_new(10 * SECOND, 60 * SECOND, 1000).unwrap());
    for n in 0..100 {
        sim.call(&format!("old{n}"), "x");
        if n % 2 == 0 {
            sim.call(&format!("old{n}"), "x");
        }
    }
    sim.wait(5 * SECOND);
    (0..100).for_each(|n| drop(sim.call(&format!("new{n}"), "y")));
    sim.wait(5 * SECOND);
    assert_eq!(sim.table.len(), 200, "nobody has looked yet");
    assert_eq!([30, 30, 30, 30].map(|most| sim.table.expire(sim.now, most)), [30, 30, 30, 10]);
    assert_eq!((sim.table.len(), sim.table.stats().expired), (100, 100));
    assert_eq!(sim.table.by_endpoint(sim.now).into_iter().collect::<Vec<_>>(), [("y".into(), 100)]);
    assert_eq!(sim.table.homes.len(), 1, "the names of endpoints go with their last session");
}

#[test]
fn new_sessions_clean_up_old_ones() {
    let mut sim = Sim::new(SessionLimits::try_new(10 * SECOND, None, 1000).unwrap());
    for n in 0..900 {
        sim.call(&format!("s{n}"), "x");
        sim.wait(SECOND);
    }
    assert!(sim.table.len() <= 11, "{}", sim.table.len());
}

#[test]
fn of_first_calls_at_once_one_settles_and_the_others_follow() {
    let mut sim = Sim::new(SessionLimits::default());
    let choices: Vec<_> = (0..3)
        .map(|_| match sim.seek("a") {
            Sought::Choose(choice) => choice,
            other => panic!("{other:?}"),
        })
        .collect();
    assert!(matches!(sim.table.settle(sim.now, "a", &choices[0], "x"), Settled::Placed { .. }));
    assert_eq!(sim.table.settle(sim.now, "a", &choices[1], "y"), Settled::Again);
    assert!(matches!(sim.table.settle(sim.now, "a", &choices[2], "x"), Settled::Placed { .. }), "the same choice is no conflict");
    assert_eq!(sim.call("a", "y"), "x");
}

#[test]
fn clearing_one_all_and_those_of_an_endpoint() {
    let mut sim = Sim::new(SessionLimits::default());
    for (session, endpoint) in [("a", "x"), ("b", "x"), ("c", "y"), ("d", "y")] {
        sim.call(session, endpoint);
    }
    let (_, open) = sim.begin("a", "x");
    assert!(sim.table.clear(sim.now, "a") && !sim.table.clear(sim.now, "a"));
    sim.table.end(sim.now, open);
    assert_eq!((sim.table.clear_endpoint("y"), sim.table.clear_endpoint("z"), sim.table.len()), (2, 0, 1));
    assert_eq!((sim.table.clear_all(), sim.table.is_empty(), sim.table.stats().cleared), (1, true, 4));
    assert_eq!(sim.call("a", "y"), "y");
}

#[test]
fn a_session_can_be_put_somewhere_by_hand() {
    let mut sim = Sim::new(SessionLimits::default());
    assert_eq!(sim.table.place(sim.now, "a", "x"), None);
    assert_eq!(sim.call("a", "y"), "x");
    assert_eq!(sim.table.place(sim.now, "a", "y").as_deref(), Some("x"));
    assert_eq!((sim.call("a", "x"), sim.table.stats().moved), ("y".into(), 1));
}
