//! The simulated network, driving the real machine.
#![allow(clippy::unwrap_used, reason = "a failing helper fails the test")]

use std::time::Duration;

use lb_core::machine::{Command, MachineConfig, NamedPolicy};
use lb_core::policies::{PickFirst, RoundRobin};
use lb_core::{ConnectivityState, Endpoint, EndpointKey, ResolverUpdate, ServingStatus};
use lb_testkit::SimNet;
use lb_testkit::sim::What;

const A: &str = "10.0.0.1:1";
const B: &str = "10.0.0.2:1";
const C: &str = "10.0.0.3:1";

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn round_robin(seed: u64) -> SimNet {
    SimNet::new(MachineConfig::new(seed), NamedPolicy::new("round_robin", Box::new(RoundRobin::default())))
}

fn picks(net: &mut SimNet, count: usize) -> Vec<(String, usize)> {
    let mut counts = std::collections::BTreeMap::new();
    for _ in 0..count {
        *counts.entry(net.pick().unwrap().to_string()).or_insert(0) += 1;
    }
    counts.into_iter().collect()
}

#[test]
fn round_robin_uses_what_is_there_and_only_that() {
    let mut net = round_robin(1);
    net.up(A);
    net.up(B);
    net.resolve([A, B, C]);
    assert_eq!(net.state(), ConnectivityState::Idle);
    net.exit_idle();
    net.run_for(secs(1));
    assert_eq!(net.connected(), [A, B]);
    assert_eq!(picks(&mut net, 10), [(A.to_owned(), 5), (B.to_owned(), 5)]);
    net.kill(A);
    assert_eq!(picks(&mut net, 10), [(B.to_owned(), 10)]);
}

#[test]
fn a_killed_endpoint_is_retried_by_its_backoff_and_returns_without_a_call() {
    let mut net = round_robin(1);
    net.up(A);
    net.resolve([A]);
    net.exit_idle();
    net.run_for(secs(10));
    net.kill(A);
    net.run_for(secs(600));
    assert_eq!(net.state(), ConnectivityState::TransientFailure);
    let attempts = net.attempts(A);
    assert!((12..=16).contains(&attempts.len()), "{attempts:?}");
    assert!(net.asked_again() > 0);
    net.up(A);
    net.run_for(secs(145));
    assert_eq!(net.state(), ConnectivityState::Ready);
}

#[test]
fn one_seed_is_one_run() {
    let run = |seed| {
        let mut net = round_robin(seed);
        net.up(A);
        net.lifetime(A, Some(secs(7)));
        net.hang(B);
        net.resolve([A, B, C]);
        net.exit_idle();
        net.run_for(secs(300));
        net.take_records()
    };
    let records = run(3);
    assert!(records.len() > 100, "{}", records.len());
    assert_eq!(records, run(3));
    assert_ne!(records, run(4));
}

#[test]
fn the_addresses_of_an_endpoint_are_tried_in_order() {
    let mut net = round_robin(1);
    net.refuse(A);
    net.hang(B);
    net.up(C);
    let addresses = [A, B, C].map(|text| text.parse().unwrap());
    net.resolve_to(ResolverUpdate::new(vec![Endpoint::with_addresses(addresses).unwrap()]));
    net.exit_idle();
    net.run_for(secs(1));
    assert_eq!(net.connected(), [C]);
    let connected = net.records().iter().find(|record| matches!(record.what, What::Connected(..))).unwrap();
    // A refusal of 1 ms, a hang of 250 ms, a connection of 1 ms.
    assert_eq!(connected.at, Duration::from_millis(252));
}

#[test]
fn a_hanging_attempt_ends_by_its_timeout() {
    let mut net = round_robin(1);
    net.hang(A);
    net.resolve([A]);
    net.exit_idle();
    net.run_for(secs(19));
    assert_eq!(net.state(), ConnectivityState::Connecting);
    net.run_for(secs(1));
    assert_eq!(net.state(), ConnectivityState::TransientFailure);
}

#[test]
fn health_gates_ready() {
    let mut config = MachineConfig::new(1);
    config.watch_health = true;
    let mut net = SimNet::new(config, NamedPolicy::new("round_robin", Box::new(RoundRobin::default())));
    net.up(A);
    net.resolve([A]);
    net.exit_idle();
    net.run_for(secs(60));
    assert_eq!(net.state(), ConnectivityState::Connecting);
    net.health(A, &ServingStatus::Serving);
    assert_eq!(net.state(), ConnectivityState::Ready);
    net.health(A, &ServingStatus::NotServing("health check: NOT_SERVING".into()));
    assert_eq!(net.state(), ConnectivityState::TransientFailure);
    assert_eq!(net.connected(), [A], "the connection is kept");
}

#[test]
fn a_removed_endpoint_is_closed_and_a_switch_of_policy_loses_no_pick() {
    let mut net = round_robin(1);
    net.up(A);
    net.up(B);
    net.resolve([A, B]);
    net.exit_idle();
    net.run_for(secs(1));
    net.resolve([B]);
    assert_eq!(net.connected(), [B]);
    net.command(Command::SetPolicy(NamedPolicy::new("pick_first", Box::new(PickFirst::default()))));
    assert_eq!(net.pick(), Some(EndpointKey::from(B)));
    net.run_for(secs(1));
    assert_eq!(net.snapshot().policy(), "pick_first");
    assert_eq!(net.pick(), Some(EndpointKey::from(B)));
}
