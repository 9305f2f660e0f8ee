//! From one policy to the next without losing a call, and further policies beside.

use lb_core::ConnectivityState::{Connecting, Idle, Ready, TransientFailure};
use lb_core::machine::{Command, MachineConfig};
use lb_core::{LbEvent, PickResult};
use lb_testkit::SimNet;

use crate::support::{
    A, B, C, events, failure, fixed, generation, keys, latest_attempt, pick_first, round_robin, running, secs, update,
};

fn policies_in_turn(net: &SimNet) -> Vec<String> {
    let of = |event: &&LbEvent| match event {
        LbEvent::PolicyChanged { policy } => Some(policy.to_string()),
        _ => None,
    };
    events(net).iter().filter_map(of).collect()
}

fn switch(net: &mut SimNet, policy: lb_core::machine::NamedPolicy) {
    net.command(Command::SetPolicy(policy));
}

#[test]
fn a_ready_policy_serves_while_the_next_is_connecting() {
    let mut net = running(round_robin(), &[A, B]);
    switch(&mut net, fixed("slow", Connecting));
    net.run_for(secs(3600));
    assert_eq!((net.snapshot().policy(), net.state()), ("round_robin", Ready));
    assert!(net.pick().is_some());
    assert!(policies_in_turn(&net).is_empty());
    // Both see every update meanwhile.
    net.up(C);
    net.resolve([A, C]);
    net.run_for(secs(1));
    assert_eq!((keys(&net), net.connected().len()), (vec![A.to_owned(), C.to_owned()], 2));
}

#[test]
fn the_next_policy_takes_over_with_anything_but_connecting() {
    for state in [Ready, TransientFailure, Idle] {
        let mut net = running(round_robin(), &[A, B]);
        switch(&mut net, fixed("next", state));
        assert_eq!((net.snapshot().policy(), net.state()), ("next", state));
        assert_eq!(policies_in_turn(&net), ["next"]);
    }
}

#[test]
fn the_next_policy_takes_over_as_soon_as_the_current_is_not_ready() {
    let mut net = running(round_robin(), &[A]);
    switch(&mut net, fixed("slow", Connecting));
    assert_eq!(net.snapshot().policy(), "round_robin");
    net.kill(A);
    assert_eq!((net.snapshot().policy(), net.state()), ("slow", Connecting));
    let mut net = SimNet::new(MachineConfig::new(1), round_robin());
    net.exit_idle();
    switch(&mut net, fixed("slow", Connecting));
    assert_eq!(net.snapshot().policy(), "slow", "nothing was ready yet");
}

#[test]
fn of_two_switches_in_a_row_the_last_one_counts() {
    let mut net = running(round_robin(), &[A]);
    switch(&mut net, fixed("middle", Connecting));
    switch(&mut net, fixed("last", Connecting));
    assert_eq!(net.snapshot().policy(), "round_robin");
    net.kill(A);
    assert_eq!(policies_in_turn(&net), ["last"]);
    net.run_for(secs(600));
    assert_eq!(policies_in_turn(&net), ["last"]);
}

#[test]
fn pick_first_to_round_robin_keeps_the_connection_and_makes_the_others() {
    let mut net = running(pick_first(), &[A, B, C]);
    let (_, attempt) = latest_attempt(&net, A);
    switch(&mut net, round_robin());
    for _ in 0..100 {
        assert!(net.pick().is_some(), "no call waits or fails");
        net.run_for(std::time::Duration::from_millis(1));
    }
    assert_eq!((net.snapshot().policy(), net.connected().len()), ("round_robin", 3));
    assert_eq!(latest_attempt(&net, A).1, attempt);
}

#[test]
fn round_robin_to_pick_first_closes_what_is_superfluous() {
    let mut net = running(round_robin(), &[A, B, C]);
    switch(&mut net, pick_first());
    assert_eq!(net.pick(), Some(A.into()));
    net.run_for(secs(10));
    assert_eq!((net.connected(), net.snapshot().policy()), (vec![A.to_owned()], "pick_first"));
    assert_eq!(net.attempts(A).len(), 1);
}

