//! Nothing changes, nothing is published; and the same inputs are the same run.

use lb_core::machine::{Command, Effect, Event, MachineConfig};
use lb_core::{ResolveError, ResolveErrorKind, ServingStatus};
use lb_testkit::SimClock;

use crate::support::{
    A, B, Bare, C, connects, endpoint, generation, latest_attempt, millis, pick_first, round_robin, running, running_with, secs,
    update, watching,
};

#[test]
fn events_that_change_nothing_visible_publish_nothing() {
    let mut net = running_with(watching(), round_robin(), &[A, B]);
    [A, B].iter().for_each(|address| net.health(address, &ServingStatus::Serving));
    net.run_for(secs(60));
    let (slot, attempt) = latest_attempt(&net, A);
    let before = generation(&net);
    let error = || ResolveError::new(ResolveErrorKind::Unavailable, "away");
    for round in 0..3 {
        let events = [
            Event::ExitIdle,
            Event::Resolved(update([endpoint(A), endpoint(B)])),
            Event::ResolveFailed(error()),
            Event::Health { slot, attempt, status: ServingStatus::Serving },
            Event::Connected { slot, attempt, address: A.parse().unwrap() },
            Event::ConnectRequested(slot),
            Event::Command(Command::ResetBackoff),
            Event::Command(Command::Drain(C.into(), round % 2 == 0)),
            Event::Command(Command::Drain(A.into(), false)),
            Event::Tick,
        ];
        for event in events {
            let text = format!("{event:?}");
            net.tell(event);
            assert_eq!(generation(&net), before, "{text}");
        }
    }
}

#[test]
fn attempts_behind_a_failure_that_sticks_show_only_when_they_end() {
    let mut net = running(round_robin(), &[]);
    net.resolve([A]);
    net.run_for(millis(1500));
    let (before, attempts) = (generation(&net), net.attempts(A).len());
    net.run_for(secs(60));
    let (published, made) = (generation(&net) - before, (net.attempts(A).len() - attempts) as u64);
    assert!(published <= made, "{published} publications for {made} failed attempts");
}

#[test]
fn settling_without_events_has_no_effects() {
    let mut bare = Bare::new(round_robin(), SimClock::new().now());
    assert_eq!(bare.tell([]).len(), 1, "the first publication");
    assert!(bare.tell([]).is_empty());
    bare.tell([Event::ExitIdle]);
    assert!(bare.tell([]).is_empty());
    let attempts = connects(&bare.tell([Event::Resolved(update([endpoint(A), endpoint(B)]))]));
    assert!(bare.tell([]).is_empty());
    bare.fail(&attempts[0]);
    assert!(bare.tell([]).is_empty());
    bare.connect(&attempts[1]);
    assert!(bare.tell([]).is_empty());
    bare.tell([Event::Shutdown]);
    assert!(bare.tell([]).is_empty());
}

#[test]
fn generations_count_up_by_one() {
    let mut bare = Bare::new(pick_first(), SimClock::new().now());
    let mut expected = 1;
    for round in 0..50 {
        let events = [Event::ExitIdle, Event::Resolved(update([endpoint(A).with_weight(round + 1)])), Event::Tick];
        for effect in bare.tell(events) {
            if let Effect::Publish(snapshot) = effect {
                assert_eq!(snapshot.generation, expected);
                expected += 1;
            }
        }
    }
    assert_eq!(expected, 51);
}

/// Runs one machine through failures, losses and time, and writes every effect down.
fn run(seed: u64, start: std::time::Instant) -> String {
    let mut bare = Bare::with(MachineConfig::new(seed), round_robin(), start);
    let mut text = format!("{:?}", bare.tell([Event::ExitIdle]));
    let mut open = Vec::new();
    let mut effects = bare.tell([Event::Resolved(update([endpoint(A), endpoint(B), endpoint(C)]))]);
    for round in 0..200_u64 {
        text += &format!("{effects:?}");
        open.extend(connects(&effects));
        effects = match open.pop() {
            Some(attempt) if round % 5 == 0 => bare.connect(&attempt),
            Some(attempt) => bare.fail(&attempt),
            None if bare.wake_at.is_some() => bare.wake(),
            None => bare.tell([Event::EnterIdle, Event::ExitIdle, Event::Resolved(update([endpoint(A), endpoint(C)]))]),
        };
    }
    text
}

#[test]
fn the_same_seed_and_events_are_the_same_effects_to_the_letter() {
    let start = SimClock::new().now();
    for seed in 0..20 {
        assert!(run(seed, start) == run(seed, start), "seed {seed}");
    }
    assert!(run(1, start) != run(2, start), "jitter depends on the seed");
}
