//! Watch, on simulated time: every rule of gRFC A17 that holds below the channel.
#![allow(clippy::unwrap_used, reason = "a failing helper fails the test")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use common::{Watch, endpoint, secs};
use lb_health::{GrpcHealthCheck, HealthConfig, PollConfig};
use lb_testkit::{HealthControl, HealthFault, ServingStatus as Wire};
use tokio::time::Instant;
use tonic::Code;
use tonic_health::pb::health_server::HealthServer;

const SERVICE: &str = "orders.v1.Orders";

fn start(config: HealthConfig) -> (HealthControl, Watch) {
    let health = HealthControl::default();
    let watch = attach(&health, config);
    (health, watch)
}

fn attach(health: &HealthControl, config: HealthConfig) -> Watch {
    let check = GrpcHealthCheck::new(config).with_seed(1);
    Watch::start(&check, HealthServer::new(health.clone()), endpoint("10.0.0.1:1"))
}

#[tokio::test(start_paused = true)]
async fn every_status_maps_and_only_serving_is_good() {
    let (health, mut watch) = start(HealthConfig::watch(SERVICE));
    assert_eq!(watch.not_serving().await, "health check: SERVICE_UNKNOWN");
    health.set(SERVICE, Wire::Serving);
    watch.serving().await;
    health.set(SERVICE, Wire::NotServing);
    assert_eq!(watch.not_serving().await, "health check: NOT_SERVING");
    health.set(SERVICE, Wire::Serving);
    watch.serving().await;
    health.set(SERVICE, Wire::ServiceUnknown);
    assert_eq!(watch.not_serving().await, "health check: SERVICE_UNKNOWN");
    health.set(SERVICE, Wire::Unknown);
    assert_eq!(watch.not_serving().await, "health check: UNKNOWN");
    assert_eq!((health.watches(), health.checks()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn the_same_status_again_is_not_said_again() {
    let (health, mut watch) = start(HealthConfig::default());
    watch.serving().await;
    health.set("", Wire::Serving);
    watch.quiet(secs(60)).await;
    health.set("", Wire::NotServing);
    watch.not_serving().await;
    health.set("", Wire::NotServing);
    watch.quiet(secs(60)).await;
}

#[tokio::test(start_paused = true)]
async fn without_a_health_service_it_serves_for_good_with_one_log() {
    let errors = Errors::default();
    let _logging = tracing::subscriber::set_default(errors.clone());
    let (health, mut watch) = start(HealthConfig::watch(SERVICE));
    health.set_watch_fault(HealthFault::Fail(Code::Unimplemented));
    watch.serving().await;
    assert_eq!(watch.next().await, None);
    assert_eq!((health.watches(), errors.0.load(Ordering::Relaxed)), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_never_answers_says_nothing_and_is_cancelled_once() {
    let (health, mut watch) = start(HealthConfig::default());
    health.set_watch_fault(HealthFault::Hang);
    watch.quiet(secs(24 * 60 * 60)).await;
    assert_eq!((health.watches(), health.watching()), (1, 1));
    drop(watch);
    assert_eq!((health.watches(), health.watching()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn dropping_an_open_watch_cancels_it() {
    let (health, mut watch) = start(HealthConfig::default());
    watch.serving().await;
    assert_eq!(health.watching(), 1);
    drop(watch);
    assert_eq!((health.watches(), health.watching()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn failing_before_a_message_backs_off_exponentially() {
    let (health, mut watch) = start(HealthConfig::default());
    health.set_watch_fault(HealthFault::Fail(Code::Unavailable));
    assert!(watch.not_serving().await.starts_with("health check: Unavailable: "));
    // The table without spread: 1, 2.6, 5.16, 9.26, 15.8 s after the first; ±20 % from the second delay on.
    let begin = Instant::now();
    for (at, least, most) in [(0.9, 1, 1), (1.01, 2, 2), (3.0, 3, 3), (20.0, 5, 7), (540.0, 12, 15)] {
        watch.quiet(begin + Duration::from_secs_f64(at) - Instant::now()).await;
        assert!((least..=most).contains(&health.watches()), "after {at} s: {}", health.watches());
    }
    health.set_watch_fault(HealthFault::None);
    watch.serving().await;
}

#[tokio::test(start_paused = true)]
async fn ending_after_a_message_is_unhealthy_and_retried_at_once() {
    for code in [Code::Ok, Code::Unavailable, Code::Internal] {
        let (health, mut watch) = start(HealthConfig::default());
        watch.serving().await;
        let begin = Instant::now();
        health.end_watches(code);
        watch.not_serving().await;
        watch.serving().await;
        assert_eq!(begin.elapsed(), Duration::ZERO);
        assert_eq!((health.watches(), health.watching()), (2, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_ends_every_watch_is_not_asked_in_a_busy_loop() {
    let (health, mut watch) = start(HealthConfig::default());
    watch.serving().await;
    let begin = Instant::now();
    while begin.elapsed() < secs(60) {
        health.end_watches(Code::Ok);
        watch.not_serving().await;
        watch.serving().await;
    }
    assert!((30..=125).contains(&health.watches()), "{}", health.watches());
}

#[tokio::test(start_paused = true)]
async fn a_message_resets_the_backoff() {
    let (health, mut watch) = start(HealthConfig::default());
    health.set_watch_fault(HealthFault::Fail(Code::Unavailable));
    watch.not_serving().await;
    watch.quiet(secs(500)).await;
    health.set_watch_fault(HealthFault::None);
    watch.serving().await;
    health.set_watch_fault(HealthFault::Fail(Code::Unavailable));
    health.end_watches(Code::Unavailable);
    watch.not_serving().await;
    let asked = health.watches();
    // The immediate retry fails without a message, so its successor comes after the first delay.
    watch.not_serving().await;
    watch.quiet(Duration::from_millis(1001)).await;
    assert_eq!(health.watches(), asked + 2);
}

#[tokio::test(start_paused = true)]
async fn check_now_asks_again_at_once() {
    let (health, mut watch) = start(HealthConfig::default());
    watch.serving().await;
    watch.check_now.fire();
    watch.quiet(secs(1)).await;
    assert_eq!((health.watches(), health.watching()), (2, 1));

    health.set_watch_fault(HealthFault::Fail(Code::Unavailable));
    health.end_watches(Code::Unavailable);
    watch.not_serving().await;
    watch.not_serving().await;
    watch.quiet(secs(300)).await;
    health.set_watch_fault(HealthFault::None);
    let begin = Instant::now();
    watch.check_now.fire();
    watch.serving().await;
    assert_eq!(begin.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn where_watch_is_refused_it_polls_if_asked_to() {
    let (health, mut watch) = start(HealthConfig::default().with_poll_fallback());
    health.set_watch_fault(HealthFault::Fail(Code::PermissionDenied));
    watch.serving().await;
    health.set("", Wire::NotServing);
    let begin = Instant::now();
    watch.not_serving().await;
    assert!((27..=33).contains(&begin.elapsed().as_secs()), "{:?}", begin.elapsed());
    assert_eq!((health.watches(), health.checks()), (1, 2));

    let (health, mut watch) = start(HealthConfig::default());
    health.set_watch_fault(HealthFault::Fail(Code::PermissionDenied));
    watch.not_serving().await;
    watch.quiet(secs(10)).await;
    assert_eq!(health.checks(), 0, "not without being asked to");
    let (health, mut watch) = start(HealthConfig::default().with_poll_fallback());
    health.set_watch_fault(HealthFault::Fail(Code::Unavailable));
    watch.not_serving().await;
    watch.quiet(secs(10)).await;
    assert_eq!(health.checks(), 0, "not on other codes");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_after_a_message_is_no_refusal() {
    let (health, mut watch) = start(HealthConfig::default().with_poll_fallback());
    watch.serving().await;
    health.end_watches(Code::PermissionDenied);
    watch.not_serving().await;
    watch.serving().await;
    assert_eq!((health.watches(), health.checks()), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn a_server_with_check_only_is_polled_where_unimplemented_is_listed() {
    let config = HealthConfig::default().with_poll_fallback_on([Code::Unimplemented]).unwrap();
    let config = config.with_poll(PollConfig::default());
    let (health, mut watch) = start(config);
    health.set_watch_fault(HealthFault::Fail(Code::Unimplemented));
    watch.serving().await;
    health.set("", Wire::NotServing);
    watch.not_serving().await;
    health.set_check_fault(HealthFault::Fail(Code::Unimplemented));
    watch.serving().await;
    assert_eq!(watch.next().await, None);
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_can_have_a_service_of_its_own() {
    let health = HealthControl::default();
    health.set("own", Wire::Serving);
    let check = GrpcHealthCheck::new(HealthConfig::watch(SERVICE)).with_service_from_metadata("health-service");
    let mut special = endpoint("10.0.0.1:1");
    special.attributes.metadata.insert("health-service".into(), "own".into());
    Watch::start(&check, HealthServer::new(health.clone()), special).serving().await;
    let mut plain = Watch::start(&check, HealthServer::new(health), endpoint("10.0.0.1:1"));
    assert_eq!(plain.not_serving().await, "health check: SERVICE_UNKNOWN");
}

/// Counts errors logged.
#[derive(Clone, Default)]
struct Errors(Arc<AtomicUsize>);

impl tracing::Subscriber for Errors {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() == tracing::Level::ERROR
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, _: &tracing::Event<'_>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}
