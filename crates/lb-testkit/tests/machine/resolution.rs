//! Answers and errors of the resolver.

use lb_core::ConnectivityState::{Connecting, Ready, TransientFailure};
use lb_core::machine::{Command, MachineConfig};
use lb_core::{LbEvent, PickResult, ResolveError, ResolveErrorKind, ResolverUpdate};
use lb_testkit::SimNet;

use crate::support::{A, B, channel_states, events, failure, generation, keys, pick_first, round_robin, running, secs};

fn away() -> ResolveError {
    ResolveError::new(ResolveErrorKind::Unavailable, "registry away")
}

fn count(net: &SimNet, wanted: &LbEvent) -> usize {
    events(net).into_iter().filter(|event| *event == wanted).count()
}

#[test]
fn calls_wait_for_the_first_answer_and_fail_with_the_first_error() {
    let mut net = SimNet::new(MachineConfig::new(1), round_robin());
    net.up(A);
    assert!(matches!(net.pick_result(), PickResult::Queue));
    net.fail_resolution(away());
    assert!(matches!(net.pick_result(), PickResult::Queue), "the resolver does not run yet");
    net.exit_idle();
    assert_eq!(net.state(), Connecting);
    assert!(matches!(net.pick_result(), PickResult::Queue));
    net.run_for(secs(0));
    assert_eq!((net.state(), failure(&mut net)), (TransientFailure, "could not resolve: registry away".into()));
    net.resolve([A]);
    net.run_for(secs(1));
    assert_eq!((net.state(), net.pick()), (Ready, Some(A.into())));
    assert_eq!(channel_states(&net), [Connecting, TransientFailure, Connecting, Ready]);
    assert_eq!(count(&net, &LbEvent::ResolverRecovered), 1);
}

#[test]
fn an_error_after_an_answer_shows_nothing_and_recovery_is_told_once() {
    let mut net = running(round_robin(), &[A, B]);
    let before = generation(&net);
    for _ in 0..100 {
        net.fail_resolution(away());
        assert!(net.pick().is_some());
    }
    net.run_for(secs(3600));
    assert_eq!((generation(&net), keys(&net), net.connected().len()), (before, vec![A.to_owned(), B.to_owned()], 2));
    assert_eq!(count(&net, &LbEvent::ResolverFailed("could not resolve: registry away".into())), 100);
    (0..5).for_each(|_| net.resolve([A, B]));
    assert_eq!((count(&net, &LbEvent::ResolverRecovered), generation(&net)), (1, before));
    net.fail_resolution(away());
    net.resolve([A, B]);
    assert_eq!(count(&net, &LbEvent::ResolverRecovered), 2);
}

#[test]
fn an_error_while_all_fail_keeps_trying_the_last_good_set() {
    let mut net = running(round_robin(), &[]);
    net.resolve([A]);
    net.run_for(secs(30));
    net.fail_resolution(away());
    net.up(A);
    net.run_for(secs(60));
    assert_eq!((net.state(), net.pick()), (Ready, Some(A.into())));
}

#[test]
fn the_same_error_before_any_answer_publishes_once_and_another_again() {
    let mut net = SimNet::new(MachineConfig::new(1), round_robin());
    net.fail_resolution(away());
    net.exit_idle();
    net.run_for(secs(0));
    let before = generation(&net);
    (0..10).for_each(|_| net.fail_resolution(away()));
    assert_eq!(generation(&net), before);
    net.fail_resolution(ResolveError::new(ResolveErrorKind::NotFound, "no such service"));
    assert_eq!((generation(&net), failure(&mut net)), (before + 1, "service not found: no such service".into()));
}

#[test]
fn an_empty_set_drops_connections_fails_with_the_note_and_looks_again() {
    for policy in [round_robin(), pick_first()] {
        let mut net = running(policy, &[A]);
        let looked = net.asked_again();
        net.resolve_to(ResolverUpdate::default().with_note("deployment scaled to zero"));
        assert_eq!((net.state(), net.connected().len(), keys(&net).len()), (TransientFailure, 0, 0));
        assert_eq!(failure(&mut net), "the target resolved to no endpoints (deployment scaled to zero)");
        assert!(net.asked_again() > looked);
        net.resolve_to(ResolverUpdate::default());
        assert_eq!(failure(&mut net), "the target resolved to no endpoints", "the note is the newest");
        net.resolve([A]);
        assert_eq!(net.state(), Connecting, "a failure for want of endpoints does not stick");
        net.run_for(secs(2));
        assert_eq!((net.state(), net.pick()), (Ready, Some(A.into())));
    }
}

#[test]
fn an_empty_first_answer_fails_and_further_empty_ones_publish_nothing() {
    let mut net = SimNet::new(MachineConfig::new(1), round_robin());
    net.resolve_to(ResolverUpdate::default());
    net.exit_idle();
    net.run_for(secs(0));
    assert_eq!(net.state(), TransientFailure);
    let (before, looked) = (generation(&net), net.asked_again());
    (0..10).for_each(|_| net.resolve_to(ResolverUpdate::default()));
    assert_eq!((generation(&net), net.asked_again()), (before, looked + 10));
}

#[test]
fn with_an_empty_set_an_error_is_shown_as_long_as_it_lasts() {
    let mut net = running(round_robin(), &[A]);
    net.resolve_to(ResolverUpdate::default());
    net.fail_resolution(away());
    assert_eq!(failure(&mut net), "could not resolve: registry away");
    net.resolve_to(ResolverUpdate::default());
    assert_eq!(failure(&mut net), "the target resolved to no endpoints");
    net.fail_resolution(away());
    net.command(Command::AddPolicy(pick_first()));
    net.resolve_to(ResolverUpdate::default());
    assert_eq!(failure(&mut net), "the target resolved to no endpoints", "whatever was published meanwhile");
}

#[test]
fn endpoints_are_told_as_they_come_and_go() {
    let mut net = running(round_robin(), &[A]);
    net.take_records();
    net.resolve([B]);
    let gone = LbEvent::Disconnected { endpoint: A.into(), reason: None };
    assert_eq!(events(&net)[..3], [&gone, &LbEvent::EndpointRemoved(A.into()), &LbEvent::EndpointAdded(B.into())]);
    assert_eq!(count(&net, &LbEvent::EndpointAdded(B.into())), 1);
}

#[test]
fn a_resolver_that_is_asked_again_and_repeats_itself_costs_no_publication() {
    let mut net = running(round_robin(), &[A]);
    net.answer_re_resolution(secs(1));
    net.close(A);
    net.run_for(secs(10));
    let before = generation(&net);
    net.resolve([A]);
    net.run_for(secs(3600));
    assert_eq!(generation(&net), before);
}
