//! Degraded, disabled, drained: by hand, by health checks, by the registry.

use std::time::Duration;

use lb_core::machine::{Command, MachineConfig};
use lb_core::recovery::{DegradedConfig, RampConfig};
use lb_core::{ConnectivityState, Endpoint, REGISTRY_SHARE, REGISTRY_STATE, RegistryHealth, ResolverUpdate, ServingStatus};
use serde_json::Value;

use crate::fleet::{Fleet, address, policy, secs};

fn fleet(config: MachineConfig, servers: usize) -> Fleet {
    Fleet::new(config, policy("round_robin", &Value::Null), servers)
}

fn endpoint(server: usize) -> Endpoint {
    Endpoint::new(address(server).parse::<lb_core::Address>().unwrap())
}

fn saying(server: usize, key: &str, word: &str) -> Endpoint {
    let mut endpoint = endpoint(server);
    endpoint.attributes.metadata.insert(key.into(), word.into());
    endpoint
}

fn resolve(fleet: &mut Fleet, endpoints: [Endpoint; 3]) {
    fleet.net.resolve_to(ResolverUpdate::new(endpoints.to_vec()));
    fleet.net.run_for(Duration::from_millis(5));
}

/// The share and why, of the first server.
fn limited(fleet: &Fleet) -> (f64, Option<&'static str>) {
    (fleet.row(0).view.share, fleet.row(0).view.limited)
}

#[test]
fn degraded_by_hand_is_remembered_and_taken_back() {
    let mut fleet = fleet(MachineConfig::new(1), 3);
    let key = || address(0).as_str().into();
    fleet.command(Command::Degrade(key(), 0.25));
    assert_eq!(limited(&fleet), (0.25, Some("degraded by hand")));
    assert!((Fleet::ratio(&fleet.run_for(secs(10)), 0) - 0.25).abs() < 0.05);
    let generation = fleet.net.snapshot().generation;
    fleet.command(Command::Degrade(key(), 0.25));
    assert_eq!(fleet.net.snapshot().generation, generation, "twice is once");
    fleet.net.resolve([&*address(1), &*address(2)]);
    fleet.net.resolve([&*address(0), &*address(1), &*address(2)]);
    fleet.run_for(secs(1));
    assert_eq!(limited(&fleet).0, 0.25, "remembered while it was not listed");
    fleet.command(Command::Degrade(key(), 1.0));
    assert_eq!(limited(&fleet), (1.0, None));
    let told = fleet.told();
    let degraded = "endpoint 10.0.0.1:1 degraded to 25 %";
    assert_eq!(told, [degraded, "endpoint 10.0.0.1:1 no longer degraded", degraded, "endpoint 10.0.0.1:1 no longer degraded"]);
}

#[test]
fn degraded_by_its_health_check_it_serves_at_half() {
    let mut config = MachineConfig::new(2);
    config.watch_health = true;
    let mut fleet = fleet(config, 3);
    (0..3).for_each(|server| fleet.net.health(&address(server), &ServingStatus::Serving));
    fleet.net.health(&address(0), &ServingStatus::Degraded("slow".into()));
    assert_eq!(limited(&fleet), (0.5, Some("degraded by its health check")));
    assert_eq!(fleet.row(0).view.state, ConnectivityState::Ready);
    let ratio = Fleet::ratio(&fleet.run_for(secs(10)), 0);
    assert!((ratio - 0.5).abs() < 0.05, "{ratio}");
    fleet.net.health(&address(0), &ServingStatus::Serving);
    assert_eq!(limited(&fleet), (1.0, None));
    fleet.net.health(&address(0), &ServingStatus::Degraded("slow".into()));
    fleet.net.health(&address(0), &ServingStatus::NotServing("gone".into()));
    assert_eq!(fleet.row(0).view.state, ConnectivityState::TransientFailure);
}

#[test]
fn degraded_by_the_registry_in_its_metadata_or_if_asked_by_its_health() {
    let warned = || {
        let mut warned = endpoint(0);
        warned.attributes.health = RegistryHealth::Degraded;
        warned
    };
    let mut with = MachineConfig::new(3);
    with.degraded = DegradedConfig::default().with_share(0.4).unwrap().with_registry_health();
    for (config, first, expected) in [
        (MachineConfig::new(3), warned(), 1.0),
        (with, warned(), 0.4),
        (MachineConfig::new(3), saying(0, REGISTRY_STATE, "degraded"), 0.5),
        (MachineConfig::new(3), saying(0, REGISTRY_SHARE, "0.2"), 0.2),
        (MachineConfig::new(3), saying(0, REGISTRY_SHARE, "all"), 1.0),
    ] {
        let mut fleet = fleet(config, 3);
        resolve(&mut fleet, [first, endpoint(1), endpoint(2)]);
        let reason = (expected < 1.0).then_some("degraded in the registry");
        assert_eq!(limited(&fleet), (expected, reason));
        assert!((Fleet::ratio(&fleet.run_for(secs(10)), 0) - expected).abs() < 0.05);
    }
}

