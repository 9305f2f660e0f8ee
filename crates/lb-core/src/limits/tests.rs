//! Buckets, keys and floods on simulated time.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use governor::clock::FakeRelativeClock;
use governor::{Quota, RateLimiter};
use proptest::prelude::*;

use super::{FloodGuard, FloodLimit, KeyedBuckets, RateLimit, TokenBucket};
use crate::policies::testing::start;

const MS: Duration = Duration::from_millis(1);

fn rate(per_second: f64, burst: u32) -> RateLimit {
    RateLimit::per_second(per_second).unwrap().with_burst(burst).unwrap()
}

/// The times at which calls pass that arrive with these pauses, in nanoseconds.
fn passed(start: Instant, pauses: &[u64], mut enter: impl FnMut(Instant) -> bool) -> Vec<u64> {
    let mut at = 0;
    let arrivals = pauses.iter().map(|pause| {
        at += pause;
        at
    });
    arrivals.filter(|at| enter(start + Duration::from_nanos(*at))).collect()
}

/// Fails if more than `per_second × t + burst` of these lie within any time `t`.
fn keeps_to(passed: &[u64], per_second: f64, burst: f64) -> Result<(), TestCaseError> {
    for (first, from) in passed.iter().enumerate() {
        for (more, to) in passed[first..].iter().enumerate() {
            let allowed = per_second * ((to - from) as f64 / 1e9) + burst;
            prop_assert!((more + 1) as f64 <= allowed + 1e-6, "{} calls within {} ns, allowed {allowed}", more + 1, to - from);
        }
    }
    Ok(())
}

fn pauses() -> impl Strategy<Value = Vec<u64>> {
    let pause = prop_oneof![Just(0), 1..1_000_u64, 1_000..2_000_000_u64, 1_000_000..3_000_000_000_u64];
    prop::collection::vec(pause, 1..150)
}

proptest! {
    #[test]
    fn never_more_than_the_rate_and_a_burst(per_second in 0.5..5_000.0, burst in 1..40_u32, pauses in pauses()) {
        let (start, bucket) = (start(), TokenBucket::new(rate(per_second, burst)));
        let passed = passed(start, &pauses, |now| {
            let passes = bucket.take(now).is_ok();
            let tokens = bucket.tokens(now);
            assert!((0.0..=f64::from(burst)).contains(&tokens), "{tokens} tokens");
            passes
        });
        keeps_to(&passed, per_second, f64::from(burst))?;
    }

    #[test]
    fn what_is_refused_passes_when_it_was_told_to_come_and_no_earlier(per_second in 0.5..5_000.0, burst in 1..40_u32, pauses in pauses()) {
        let (start, bucket) = (start(), TokenBucket::new(rate(per_second, burst)));
        let mut now = start;
        for pause in pauses {
            now += Duration::from_nanos(pause);
            if let Err(wait) = bucket.take(now) {
                prop_assert!(bucket.take(now + wait - Duration::from_nanos(1)).is_err());
                now += wait;
                prop_assert!(bucket.take(now).is_ok());
            }
        }
    }

    /// The `governor` crate has the same algorithm; it is right by its own many tests.
    #[test]
    fn it_decides_as_governor_does(per_second in 1..5_000_u32, burst in 1..40_u32, pauses in pauses()) {
        // Rates whose interval is a whole number of nanoseconds: governor rounds the others down, we up.
        let per_second = [1, 2, 5, 8, 10, 100, 125, 1000, 2500, 4000][per_second as usize % 10];
        let clock = FakeRelativeClock::default();
        let quota = Quota::per_second(NonZeroU32::new(per_second).unwrap()).allow_burst(NonZeroU32::new(burst).unwrap());
        let theirs = RateLimiter::direct_with_clock(quota, clock.clone());
        let (mut now, ours) = (start(), TokenBucket::new(rate(f64::from(per_second), burst)));
        for pause in pauses {
            clock.advance(Duration::from_nanos(pause));
            now += Duration::from_nanos(pause);
            prop_assert_eq!(ours.take(now).is_ok(), theirs.check().is_ok());
        }
    }

    #[test]
    fn a_token_given_back_is_as_if_it_had_not_been_taken_and_never_more(burst in 1..20_u32, pauses in pauses(), mask in any::<u64>()) {
        let limit = rate(100.0, burst);
        let (start, bucket) = (start(), TokenBucket::new(limit));
        let mut turn = 0;
        let passed = passed(start, &pauses, |now| {
            turn += 1;
            let passes = bucket.take(now).is_ok();
            let returned = passes && (mask >> (turn % 64)) & 1 == 1;
            if returned {
                bucket.give_back();
            }
            assert!(bucket.tokens(now) <= f64::from(burst));
            passes && !returned
        });
        keeps_to(&passed, 100.0, f64::from(burst))?;
    }

    #[test]
    fn another_limit_goes_on_with_the_tokens_there_are(took in 0..30_u32, first in 1..30_u32, then in 1..30_u32) {
        let (now, bucket) = (start(), TokenBucket::new(rate(50.0, first)));
        let took = (0..took).filter(|_| bucket.take(now).is_ok()).count() as u32;
        let next = bucket.after(now, rate(7.0, then));
        prop_assert!((next.tokens(now) - f64::from((first - took).min(then))).abs() < 1e-6);
        let passes = (0..100).filter(|_| next.take(now).is_ok()).count() as u32;
        prop_assert_eq!(passes, (first - took).min(then));
    }

    #[test]
    fn each_key_has_its_own_bucket_while_there_is_room(pauses in pauses(), hash in any::<u64>()) {
        let (start, keys) = (start(), KeyedBuckets::new(rate(10.0, 3), 64));
        // Another key of the same set, always over its limit, changes nothing.
        let passed = passed(start, &pauses, |now| {
            let _ = keys.take(now, hash ^ 0xff);
            keys.take(now, hash).is_ok()
        });
        let alone = TokenBucket::new(rate(10.0, 3));
        prop_assert_eq!(passed, self::passed(start, &pauses, |now| alone.take(now).is_ok()));
        prop_assert_eq!(keys.crowded(), 0);
    }

    #[test]
    fn a_flood_of_keys_gets_no_more_than_the_table_has_room_for(hashes in prop::collection::vec(any::<u64>(), 1..2_000)) {
        let (now, keys) = (start(), KeyedBuckets::new(rate(1.0, 2), 16));
        let passed = hashes.iter().filter(|hash| keys.take(now, **hash).is_ok()).count();
        prop_assert!(passed <= 16 * 2, "{passed}");
        prop_assert!(keys.in_use(now) <= keys.capacity());
    }

    #[test]
    fn no_more_than_the_threshold_and_two_windows_of_it(per_second in 50..2_000_u32, pauses in prop::collection::vec(0..4_000_000_u64, 1..600)) {
        let (start, guard) = (start(), FloodGuard::new(FloodLimit::above(per_second).unwrap()));
        let passed = passed(start, &pauses, |now| guard.enter(now).is_ok());
        keeps_to(&passed, f64::from(per_second), f64::from(per_second) * 0.2 + 2.0)?;
    }
}

