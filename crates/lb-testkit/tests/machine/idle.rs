//! Into IDLE and out of it, and the end.

use lb_core::ConnectivityState::{Connecting, Idle, Ready, Shutdown, TransientFailure};
use lb_core::machine::{Command, Event, MachineConfig};
use lb_core::{PickResult, ServingStatus};
use lb_testkit::SimNet;
use lb_testkit::sim::What;

use crate::support::{
    A, B, channel_states, closes, failure, generation, keys, latest_attempt, millis, pick_first, round_robin, running, secs, update,
};

fn resolver_starts(net: &SimNet) -> (usize, usize) {
    let count = |wanted: &What| net.records().iter().filter(|record| record.what == *wanted).count();
    (count(&What::ResolverStarted), count(&What::ResolverStopped))
}

#[test]
fn a_new_channel_does_nothing_before_somebody_calls() {
    let mut net = SimNet::new(MachineConfig::new(1), round_robin());
    net.up(A);
    net.resolve([A]);
    net.run_for(secs(3600));
    assert_eq!((net.state(), net.attempts(A).len(), resolver_starts(&net)), (Idle, 0, (0, 0)));
}

#[test]
fn entering_idle_gives_everything_up_and_leaving_it_starts_afresh() {
    let mut net = running(round_robin(), &[A, B]);
    net.tell(Event::EnterIdle);
    assert_eq!((net.state(), net.connected().len(), keys(&net).len()), (Idle, 0, 0));
    assert!(matches!(net.pick_result(), PickResult::Queue));
    net.run_for(secs(3600));
    assert_eq!((net.attempts(A).len(), resolver_starts(&net)), (1, (1, 1)));
    net.exit_idle();
    net.run_for(secs(1));
    assert_eq!((net.state(), net.connected().len(), resolver_starts(&net)), (Ready, 2, (2, 1)));
    assert_eq!(channel_states(&net), [Connecting, Ready, Idle, Connecting, Ready]);
}

#[test]
fn both_ways_are_taken_once() {
    let mut net = running(round_robin(), &[A]);
    let before = generation(&net);
    (0..5).for_each(|_| net.exit_idle());
    assert_eq!((generation(&net), resolver_starts(&net)), (before, (1, 0)));
    (0..5).for_each(|_| net.tell(Event::EnterIdle));
    assert_eq!((generation(&net), resolver_starts(&net)), (before + 1, (1, 1)));
}

#[test]
fn a_call_in_the_same_moment_leaves_idle_again() {
    let mut net = running(round_robin(), &[A]);
    net.tell_all([Event::EnterIdle, Event::ExitIdle]);
    net.run_for(secs(1));
    assert_eq!((net.state(), net.connected().len()), (Ready, 1));
    net.tell_all([Event::ExitIdle, Event::EnterIdle]);
    assert_eq!((net.state(), net.connected().len()), (Idle, 0));
}

#[test]
fn idle_ends_a_failure_that_sticks() {
    for policy in [round_robin(), pick_first()] {
        let mut net = SimNet::new(MachineConfig::new(1), policy);
        net.hang(B);
        net.resolve([A]);
        net.exit_idle();
        net.run_for(secs(60));
        assert_eq!(net.state(), TransientFailure);
        net.tell(Event::EnterIdle);
        assert_eq!(net.state(), Idle);
        net.resolve([B]);
        net.exit_idle();
        net.run_for(secs(1));
        assert_eq!(net.state(), Connecting, "afresh");
    }
}

#[test]
fn what_arrives_after_idle_was_entered_is_closed_or_ignored() {
    let mut net = running(round_robin(), &[]);
    net.hang(A);
    net.resolve([A]);
    let (slot, attempt) = latest_attempt(&net, A);
    net.tell(Event::EnterIdle);
    assert_eq!(closes(&net, attempt), 1);
    let before = generation(&net);
    net.tell(Event::Connected { slot, attempt, address: A.parse().unwrap() });
    assert_eq!(closes(&net, attempt), 2, "a connection nobody holds is closed");
    net.tell(Event::ConnectRequested(slot));
    net.tell(Event::Health { slot, attempt, status: ServingStatus::Serving });
    net.tell(Event::Closed { slot, attempt, reason: "late".into() });
    net.tell(Event::Resolved(update([crate::support::endpoint(B)])));
    net.tell(Event::Tick);
    assert_eq!((generation(&net), net.state(), net.connected().len(), net.asked_again()), (before, Idle, 0, 0));
    net.up(A);
    net.exit_idle();
    net.run_for(secs(1));
    net.tell(Event::ConnectRequested(slot));
    net.tell(Event::ConnectFailed { slot, attempt, error: "late".into() });
    assert_eq!((net.state(), net.attempts(A).len()), (Ready, 2));
}

