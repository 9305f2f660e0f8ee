//! A returned endpoint's share follows its ramp, whatever the policy.

use std::time::Duration;

use lb_core::machine::{Command, MachineConfig};
use lb_core::recovery::RampConfig;
use lb_core::{Outcome, PickHints};
use serde_json::Value;

use crate::fleet::{Fleet, address, policy, secs};

/// Where the policy has other reasons than evenness to avoid an endpoint, its share is a bound.
const BOUNDED: [&str; 2] = ["least_latency", "adaptive"];

const SPREADING: [&str; 7] = ["round_robin", "random", "least_request", "weighted_round_robin", "peak_ewma", "score", "prequal"];

const HASHING: [&str; 4] = ["ring_hash", "maglev", "rendezvous", "ip_hash"];

fn linear(seed: u64) -> MachineConfig {
    let mut config = MachineConfig::new(seed);
    config.recovery = Some(RampConfig::linear(secs(60)).unwrap());
    config
}

fn stepped(seed: u64) -> MachineConfig {
    let mut config = MachineConfig::new(seed);
    config.recovery = Some(RampConfig::steps());
    config
}

/// A fleet whose calls have a key each, which hashing policies need.
fn fleet(config: MachineConfig, name: &str, servers: usize) -> Fleet {
    let mut fleet = Fleet::new(config, policy(name, &Value::Null), servers);
    if HASHING.contains(&name) {
        fleet.hints = Box::new(|number| PickHints::new().hash_key(number.to_string()));
        // Chance decides where keys are: more calls, less chance.
        fleet.rate *= 3;
    }
    fleet
}

/// What the endpoint gets of its share at full: of what its peers get, or, where keys are hashed and places are uneven, of what it
/// has else.
fn got(name: &str, counts: &[u64], server: usize, usual: f64) -> f64 {
    if HASHING.contains(&name) { Fleet::part(counts, server) / usual } else { Fleet::ratio(counts, server) }
}

/// Six parts of a ramp of 60 s, and by how far each was missed, in points.
fn missed(name: &str, seed: u64) -> Vec<f64> {
    let mut fleet = fleet(linear(seed), name, 5);
    let usual = Fleet::part(&fleet.run_for(secs(20)), 2);
    fleet.bounce(2);
    let mut missed = Vec::new();
    for part in 0..6_u32 {
        let counts = fleet.run_for(secs(10));
        // The mean of the line in these ten seconds; it begins at 0.1.
        let ideal = if part == 0 { 0.113 } else { (f64::from(part) + 0.5) / 6.0 };
        missed.push((got(name, &counts, 2, usual) - ideal) * 100.0);
    }
    assert_eq!(fleet.errors, 0, "{name} lost calls while one was away");
    println!("{name:>22} {seed}: {missed:>5.1?}");
    missed
}

#[test]
fn the_share_follows_a_line_within_five_points_where_calls_are_spread() {
    for (name, seed) in SPREADING.into_iter().flat_map(|name| [(name, 1), (name, 2)]) {
        let missed = missed(name, seed);
        assert!(missed.iter().all(|points| points.abs() <= 5.0), "{name}, seed {seed}: {missed:.1?}");
    }
}

#[test]
fn the_share_follows_a_line_within_five_points_where_keys_are_hashed() {
    for name in HASHING {
        let missed = missed(name, 1);
        assert!(missed.iter().all(|points| points.abs() <= 5.0), "{name}: {missed:.1?}");
    }
}

#[test]
fn the_share_is_a_bound_where_the_policy_has_other_reasons() {
    for (name, seed) in BOUNDED.into_iter().flat_map(|name| [(name, 1), (name, 2)]) {
        let missed = missed(name, seed);
        assert!(missed.iter().all(|points| *points <= 5.0), "{name}, seed {seed}: {missed:.1?}");
    }
}

#[test]
fn clones_made_for_each_call_spread_what_is_refused_evenly() {
    let mut fleet = fleet(linear(1), "round_robin", 5);
    fleet.fresh = true;
    fleet.run_for(secs(5));
    fleet.bounce(2);
    let counts = fleet.run_for(secs(10));
    let others: Vec<u64> = counts.iter().enumerate().filter(|(server, _)| *server != 2).map(|(_, count)| *count).collect();
    let (least, most) = (others.iter().min().unwrap(), others.iter().max().unwrap());
    assert!(most - least <= most / 50, "one neighbour got what was refused: {counts:?}");
    assert!((Fleet::ratio(&counts, 2) - 0.113).abs() < 0.05, "{counts:?}");
}

