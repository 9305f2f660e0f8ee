//! The defaults are those of the rooms they are for, and the presets keep what was promised.

use std::time::Duration;

use lb_config::{HealthSettings, ServiceSettings, SessionMode, Source};
use lb_core::BackoffConfig;
use lb_core::breaker::{BreakerConfig, FailureRate};
use lb_core::limits::{FloodLimit, GradientConfig, RateLimit, RateLimits};
use lb_core::queue::QueueConfig;
use lb_core::recovery::{DegradedConfig, RampConfig};
use lb_core::retry::{HedgingPolicy, RetryPolicy, Throttling};
use lb_core::sessions::{SessionLimits, SessionRules};
use lb_core::stages::{
    ConsecutiveEjection, FailoverConfig, FailurePercentageEjection, LatencyEjection, OutlierConfig, PanicConfig, ReplicaConfig,
    SuccessRateEjection,
};
use lb_health::{HealthConfig, PollConfig};
use lb_transport::TransportConfig;
use serde_json::{Value, json};

use crate::config;

fn service(mut tree: Value) -> ServiceSettings {
    tree["target"] = json!("static:///1.2.3.4:5");
    ServiceSettings::clone(config(tree).service("default").expect("it has a target"))
}

fn same(one: impl std::fmt::Debug, other: impl std::fmt::Debug) {
    assert_eq!(format!("{one:?}"), format!("{other:?}"));
}

#[test]
fn without_a_word_everything_is_as_a_builder_has_it() {
    let plain = service(json!({}));
    assert_eq!(plain.source, Source::Target("static:///1.2.3.4:5".to_owned()));
    assert_eq!((&*plain.policy, plain.calls.max_attempts), ("round_robin", 5));
    assert!(
        plain.calls.retry.is_none()
            && plain.calls.hedging.is_none()
            && plain.calls.throttling.is_none()
            && plain.calls.timeout.is_none()
    );
    assert_eq!(plain.calls.retry_buffer, (256 << 10, 16 << 20));
    same(&plain.connection.transport, TransportConfig::new());
    assert_eq!(plain.connection.backoff, BackoffConfig::default());
    assert_eq!(
        (plain.connection.connect_timeout, plain.connection.idle_timeout),
        (Duration::from_secs(20), Some(Duration::from_secs(1800)))
    );
    let failures = &plain.failures;
    assert!(
        failures.breaker.is_none()
            && failures.health.is_none()
            && failures.recovery.is_none()
            && failures.removal_deadline.is_none()
    );
    assert_eq!((&failures.outliers, &failures.failover), (&OutlierConfig::default(), &FailoverConfig::default()));
    assert_eq!((&failures.replicas, &failures.panic), (&ReplicaConfig::default(), &PanicConfig::default()));
    assert_eq!(failures.degraded, DegradedConfig::default());
    assert_eq!(plain.load.rates, RateLimits::new());
    assert!(
        plain.load.concurrency.is_none()
            && plain.load.queue.is_none()
            && plain.sessions.is_none()
            && plain.connection.tls.is_none()
    );
}

