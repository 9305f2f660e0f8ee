//! Shares as such: weights, wishes, keys, sessions of several endpoints.

use std::collections::BTreeMap;

use http::HeaderMap;
use lb_core::machine::{Command, MachineConfig};
use lb_core::{Choice, PickArgs, PickHints, Scratch};
use serde_json::{Value, json};

use crate::fleet::{Fleet, address, policy, secs};

fn degrade(fleet: &mut Fleet, server: usize, share: f64) {
    fleet.command(Command::Degrade(address(server).as_str().into(), share));
}

fn fleet(name: &str, servers: usize) -> Fleet {
    Fleet::new(MachineConfig::new(1), policy(name, &Value::Null), servers)
}

#[test]
fn several_endpoints_keep_their_own_shares() {
    for name in ["round_robin", "random", "least_request", "score", "prequal"] {
        let mut fleet = fleet(name, 8);
        let shares = [0.1, 0.5, 0.8, 0.3];
        shares.iter().enumerate().for_each(|(server, share)| degrade(&mut fleet, server, *share));
        fleet.run_for(secs(5));
        let counts = fleet.run_for(secs(30));
        let full = counts[4..].iter().sum::<u64>() as f64 / 4.0;
        for (server, share) in shares.iter().enumerate() {
            let got = counts[server] as f64 / full;
            assert!((got - share).abs() <= 0.05, "{name}: {got:.2} for {share}: {counts:?}");
        }
    }
}

#[test]
fn weights_count_beside_shares() {
    for (name, fair) in [("weighted_round_robin", 3.0), ("round_robin", 1.0), ("random", 1.0)] {
        let config = json!({"useWeights": true, "source": "static"});
        let named = if name == "weighted_round_robin" { policy(name, &config) } else { policy(name, &Value::Null) };
        let mut fleet = Fleet::weighted(MachineConfig::new(2), named, &[1, 1, 3, 1, 1]);
        fleet.run_for(secs(10));
        let usual = Fleet::ratio(&fleet.run_for(secs(20)), 2);
        println!("{name}: {usual:.2} of {fair}");
        degrade(&mut fleet, 2, 0.5);
        fleet.run_for(secs(5));
        let got = Fleet::ratio(&fleet.run_for(secs(60)), 2) / usual;
        assert!((got - 0.5).abs() <= 0.08, "{name}: {got}");
    }
}

#[test]
fn if_nobody_else_can_a_degraded_endpoint_takes_the_call() {
    for name in ["round_robin", "random", "least_request", "ring_hash", "score", "pick_first", "prequal"] {
        let mut fleet = fleet(name, 1);
        fleet.hints = Box::new(|number| PickHints::new().hash_key(number.to_string()));
        degrade(&mut fleet, 0, 0.001);
        fleet.run_for(secs(1));
        assert_eq!((fleet.run_for(secs(1))[0], fleet.errors), (100, 0), "{name}");
    }
    // Others that a call excludes are nobody.
    let mut fleet = fleet("round_robin", 3);
    fleet.hints = Box::new(|_| PickHints::new().exclude(&*address(1)).exclude(&*address(2)));
    degrade(&mut fleet, 0, 0.001);
    assert_eq!((fleet.run_for(secs(1))[0], fleet.errors), (300, 0));
}

#[test]
fn calls_with_wishes_draw_lots_and_preferences_give_way() {
    let mut fleet = fleet("round_robin", 4);
    degrade(&mut fleet, 0, 0.3);
    fleet.hints = Box::new(|_| PickHints::new().exclude(&*address(3)));
    let counts = fleet.run_for(secs(30));
    assert!((counts[0] as f64 / counts[1] as f64 - 0.3).abs() < 0.05 && counts[3] == 0, "{counts:?}");
    fleet.hints = Box::new(|_| PickHints::new().prefer(&*address(0)));
    let counts = fleet.run_for(secs(30));
    let share = counts[0] as f64 / counts.iter().sum::<u64>() as f64;
    // And what falls to it of those that go elsewhere: 0.7 · 0.3 / 4.
    assert!((share - 0.35).abs() < 0.05, "three in ten of what it is preferred for: {counts:?}");
    fleet.hints = Box::new(|_| PickHints::new().pin(&*address(0)));
    assert_eq!(fleet.run_for(secs(1))[1..], [0, 0, 0], "who is pinned stays");
}

/// Where each of a thousand keys goes now.
fn homes(fleet: &Fleet) -> BTreeMap<u32, usize> {
    let (headers, mut scratch) = (HeaderMap::new(), Scratch::new(99));
    let mut homes = BTreeMap::new();
    for key in 0..1000 {
        let hints = PickHints::new().hash_key(format!("k{key}"));
        let mut args = PickArgs::new(fleet.now(), "/sim/Call", &headers, &hints, &mut scratch);
        let Choice::Pick { slot, .. } = fleet.net.snapshot().choose(&mut args) else { panic!("no pick") };
        homes.insert(key, slot.index());
    }
    homes
}

#[test]
fn a_key_has_one_fate_and_comes_back_once() {
    for name in ["ring_hash", "maglev", "rendezvous", "ip_hash"] {
        let mut fleet = fleet(name, 5);
        // Those that connect on demand connect all.
        fleet.hints = Box::new(|number| PickHints::new().hash_key(number.to_string()));
        fleet.run_for(secs(5));
        let usual = homes(&fleet);
        let mut before: Option<BTreeMap<u32, usize>> = None;
        for percent in (10..=100).step_by(10) {
            degrade(&mut fleet, 2, f64::from(percent) / 100.0);
            let (now, again) = (homes(&fleet), homes(&fleet));
            assert_eq!(now, again, "{name}: the same key, the same endpoint");
            let (mut own, mut here) = (0.0_f64, 0.0);
            for (key, home) in &usual {
                if *home == 2 {
                    own += 1.0;
                    here += f64::from(u8::from(now[key] == 2));
                    let was = before.as_ref().is_some_and(|before| before[key] == 2);
                    assert!(!was || now[key] == 2, "{name}: key {key} came back at less than {percent} % and went again");
                } else {
                    assert_eq!(now[key], *home, "{name}: other keys stay");
                }
            }
            // Five sigma of about 200 keys are 17 %.
            assert!((here / own - f64::from(percent) / 100.0).abs() < 0.17, "{name}: {here} of {own} at {percent} %");
            before = Some(now);
        }
        assert_eq!(before, Some(usual));
    }
}
