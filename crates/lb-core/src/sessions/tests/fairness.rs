//! Who has to go when there are too many.

use proptest::prelude::*;

use super::*;

#[test]
fn a_flood_of_new_sessions_pushes_out_no_proven_one_within_its_share() {
    let mut sim = Sim::bounded(1000);
    for n in 0..800 {
        sim.call(&format!("user{n}"), "x");
        sim.call(&format!("user{n}"), "x");
    }
    for n in 0..20_000 {
        sim.call(&format!("flood{n}"), "y");
        assert!(sim.table.len() <= 1000);
    }
    let survivors = (0..800).filter(|n| sim.knows(&format!("user{n}"))).count();
    assert_eq!(survivors, 800);
    assert_eq!(sim.table.stats().evicted, 20_000 - 200);
}

#[test]
fn in_a_flood_a_new_session_has_the_time_of_a_fifth_of_the_room_to_prove_itself() {
    let mut sim = Sim::bounded(1000);
    for n in 0..800 {
        sim.call(&format!("user{n}"), "x");
        sim.call(&format!("user{n}"), "x");
    }
    let mut returned = 0;
    for n in 0..5_000 {
        sim.call(&format!("flood{n}"), "y");
        if n % 100 == 0 {
            sim.call(&format!("honest{n}"), "x");
        }
        if n % 100 == 99 {
            let before = sim.table.stats().hits;
            sim.call(&format!("honest{}", n - 99), "z");
            returned += sim.table.stats().hits - before;
        }
    }
    assert_eq!(returned, 50, "a hundred of the flood came in between, and there is room for two hundred");
}

#[test]
fn beyond_four_fifths_the_idlest_proven_session_makes_room() {
    let mut sim = Sim::bounded(10);
    for n in 0..10 {
        sim.wait(SECOND).call(&format!("user{n}"), "x");
        sim.wait(SECOND).call(&format!("user{n}"), "x");
    }
    sim.wait(SECOND).call("user0", "x");
    (0..100).for_each(|n| drop(sim.call(&format!("new{n}"), "y")));
    let kept: Vec<usize> = (0..10).filter(|n| sim.knows(&format!("user{n}"))).collect();
    assert_eq!(kept, [0, 3, 4, 5, 6, 7, 8, 9], "1 and 2 were idle longest");
}

#[test]
fn a_table_for_one_serves_one_after_the_other() {
    let mut sim = Sim::bounded(1);
    for n in 0..5 {
        sim.call(&format!("s{n}"), "x");
        sim.call(&format!("s{n}"), "x");
        assert_eq!(sim.table.len(), 1);
    }
}

#[derive(Debug, Clone)]
enum Step {
    Call(u8, u8),
    Open(u8, u8),
    End(usize),
    Wait(u8),
    Clear(u8),
    ClearEndpoint(u8),
    Expire(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..40_u8, 0..4_u8).prop_map(|(session, endpoint)| Step::Call(session, endpoint)),
        2 => (0..40_u8, 0..4_u8).prop_map(|(session, endpoint)| Step::Open(session, endpoint)),
        2 => any::<usize>().prop_map(Step::End),
        2 => (0..8_u8).prop_map(Step::Wait),
        1 => (0..40_u8).prop_map(Step::Clear),
        1 => (0..4_u8).prop_map(Step::ClearEndpoint),
        1 => (0..20_u8).prop_map(Step::Expire),
    ]
}

proptest! {
    #[test]
    fn whatever_happens_the_table_agrees_with_itself(max in 1..20_usize, steps in prop::collection::vec(step(), 1..200)) {
        let mut sim = Sim::new(SessionLimits::try_new(5 * SECOND, 20 * SECOND, max).unwrap());
        let mut open = Vec::new();
        for step in steps {
            match step {
                Step::Call(session, endpoint) => {
                    let expected = sim.table.get(sim.now, &format!("s{session}")).map(|info| info.endpoint.to_string());
                    let went = sim.call(&format!("s{session}"), &format!("e{endpoint}"));
                    prop_assert_eq!(expected.unwrap_or_else(|| format!("e{endpoint}")), went);
                }
                Step::Open(session, endpoint) => open.push(sim.begin(&format!("s{session}"), &format!("e{endpoint}")).1),
                Step::End(any) if !open.is_empty() => {
                    let ticket = open.swap_remove(any % open.len());
                    sim.table.end(sim.now, ticket);
                }
                Step::End(_) => {}
                Step::Wait(seconds) => sim.now += u32::from(seconds) * SECOND,
                Step::Clear(session) => drop(sim.table.clear(sim.now, &format!("s{session}"))),
                Step::ClearEndpoint(endpoint) => {
                    let endpoint = format!("e{endpoint}");
                    sim.table.clear_endpoint(&endpoint);
                    let left = sim.table.by_endpoint(sim.now);
                    prop_assert!(!left.contains_key(&*endpoint), "{:?}", left);
                }
                Step::Expire(most) => drop(sim.table.expire(sim.now, most.into())),
            }
            agrees(&sim)?;
        }
        // In the end everything can be cleaned up, and leaves nothing.
        open.into_iter().for_each(|ticket| sim.table.end(sim.now, ticket));
        sim.now += 20 * SECOND;
        sim.table.expire(sim.now, usize::MAX);
        agrees(&sim)?;
        prop_assert_eq!((sim.table.len(), sim.table.homes.len()), (0, 0));
        let stats = sim.table.stats();
        prop_assert_eq!(stats.misses, stats.expired + stats.evicted + stats.cleared);
    }
}

fn agrees(sim: &Sim) -> Result<(), TestCaseError> {
    let table = &sim.table;
    prop_assert!(table.len() <= table.limits.max_sessions());
    prop_assert_eq!(table.by_name.len(), table.len());
    prop_assert_eq!(table.ages.len(), table.len());
    prop_assert_eq!(table.shelves.iter_from(0).count(), table.len());
    let homes: std::collections::BTreeSet<_> = table.shelves.iter_from(0).map(|(_, entry)| entry.home).collect();
    prop_assert_eq!(homes.len(), table.homes.len());
    Ok(())
}
