use proptest::prelude::*;

use super::super::Throttling;
use super::*;

const MIDDLE: u64 = 1 << 63;
const UNAVAILABLE: i32 = 14;
const INTERNAL: i32 = 13;

fn policy() -> RetryPolicy {
    RetryPolicy::default()
}

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A call whose attempts end one after the other.
#[derive(Default)]
struct Caller {
    attempts: Attempts,
    throttle: Throttle,
}

impl Caller {
    fn ends(&mut self, ending: Ending) -> Next {
        self.attempts.begin();
        self.attempts.after(&ending, Some(&policy()), &self.throttle, MIDDLE)
    }

    fn ends_at(&mut self, reached: Reached) -> Next {
        self.ends(Ending { reached, ..Ending::failed(UNAVAILABLE) })
    }
}

#[test]
fn retryable_until_the_last_attempt_with_growing_delays() {
    let mut call = Caller::default();
    for millis in [100, 200, 400] {
        assert_eq!(call.ends(Ending::failed(UNAVAILABLE)), Next::Retry(ms(millis)));
    }
    assert_eq!(call.attempts.previous(), 2);
    assert_eq!(call.ends(Ending::failed(UNAVAILABLE)), Next::Surface(Surfaced::LastAttempt));
    assert_eq!((call.attempts.made(), call.attempts.previous()), (4, 3));
}

#[test]
fn other_codes_commitment_and_no_policy_surface_and_cost_no_token() {
    let mut call = Caller { throttle: Throttle::new(Some(Throttling::default())), ..Caller::default() };
    assert_eq!(call.ends(Ending::failed(INTERNAL)), Next::Surface(Surfaced::OtherCode));
    let committed = Ending { repeatable: false, ..Ending::failed(UNAVAILABLE) };
    assert_eq!(call.ends(committed), Next::Surface(Surfaced::Committed));
    assert_eq!(call.ends(Ending { reached: Reached::NotSent, ..committed }), Next::Surface(Surfaced::Committed));
    let next = call.attempts.after(&Ending::failed(UNAVAILABLE), None, &call.throttle, MIDDLE);
    assert_eq!(next, Next::Surface(Surfaced::NoPolicy));
    assert_eq!(call.throttle.tokens(), Some(10.0));
}

#[test]
fn a_pushback_is_waited_exactly_and_starts_the_delays_over() {
    let mut call = Caller::default();
    assert_eq!(call.ends(Ending::failed(UNAVAILABLE)), Next::Retry(ms(100)));
    let pushed = Ending { pushback: Pushback::After(ms(10)), ..Ending::failed(UNAVAILABLE) };
    assert_eq!(call.ends(pushed), Next::Retry(ms(10)));
    assert_eq!(call.ends(Ending::failed(UNAVAILABLE)), Next::Retry(ms(100)), "from the initial backoff");
    let other = Ending { pushback: Pushback::After(ms(10)), ..Ending::failed(INTERNAL) };
    assert_eq!(Caller::default().ends(other), Next::Surface(Surfaced::OtherCode), "a delay does not make a code retryable");
}

#[test]
fn a_server_that_forbids_it_is_obeyed_and_costs_a_token_whatever_the_code() {
    for code in [UNAVAILABLE, INTERNAL] {
        let mut call = Caller { throttle: Throttle::new(Some(Throttling::default())), ..Caller::default() };
        let forbidden = Ending { pushback: Pushback::Stop, ..Ending::failed(code) };
        assert_eq!(call.ends(forbidden), Next::Surface(Surfaced::Forbidden));
        assert_eq!(call.throttle.tokens(), Some(9.0));
    }
}

#[test]
fn failures_of_other_calls_hold_a_retry_back() {
    let mut call = Caller { throttle: Throttle::new(Some(Throttling::default())), ..Caller::default() };
    (0..4).for_each(|_| assert!(call.throttle.failed()));
    assert_eq!(call.ends(Ending::failed(UNAVAILABLE)), Next::Surface(Surfaced::Throttled), "5 of 10 is not more than half");
    (0..20).for_each(|_| call.throttle.succeeded());
    assert_eq!(Caller { attempts: Attempts::default(), ..call }.ends(Ending::failed(UNAVAILABLE)), Next::Retry(ms(100)));
}

