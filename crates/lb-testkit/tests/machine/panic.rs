//! When too few endpoints are thought well of, over time.

use lb_core::ConnectivityState::TransientFailure;
use lb_core::machine::{Command, MachineConfig};
use lb_core::stages::{FailurePercentageEjection, PanicConfig};
use lb_core::{LbEvent, Outcome, RegistryHealth, ServingStatus};
use lb_testkit::SimNet;

use crate::support::{A, B, C, D, endpoint, events, round_robin, row, running_with, secs, update, watching};

fn serving(net: &mut SimNet) -> Vec<String> {
    let mut serving: Vec<String> = (0..20).filter_map(|_| net.pick()).map(|key| key.to_string()).collect();
    serving.sort_unstable();
    serving.dedup();
    serving
}

fn panics(net: &SimNet) -> Vec<String> {
    events(net).into_iter().filter(|event| matches!(event, LbEvent::Panic { .. })).map(ToString::to_string).collect()
}

#[test]
fn health_checks_that_say_no_everywhere_are_not_believed() {
    let mut config = watching();
    config.panic = PanicConfig::below(50);
    let mut net = running_with(config, round_robin(), &[A, B, C, D]);
    [A, B, C, D].iter().for_each(|address| net.health(address, &ServingStatus::Serving));
    [A, B].iter().for_each(|address| net.health(address, &ServingStatus::NotServing("no".into())));
    assert_eq!(serving(&mut net), [C, D], "half is enough");
    net.health(C, &ServingStatus::NotServing("no".into()));
    assert_eq!(serving(&mut net), [A, B, C, D]);
    assert_eq!(net.snapshot().panic.map(|panic| (panic.eligible, panic.of, panic.restored)), Some((1, 4, 3)));
    // Draining is an order and no opinion; a lost connection is a fact.
    net.command(Command::Drain(A.into(), true));
    net.kill(B);
    assert_eq!(serving(&mut net), [C, D]);
    net.command(Command::Drain(A.into(), false));
    net.up(B);
    [A, B, C].iter().for_each(|address| net.health(address, &ServingStatus::Serving));
    net.run_for(secs(10));
    assert_eq!((serving(&mut net).len(), net.snapshot().panic), (4, None));
    assert_eq!(panics(&net).len(), 2, "{:?}", panics(&net));
}

#[test]
fn ejections_and_the_registry_are_overridden_together() {
    let mut config = MachineConfig::new(1);
    config.panic = PanicConfig::below(50);
    let mut measure = FailurePercentageEjection::default();
    (measure.minimum_hosts, measure.request_volume) = (1, 1);
    config.outlier_detection.failure_percentage = Some(measure);
    config.outlier_detection.max_ejection_percent = 100;
    let mut net = running_with(config, round_robin(), &[A, B, C]);
    for address in [A, B] {
        let stats = row(&net, address).view.stats.clone();
        stats.begin();
        stats.end(Outcome::Failure);
    }
    let mut unhealthy = endpoint(C);
    unhealthy.attributes.health = RegistryHealth::Unhealthy;
    net.run_for(secs(5));
    assert_eq!(serving(&mut net), [A, B, C]);
    net.resolve_to(update([endpoint(A), endpoint(B), unhealthy]));
    assert_eq!(serving(&mut net), [A, B]);
    net.run_for(secs(5));
    assert_eq!(serving(&mut net), [A, B, C]);
    assert_eq!((row(&net, A).excluded, row(&net, C).excluded), (None, None));
    assert_eq!(panics(&net), ["only 0 of 3 endpoints of priority 0 are eligible: all are used"]);
    // The ejections run on, and end: two of three are enough.
    net.run_for(secs(60));
    assert_eq!((serving(&mut net), net.snapshot().panic), (vec![A.to_owned(), B.to_owned()], None));
}

#[test]
fn without_the_rule_nobody_serves_who_should_not() {
    let mut net = running_with(watching(), round_robin(), &[A, B]);
    [A, B].iter().for_each(|address| net.health(address, &ServingStatus::NotServing("no".into())));
    assert_eq!((net.state(), serving(&mut net)), (TransientFailure, vec![]));
}