#[test]
fn a_section_switched_on_has_the_defaults_of_its_room() {
    let on = service(json!({
        "retry": {}, "hedging": {}, "retryThrottling": {}, "circuitBreaker": {"failureRate": {}}, "healthCheck": {}, "queue": {}, "concurrencyLimit": {},
        "recovery": {}, "sessions": {},
        "outlierDetection": {"successRateEjection": {}, "failurePercentageEjection": {}, "latencyEjection": {}, "consecutiveFailures": {}, "consecutiveGatewayFailures": {}}
    }));
    assert_eq!(on.calls.retry, Some(RetryPolicy::two_from_100_ms()));
    assert_eq!(on.calls.hedging, Some(HedgingPolicy::try_new(2, Duration::from_secs(1)).unwrap()));
    assert_eq!(on.calls.throttling, Some(Throttling::default()));
    same(on.failures.breaker.unwrap(), BreakerConfig::default().failure_rate(FailureRate::default()));
    let health = HealthConfig::watch("").with_poll(PollConfig::default());
    assert_eq!(on.failures.health, Some(HealthSettings::Grpc(health)));
    assert_eq!((on.load.queue, on.load.concurrency), (Some(QueueConfig::default()), Some(GradientConfig::default())));
    assert_eq!(on.failures.recovery, Some(RampConfig::steps()));
    let outliers = &on.failures.outliers;
    assert_eq!(outliers.success_rate, Some(SuccessRateEjection::default()));
    assert_eq!(outliers.failure_percentage, Some(FailurePercentageEjection::default()));
    assert_eq!(outliers.latency, Some(LatencyEjection::default()));
    assert_eq!(
        (&outliers.consecutive_failures, &outliers.consecutive_gateway_failures),
        (&Some(ConsecutiveEjection::default()), &Some(ConsecutiveEjection::default()))
    );
    assert_eq!(
        (outliers.interval, outliers.max_ejection_percent),
        (OutlierConfig::default().interval, OutlierConfig::default().max_ejection_percent)
    );
    let sessions = on.sessions.unwrap();
    assert_eq!(sessions.rules, SessionRules::default());
    let SessionMode::Table(limits) = sessions.mode else { panic!("a table is the default") };
    assert_eq!(limits, SessionLimits::default());
    let linear = service(json!({"recovery": {"linear": {}}})).failures.recovery;
    assert_eq!(linear, Some(RampConfig::linear(Duration::from_secs(60)).unwrap()));
    let poll = service(json!({"healthCheck": {"mode": "tcp"}})).failures.health;
    assert_eq!(poll, Some(HealthSettings::Tcp(PollConfig::default())));
}

#[test]
fn the_preset_of_a_client() {
    let client = service(json!({"preset": "client"}));
    assert_eq!(client.calls.retry, Some(RetryPolicy::three_a_second_apart()));
    assert_eq!(
        (client.connection.connect_timeout, client.failures.failover.failover_after),
        (Duration::from_secs(30), Duration::from_secs(10))
    );
    let keepalive = TransportConfig::new().keepalive_time(Duration::from_secs(30)).keepalive_timeout(Duration::from_secs(5));
    same(&client.connection.transport, keepalive);
    assert_eq!(client.failures.health, Some(HealthSettings::Grpc(HealthConfig::poll("").with_poll(PollConfig::every_30s()))));
    let SessionMode::Table(limits) = client.sessions.unwrap().mode else { panic!("a table") };
    assert_eq!(limits.idle_ttl(), Some(Duration::from_secs(300)));
    assert_eq!((client.dns.timeout, client.dns.refresh.1), (Duration::from_secs(10), Duration::from_secs(30)));
}

#[test]
fn the_preset_of_a_cloud() {
    let cloud = service(json!({"preset": "cloud"}));
    assert_eq!((cloud.calls.retry, cloud.calls.timeout), (Some(RetryPolicy::three_exponential()), Some(Duration::from_secs(30))));
    assert_eq!(cloud.failures.health, Some(HealthSettings::Grpc(HealthConfig::poll("").with_poll(PollConfig::every_5s()))));
    same(cloud.failures.breaker.unwrap(), BreakerConfig::default());
    assert_eq!(cloud.load.rates, RateLimits::new().channel(RateLimit::promised()).flood(FloodLimit::promised()));
    assert_eq!(cloud.load.queue, Some(QueueConfig::default()));
}

#[test]
fn the_preset_of_a_gateway_is_below_all_else() {
    let gateway = service(json!({"preset": "gateway", "timeout": "5s"}));
    assert_eq!((gateway.calls.retry, gateway.calls.timeout), (Some(RetryPolicy::two_from_100_ms()), Some(Duration::from_secs(5))));
    assert_eq!(gateway.failures.recovery, Some(RampConfig::steps()));
    let SessionMode::Table(limits) = gateway.sessions.unwrap().mode else { panic!("a table") };
    assert_eq!(limits.idle_ttl(), Some(Duration::from_secs(1800)));
    let config = config(json!({"preset": "gateway", "timeout": "5s"}));
    let timeout = config.explain().find("timeout").cloned().unwrap();
    assert_eq!((timeout.source.as_deref(), &timeout.over[..]), (Some("code"), &["preset gateway".to_owned()][..]));
    assert_eq!(config.metrics().window, Duration::from_secs(300));
}