#[test]
fn no_wake_up_is_left_while_idle() {
    let mut net = running(pick_first(), &[]);
    net.resolve([A, B]);
    net.run_for(secs(1));
    net.tell(Event::EnterIdle);
    while net.step() {}
    assert_eq!(net.state(), Idle);
}

fn every_event(net: &SimNet) -> Vec<Event> {
    let (slot, attempt) = latest_attempt(net, A);
    vec![
        Event::ExitIdle,
        Event::EnterIdle,
        Event::Resolved(update([crate::support::endpoint(B)])),
        Event::ResolveFailed(lb_core::ResolveError::new(lb_core::ResolveErrorKind::Unavailable, "away")),
        Event::ConnectRequested(slot),
        Event::ConnectFailed { slot, attempt, error: "late".into() },
        Event::Closed { slot, attempt, reason: "late".into() },
        Event::Health { slot, attempt, status: ServingStatus::Serving },
        Event::Command(Command::SetPolicy(pick_first())),
        Event::Command(Command::AddPolicy(pick_first())),
        Event::Command(Command::Drain(A.into(), true)),
        Event::Command(Command::ResetBackoff),
        Event::Tick,
        Event::Shutdown,
    ]
}

/// Ends a channel and tells it everything there is to tell.
fn assert_ends_for_good(mut net: SimNet) {
    net.tell(Event::Shutdown);
    assert_eq!((net.state(), net.connected().len(), keys(&net).len()), (Shutdown, 0, 0));
    assert_eq!(failure(&mut net), "the channel is closed");
    assert!(net.snapshot().picker(None).is_some());
    let events = every_event(&net);
    let records = net.records().len();
    events.into_iter().for_each(|event| net.tell(event));
    net.run_for(secs(3600));
    assert_eq!(net.records().len(), records, "{:?}", net.records().last());
}

#[test]
fn shutdown_ends_every_phase_for_good() {
    let ready = || running(round_robin(), &[A]);
    assert_ends_for_good(ready());
    let mut idle = ready();
    idle.tell(Event::EnterIdle);
    assert_ends_for_good(idle);
    let mut connecting = ready();
    connecting.hang(A);
    connecting.run_for(secs(10));
    connecting.close(A);
    assert_ends_for_good(connecting);
    let mut failing = ready();
    failing.run_for(secs(10));
    failing.kill(A);
    failing.run_for(secs(30));
    assert_eq!(failing.state(), TransientFailure);
    assert_ends_for_good(failing);
    let mut empty = ready();
    empty.resolve([]);
    assert_ends_for_good(empty);
    let mut switching = ready();
    switching.command(Command::SetPolicy(crate::support::fixed("slow", Connecting)));
    assert_ends_for_good(switching);
}

#[test]
fn shutdown_closes_every_attempt_and_connection_once() {
    let mut net = running(round_robin(), &[A]);
    net.hang(B);
    net.resolve([A, B]);
    net.run_for(millis(10));
    let attempts = [latest_attempt(&net, A).1, latest_attempt(&net, B).1];
    net.tell_all([Event::Shutdown, Event::Shutdown]);
    assert_eq!(attempts.map(|attempt| closes(&net, attempt)), [1, 1]);
    assert_eq!(resolver_starts(&net), (1, 1));
}

#[test]
fn a_channel_that_never_ran_ends_without_a_word_to_the_world() {
    let mut net = SimNet::new(MachineConfig::new(1), round_robin());
    net.tell(Event::Shutdown);
    assert_eq!((net.state(), resolver_starts(&net)), (Shutdown, (0, 0)));
    net.exit_idle();
    assert_eq!((net.state(), resolver_starts(&net)), (Shutdown, (0, 0)));
}
