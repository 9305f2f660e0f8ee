//! One subchannel from its first attempt to its loss, and late news of old attempts.

use std::sync::Arc;

use lb_core::ConnectivityState::{Connecting, Idle, Ready, TransientFailure};
use lb_core::machine::Event;
use lb_core::{LbEvent, ResolverUpdate, ServingStatus};
use lb_testkit::SimNet;
use lb_testkit::sim::What;

use crate::support::{
    A, B, C, channel_states, closes, endpoint, events, failure, generation, keys, latest_attempt, millis, pick_first, round_robin,
    row, running, secs, slot, states, update,
};

#[test]
fn failure_sticks_through_every_further_attempt_until_ready() {
    let mut net = running(round_robin(), &[]);
    net.resolve([A]);
    net.run_for(secs(300));
    assert_eq!(channel_states(&net), [Connecting, TransientFailure]);
    assert_eq!(states(&net), [TransientFailure]);
    // An attempt in progress does not show either.
    net.hang(A);
    let attempts = net.attempts(A).len();
    while net.attempts(A).len() == attempts {
        assert!(net.step());
    }
    assert_eq!((net.state(), states(&net)), (TransientFailure, vec![TransientFailure]));
    net.up(A);
    net.run_for(secs(300));
    assert_eq!((net.state(), states(&net)), (Ready, vec![Ready]));
    assert!(row(&net, A).view.error.is_none());
}

#[test]
fn the_row_of_a_failed_endpoint_names_the_reason() {
    let mut net = running(round_robin(), &[]);
    net.resolve([A]);
    net.run_for(millis(10));
    assert_eq!(row(&net, A).view.error.as_deref(), Some("connection refused"));
    assert_eq!(failure(&mut net), format!("endpoint {A}: connection refused"));
}

#[test]
fn a_lost_connection_is_idle_and_replaced_at_once() {
    let mut net = running(round_robin(), &[A]);
    net.run_for(secs(60));
    let (now, looked) = (net.clock().elapsed(), net.asked_again());
    net.close(A);
    assert_eq!(net.attempts(A).last(), Some(&now));
    assert_eq!(net.asked_again(), looked + 1, "the resolver is asked to look again");
    net.run_for(millis(5));
    assert_eq!(channel_states(&net), [Connecting, Ready, Connecting, Ready], "no failure was shown");
    let told: Vec<_> = events(&net).into_iter().filter(|event| matches!(event, LbEvent::SubchannelState { .. })).collect();
    assert_eq!(told.len(), 4, "{told:?}");
}

#[test]
fn a_server_that_sends_every_connection_away_sees_one_attempt_a_second() {
    for lifetime in [0, 1, 500] {
        let mut net = SimNet::new(lb_core::machine::MachineConfig::new(1), round_robin());
        net.up(A);
        net.lifetime(A, Some(millis(lifetime)));
        net.resolve([A]);
        net.exit_idle();
        net.run_for(secs(60));
        let attempts = net.attempts(A);
        assert!((59..=61).contains(&attempts.len()), "{} attempts in a minute", attempts.len());
        assert!(attempts.windows(2).all(|pair| pair[1] - pair[0] >= secs(1)), "{attempts:?}");
    }
}

#[test]
fn pick_first_against_a_server_that_sends_everybody_away_is_paced_too() {
    let mut net = running(pick_first(), &[A]);
    net.lifetime(A, Some(millis(0)));
    net.close(A);
    let before = net.attempts(A).len();
    for _ in 0..600 {
        net.pick();
        net.run_for(millis(100));
    }
    let attempts = net.attempts(A).len() - before;
    assert!((50..=61).contains(&attempts), "{attempts} attempts in a minute");
}

#[test]
fn a_connection_lost_before_it_was_shown_is_a_loss_and_not_a_failure() {
    let mut net = running(round_robin(), &[]);
    net.hang(A);
    net.resolve([A]);
    let (slot, attempt) = latest_attempt(&net, A);
    let address = A.parse().unwrap();
    net.tell_all([Event::Connected { slot, attempt, address }, Event::Closed { slot, attempt, reason: "GOAWAY".into() }]);
    assert_ne!(net.state(), TransientFailure);
    assert!(row(&net, A).view.error.is_none());
    assert_eq!(net.attempts(A).len(), 1, "not within a second of the first");
}

/// Every kind of news of an attempt.
fn news(slot: lb_core::Slot, attempt: lb_core::machine::AttemptId) -> [Event; 3] {
    let text: Arc<str> = "late".into();
    [
        Event::ConnectFailed { slot, attempt, error: Arc::clone(&text) },
        Event::Closed { slot, attempt, reason: Arc::clone(&text) },
        Event::Health { slot, attempt, status: ServingStatus::NotServing(text) },
    ]
}

#[test]
fn late_news_of_an_earlier_attempt_changes_nothing() {
    let mut net = running(round_robin(), &[A, B]);
    let (old_slot, old) = latest_attempt(&net, A);
    net.run_for(secs(10));
    net.close(A);
    net.run_for(secs(1));
    let (new_slot, new) = latest_attempt(&net, A);
    assert_eq!(old_slot, new_slot);
    assert_ne!(old, new);
    let before = (generation(&net), net.asked_again(), states(&net));
    news(old_slot, old).into_iter().for_each(|event| net.tell(event));
    assert_eq!((generation(&net), net.asked_again(), states(&net)), before);
}

