//! Connections that serve only once their health check says so.

use lb_core::ConnectivityState::{Connecting, Ready, TransientFailure};
use lb_core::ServingStatus::{self, NotServing, Serving, Unknown};
use lb_testkit::sim::What;

use crate::support::{
    A, B, channel_states, events, failure, generation, latest_attempt, pick_first, round_robin, row, running, running_with, secs,
    states, watching,
};

fn sick() -> ServingStatus {
    NotServing("disk full".into())
}

#[test]
fn nothing_heard_or_unknown_keeps_connecting() {
    let mut net = running_with(watching(), round_robin(), &[A]);
    assert_eq!((net.state(), net.connected().len()), (Connecting, 1));
    net.run_for(secs(3600));
    let before = generation(&net);
    net.health(A, &Unknown);
    assert_eq!((net.state(), net.pick(), generation(&net)), (Connecting, None, before));
    assert_eq!(net.attempts(A).len(), 1, "a connection that waits for its check is no reason for another");
}

#[test]
fn each_connection_is_watched_once() {
    let mut net = running_with(watching(), round_robin(), &[A]);
    net.health(A, &Serving);
    net.run_for(secs(5));
    net.close(A);
    net.run_for(secs(5));
    let watched = net.records().iter().filter(|record| matches!(record.what, What::WatchHealth(_))).count();
    assert_eq!((watched, net.attempts(A).len()), (2, 2));
}

#[test]
fn not_serving_fails_with_its_text_and_keeps_the_connection() {
    let mut net = running_with(watching(), round_robin(), &[A, B]);
    net.health(A, &Serving);
    net.health(B, &Serving);
    assert_eq!(states(&net), [Ready, Ready]);
    net.health(A, &sick());
    assert_eq!((states(&net), net.state()), (vec![TransientFailure, Ready], Ready));
    assert_eq!(row(&net, A).view.error.as_deref(), Some("disk full"));
    (0..10).for_each(|_| assert_eq!(net.pick(), Some(B.into())));
    net.health(B, &sick());
    assert!(failure(&mut net).ends_with("disk full"), "{}", failure(&mut net));
    net.run_for(secs(3600));
    assert_eq!((net.connected().len(), net.attempts(A).len(), net.attempts(B).len()), (2, 1, 1));
    net.health(A, &Serving);
    assert_eq!((states(&net), net.pick()), (vec![Ready, TransientFailure], Some(A.into())));
    assert!(row(&net, A).view.error.is_none());
}

#[test]
fn the_same_status_again_is_no_news() {
    let mut net = running_with(watching(), round_robin(), &[A]);
    for status in [Serving, sick()] {
        net.health(A, &status);
        let (before, told) = (generation(&net), events(&net).len());
        (0..100).for_each(|_| net.health(A, &status));
        assert_eq!((generation(&net), events(&net).len()), (before, told));
    }
    let before = generation(&net);
    net.health(A, &NotServing("another reason".into()));
    assert_eq!((generation(&net), row(&net, A).view.error.as_deref()), (before + 1, Some("another reason")));
}

#[test]
fn a_closed_connection_takes_its_status_along() {
    let mut net = running_with(watching(), round_robin(), &[A]);
    net.health(A, &sick());
    net.run_for(secs(10));
    net.hang(A);
    net.close(A);
    assert_eq!((states(&net), net.state()), (vec![Connecting], Connecting));
    assert!(row(&net, A).view.error.is_none());
    let (slot, attempt) = latest_attempt(&net, A);
    net.tell(lb_core::machine::Event::Health { slot, attempt, status: Serving });
    assert_eq!(states(&net), [Connecting], "health of an attempt that is no connection yet");
}

#[test]
fn a_failure_sticks_until_the_check_says_serving() {
    let mut net = running_with(watching(), round_robin(), &[]);
    net.resolve([A]);
    net.run_for(secs(10));
    net.up(A);
    net.run_for(secs(20));
    assert_eq!((net.connected().len(), states(&net)), (1, vec![TransientFailure]));
    net.health(A, &Unknown);
    assert_eq!(states(&net), [TransientFailure]);
    net.health(A, &Serving);
    assert_eq!((states(&net), channel_states(&net)), (vec![Ready], vec![Connecting, TransientFailure, Ready]));
}

#[test]
fn a_server_that_never_serves_and_closes_is_paced() {
    let mut net = running_with(watching(), round_robin(), &[A]);
    net.lifetime(A, Some(std::time::Duration::ZERO));
    net.close(A);
    let before = net.attempts(A).len();
    net.run_for(secs(60));
    assert!((58..=61).contains(&(net.attempts(A).len() - before)));
}

#[test]
fn pick_first_goes_past_an_endpoint_that_does_not_serve() {
    let mut net = running_with(watching(), pick_first(), &[A, B]);
    net.health(B, &Serving);
    net.health(A, &sick());
    net.run_for(secs(5));
    assert_eq!(net.pick(), Some(B.into()));
}

#[test]
fn without_watching_health_is_neither_watched_nor_heeded_before_it_is_told() {
    let net = running(round_robin(), &[A]);
    assert_eq!(net.state(), Ready);
    assert!(!net.records().iter().any(|record| matches!(record.what, What::WatchHealth(_))));
}