#[test]
fn what_never_left_is_sent_again_without_end_and_counts_for_nothing() {
    let mut call = Caller { throttle: Throttle::new(Some(Throttling::default())), ..Caller::default() };
    (0..100).for_each(|_| assert_eq!(call.ends_at(Reached::NotSent), Next::Transparent));
    call.attempts.begin();
    assert_eq!((call.attempts.made(), call.attempts.counted(), call.attempts.previous()), (101, 1, 0));
    assert_eq!(call.throttle.tokens(), Some(10.0));
}

#[test]
fn refused_once_is_for_nothing_and_refused_again_is_unavailable() {
    let mut call = Caller::default();
    assert_eq!(call.ends_at(Reached::Refused), Next::Transparent);
    assert_eq!(call.attempts.counted(), 0, "the second attempt has no header");
    assert_eq!(call.ends_at(Reached::Refused), Next::Retry(ms(100)));
    let mut plain = Attempts::default();
    let refused = Ending { reached: Reached::Refused, ..Ending::failed(UNAVAILABLE) };
    assert_eq!(plain.after(&refused, None, &Throttle::default(), 0), Next::Transparent);
    assert_eq!(plain.after(&refused, None, &Throttle::default(), 0), Next::Surface(Surfaced::NoPolicy));
}

#[test]
fn refused_after_a_server_worked_on_it_is_for_the_policy() {
    let mut call = Caller::default();
    assert_eq!(call.ends(Ending::failed(UNAVAILABLE)), Next::Retry(ms(100)));
    assert_eq!(call.ends_at(Reached::Refused), Next::Retry(ms(200)));
    assert_eq!(call.ends_at(Reached::NotSent), Next::Transparent, "what never left always may");
}

#[test]
fn a_pick_that_failed_is_retried_as_unavailable_and_leaves_the_refusal() {
    let mut call = Caller::default();
    assert_eq!(call.ends_at(Reached::NoEndpoint), Next::Retry(ms(100)));
    assert_eq!(call.ends_at(Reached::Refused), Next::Transparent);
}

#[test]
fn an_attempt_that_took_too_long_is_followed_whatever_the_codes_say() {
    let mut call = Caller::default();
    let late = Ending { reached: Reached::TimedOut, ..Ending::failed(4) };
    for _ in 0..3 {
        assert!(matches!(call.ends(late), Next::Retry(_)));
    }
    assert_eq!(call.ends(late), Next::Surface(Surfaced::LastAttempt));
}

fn any_ending() -> impl Strategy<Value = Ending> {
    let reached =
        prop::sample::select(vec![Reached::NotSent, Reached::Refused, Reached::NoEndpoint, Reached::Server, Reached::TimedOut]);
    let pushback = prop::sample::select(vec![Pushback::None, Pushback::Stop, Pushback::After(ms(5))]);
    (0..20, reached, pushback, any::<bool>()).prop_map(|(code, reached, pushback, repeatable)| Ending {
        code,
        reached,
        pushback,
        repeatable,
    })
}

proptest! {
    /// Whatever happens, a server sees at most four attempts and one refused one, and the same seed gives the same schedule.
    #[test]
    fn attempts_are_bounded_and_repeatable(endings in prop::collection::vec(any_ending(), 1..60), entropy in any::<u64>()) {
        let run = || {
            let (mut attempts, throttle, mut nexts) = (Attempts::default(), Throttle::new(Some(Throttling::default())), Vec::new());
            for ending in &endings {
                attempts.begin();
                let next = attempts.after(ending, Some(&policy()), &throttle, entropy);
                nexts.push((next, ending.reached));
                if matches!(next, Next::Surface(_)) {
                    break;
                }
            }
            nexts
        };
        let nexts = run();
        prop_assert_eq!(&nexts, &run());
        let seen = nexts.iter().filter(|(_, reached)| *reached != Reached::NotSent).count();
        prop_assert!(seen <= 5, "{:?}", nexts);
    }
}
