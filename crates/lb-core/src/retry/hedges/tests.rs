use proptest::prelude::*;

use super::super::Throttling;
use super::*;

const UNAVAILABLE: i32 = 14;
const INTERNAL: i32 = 13;

fn start() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "an Instant has no other constructor; the value does not matter")]
    Instant::now()
}

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

struct Caller {
    now: Instant,
    hedges: Hedges,
    policy: HedgingPolicy,
    throttle: Throttle,
}

impl Caller {
    fn new(attempts: u32, delay: u64) -> Self {
        let policy = HedgingPolicy::try_new(attempts, ms(delay)).unwrap().with_non_fatal([UNAVAILABLE]).unwrap();
        let now = start();
        Self { now, hedges: Hedges::new(now), policy, throttle: Throttle::new(Some(Throttling::default())) }
    }

    /// Attempts that begin now.
    fn due(&mut self) -> u32 {
        (0..100).map(|_| u32::from(self.hedges.due(self.now, &self.policy, &self.throttle))).sum()
    }

    /// How long until the next one.
    fn next_in(&self) -> Option<Duration> {
        self.hedges.next_at().map(|at| at.saturating_duration_since(self.now))
    }

    fn failed(&mut self, code: i32, pushback: Pushback) -> HedgeStep {
        self.hedges.failed(self.now, code, pushback, &self.policy, &self.throttle)
    }
}

#[test]
fn one_each_delay_until_all_are_sent() {
    let mut call = Caller::new(3, 100);
    assert_eq!((call.due(), call.next_in()), (1, Some(ms(100))));
    call.now += ms(99);
    assert_eq!(call.due(), 0);
    call.now += ms(1);
    assert_eq!((call.due(), call.next_in()), (1, Some(ms(100))));
    call.now += ms(100);
    assert_eq!((call.due(), call.next_in()), (1, None));
    call.now += ms(1000);
    assert_eq!((call.due(), call.hedges.begun()), (0, 3));
}

#[test]
fn without_delay_all_at_once() {
    let mut call = Caller::new(4, 0);
    assert_eq!((call.due(), call.next_in()), (4, None));
}

#[test]
fn a_non_fatal_failure_brings_the_next_at_once_and_restarts_the_delay() {
    let mut call = Caller::new(3, 100);
    call.due();
    call.now += ms(40);
    assert_eq!(call.failed(UNAVAILABLE, Pushback::None), HedgeStep::GoOn);
    assert_eq!((call.due(), call.next_in()), (1, Some(ms(100))), "a whole delay after the hedge");
}

#[test]
fn a_fatal_failure_ends_the_call() {
    let mut call = Caller::new(3, 0);
    call.due();
    assert_eq!(call.failed(INTERNAL, Pushback::None), HedgeStep::Surface);
    assert_eq!(call.hedges.why(), Surfaced::OtherCode);
    assert_eq!(call.throttle.tokens(), Some(10.0), "codes outside the policy cost nothing");
}

#[test]
fn the_last_failure_of_all_ends_the_call() {
    let mut call = Caller::new(3, 0);
    call.due();
    assert_eq!(call.failed(UNAVAILABLE, Pushback::None), HedgeStep::GoOn);
    assert_eq!(call.failed(UNAVAILABLE, Pushback::None), HedgeStep::GoOn);
    assert_eq!(call.failed(UNAVAILABLE, Pushback::None), HedgeStep::Surface);
    assert_eq!(call.hedges.why(), Surfaced::LastAttempt);
    assert_eq!(call.throttle.tokens(), Some(7.0));
}

#[test]
fn a_server_that_forbids_it_stops_further_hedges_and_not_those_in_flight() {
    let mut call = Caller::new(5, 10);
    call.due();
    call.now += ms(10);
    call.due();
    assert_eq!(call.failed(UNAVAILABLE, Pushback::Stop), HedgeStep::GoOn);
    call.now += ms(1000);
    assert_eq!((call.due(), call.next_in()), (0, None));
    assert_eq!(call.failed(UNAVAILABLE, Pushback::None), HedgeStep::Surface);
    assert_eq!(call.hedges.why(), Surfaced::Forbidden);
}

