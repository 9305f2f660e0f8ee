//! Replicas that stand in for their primaries, over time.

use lb_core::ConnectivityState::Ready;
use lb_core::machine::{Command, MachineConfig};
use lb_core::stages::{FailoverConfig, FailurePercentageEjection};
use lb_core::{Endpoint, LbEvent, Outcome, RegistryHealth, ServingStatus};
use lb_testkit::SimNet;

use crate::support::{A, B, C, endpoint, events, failure, millis, round_robin, row, secs, update, watching, with_priority};

fn replica(address: &str, of: &str) -> Endpoint {
    let mut endpoint = endpoint(address);
    endpoint.attributes.replica_of = Some(of.into());
    endpoint
}

/// A with its replica B, and C; all accept.
fn family(config: MachineConfig) -> SimNet {
    let mut net = SimNet::new(config, round_robin());
    [A, B, C].iter().for_each(|address| net.up(address));
    net.resolve_to(update([endpoint(A), replica(B, A), endpoint(C)]));
    net.exit_idle();
    net.run_for(secs(1));
    net
}

fn serving(net: &mut SimNet) -> Vec<String> {
    let mut serving: Vec<String> = (0..12).filter_map(|_| net.pick()).map(|key| key.to_string()).collect();
    serving.sort_unstable();
    serving.dedup();
    serving
}

fn told(net: &SimNet) -> Vec<String> {
    let of_replicas = |event: &&LbEvent| matches!(event, LbEvent::Promoted { .. } | LbEvent::Demoted { .. });
    events(net).into_iter().filter(of_replicas).map(ToString::to_string).collect()
}

#[test]
fn a_standby_is_connected_and_takes_over_the_moment_its_primary_is_killed() {
    let mut net = family(MachineConfig::new(1));
    assert_eq!((serving(&mut net), net.connected().len()), (vec![A.to_owned(), C.to_owned()], 3));
    assert_eq!(row(&net, B).excluded, Some("standby"));
    net.kill(A);
    net.run_for(millis(2));
    assert_eq!(serving(&mut net), [B, C]);
    assert_eq!(net.attempts(B).len(), 1, "on the connection it had");
    assert_eq!(told(&net), [format!("endpoint {B} serves in place of {A}: connection refused")]);
    assert_eq!(net.snapshot().promotions[0].replica, B.into());
    net.up(A);
    while row(&net, A).view.state != Ready {
        assert!(net.step());
    }
    net.run_for(secs(10) - millis(1));
    assert_eq!(serving(&mut net), [B, C], "the primary proves itself");
    net.run_for(millis(1));
    assert_eq!(serving(&mut net), [A, C]);
    assert_eq!((told(&net).len(), net.snapshot().promotions.len()), (2, 0));
}

#[test]
fn draining_not_serving_and_what_the_registry_says_promote_as_well() {
    let mut net = family(MachineConfig::new(1));
    net.command(Command::Drain(A.into(), true));
    assert_eq!(serving(&mut net), [B, C]);
    net.command(Command::Drain(A.into(), false));
    assert_eq!(serving(&mut net), [B, C]);
    net.command(Command::ForceGroup(None));
    assert_eq!(serving(&mut net), [A, C], "asked to return it does at once");
    let mut unhealthy = endpoint(A);
    unhealthy.attributes.health = RegistryHealth::Unhealthy;
    net.resolve_to(update([unhealthy, replica(B, A), endpoint(C)]));
    assert_eq!(serving(&mut net), [B, C]);

    let mut net = family(watching());
    [A, B, C].iter().for_each(|address| net.health(address, &ServingStatus::Serving));
    assert_eq!(serving(&mut net), [A, C]);
    net.health(A, &ServingStatus::NotServing("NOT_SERVING".into()));
    assert_eq!(serving(&mut net), [B, C]);
    assert!(told(&net)[0].ends_with("NOT_SERVING"), "{:?}", told(&net));
}

#[test]
fn an_ejected_primary_is_replaced() {
    let mut config = MachineConfig::new(1);
    let mut measure = FailurePercentageEjection::default();
    (measure.minimum_hosts, measure.request_volume) = (1, 1);
    config.outlier_detection.failure_percentage = Some(measure);
    let mut net = family(config);
    let stats = row(&net, A).view.stats.clone();
    stats.begin();
    stats.end(Outcome::Failure);
    net.run_for(secs(10));
    assert_eq!(serving(&mut net), [B, C]);
    assert!(told(&net)[0].contains("ejected: 100 % of its calls fail"), "{:?}", told(&net));
}

#[test]
fn a_group_serves_while_a_replica_serves_in_it() {
    let mut config = MachineConfig::new(1);
    config.failover = FailoverConfig::default().fail_back_after(secs(60));
    let mut net = SimNet::new(config, round_robin());
    [A, B, C].iter().for_each(|address| net.up(address));
    net.resolve_to(update([endpoint(A), replica(B, A), with_priority(C, 1)]));
    net.exit_idle();
    net.run_for(secs(1));
    net.kill(A);
    net.run_for(secs(1));
    assert_eq!((serving(&mut net), net.attempts(C).len()), (vec![B.to_owned()], 0), "no failover");
    net.kill(B);
    net.run_for(secs(1));
    assert_eq!(serving(&mut net), [C]);
}

#[test]
fn a_primary_that_leaves_the_list_leaves_its_place_to_the_replica() {
    let mut net = family(MachineConfig::new(1));
    net.resolve_to(update([replica(B, A), endpoint(C)]));
    assert_eq!(serving(&mut net), [B, C]);
    assert_eq!(told(&net), [format!("endpoint {B} serves in place of {A}: not listed")]);
    net.resolve_to(update([replica(B, A)]));
    net.kill(B);
    net.run_for(secs(1));
    assert!(failure(&mut net).contains(B));
}