#[test]
fn steps_are_climbed_while_calls_succeed_and_told() {
    for name in ["round_robin", "least_request", "ring_hash", "score"] {
        let mut fleet = fleet(stepped(3), name, 4);
        let usual = Fleet::part(&fleet.run_for(secs(30)), 1);
        fleet.bounce(1);
        for step in 1..=9_u32 {
            let recovering = fleet.net.snapshot().recovering.clone();
            assert_eq!((recovering.len(), recovering[0].endpoint.as_str()), (1, &*address(1)));
            let share = f64::from(step) / 10.0;
            assert!((recovering[0].share - share).abs() < 1e-9 && recovering[0].next_step > fleet.now());
            let counts = fleet.run_for(secs(30) - Duration::from_millis(1));
            let got = got(name, &counts, 1, usual);
            assert!((got - share).abs() <= 0.05, "{name} in step {step}: {got}");
            fleet.run_for(Duration::from_millis(5));
        }
        assert!(fleet.net.snapshot().recovering.is_empty());
        let told = ["endpoint 10.0.0.2:1 recovers from 10 %", "endpoint 10.0.0.2:1 has recovered"];
        assert_eq!(fleet.told(), told);
        assert!((got(name, &fleet.run_for(secs(10)), 1, usual) - 1.0).abs() < 0.05);
    }
}

#[test]
fn an_endpoint_that_fails_again_falls_back_to_where_it_began() {
    let mut fleet = fleet(stepped(4), "round_robin", 4);
    fleet.run_for(secs(5));
    fleet.bounce(1);
    fleet.run_for(secs(70));
    assert!((fleet.row(1).view.share - 0.3).abs() < 1e-9);
    fleet.fate = Box::new(|server, _, _| if server == 1 { Outcome::Failure } else { Outcome::Success });
    fleet.run_for(secs(9));
    assert_eq!(fleet.row(1).view.share, 0.1, "its calls said so before the step was over");
    assert!(fleet.told()[1].starts_with("endpoint 10.0.0.2:1 fell back to 10 %: "), "{:?}", fleet.told());
    fleet.run_for(secs(120));
    assert_eq!((fleet.row(1).view.share, fleet.told().len()), (0.1, 2), "it stays there, and that is told once");
    fleet.fate = Box::new(|_, _, _| Outcome::Success);
    fleet.run_for(secs(65));
    assert!(fleet.row(1).view.share > 0.25, "and climbs again: {}", fleet.row(1).view.share);
}

#[test]
fn it_can_be_forced() {
    let mut fleet = fleet(stepped(5), "random", 4);
    fleet.bounce(1);
    fleet.command(Command::ForceRecovery(address(0).as_str().into()));
    assert_eq!(fleet.net.snapshot().recovering.len(), 1, "that one does not recover");
    fleet.command(Command::ForceRecovery(address(1).as_str().into()));
    assert_eq!((fleet.row(1).view.share, fleet.row(1).view.limited, fleet.net.snapshot().recovering.len()), (1.0, None, 0));
    assert_eq!(fleet.told().last().unwrap(), "endpoint 10.0.0.2:1 has recovered by force");
    let ratio = Fleet::ratio(&fleet.run_for(secs(10)), 1);
    assert!((ratio - 1.0).abs() < 0.1, "{ratio}");
}

/// A cold server that answers as many calls a second as it is warm for, and fails the rest. Warm after a minute.
fn cold(capacity: f64) -> crate::fleet::Fate {
    let (mut born, mut second, mut taken) = (None, 0, 0.0);
    Box::new(move |server, _, now| {
        if server != 2 {
            return Outcome::Success;
        }
        let age = now - *born.get_or_insert(now);
        if now.as_secs() != second {
            (second, taken) = (now.as_secs(), 0.0);
        }
        taken += 1.0;
        let warmth = (age.as_secs_f64() / 60.0).clamp(0.1, 1.0);
        if taken > capacity * warmth { Outcome::Failure } else { Outcome::Success }
    })
}

