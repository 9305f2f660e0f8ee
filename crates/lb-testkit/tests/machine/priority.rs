//! Failover between priorities, over time.

use lb_core::ConnectivityState::{Connecting, Ready, TransientFailure};
use lb_core::LbEvent;
use lb_core::machine::{Command, MachineConfig};
use lb_core::stages::FailoverConfig;
use lb_testkit::SimNet;

use crate::support::{A, B, C, D, events, failure, keys, millis, round_robin, row, running, secs, update, with_priority};

/// A has priority 0, B 1, C 2; nothing answers unless told otherwise.
fn three(prepare: impl FnOnce(&mut SimNet)) -> SimNet {
    three_with(FailoverConfig::default(), prepare)
}

fn three_with(failover: FailoverConfig, prepare: impl FnOnce(&mut SimNet)) -> SimNet {
    let mut config = MachineConfig::new(1);
    config.failover = failover;
    let mut net = SimNet::new(config, round_robin());
    prepare(&mut net);
    net.resolve_to(update([with_priority(A, 0), with_priority(B, 1), with_priority(C, 2)]));
    net.exit_idle();
    net
}

fn up_all(net: &mut SimNet) {
    [A, B, C].iter().for_each(|address| net.up(address));
}

#[test]
fn lower_groups_get_no_connection_while_the_first_serves() {
    let mut net = three(up_all);
    net.run_for(secs(3600));
    assert_eq!((net.pick(), net.connected()), (Some(A.into()), vec![A.to_owned()]));
    assert_eq!((net.attempts(B).len(), net.attempts(C).len()), (0, 0));
    assert_eq!(row(&net, B).excluded, Some("of another priority"));
    assert_eq!(keys(&net), [A, B, C], "all are shown");
}

#[test]
fn a_group_that_hangs_gets_ten_seconds_and_goes_on_trying() {
    let mut net = three(|net| {
        up_all(net);
        net.hang(A);
    });
    net.run_for(millis(9_999));
    assert_eq!((net.state(), net.attempts(B).len()), (Connecting, 0));
    net.run_for(millis(1));
    assert_eq!(net.attempts(B), [secs(10)]);
    net.run_for(secs(1));
    assert_eq!((net.pick(), net.attempts(C).len()), (Some(B.into()), 0));
    net.up(A);
    net.run_for(secs(20));
    assert_eq!(net.pick(), Some(A.into()), "back as soon as it is ready");
    assert_eq!(net.connected().len(), 2, "and the other is kept for a while");
}

#[test]
fn attempts_that_follow_each_other_do_not_extend_the_ten_seconds() {
    // Each attempt fails after 4 s, which is a failure at once; so let one endpoint of the group fail and the other hang.
    let mut net = SimNet::new(MachineConfig::new(1), round_robin());
    net.up(C);
    net.hang(B);
    net.resolve_to(update([with_priority(A, 0), with_priority(B, 0), with_priority(C, 1)]));
    net.exit_idle();
    net.run_for(secs(9));
    assert!(net.attempts(A).len() >= 3);
    assert_eq!(net.attempts(C).len(), 0);
    net.run_for(secs(1));
    assert_eq!(net.attempts(C), [secs(10)]);
}

#[test]
fn a_group_that_fails_is_followed_at_once() {
    let mut net = three(|net| net.up(C));
    net.run_for(millis(10));
    assert_eq!(net.pick(), Some(C.into()));
    net.kill(C);
    net.run_for(secs(60));
    assert_eq!(net.state(), TransientFailure);
    assert!(failure(&mut net).contains(C), "calls see the last group's error: {}", failure(&mut net));
    net.up(B);
    net.run_for(secs(145));
    assert_eq!(net.pick(), Some(B.into()), "every group is tried again");
}

#[test]
fn a_lost_connection_gives_the_group_ten_seconds_before_the_next() {
    let mut net = three(up_all);
    net.run_for(secs(60));
    net.hang(A);
    net.close(A);
    net.run_for(millis(9_999));
    assert_eq!((net.state(), net.attempts(B).len()), (Connecting, 0));
    assert!(net.pick().is_none());
    net.run_for(secs(1));
    assert_eq!(net.pick(), Some(B.into()));
}

