use proptest::prelude::*;
use serde_json::json;

use super::*;

fn bucket(max: f64, ratio: f64) -> Throttle {
    Throttle::new(Some(Throttling::try_new(max, ratio).unwrap()))
}

/// The suite of grpc-go: what the server answers to each call, and what is left in the bucket afterwards.
#[test]
fn the_published_sequence() {
    let throttle = bucket(10.0, 0.5);
    let calls: [(&str, &[f64], bool); 13] = [
        ("s", &[10.0], true),
        ("ffs", &[9.0, 8.0, 8.5], true),
        ("ffs", &[7.5, 6.5, 7.0], true),
        ("ff", &[6.0, 5.0], false),
        ("f", &[4.0], false),
        ("s", &[4.5], true),
        ("s", &[5.0], true),
        ("s", &[5.5], true),
        ("s", &[6.0], true),
        ("s", &[6.5], true),
        ("fs", &[5.5, 6.0], true),
        ("f", &[5.0], false),
        ("f", &[4.0], false),
    ];
    for (index, (attempts, left, permitted)) in calls.into_iter().enumerate() {
        let mut last = true;
        for (attempt, left) in attempts.chars().zip(left) {
            match attempt {
                'f' => last = throttle.failed(),
                _ => {
                    assert!(last, "call {index}: an attempt that was denied");
                    throttle.succeeded();
                }
            }
            assert_eq!(throttle.tokens(), Some(*left), "call {index}");
        }
        assert_eq!(last, permitted, "call {index}");
    }
}

#[test]
fn fields_are_checked_and_cut_to_three_decimals() {
    let read = |max, ratio| Throttling::from_json(&json!({"maxTokens": max, "tokenRatio": ratio}));
    assert_eq!(read(json!(1000), json!(0.5466)).unwrap(), Throttling { max: 1_000_000, ratio: 546 });
    assert_eq!(read(json!(10), json!(0.546)).unwrap().ratio, 546);
    assert_eq!(read(json!(10), json!(1e300)).unwrap().ratio, 10_000);
    assert!((1..=1000).all(|n| read(json!(1), json!(f64::from(n) / 1000.0)).unwrap().ratio == n as u32));
    for (max, ratio, field) in [
        (json!(0), json!(1), "maxTokens"),
        (json!(-1), json!(1), "maxTokens"),
        (json!(1000.001), json!(1), "maxTokens"),
        (json!("10"), json!(1), "maxTokens"),
        (json!(null), json!(1), "maxTokens"),
        (json!(10), json!(0), "tokenRatio"),
        (json!(10), json!(-0.1), "tokenRatio"),
        (json!(10), json!(0.0009), "tokenRatio"),
        (json!(10), json!(null), "tokenRatio"),
        (json!(10), json!([]), "tokenRatio"),
    ] {
        assert_eq!(read(max.clone(), ratio.clone()).unwrap_err().field, format!("retryThrottling.{field}"), "{max} {ratio}");
    }
    assert!(Throttling::from_json(&json!(7)).is_err());
}

#[test]
fn a_new_configuration_keeps_the_share() {
    let throttle = bucket(10.0, 0.1);
    (0..4).for_each(|_| assert!(throttle.failed()));
    throttle.configure(Some(Throttling::try_new(100.0, 1.0).unwrap()));
    assert_eq!(throttle.tokens(), Some(60.0));
    throttle.succeeded();
    assert_eq!(throttle.tokens(), Some(61.0));
    throttle.configure(None);
    assert!((0..1000).all(|_| throttle.failed()) && throttle.permits() && throttle.tokens().is_none(), "off permits everything");
    throttle.succeeded();
    throttle.configure(Some(Throttling::default()));
    assert_eq!(throttle.tokens(), Some(10.0), "what was off is full");
}

#[test]
fn all_calls_at_once_lose_no_token() {
    let throttle = bucket(1000.0, 0.001);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                (0..200).for_each(|_| assert!(throttle.tokens().is_some() && (throttle.failed() || !throttle.permits())))
            });
        }
    });
    assert_eq!(throttle.tokens(), Some(200.0));
}

proptest! {
    /// Against the same bucket in plain arithmetic.
    #[test]
    fn tokens_stay_within_the_bucket(max in 1..1_000_000_u32, ratio in 1..1_000_000_u32, events in prop::collection::vec(any::<bool>(), 0..200)) {
        let throttle = bucket(f64::from(max) / 1000.0, f64::from(ratio) / 1000.0);
        let mut tokens = i64::from(max);
        for good in events {
            if good { throttle.succeeded() } else { throttle.failed(); }
            tokens = (tokens + if good { i64::from(ratio) } else { -1000 }).clamp(0, i64::from(max));
            prop_assert_eq!(throttle.tokens(), Some(tokens as f64 / 1000.0));
            prop_assert_eq!(throttle.permits(), 2 * tokens > i64::from(max));
        }
    }

    #[test]
    fn any_json_is_read_or_refused(max in any::<f64>(), ratio in any::<f64>()) {
        if let Ok(config) = Throttling::try_new(max, ratio) {
            let throttle = Throttle::new(Some(config));
            throttle.failed();
            throttle.succeeded();
            prop_assert!(throttle.tokens().unwrap() <= 1000.0);
        }
    }
}
