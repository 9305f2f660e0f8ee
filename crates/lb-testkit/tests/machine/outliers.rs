//! Ejection by a policy of the service config, over time and through changes of that config.

use lb_core::ConnectivityState::Ready;
use lb_core::machine::{Command, Event, MachineConfig, NamedPolicy};
use lb_core::stages::OutlierConfig;
use lb_core::{LbEvent, Outcome, PolicyRegistry};
use lb_testkit::SimNet;
use serde_json::{Value, json};

use crate::support::{
    A, B, C, endpoint_of, events, generation, keys, latest_attempt, millis, round_robin, row, running, running_with, secs, states,
    update,
};

const NAME: &str = "outlier_detection_experimental";

fn measure() -> Value {
    json!({"minimumHosts": 1, "requestVolume": 10, "threshold": 50})
}

fn ejecting(interval: &str, child: &str) -> Value {
    json!({"interval": interval, "maxEjectionPercent": 100, "failurePercentageEjection": measure(), "childPolicy": [{child: {}}]})
}

fn policy(config: &Value) -> NamedPolicy {
    NamedPolicy::new(NAME, PolicyRegistry::default().build(NAME, config).unwrap())
}

fn change(net: &mut SimNet, config: &Value) {
    net.command(Command::SetPolicy(policy(config)));
}

fn fail(net: &SimNet, key: &str, calls: usize) {
    let stats = &row(net, key).view.stats;
    for _ in 0..calls {
        stats.begin();
        stats.end(Outcome::Failure);
    }
}

/// Who serves, in order.
fn serving(net: &mut SimNet) -> Vec<String> {
    let mut serving: Vec<String> = (0..30).filter_map(|_| net.pick()).map(|key| key.to_string()).collect();
    serving.sort_unstable();
    serving.dedup();
    serving
}

#[test]
fn an_interval_that_is_changed_within_one_counts_the_time_that_has_passed() {
    let mut net = running(policy(&ejecting("10s", "round_robin")), &[A, B, C]);
    fail(&net, A, 20);
    net.run_for(secs(4));
    assert_eq!(serving(&mut net), [A, B, C]);
    // The machine began to count within its first second; 6 s have not passed since, and 4 s have.
    change(&mut net, &ejecting("7s", "round_robin"));
    net.run_for(millis(1500));
    assert_eq!(serving(&mut net), [A, B, C]);
    net.run_for(millis(1500));
    assert_eq!(serving(&mut net), [B, C], "after what was left of it");
    let mut net = running(policy(&ejecting("10s", "round_robin")), &[A, B, C]);
    fail(&net, A, 20);
    net.run_for(secs(4));
    change(&mut net, &ejecting("2s", "round_robin"));
    assert_eq!(serving(&mut net), [B, C], "at once, since it has passed");
}

#[test]
fn a_policy_that_is_changed_goes_on_ejecting() {
    let mut net = running(policy(&ejecting("1s", "round_robin")), &[A, B, C]);
    fail(&net, B, 20);
    net.run_for(secs(2));
    let (_, attempt) = latest_attempt(&net, B);
    for child in ["least_request", "random", "round_robin"] {
        change(&mut net, &ejecting("1s", child));
        assert_eq!(serving(&mut net), [A, C], "{child}");
        net.run_for(secs(5));
        assert_eq!(serving(&mut net), [A, C], "{child}");
    }
    // 30 s after it began, not after the last change.
    net.run_for(secs(16));
    assert_eq!(serving(&mut net), [A, B, C]);
    assert_eq!(latest_attempt(&net, B).1, attempt, "on the connection it had");
}

#[test]
fn without_a_measure_all_are_back_at_once_and_with_one_counting_begins() {
    let mut net = running(policy(&ejecting("1s", "round_robin")), &[A, B, C]);
    fail(&net, A, 20);
    fail(&net, B, 20);
    net.run_for(secs(2));
    assert_eq!(serving(&mut net), [C]);
    change(&mut net, &json!({"childPolicy": [{"round_robin": {}}]}));
    assert_eq!(serving(&mut net), [A, B, C]);
    let ended = events(&net).into_iter().filter(|event| matches!(event, LbEvent::EjectionEnded { .. }));
    assert_eq!(ended.count(), 2);
    fail(&net, A, 100);
    net.run_for(secs(60));
    assert_eq!(serving(&mut net), [A, B, C], "nothing is counted");
    change(&mut net, &ejecting("1s", "round_robin"));
    net.run_for(secs(3));
    assert_eq!(serving(&mut net), [A, B, C], "what ended before does not count");
    fail(&net, A, 20);
    net.run_for(secs(2));
    assert_eq!(serving(&mut net), [B, C]);
    // Another policy altogether ejects nobody.
    net.command(Command::SetPolicy(round_robin()));
    assert_eq!(serving(&mut net), [A, B, C]);
}

