use proptest::prelude::*;
use serde_json::json;

use super::*;

const MIDDLE: u64 = 1 << 63;

fn good() -> Value {
    json!({
        "maxAttempts": 4, "initialBackoff": "0.1s", "maxBackoff": "1s", "backoffMultiplier": 2,
        "retryableStatusCodes": ["UNAVAILABLE"], "somethingNew": 7,
    })
}

fn with(field: &str, value: Value) -> Result<RetryPolicy, ConfigError> {
    let mut config = good();
    config[field] = value;
    RetryPolicy::from_json(&config)
}

#[test]
fn a_service_configs_policy_is_read() {
    let policy = RetryPolicy::from_json(&good()).unwrap();
    let expected = RetryPolicy::default().with_max_backoff(Duration::from_secs(1)).unwrap();
    assert_eq!(policy, expected);
    assert_eq!(with("retryableStatusCodes", json!(["unavailable", 14])).unwrap(), expected, "any letter case, and numbers");
    assert_eq!(with("backoffMultiplier", json!(0.5)).unwrap().delay(2, MIDDLE), Duration::from_millis(50));
    assert_eq!(with("perAttemptRecvTimeout", json!("0.25s")).unwrap().attempt_timeout(), Some(Duration::from_millis(250)));
    assert_eq!(with("perAttemptRecvTimeout", Value::Null).unwrap(), expected);
}

#[test]
fn every_rule_of_every_field_is_kept() {
    let wrong = [
        ("maxAttempts", vec![json!(null), json!(0), json!(1), json!(-2), json!(2.5), json!("4")]),
        ("initialBackoff", vec![json!(null), json!("0s"), json!("-1s"), json!("1"), json!("3c"), json!(1)]),
        ("maxBackoff", vec![json!(null), json!("0s"), json!("-1s"), json!("1"), json!({})]),
        ("backoffMultiplier", vec![json!(null), json!(0), json!(-1), json!("2")]),
        (
            "retryableStatusCodes",
            vec![json!(null), json!([]), json!(["NOPE"]), json!([17]), json!([14.5]), json!(["OK"]), json!("UNAVAILABLE")],
        ),
        ("perAttemptRecvTimeout", vec![json!("0s"), json!("-1s"), json!(3)]),
    ];
    for (field, values) in wrong {
        for value in values {
            let error = with(field, value.clone()).expect_err(&format!("{field}: {value}"));
            assert_eq!(error.field, format!("retryPolicy.{field}"), "{value}");
        }
        if field != "perAttemptRecvTimeout" {
            let mut config = good();
            config.as_object_mut().unwrap().remove(field);
            assert_eq!(RetryPolicy::from_json(&config).unwrap_err().field, format!("retryPolicy.{field}"), "missing");
        }
    }
    assert!(RetryPolicy::from_json(&json!([])).is_err());
    assert!(
        RetryPolicy::default().with_multiplier(f64::NAN).is_err() && RetryPolicy::default().with_multiplier(f64::INFINITY).is_err()
    );
}

#[test]
fn attempts_are_limited_by_the_channel() {
    let limited =
        |attempts, limit| with("maxAttempts", json!(attempts)).unwrap().limited(limit).map(|policy| policy.max_attempts());
    assert_eq!(limited(6, super::super::DEFAULT_MAX_ATTEMPTS), Some(5));
    assert_eq!(limited(5, 3), Some(3));
    assert_eq!(limited(4, 5), Some(4));
    assert_eq!([limited(4, 1), limited(4, 0)], [None, None]);
}

#[test]
fn the_presets_are_what_they_say() {
    let delays = |policy: RetryPolicy| (1..policy.max_attempts()).map(|n| policy.delay(n, MIDDLE).as_millis()).collect::<Vec<_>>();
    assert_eq!(delays(RetryPolicy::three_exponential()), [100, 200, 400]);
    assert_eq!(delays(RetryPolicy::three_a_second_apart()), [1000, 1000, 1000]);
    assert_eq!(delays(RetryPolicy::two_from_100_ms()), [100, 200]);
    assert_eq!(RetryPolicy::retries(1).unwrap().max_attempts(), 2);
    assert!(RetryPolicy::retries(0).is_err() && RetryPolicy::retries(u32::MAX).is_ok());
}

#[test]
fn delays_grow_to_the_cap_and_are_spread_after_it() {
    let policy = RetryPolicy::default();
    let at = |n, entropy| policy.delay(n, entropy).as_secs_f64();
    for (n, nominal) in [(1, 0.1), (2, 0.2), (3, 0.4), (6, 3.2), (7, 5.0), (100, 5.0), (u32::MAX, 5.0)] {
        for (entropy, factor) in [(0, 0.8), (MIDDLE, 1.0), (u64::MAX, 1.2)] {
            assert!((at(n, entropy) - nominal * factor).abs() < 1e-6, "retry {n}: {}", at(n, entropy));
        }
    }
}

proptest! {
    #[test]
    fn no_delay_leaves_its_bounds_or_panics(
        n in any::<u32>(), entropy in any::<u64>(), initial in 1..u64::MAX, max in 1..u64::MAX, multiplier in 1e-300..1e300_f64,
    ) {
        let policy = RetryPolicy::default().with_initial_backoff(Duration::from_secs(initial)).unwrap();
        let policy = policy.with_max_backoff(Duration::from_secs(max)).unwrap().with_multiplier(multiplier).unwrap();
        prop_assert!(policy.delay(n, entropy) <= Duration::from_secs(max).min(LONGEST).mul_f64(1.2001));
        prop_assert_eq!(policy.delay(n, entropy), policy.delay(n, entropy));
    }
}