#[test]
fn an_idle_key_makes_room_and_a_busy_one_hands_on_what_it_has() {
    let (now, keys) = (start(), KeyedBuckets::new(rate(1.0, 2), 8));
    assert_eq!(keys.capacity(), 8);
    for hash in 1..=8 {
        assert!(keys.take(now, hash).is_ok());
    }
    assert_eq!((keys.in_use(now), keys.crowded()), (8, 0));
    assert!(keys.take(now, 9).is_ok(), "the token its bucket had left");
    assert!(keys.take(now, 9).is_err(), "and no other");
    assert_eq!(keys.crowded(), 1);
    let later = now + Duration::from_secs(3);
    assert_eq!(keys.in_use(later), 0);
    for hash in 20..28 {
        assert!(keys.take(later, hash).is_ok() && keys.take(later, hash).is_ok(), "a full bucket for {hash}");
    }
    assert_eq!(keys.crowded(), 1, "nobody was in the way");
}

#[test]
fn threads_together_get_a_burst_and_no_call_more() {
    let (now, bucket, passed) = (start(), TokenBucket::new(rate(0.001, 1_000)), AtomicU32::new(0));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let passes = (0..1_000).filter(|_| bucket.take(now).is_ok()).count();
                passed.fetch_add(passes as u32, Ordering::Relaxed);
            });
        }
    });
    assert_eq!(passed.load(Ordering::Relaxed), 1_000);
}

/// Calls of one window, evenly spread: how many pass.
fn window(guard: &FloodGuard, start: Instant, number: u32, calls: u32) -> u32 {
    let begin = start + number * 100 * MS;
    (0..calls).filter(|call| guard.enter(begin + 100 * MS * *call / calls).is_ok()).count() as u32
}

/// The beginning of a window.
fn aligned(guard: &FloodGuard) -> Instant {
    let mut at = start();
    // A guard that is new says when its window ends once it sheds.
    loop {
        match guard.enter(at) {
            Ok(()) => {}
            Err(wait) => return at + wait + Duration::from_secs(1),
        }
        at += Duration::from_nanos(1);
    }
}

#[test]
fn a_flood_begins_above_the_threshold_and_ends_below_its_share() {
    let guard = FloodGuard::new(FloodLimit::above(1_000).unwrap());
    let start = aligned(&guard);
    assert_eq!(window(&guard, start, 0, 100), 100);
    assert!(!guard.is_flooding(), "at the threshold: no flood");
    let before = guard.floods();
    assert_eq!(window(&guard, start, 1, 300), 100, "the threshold passes, the rest is shed");
    assert!(guard.is_flooding());
    for number in 2..10 {
        assert_eq!(window(&guard, start, number, 90), 80, "in a flood only its share passes");
    }
    assert!(guard.is_flooding(), "90 in 100 ms are still too many");
    window(&guard, start, 10, 80);
    assert_eq!(window(&guard, start, 11, 95), 95, "a calm window ended it");
    assert!(!guard.is_flooding());
    assert_eq!(guard.floods(), before + 1, "one flood, not one a window");
}

#[test]
fn a_pause_ends_a_flood_and_the_wait_is_the_rest_of_the_window() {
    let guard = FloodGuard::new(FloodLimit::above(1_000).unwrap());
    let start = aligned(&guard);
    window(&guard, start, 0, 1_000);
    assert_eq!(guard.enter(start + 70 * MS), Err(30 * MS));
    assert!(guard.enter(start + 500 * MS).is_ok());
    assert!(!guard.is_flooding());
}

#[test]
fn flood_limits_name_what_is_wrong() {
    use serde_json::json;
    for (config, field) in [
        (json!({}), "flood.perSecond"),
        (json!({"perSecond": 10_000_001}), "flood.perSecond"),
        (json!({"perSecond": 5, "resume": 0.05}), "flood.resume"),
        (json!({"perSecond": 5, "window": "0.001s"}), "flood.window"),
        (json!({"perSecond": 5, "window": 1}), "flood.window"),
    ] {
        let error = FloodLimit::from_json(&config).unwrap_err();
        assert_eq!(error.field, field, "{config}");
    }
    assert_eq!(FloodLimit::from_json(&json!({"perSecond": 5000})).unwrap(), FloodLimit::promised());
}