#[test]
fn calls_at_either_address_of_an_endpoint_count_together() {
    let mut net = running(policy(&ejecting("10s", "round_robin")), &[]);
    [A, B, C].iter().for_each(|address| net.up(address));
    net.resolve_to(update([endpoint_of(&[A, B]), endpoint_of(&[C])]));
    net.run_for(secs(1));
    let both = format!("{A},{B}");
    assert_eq!(states(&net), [Ready, Ready]);
    // Neither half would be enough.
    fail(&net, &both, 6);
    net.kill(A);
    net.run_for(secs(1));
    assert!(net.connected().contains(&B.to_owned()), "{:?}", net.connected());
    fail(&net, &both, 6);
    net.run_for(secs(9));
    assert_eq!(serving(&mut net), [C]);
    // Told the other way round it is the same endpoint, with an address less another one, which is clean.
    net.resolve_to(update([endpoint_of(&[B, A]), endpoint_of(&[C])]));
    net.run_for(secs(1));
    assert_eq!(serving(&mut net), [C]);
    net.resolve_to(update([endpoint_of(&[B]), endpoint_of(&[C])]));
    net.run_for(secs(1));
    assert_eq!(serving(&mut net), [B, C]);
}

#[test]
fn a_change_is_published_once() {
    let mut net = running(policy(&ejecting("10s", "round_robin")), &[A, B, C]);
    // Two ejections of one sweep are one generation.
    net.run_for(secs(30));
    let before = generation(&net);
    [A, B].iter().for_each(|address| fail(&net, address, 20));
    net.run_for(secs(10));
    assert_eq!((generation(&net), serving(&mut net)), (before + 1, vec![C.to_owned()]));
    // So is another configuration with other endpoints, told together.
    let before = generation(&net);
    let next = policy(&ejecting("20s", "random"));
    net.tell_all([Event::Command(Command::SetPolicy(next)), Event::Resolved(update([endpoint_of(&[A]), endpoint_of(&[C])]))]);
    assert_eq!(generation(&net), before + 1);
    assert_eq!((keys(&net), serving(&mut net)), (vec![A.to_owned(), C.to_owned()], vec![C.to_owned()]));
}

/// A sweep a second by the channel's own stage, or by the policy of a service config.
fn sweeping(by_stage: bool) -> SimNet {
    let fields = json!({"interval": "1s", "maxEjectionPercent": 100, "failurePercentageEjection": measure()});
    if !by_stage {
        return running(policy(&ejecting("1s", "round_robin")), &[A, B, C]);
    }
    let mut config = MachineConfig::new(1);
    config.outlier_detection = OutlierConfig::from_json(&fields).unwrap();
    running_with(config, round_robin(), &[A, B, C])
}

#[test]
fn a_sweep_that_finds_nobody_publishes_nothing() {
    for by_stage in [true, false] {
        let mut net = sweeping(by_stage);
        let before = generation(&net);
        for _ in 0..60 {
            // Too few to be judged by.
            fail(&net, A, 3);
            net.run_for(secs(1));
        }
        assert_eq!(generation(&net), before, "by the stage: {by_stage}");
        assert_eq!(serving(&mut net), [A, B, C]);
        fail(&net, B, 20);
        net.run_for(secs(2));
        assert_eq!(
            (generation(&net), serving(&mut net)),
            (before + 1, vec![A.to_owned(), C.to_owned()]),
            "by the stage: {by_stage}"
        );
        // Nothing is new before the 30 s of the ejection are over, and nothing after.
        net.run_for(secs(25));
        assert_eq!(generation(&net), before + 1, "by the stage: {by_stage}");
        net.run_for(secs(60));
        assert_eq!((generation(&net), serving(&mut net).len()), (before + 2, 3), "by the stage: {by_stage}");
    }
}

#[test]
fn sweeps_that_publish_nothing_keep_what_their_policies_asked_for() {
    for by_stage in [true, false] {
        let mut net = sweeping(by_stage);
        net.run_for(secs(10));
        net.kill(C);
        net.run_for(secs(20));
        let attempts = net.attempts(C).len();
        assert!(attempts > 3, "a policy's wish for a connection outlives sweeps: {attempts} attempts");
        net.up(C);
        net.run_for(secs(30));
        assert_eq!(serving(&mut net), [A, B, C], "by the stage: {by_stage}");
    }
}