#[test]
fn a_group_given_up_keeps_its_connections_for_fifteen_minutes() {
    let mut net = three(up_all);
    net.run_for(secs(1));
    net.kill(A);
    net.run_for(secs(10));
    assert_eq!(net.pick(), Some(B.into()));
    net.up(A);
    while net.pick() != Some(A.into()) {
        assert!(net.step());
    }
    net.run_for(secs(14 * 60));
    net.kill(A);
    net.run_for(millis(5));
    assert_eq!((net.pick(), net.attempts(B).len()), (Some(B.into()), 1), "used again with the connection it has");
    net.up(A);
    while net.pick() != Some(A.into()) {
        assert!(net.step());
    }
    net.run_for(secs(15 * 60) - millis(1));
    assert_eq!(net.connected().len(), 2);
    net.run_for(millis(1));
    assert_eq!(net.connected(), [A]);
    net.run_for(secs(3600));
    assert_eq!((net.connected(), net.attempts(B).len()), (vec![A.to_owned()], 1));
}

#[test]
fn a_group_whose_endpoints_leave_is_followed_at_once_and_promotion_keeps_the_connection() {
    let mut net = three(up_all);
    net.run_for(secs(1));
    net.kill(A);
    net.run_for(secs(1));
    assert_eq!(net.pick(), Some(B.into()));
    net.resolve_to(update([with_priority(B, 0), with_priority(C, 1)]));
    net.run_for(secs(60));
    assert_eq!((net.pick(), net.attempts(B).len(), net.attempts(C).len()), (Some(B.into()), 1, 0));
    net.resolve_to(update([with_priority(C, 1)]));
    net.run_for(secs(1));
    assert_eq!((net.pick(), net.connected()), (Some(C.into()), vec![C.to_owned()]));
}

#[test]
fn all_groups_gone_is_a_failure() {
    let mut net = three(up_all);
    net.run_for(secs(1));
    net.resolve([]);
    assert_eq!((net.state(), net.connected().len()), (TransientFailure, 0));
}

#[test]
fn a_higher_group_that_appears_is_used_when_it_is_ready() {
    let mut net = running(round_robin(), &[]);
    [B, D].iter().for_each(|address| net.up(address));
    net.resolve_to(update([with_priority(B, 1)]));
    net.run_for(secs(1));
    assert_eq!(net.pick(), Some(B.into()));
    net.latency(D, secs(3));
    net.resolve_to(update([with_priority(D, 0), with_priority(B, 1)]));
    net.run_for(secs(4));
    assert_eq!((net.state(), net.pick()), (Ready, Some(D.into())));
    assert_eq!(net.connected().len(), 2);
}

#[test]
fn draining_a_group_fails_over_and_undraining_returns_without_a_new_connection() {
    let mut net = three(up_all);
    net.run_for(secs(1));
    net.command(Command::Drain(A.into(), true));
    net.run_for(secs(1));
    assert_eq!(net.pick(), Some(B.into()));
    net.command(Command::Drain(A.into(), false));
    assert_eq!((net.pick(), net.attempts(A).len()), (Some(A.into()), 1));
}

#[test]
fn calls_return_after_the_better_group_has_proved_itself_and_the_state_says_when() {
    let mut net = three_with(FailoverConfig::default().fail_back_after(secs(30)), up_all);
    net.run_for(secs(1));
    net.kill(A);
    net.run_for(secs(5));
    assert_eq!(net.pick(), Some(B.into()));
    net.up(A);
    while row(&net, A).view.state != Ready {
        assert!(net.step());
    }
    let back = net.snapshot().failover.clone().unwrap().fail_back.unwrap();
    assert_eq!((back.priority, back.at), (0, Some(net.clock().now() + secs(30))));
    net.run_for(secs(30) - millis(1));
    assert_eq!(net.pick(), Some(B.into()));
    net.run_for(millis(1));
    assert_eq!((net.pick(), net.connected().len()), (Some(A.into()), 2));
    let told: Vec<_> =
        events(&net).into_iter().filter(|event| matches!(event, LbEvent::Failover { .. })).map(ToString::to_string).collect();
    let expected = [
        "calls go to secondary instead of primary: primary is TRANSIENT_FAILURE",
        "calls go to primary instead of secondary: primary is READY",
    ];
    assert_eq!(told, expected);
}

#[test]
fn by_hand_another_group_is_used_and_returned_from_at_once() {
    let mut net = three_with(FailoverConfig::default().fail_back_after(secs(30)), up_all);
    net.run_for(secs(1));
    net.command(Command::ForceGroup(Some(2)));
    assert_eq!(net.pick(), Some(A.into()), "while it connects");
    net.run_for(millis(5));
    assert_eq!((net.pick(), net.snapshot().failover.as_ref().unwrap().forced), (Some(C.into()), Some(2)));
    net.kill(C);
    net.run_for(secs(1));
    assert_eq!(net.pick(), Some(A.into()), "another one serves while it does not");
    net.up(C);
    net.run_for(secs(200));
    assert_eq!(net.pick(), Some(C.into()));
    net.command(Command::ForceGroup(None));
    assert_eq!(net.pick(), Some(A.into()));
}