#[test]
fn a_ramp_spares_a_cold_server_and_its_callers() {
    for name in ["round_robin", "least_request", "score", "prequal"] {
        let errors = |config: MachineConfig, ramps: bool| {
            let mut fleet = fleet(config, name, 5);
            fleet.run_for(secs(5));
            fleet.net.kill(&address(2));
            fleet.run_for(secs(4));
            // A warm server could take a third more than falls to it.
            (fleet.errors, fleet.fate) = (0, cold(135.0));
            fleet.net.up(&address(2));
            fleet.net.command(Command::ResetBackoff);
            fleet.net.run_for(Duration::from_millis(2));
            assert_eq!(fleet.row(2).view.limited.is_some(), ramps);
            fleet.run_for(secs(70));
            fleet.errors
        };
        let (with, without) = (errors(linear(6), true), errors(MachineConfig::new(6), false));
        println!("{name}: {with} errors with a ramp, {without} without");
        assert!(with <= 35 && without > 500, "{name}: {with} with, {without} without, of 35 000");
    }
}

#[test]
fn the_ramp_of_an_endpoint_that_fails_again_begins_anew() {
    let mut fleet = fleet(linear(7), "round_robin", 3);
    fleet.bounce(1);
    fleet.run_for(secs(30));
    assert!((fleet.row(1).view.share - 0.5).abs() < 0.05);
    fleet.bounce(1);
    assert!(fleet.row(1).view.share < 0.11);
    assert_eq!(fleet.told().len(), 2, "{:?}", fleet.told());
}

#[test]
fn a_connection_that_is_replaced_at_once_does_not_begin_a_ramp() {
    let mut fleet = fleet(linear(8), "round_robin", 3);
    fleet.run_for(secs(2));
    fleet.net.close(&address(1));
    fleet.run_for(secs(2));
    assert_eq!((fleet.row(1).view.share, fleet.told().len()), (1.0, 0));
}

#[test]
fn the_first_set_starts_full_and_who_is_added_ramps() {
    let mut fleet = fleet(linear(9), "round_robin", 2);
    assert!(fleet.told().is_empty(), "{:?}", fleet.told());
    fleet.net.up(&address(2));
    fleet.net.resolve([&*address(0), &*address(1), &*address(2)]);
    fleet.net.run_for(Duration::from_millis(5));
    assert_eq!((fleet.row(2).view.limited, fleet.row(0).view.limited), (Some("recovering"), None));
    // All gone and back is a first set again.
    fleet.net.tell(lb_core::machine::Event::EnterIdle);
    fleet.net.exit_idle();
    fleet.net.run_for(secs(1));
    assert!(fleet.net.snapshot().rows.iter().all(|row| row.view.share == 1.0 && row.takes_calls()));
}

#[test]
fn if_all_come_back_at_once_all_serve_alike() {
    for name in ["round_robin", "random", "least_request", "ring_hash", "pick_first"] {
        let mut fleet = fleet(linear(10), name, 3);
        fleet.run_for(secs(2));
        (0..3).for_each(|server| fleet.net.kill(&address(server)));
        fleet.net.run_for(secs(5));
        (0..3).for_each(|server| fleet.net.up(&address(server)));
        fleet.net.command(Command::ResetBackoff);
        fleet.net.run_for(Duration::from_millis(5));
        (fleet.errors, fleet.counts) = (0, vec![0; 3]);
        let counts = fleet.run_for(secs(20));
        assert_eq!(fleet.errors, 0, "{name}: somebody has to serve");
        if !["pick_first", "ring_hash"].contains(&name) {
            assert!((0..3).all(|server| (Fleet::ratio(&counts, server) - 1.0).abs() < 0.1), "{name}: {counts:?}");
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_calls() {
    let run = |seed| {
        let mut fleet = fleet(linear(seed), "least_request", 4);
        fleet.run_for(secs(3));
        fleet.bounce(1);
        fleet.run_for(secs(20))
    };
    assert_eq!(run(11), run(11));
    assert_ne!(run(11), run(12));
}

#[test]
fn configured_and_idle_it_publishes_nothing() {
    let mut fleet = fleet(linear(13), "round_robin", 3);
    let generation = fleet.net.snapshot().generation;
    fleet.net.run_for(secs(3600));
    assert_eq!(fleet.net.snapshot().generation, generation);
}
