//! Polling Check, on simulated time.
#![allow(clippy::unwrap_used, reason = "a failing helper fails the test")]

mod common;

use std::time::Duration;

use common::{Watch, endpoint, secs};
use lb_health::{GrpcHealthCheck, HealthConfig, PollConfig};
use lb_testkit::{HealthControl, HealthFault, ServingStatus as Wire};
use tokio::time::Instant;
use tonic::Code;
use tonic_health::pb::health_server::HealthServer;

/// Every 5 s sharp, 2 s of patience, 3 failures, 2 successes.
fn start() -> (HealthControl, Watch) {
    let health = HealthControl::default();
    let config = HealthConfig::poll("").with_poll(PollConfig::default().with_jitter(0.0).unwrap());
    let watch = Watch::start(&GrpcHealthCheck::new(config), HealthServer::new(health.clone()), endpoint("10.0.0.1:1"));
    (health, watch)
}

#[tokio::test(start_paused = true)]
async fn thresholds_decide_after_the_first_result() {
    let (health, mut watch) = start();
    let begin = Instant::now();
    watch.serving().await;
    assert_eq!(begin.elapsed(), Duration::ZERO);
    health.set("", Wire::NotServing);
    assert_eq!(watch.not_serving().await, "health check: NOT_SERVING");
    assert_eq!(begin.elapsed(), secs(15));
    health.set("", Wire::Serving);
    watch.serving().await;
    assert_eq!((begin.elapsed(), health.checks(), health.watches()), (secs(25), 6, 0));
}

#[tokio::test(start_paused = true)]
async fn flapping_below_the_threshold_changes_nothing() {
    let (health, mut watch) = start();
    watch.serving().await;
    for _ in 0..20 {
        health.set("", Wire::NotServing);
        watch.quiet(secs(10) - Duration::from_millis(1)).await;
        health.set("", Wire::Serving);
        watch.quiet(secs(5)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_check_that_takes_too_long_has_failed_and_is_cancelled() {
    let (health, mut watch) = start();
    health.set_check_fault(HealthFault::Hang);
    let begin = Instant::now();
    assert_eq!(watch.not_serving().await, "health check: no answer within 2s");
    assert_eq!(begin.elapsed(), secs(2));
    health.set_check_fault(HealthFault::None);
    watch.serving().await;
    assert_eq!(begin.elapsed(), secs(12));
}

#[tokio::test(start_paused = true)]
async fn errors_say_why() {
    let (health, mut watch) = start();
    health.set_check_fault(HealthFault::Fail(Code::NotFound));
    assert_eq!(watch.not_serving().await, "health check: SERVICE_UNKNOWN");
    let (health, mut watch) = start();
    health.set_check_fault(HealthFault::Fail(Code::Unavailable));
    assert!(watch.not_serving().await.starts_with("health check: Unavailable: "));
}

#[tokio::test(start_paused = true)]
async fn without_a_health_service_it_serves_and_is_not_asked_again() {
    let (health, mut watch) = start();
    health.set_check_fault(HealthFault::Fail(Code::Unimplemented));
    watch.serving().await;
    assert_eq!(watch.next().await, None);
    assert_eq!(health.checks(), 1);
}

#[tokio::test(start_paused = true)]
async fn check_now_does_not_wait_for_the_interval() {
    let (health, mut watch) = start();
    watch.serving().await;
    health.set("", Wire::NotServing);
    let begin = Instant::now();
    for _ in 0..3 {
        watch.check_now.fire();
        watch.check_now.fire();
        let _ = tokio::time::timeout(Duration::from_millis(1), watch.next()).await;
    }
    assert!(begin.elapsed() < secs(5));
    assert_eq!(health.checks(), 4, "rings before a check are one check");
}