#[test]
fn the_least_of_several_shares_counts() {
    let mut config = MachineConfig::new(4);
    config.recovery = Some(RampConfig::linear(secs(60)).unwrap());
    let mut fleet = fleet(config, 3);
    fleet.command(Command::Degrade(address(1).as_str().into(), 0.3));
    fleet.bounce(1);
    assert_eq!(fleet.row(1).view.limited, Some("recovering"));
    fleet.run_for(secs(40));
    assert_eq!((fleet.row(1).view.share, fleet.row(1).view.limited), (0.3, Some("degraded by hand")));
    fleet.command(Command::Degrade(address(1).as_str().into(), 1.0));
    assert!((fleet.row(1).view.share - 0.67).abs() < 0.05, "its ramp went on");
}

#[test]
fn a_disabled_endpoint_gets_nothing_and_is_let_go_until_it_is_enabled() {
    let mut config = MachineConfig::new(5);
    config.recovery = Some(RampConfig::linear(secs(60)).unwrap());
    let mut fleet = fleet(config, 3);
    let key = || address(0).as_str().into();
    fleet.command(Command::Disable(key(), true));
    fleet.command(Command::Disable(key(), true));
    assert_eq!((fleet.row(0).excluded, fleet.row(0).view.state), (Some("disabled"), ConnectivityState::Idle));
    assert_eq!(fleet.net.connected().len(), 2);
    assert_eq!(fleet.run_for(secs(200))[0], 0);
    assert_eq!(fleet.net.attempts(&address(0)).len(), 1, "and is not connected again");
    fleet.net.resolve([&*address(1), &*address(2)]);
    fleet.net.resolve([&*address(0), &*address(1), &*address(2)]);
    fleet.run_for(secs(1));
    assert_eq!(fleet.row(0).excluded, Some("disabled"), "remembered while it was not listed");
    fleet.command(Command::Disable(key(), false));
    fleet.net.run_for(Duration::from_millis(5));
    assert_eq!((fleet.row(0).excluded, fleet.row(0).view.limited), (None, Some("recovering")), "back by its ramp");
    assert_eq!(fleet.errors, 0);
    let told = ["endpoint 10.0.0.1:1 disabled", "endpoint 10.0.0.1:1 enabled", "endpoint 10.0.0.1:1 recovers from 10 %"];
    assert_eq!(fleet.told(), told);
}

#[test]
fn a_drained_endpoint_comes_back_by_its_ramp_too() {
    let mut config = MachineConfig::new(6);
    config.recovery = Some(RampConfig::steps());
    let mut fleet = fleet(config, 3);
    fleet.command(Command::Drain(address(0).as_str().into(), true));
    fleet.run_for(secs(1));
    fleet.command(Command::Drain(address(0).as_str().into(), false));
    assert_eq!(limited(&fleet), (0.1, Some("recovering")));
}

#[test]
fn who_is_drained_and_disabled_is_disabled() {
    let mut fleet = fleet(MachineConfig::new(7), 3);
    fleet.command(Command::Drain(address(0).as_str().into(), true));
    fleet.command(Command::Disable(address(0).as_str().into(), true));
    assert_eq!((fleet.row(0).excluded, fleet.net.connected().len()), (Some("disabled"), 2));
    fleet.command(Command::Disable(address(0).as_str().into(), false));
    assert_eq!(fleet.row(0).excluded, Some("drained"));
}

#[test]
fn the_registry_drains_and_disables_in_its_metadata() {
    let mut fleet = fleet(MachineConfig::new(8), 3);
    resolve(&mut fleet, [saying(0, REGISTRY_STATE, "draining"), saying(1, REGISTRY_STATE, "disabled"), endpoint(2)]);
    assert_eq!(fleet.row(0).excluded, Some("unhealthy or draining in the registry"));
    assert_eq!(fleet.row(1).excluded, Some("disabled in the registry"));
    let connected = fleet.net.connected();
    assert!(connected.contains(&address(0)) && !connected.contains(&address(1)), "{connected:?}");
    assert_eq!(fleet.run_for(secs(1))[..2], [0, 0]);
    resolve(&mut fleet, [saying(0, REGISTRY_STATE, "enabled"), endpoint(1), endpoint(2)]);
    fleet.run_for(secs(1));
    assert!(fleet.run_for(secs(1)).iter().all(|count| *count == 100), "both are back");
}