#[test]
fn news_of_an_attempt_on_another_slot_changes_nothing() {
    let mut net = running(round_robin(), &[A, B]);
    let (_, attempt_of_b) = latest_attempt(&net, B);
    let before = generation(&net);
    let slot_of_a = slot(&net, A);
    news(slot_of_a, attempt_of_b).into_iter().for_each(|event| net.tell(event));
    assert_eq!((generation(&net), states(&net)), (before, vec![Ready, Ready]));
}

#[test]
fn news_that_contradicts_itself_neither_loses_a_connection_nor_makes_two() {
    let mut net = running(round_robin(), &[A]);
    let (slot, attempt) = latest_attempt(&net, A);
    let before = generation(&net);
    net.tell(Event::ConnectFailed { slot, attempt, error: "but it came up".into() });
    net.tell(Event::Connected { slot, attempt, address: A.parse().unwrap() });
    assert_eq!((generation(&net), states(&net), closes(&net, attempt)), (before, vec![Ready], 0));
}

#[test]
fn a_removed_endpoints_slot_never_names_another_endpoint() {
    let mut net = running(round_robin(), &[A, B]);
    let (slot, attempt) = latest_attempt(&net, A);
    net.up(C);
    net.resolve([B]);
    net.resolve([C, B]);
    net.run_for(secs(1));
    assert_eq!(crate::support::slot(&net, C).index(), slot.index(), "the place is used again");
    assert_ne!(crate::support::slot(&net, C), slot);
    assert_eq!(net.endpoint_of(slot), None);
    let before = (generation(&net), net.asked_again());
    news(slot, attempt).into_iter().for_each(|event| net.tell(event));
    net.tell(Event::ConnectRequested(slot));
    assert_eq!((generation(&net), net.asked_again(), states(&net)), (before.0, before.1, vec![Ready, Ready]));
}

#[test]
fn an_endpoint_removed_while_connecting_is_cancelled_once_and_a_late_connection_closed() {
    let mut net = running(round_robin(), &[B]);
    net.hang(A);
    net.resolve([A, B]);
    let (slot, attempt) = latest_attempt(&net, A);
    net.resolve([B]);
    assert_eq!(closes(&net, attempt), 1);
    assert_eq!(keys(&net), [B]);
    let before = generation(&net);
    // The handshake was done when the cancellation came.
    net.tell(Event::Connected { slot, attempt, address: A.parse().unwrap() });
    assert_eq!(closes(&net, attempt), 2, "the connection that nobody wants is closed");
    net.run_for(secs(100));
    assert_eq!((generation(&net), net.attempts(A).len(), closes(&net, attempt)), (before, 1, 2));
}

#[test]
fn an_endpoint_removed_while_connected_is_closed_exactly_once() {
    let mut net = running(round_robin(), &[A, B]);
    let (slot, attempt) = latest_attempt(&net, A);
    net.resolve([B]);
    assert_eq!((closes(&net, attempt), net.connected()), (1, vec![B.to_owned()]));
    net.tell(Event::Closed { slot, attempt, reason: "drained".into() });
    net.run_for(secs(100));
    assert_eq!(closes(&net, attempt), 1);
    net.resolve([A, B]);
    net.run_for(secs(1));
    assert_eq!(net.connected().len(), 2, "and is connected afresh when it is back");
    assert_ne!(latest_attempt(&net, A).0, slot);
}

#[test]
fn an_endpoint_removed_between_attempts_needs_no_close_and_is_not_tried_again() {
    let mut net = running(round_robin(), &[B]);
    net.resolve([A, B]);
    net.run_for(millis(500));
    let attempts = net.attempts(A).len();
    net.resolve_to(update([endpoint(B)]));
    net.run_for(secs(600));
    let closed = net.records().iter().any(|record| matches!(record.what, What::Close(_)));
    assert_eq!((net.attempts(A).len(), closed), (attempts, false));
}

#[test]
fn a_connection_nobody_wants_back_stays_idle() {
    let mut net = running(pick_first(), &[A]);
    net.run_for(secs(10));
    net.close(A);
    net.run_for(secs(3600));
    assert_eq!((net.state(), net.attempts(A).len()), (Idle, 1));
    net.pick();
    net.run_for(secs(1));
    assert_eq!(net.state(), Ready);
    net.resolve_to(ResolverUpdate::default());
    assert_eq!(net.connected().len(), 0);
}

#[test]
fn every_connection_is_told_once_when_it_comes_and_once_when_it_goes() {
    let mut net = running(round_robin(), &[A]);
    net.resolve([A, B]);
    net.run_for(secs(1));
    net.close(A);
    net.run_for(secs(10));
    net.resolve([A]);
    let told = |wanted: &dyn Fn(&LbEvent) -> bool| events(&net).into_iter().filter(|event| wanted(event)).count();
    let connected = LbEvent::Connected { endpoint: A.into(), address: A.into() };
    assert_eq!(told(&|event| *event == connected), 2, "at first, and after it was lost");
    assert_eq!(told(&|event| matches!(event, LbEvent::Disconnected { endpoint, reason: Some(_) } if *endpoint == A.into())), 1);
    assert!(told(&|event| matches!(event, LbEvent::ConnectFailed { endpoint, .. } if *endpoint == B.into())) >= 2);
    assert_eq!(told(&|event| matches!(event, LbEvent::Disconnected { endpoint, .. } if *endpoint == B.into())), 0, "it never was");
    net.resolve_to(ResolverUpdate::default());
    assert!(events(&net).contains(&&LbEvent::Disconnected { endpoint: A.into(), reason: None }));
}
