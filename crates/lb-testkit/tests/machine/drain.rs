//! The lever that takes an endpoint out of use and back.

use lb_core::ConnectivityState::{Ready, TransientFailure};
use lb_core::machine::{Command, Effect, Event, MachineConfig};
use lb_core::{EndpointKey, LbEvent};
use lb_testkit::SimNet;

use crate::support::{
    A, B, Bare, connects, endpoint, events, failure, generation, keys, round_robin, row, running, secs, states, update,
};

fn drain(net: &mut SimNet, endpoint: &str, drained: bool) {
    net.command(Command::Drain(endpoint.into(), drained));
}

fn picked(net: &mut SimNet) -> Vec<EndpointKey> {
    let mut picked: Vec<EndpointKey> = (0..10).filter_map(|_| net.pick()).collect();
    picked.sort_unstable();
    picked.dedup();
    picked
}

#[test]
fn a_drained_endpoint_gets_no_calls_stays_connected_and_returns_at_once() {
    let mut net = running(round_robin(), &[A, B]);
    drain(&mut net, A, true);
    assert_eq!(picked(&mut net), [B.into()]);
    assert_eq!((row(&net, A).excluded, row(&net, B).excluded), (Some("drained"), None));
    assert_eq!((keys(&net), states(&net)), (vec![A.to_owned(), B.to_owned()], vec![Ready, Ready]));
    net.run_for(secs(3600));
    assert_eq!((net.connected().len(), net.attempts(A).len()), (2, 1));
    drain(&mut net, A, false);
    assert_eq!(picked(&mut net), [A.into(), B.into()]);
    assert_eq!((net.attempts(A).len(), row(&net, A).excluded), (1, None));
    let told = |drained| LbEvent::Drained { endpoint: A.into(), drained };
    assert!(events(&net).contains(&&told(true)) && events(&net).contains(&&told(false)));
}

#[test]
fn draining_all_fails_calls_with_the_reason() {
    let mut net = running(round_robin(), &[A, B]);
    [A, B].iter().for_each(|endpoint| drain(&mut net, endpoint, true));
    assert_eq!(net.state(), TransientFailure);
    assert_eq!(failure(&mut net), "no endpoint may be used, of 2: 2 drained");
    drain(&mut net, B, false);
    assert_eq!((net.state(), picked(&mut net)), (Ready, vec![B.into()]));
}

#[test]
fn draining_an_unlisted_endpoint_is_remembered_and_shows_nothing_until_then() {
    let mut net = running(round_robin(), &[A]);
    let before = generation(&net);
    drain(&mut net, B, true);
    assert_eq!(generation(&net), before);
    net.up(B);
    net.resolve([A, B]);
    net.run_for(secs(1));
    assert_eq!((picked(&mut net), row(&net, B).excluded), (vec![A.into()], Some("drained")));
    assert_eq!(net.attempts(B).len(), 0, "nobody wanted it connected");
    net.resolve([A]);
    net.resolve([A, B]);
    assert_eq!(row(&net, B).excluded, Some("drained"), "remembered while it was away");
    drain(&mut net, B, false);
    net.run_for(secs(1));
    assert_eq!(picked(&mut net), [A.into(), B.into()]);
}

#[test]
fn draining_twice_is_draining_once() {
    let mut net = running(round_robin(), &[A, B]);
    drain(&mut net, A, true);
    let (before, told) = (generation(&net), events(&net).len());
    drain(&mut net, A, true);
    drain(&mut net, B, false);
    assert_eq!((generation(&net), events(&net).len()), (before, told));
    drain(&mut net, A, false);
    assert_eq!(picked(&mut net), [A.into(), B.into()]);
}

#[test]
fn a_drained_endpoint_that_loses_its_connection_is_connected_again() {
    let mut net = running(round_robin(), &[A, B]);
    drain(&mut net, A, true);
    net.run_for(secs(10));
    net.close(A);
    net.run_for(secs(1));
    assert_eq!((net.connected().len(), net.attempts(A).len()), (2, 2));
    assert_eq!((picked(&mut net), row(&net, A).excluded), (vec![B.into()], Some("drained")));
}

#[test]
fn draining_survives_idleness() {
    let mut net = running(round_robin(), &[A, B]);
    drain(&mut net, A, true);
    net.tell(Event::EnterIdle);
    net.exit_idle();
    net.run_for(secs(1));
    assert_eq!(picked(&mut net), [B.into()]);
}

#[test]
fn draining_within_a_time_closes_the_connection_which_is_made_again_when_it_is_taken_back() {
    let mut net = running(round_robin(), &[A, B]);
    net.command(Command::DrainWithin(A.into(), secs(30)));
    assert_eq!((net.connected(), row(&net, A).excluded), (vec![B.to_owned()], Some("drained")));
    net.run_for(secs(600));
    assert_eq!((net.attempts(A).len(), picked(&mut net)), (1, vec![B.into()]));
    drain(&mut net, A, false);
    net.run_for(secs(1));
    assert_eq!((net.attempts(A).len(), picked(&mut net)), (2, vec![A.into(), B.into()]));
}

#[test]
fn what_is_retired_has_the_time_it_is_given_and_spared_when_it_is_taken_back() {
    let mut bare = Bare::new(round_robin(), std::time::Instant::now());
    let attempts = connects(&bare.tell([Event::ExitIdle, Event::Resolved(update([endpoint(A), endpoint(B)]))]));
    bare.connect(&attempts[1]);
    let effects = bare.tell([Event::Command(Command::DrainWithin(A.into(), secs(30)))]);
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Close { .. })), "an attempt carries no calls: {effects:?}");
    let effects = bare.tell([Event::Command(Command::Drain(A.into(), false))]);
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Spare(_))), "{effects:?}");
    let again = connects(&effects).remove(0);
    bare.connect(&again);
    let effects = bare.tell([Event::Command(Command::DrainWithin(A.into(), secs(30)))]);
    let retired = |effect: &Effect| matches!(effect, Effect::Retire { slot, within, reason, .. } if *slot == again.slot && *within == secs(30) && reason.contains("drained"));
    assert!(effects.iter().any(retired), "{effects:?}");
}

#[test]
fn an_endpoint_that_is_listed_no_more_is_retired_if_there_is_a_deadline() {
    for deadline in [None, Some(secs(5))] {
        let mut config = MachineConfig::new(1);
        config.removal_deadline = deadline;
        let mut bare = Bare::with(config, round_robin(), std::time::Instant::now());
        let attempts = connects(&bare.tell([Event::ExitIdle, Event::Resolved(update([endpoint(A), endpoint(B)]))]));
        attempts.iter().for_each(|attempt| drop(bare.connect(attempt)));
        let effects = bare.tell([Event::Resolved(update([endpoint(B)]))]);
        let (retired, closed) = effects.iter().fold((0, 0), |(retired, closed), effect| match effect {
            Effect::Retire { within, reason, .. } if Some(*within) == deadline && reason.contains("no longer listed") => {
                (retired + 1, closed)
            }
            Effect::Close { .. } => (retired, closed + 1),
            _ => (retired, closed),
        });
        assert_eq!((retired, closed), if deadline.is_some() { (1, 0) } else { (0, 1) });
    }
}
