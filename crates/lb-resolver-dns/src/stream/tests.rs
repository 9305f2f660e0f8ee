use std::sync::Arc;

use futures_util::StreamExt;
use lb_core::Entropy;
use lb_core::Trigger;

use super::*;
use crate::config::DnsConfig;
use crate::lookup::Subject;
use crate::order::Order;
use crate::testing::FakeDns;

const SECOND: Duration = Duration::from_secs(1);

fn open(dns: &FakeDns, config: &DnsConfig) -> (Trigger, ResolverStream) {
    let (trigger, again) = Trigger::pair();
    let subject = Subject::Host("orders".to_owned(), 1);
    let lookup = Lookup::new(Arc::new(dns.clone()), subject, Order::new(1), None);
    let pace = Pace::new(config, Entropy::from_seed(1));
    (trigger, DnsStream::new(lookup, pace, config.timeout, again).run())
}

/// The next item, and how long it took.
async fn next(stream: &mut ResolverStream) -> (Duration, Result<usize, ResolveError>) {
    let start = Instant::now();
    let item = timeout(1000 * SECOND, stream.next()).await.expect("nothing was yielded").expect("the stream ended");
    (start.elapsed(), item.map(|update| update.endpoints.len()))
}

async fn is_silent(stream: &mut ResolverStream, time: Duration) -> bool {
    timeout(time, stream.next()).await.is_err()
}

fn asked(dns: &FakeDns) -> usize {
    dns.with(|zone| zone.asked)
}

#[tokio::test(start_paused = true)]
async fn growth_is_seen_when_the_time_to_live_ends() {
    let dns = FakeDns::default();
    dns.set("orders", &["10.0.0.1"], 60);
    let (_trigger, mut stream) = open(&dns, &DnsConfig::new());
    assert_eq!(next(&mut stream).await.1.unwrap(), 1);
    dns.set("orders", &["10.0.0.1", "10.0.0.2"], 60);
    let (waited, endpoints) = next(&mut stream).await;
    assert!((60 * SECOND..=66 * SECOND).contains(&waited), "{waited:?}");
    assert_eq!(endpoints.unwrap(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_says_the_same_is_not_yielded() {
    let dns = FakeDns::default();
    dns.set("orders", &["10.0.0.1", "10.0.0.2"], 10);
    let (_trigger, mut stream) = open(&dns, &DnsConfig::new());
    next(&mut stream).await.1.unwrap();
    dns.set("orders", &["10.0.0.2", "10.0.0.1"], 10);
    assert!(is_silent(&mut stream, 100 * SECOND).await);
    assert!(asked(&dns) >= 9);
}

#[tokio::test(start_paused = true)]
async fn asking_often_is_asking_once_and_waits_for_the_interval() {
    let dns = FakeDns::default();
    dns.set("orders", &["10.0.0.1"], 60);
    let (trigger, mut stream) = open(&dns, &DnsConfig::new().without_refresh());
    next(&mut stream).await.1.unwrap();
    dns.set("orders", &["10.0.0.2", "10.0.0.3"], 60);
    for _ in 0..100 {
        trigger.fire();
    }
    let (waited, endpoints) = next(&mut stream).await;
    assert_eq!((waited, endpoints.unwrap()), (30 * SECOND, 2));
    assert!(is_silent(&mut stream, 1000 * SECOND).await);
    assert_eq!(asked(&dns), 2);

    // Long after the last success, at once.
    dns.set("orders", &["10.0.0.4"], 60);
    trigger.fire();
    assert_eq!(next(&mut stream).await.0, Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn who_asks_before_a_look_is_answered_by_it_and_who_asks_during_it_is_remembered() {
    let dns = FakeDns::default();
    dns.set("orders", &["10.0.0.1"], 60);
    let (trigger, mut stream) = open(&dns, &DnsConfig::new().without_refresh());
    trigger.fire();
    next(&mut stream).await.1.unwrap();
    assert!(is_silent(&mut stream, 100 * SECOND).await);
    assert_eq!(asked(&dns), 1);

    dns.with(|zone| zone.delay = SECOND);
    trigger.fire();
    assert!(is_silent(&mut stream, SECOND / 2).await);
    trigger.fire();
    assert!(is_silent(&mut stream, 100 * SECOND).await);
    assert_eq!(asked(&dns), 3);
}

#[tokio::test(start_paused = true)]
async fn failures_are_yielded_at_the_pace_of_the_backoff_and_asking_does_not_hurry_it() {
    let dns = FakeDns::default();
    let (trigger, mut stream) = open(&dns, &DnsConfig::new());
    assert_eq!(next(&mut stream).await.1.unwrap_err().kind(), ResolveErrorKind::NotFound);
    for nominal in [1.0, 1.6, 2.56, 4.096] {
        trigger.fire();
        let waited = next(&mut stream).await.0.as_secs_f64();
        assert!((nominal * 0.8..=nominal * 1.2).contains(&waited), "{waited} for {nominal}");
    }
    // Absence is an answer, after which nothing is renewed.
    assert_eq!(dns.with(|zone| zone.renewed), 0);
}

#[tokio::test(start_paused = true)]
async fn the_same_set_is_yielded_again_as_the_end_of_an_error_and_the_backoff_starts_over() {
    let dns = FakeDns::default();
    dns.set("orders", &["10.0.0.1"], 5);
    let (_trigger, mut stream) = open(&dns, &DnsConfig::new());
    assert_eq!(next(&mut stream).await.1.unwrap(), 1);
    dns.break_down("orders");
    for _ in 0..6 {
        assert_eq!(next(&mut stream).await.1.unwrap_err().kind(), ResolveErrorKind::Unavailable);
    }
    assert_eq!(dns.with(|zone| zone.renewed), 2);
    dns.set("orders", &["10.0.0.1"], 5);
    assert_eq!(next(&mut stream).await.1.unwrap(), 1);
    dns.break_down("orders");
    assert!(next(&mut stream).await.1.is_err());
    assert_eq!(next(&mut stream).await.0, SECOND);
}

#[tokio::test(start_paused = true)]
async fn silence_is_an_error_when_the_time_for_a_look_is_over() {
    let dns = FakeDns::default();
    dns.with(|zone| zone.delay = 3600 * SECOND);
    let (_trigger, mut stream) = open(&dns, &DnsConfig::new());
    let (waited, error) = next(&mut stream).await;
    let error = error.unwrap_err();
    assert_eq!((waited, error.kind()), (10 * SECOND, ResolveErrorKind::Unavailable));
    assert!(error.message().contains("\"orders\": no answer within 10s"), "{error}");
}