#[test]
fn a_policy_that_waits_for_its_turn_closes_nothing_the_current_one_uses() {
    let mut net = running(round_robin(), &[A, B, C]);
    switch(&mut net, fixed("slow", Connecting));
    net.run_for(secs(1));
    assert_eq!(net.connected().len(), 3);
    net.close(B);
    net.run_for(secs(2));
    assert_eq!((net.connected().len(), net.snapshot().policy()), (3, "round_robin"));
}

#[test]
fn a_resolver_error_during_a_switch_changes_nothing() {
    let mut net = running(round_robin(), &[A]);
    switch(&mut net, fixed("slow", Connecting));
    let before = generation(&net);
    net.fail_resolution(lb_core::ResolveError::new(lb_core::ResolveErrorKind::Unavailable, "away"));
    assert_eq!((generation(&net), net.pick()), (before, Some(A.into())));
}

#[test]
fn a_switch_while_idle_counts_from_the_start() {
    let mut net = SimNet::new(MachineConfig::new(1), round_robin());
    net.up(A);
    net.resolve([A, B]);
    switch(&mut net, pick_first());
    assert_eq!((net.state(), net.snapshot().policy()), (Idle, "pick_first"));
    net.exit_idle();
    net.run_for(secs(1));
    assert_eq!((net.pick(), net.attempts(B).len()), (Some(A.into()), 0));
}

fn further(net: &SimNet, name: &str) -> PickResult {
    let (headers, hints, mut scratch) = (http::HeaderMap::new(), lb_core::PickHints::default(), lb_core::Scratch::new(1));
    let mut args = lb_core::PickArgs::new(lb_testkit::SimClock::new().now(), "/sim/Call", &headers, &hints, &mut scratch);
    net.snapshot().picker(Some(name)).unwrap_or_else(|| panic!("no policy {name}")).pick(&mut args)
}

#[test]
fn further_policies_pick_by_name_and_do_not_change_the_channels_state() {
    let mut net = running(round_robin(), &[A, B]);
    net.command(Command::AddPolicy(pick_first()));
    net.command(Command::AddPolicy(fixed("broken", TransientFailure)));
    assert_eq!((net.state(), net.snapshot().policy()), (Ready, "round_robin"));
    assert!(matches!(further(&net, "pick_first"), PickResult::Pick(slot) if net.endpoint_of(slot) == Some(A.into())));
    assert!(matches!(further(&net, "broken"), PickResult::Fail(_)));
    assert!(net.snapshot().picker(Some("unknown")).is_none());
    net.run_for(secs(60));
    assert_eq!(net.connected().len(), 2, "pick_first beside round_robin closes nothing");
}

#[test]
fn a_further_policy_of_the_same_name_replaces_the_last() {
    let mut net = running(round_robin(), &[A]);
    net.command(Command::AddPolicy(fixed("more", TransientFailure)));
    net.command(Command::AddPolicy(fixed("more", Ready)));
    assert!(matches!(further(&net, "more"), PickResult::Pick(_)));
    assert_eq!(net.snapshot().pickers.len(), 2);
}

#[test]
fn further_policies_stay_across_a_switch_and_wait_or_fail_with_the_channel() {
    let mut net = SimNet::new(MachineConfig::new(1), round_robin());
    net.command(Command::AddPolicy(fixed("more", Ready)));
    assert!(matches!(further(&net, "more"), PickResult::Queue), "idle");
    net.up(A);
    net.resolve([A]);
    net.exit_idle();
    net.run_for(secs(1));
    switch(&mut net, pick_first());
    assert!(matches!(further(&net, "more"), PickResult::Pick(_)));
    net.resolve_to(update([]));
    assert!(matches!(further(&net, "more"), PickResult::Fail(_)));
    assert_eq!(failure(&mut net), "the target resolved to no endpoints");
    net.tell(lb_core::machine::Event::Shutdown);
    assert!(matches!(further(&net, "more"), PickResult::Fail(error) if error.to_string() == "the channel is closed"));
}