#[test]
fn a_throttled_call_says_so() {
    let mut call = Caller::new(3, 10);
    call.due();
    // Other calls' failures.
    (0..10).for_each(|_| _ = call.throttle.failed());
    assert_eq!(call.failed(UNAVAILABLE, Pushback::None), HedgeStep::Surface);
    assert_eq!(call.hedges.why(), Surfaced::Throttled);
    let mut call = Caller::new(3, 10);
    call.due();
    (0..10).for_each(|_| _ = call.throttle.failed());
    call.now += ms(10);
    assert_eq!((call.due(), call.failed(UNAVAILABLE, Pushback::None)), (0, HedgeStep::Surface));
    assert_eq!(call.hedges.why(), Surfaced::Throttled);
}

#[test]
fn a_pushback_sets_when_the_next_is_sent_and_the_cadence_goes_on_from_there() {
    let mut call = Caller::new(4, 100);
    call.due();
    assert_eq!(call.failed(UNAVAILABLE, Pushback::After(ms(250))), HedgeStep::GoOn);
    assert_eq!((call.due(), call.next_in()), (0, Some(ms(250))));
    call.now += ms(250);
    assert_eq!((call.due(), call.next_in()), (1, Some(ms(100))));
}

#[test]
fn a_pick_that_is_dropped_leaves_those_in_flight() {
    let mut call = Caller::new(3, 10);
    call.due();
    call.now += ms(10);
    call.due();
    call.hedges.freeze();
    assert_eq!((call.hedges.withdrawn(), call.next_in()), (HedgeStep::GoOn, None));
    assert_eq!(call.failed(UNAVAILABLE, Pushback::None), HedgeStep::Surface);
}

#[test]
fn the_throttle_stops_further_hedges_and_never_the_first() {
    let mut call = Caller::new(3, 10);
    (0..9).for_each(|_| {
        call.throttle.failed();
    });
    assert_eq!(call.due(), 1);
    call.now += ms(10);
    assert_eq!((call.due(), call.next_in()), (0, None));
    assert_eq!(call.failed(UNAVAILABLE, Pushback::None), HedgeStep::Surface);
}

#[test]
fn a_pushback_of_the_last_one_allowed_changes_nothing() {
    let mut call = Caller::new(2, 0);
    call.due();
    assert_eq!(call.failed(UNAVAILABLE, Pushback::After(ms(5))), HedgeStep::GoOn);
    assert_eq!(call.next_in(), None);
    assert_eq!(call.failed(UNAVAILABLE, Pushback::After(ms(5))), HedgeStep::Surface);
}

proptest! {
    /// Attempts are bounded, and a call that goes on always has something in flight or something to come.
    #[test]
    fn a_call_goes_on_only_while_something_is_to_come(
        attempts in 2..6_u32, delay in 0..50_u64, steps in prop::collection::vec((0..3_u8, 0..60_u64, 0..3_u8), 0..40),
    ) {
        let mut call = Caller::new(attempts, delay);
        let mut in_flight = call.due();
        for (what, wait, pushback) in steps {
            call.now += ms(wait);
            if what > 0 && in_flight > 0 {
                let pushback = [Pushback::None, Pushback::Stop, Pushback::After(ms(7))][usize::from(pushback)];
                in_flight -= 1;
                if call.failed(UNAVAILABLE, pushback) == HedgeStep::Surface {
                    prop_assert_eq!(in_flight, 0);
                    return Ok(());
                }
            }
            in_flight += call.due();
            prop_assert!(in_flight > 0 || call.hedges.next_at().is_some());
            prop_assert!(call.hedges.begun() <= attempts);
        }
    }
}
