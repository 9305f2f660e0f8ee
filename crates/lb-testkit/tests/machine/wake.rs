//! When the machine asks to be woken.

use std::time::{Duration, Instant};

use lb_core::ConnectivityState::{Connecting, Ready};
use lb_core::machine::{Effect, Event, NamedPolicy};
use lb_core::{Always, LbState, Plan, Policy, SubchannelView};
use lb_testkit::SimClock;

use crate::support::{A, B, Bare, C, connects, endpoint, millis, pick_first, round_robin, running, secs, update, with_priority};

fn wakes(effects: &[Effect]) -> Vec<Option<Instant>> {
    let of = |effect: &Effect| match effect {
        Effect::WakeAt(at) => Some(*at),
        _ => None,
    };
    effects.iter().filter_map(of).collect()
}

fn resolving(policy: NamedPolicy) -> (Bare, Vec<crate::support::Attempt>) {
    let mut bare = Bare::new(policy, SimClock::new().now());
    bare.tell([Event::ExitIdle]);
    let attempts = connects(&bare.tell([Event::Resolved(update([endpoint(A), endpoint(B), endpoint(C)]))]));
    (bare, attempts)
}

#[test]
fn nothing_to_wait_for_is_no_wake_up() {
    let (mut bare, attempts) = resolving(round_robin());
    assert_eq!(bare.wake_at, None, "attempts in progress report themselves");
    for attempt in &attempts {
        assert_eq!(wakes(&bare.connect(attempt)), []);
    }
    bare.now += secs(10);
    let effects = bare.tell([Event::Tick]);
    assert!(effects.is_empty(), "{effects:?}");
}

#[test]
fn the_earliest_attempt_is_the_wake_up_and_it_is_told_only_when_it_changes() {
    let (mut bare, attempts) = resolving(round_robin());
    let started = bare.now;
    bare.now += millis(100);
    assert_eq!(wakes(&bare.fail(&attempts[0])), [Some(started + secs(1))]);
    assert_eq!(wakes(&bare.fail(&attempts[1])), [], "the same time");
    let effects = bare.tell([Event::Command(lb_core::machine::Command::Drain(C.into(), true))]);
    assert_eq!(wakes(&effects), []);
    let effects = bare.wake();
    assert_eq!(connects(&effects).len(), 2);
    assert_eq!(wakes(&effects), [None]);
    let second = connects(&effects);
    assert_eq!(wakes(&bare.fail(&second[0])).len(), 1);
    assert!(bare.wake_at > Some(bare.now));
    assert_eq!(wakes(&bare.tell([Event::EnterIdle])), [None]);
}

#[test]
fn a_tick_before_its_time_starts_nothing_and_the_wake_up_is_asked_for_again() {
    let (mut bare, attempts) = resolving(round_robin());
    bare.fail(&attempts[0]);
    let at = bare.wake_at;
    bare.now += millis(1);
    let effects = bare.tell([Event::Tick]);
    assert!(connects(&effects).is_empty());
    assert_eq!(wakes(&effects), [at], "whoever ticks has used up the wake-up");
    assert_eq!(effects.len(), 1, "{effects:?}");
}

#[test]
fn a_wake_up_that_comes_late_is_as_good() {
    let (mut bare, attempts) = resolving(round_robin());
    bare.fail(&attempts[0]);
    bare.now += secs(3600);
    assert_eq!(connects(&bare.wake()).len(), 1);
    // And so is any other event after its time.
    let (mut bare, attempts) = resolving(round_robin());
    bare.fail(&attempts[0]);
    bare.now += secs(3600);
    assert_eq!(connects(&bare.connect(&attempts[1])).len(), 1);
}

#[test]
fn the_staggered_attempts_of_pick_first_wake_it_every_quarter_second_and_then_no_more() {
    let (mut bare, attempts) = resolving(pick_first());
    let started = bare.now;
    assert_eq!((attempts.len(), bare.wake_at), (1, Some(started + millis(250))));
    assert_eq!(connects(&bare.wake()).len(), 1);
    assert_eq!(bare.wake_at, Some(started + millis(500)));
    assert_eq!(connects(&bare.wake()).len(), 1);
    assert_eq!(bare.wake_at, None, "the last one has no successor");
}

#[test]
fn the_earlier_of_a_backoff_and_a_failover_is_the_wake_up() {
    let mut bare = Bare::new(round_robin(), SimClock::new().now());
    bare.tell([Event::ExitIdle]);
    let listed = [with_priority(A, 0), with_priority(B, 0), with_priority(C, 1)];
    let attempts = connects(&bare.tell([Event::Resolved(update(listed))]));
    let started = bare.now;
    assert_eq!(bare.wake_at, Some(started + secs(10)));
    bare.fail(&attempts[0]);
    assert_eq!(bare.wake_at, Some(started + secs(1)));
    bare.wake();
    assert_eq!(bare.wake_at, Some(started + secs(10)));
}

/// Asks to be called at a fixed time, past or not.
#[derive(Debug)]
struct AsksFor {
    at: Instant,
    looks: u64,
}

impl Policy for AsksFor {
    fn rebuild(&mut self, _now: Instant, view: &[SubchannelView], plan: &mut Plan) -> LbState {
        self.looks += 1;
        assert!(self.looks < 21_000, "asked without end");
        plan.connect.extend(view.iter().map(|row| row.slot));
        plan.wake_at(self.at);
        LbState::new(Connecting, Always::queue())
    }
}

#[test]
fn a_policy_that_asks_for_a_time_gone_by_is_asked_once_a_millisecond_and_hides_no_other_times() {
    let mut net = running(NamedPolicy::new("asks", Box::new(AsksFor { at: SimClock::new().now() - secs(5), looks: 0 })), &[]);
    net.resolve([A]);
    net.run_for(secs(6));
    assert_eq!(net.attempts(A).len(), 4, "attempts are still woken: {:?}", net.attempts(A));
    net.up(A);
    net.run_for(secs(4));
    assert_eq!(net.connected(), [A]);
}

#[test]
fn time_that_passes_over_a_steady_channel_costs_nothing() {
    for policy in [round_robin(), pick_first()] {
        let mut net = running(policy, &[A, B]);
        net.run_for(secs(60));
        assert_eq!(net.state(), Ready);
        net.take_records();
        while net.step() {}
        net.run_for(Duration::from_secs(24 * 3600));
        assert!(net.records().is_empty(), "{:?}", net.records());
    }
}
