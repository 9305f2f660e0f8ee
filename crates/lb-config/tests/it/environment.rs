//! The environment as a source.

use std::ffi::OsString;
use std::time::Duration;

use lb_config::{Config, HealthSettings, Problems, SessionMode, Source};
use serde_json::json;

fn load<const N: usize>(variables: [(&str, &str); N]) -> Result<Config, Problems> {
    Config::sources().environment(variables).load()
}

#[test]
fn the_promised_variables() {
    let config = load([
        ("LB_DEFAULT_ALGORITHM", "weighted_round_robin"),
        ("LB_HEALTH_CHECK_ENABLED", "true"),
        ("LB_METRICS_ENABLED", "1"),
        ("LB_CIRCUIT_BREAKER_ENABLED", "yes"),
        ("LB_SESSION_AFFINITY_ENABLED", "on"),
        ("LB_SESSION_AFFINITY_TTL", "30m"),
        ("AUTH_SERVICE_HOSTS", "auth-1:8080, auth-2:8080"),
        ("AUTH_SERVICE_WEIGHT", "3"),
        ("USERS_HOSTS", "10.0.0.1:50051"),
        ("CB_BACKEND_URL", "http://breaker.internal:8000/state"),
        ("CB_CHECK_INTERVAL", "10s"),
        ("METRICS_BACKEND_URL", "https://metrics.internal"),
        ("METRICS_COLLECTION_INTERVAL", "15s"),
        ("PATH", "/bin"),
        ("HOSTS", "x"),
    ])
    .unwrap();
    let names: Vec<&str> = config.services().map(|service| &*service.name).collect();
    assert_eq!(names, ["auth-service", "users"]);
    let auth = config.service("auth-service").unwrap();
    let Source::Endpoints(endpoints) = &auth.source else { panic!("they are endpoints") };
    assert_eq!(endpoints.iter().map(|endpoint| endpoint.attributes.weight).collect::<Vec<_>>(), [3, 3]);
    assert_eq!(endpoints[1].key().to_string(), "auth-2:8080");
    assert_eq!(auth.policy, "weighted_round_robin");
    assert!(matches!(auth.failures.health, Some(HealthSettings::Grpc(_))) && auth.failures.breaker.is_some());
    let remote = auth.failures.remote_breaker.as_ref().unwrap();
    assert_eq!((&*remote.url, remote.every), ("http://breaker.internal:8000/state", Duration::from_secs(10)));
    let SessionMode::Table(limits) = &auth.sessions.as_ref().unwrap().mode else { panic!("a table is the default") };
    assert_eq!((limits.idle_ttl(), limits.absolute_ttl()), (Some(Duration::from_secs(1800)), None));
    let metrics = config.metrics();
    assert!(metrics.enabled);
    assert_eq!(
        (metrics.interval, metrics.backend.as_ref().map(|backend| &*backend.url)),
        (Duration::from_secs(15), Some("https://metrics.internal"))
    );

    let off = load([("LB_CIRCUIT_BREAKER_ENABLED", "false"), ("CB_BACKEND_URL", "http://x"), ("USERS_HOSTS", "a:1")]).unwrap();
    assert!(
        off.service("users").unwrap().failures.breaker.is_none() && off.service("users").unwrap().failures.remote_breaker.is_none()
    );
}

#[test]
fn a_service_is_meant_by_any_way_to_write_it() {
    let sources = Config::sources().defaults(json!({"services": {
        "order-items": {"target": "static:///1.2.3.4:5"}, "shop.v1.Stock": {"target": "static:///1.2.3.4:5"}, "retry": {"target": "static:///1.2.3.4:5"}
    }}));
    let config = sources
        .environment([
            ("LB_SERVICES_ORDER_ITEMS_RETRY_MAX_ATTEMPTS", "4"),
            ("LB_SERVICES_SHOP_V1__STOCK_TIMEOUT", "2s"),
            ("LB_SERVICES_RETRY_MAX_ATTEMPTS", "7"),
            ("LB_SERVICES_NEW_ONE_TARGET", "static:///1.2.3.4:5"),
            ("LB_SERVICES_NEW_ONE_TIMEOUT", "3s"),
        ])
        .load()
        .unwrap();
    assert_eq!(config.service("order-items").unwrap().calls.retry.as_ref().unwrap().max_attempts(), 4);
    assert_eq!(config.service("shop.v1.Stock").unwrap().calls.timeout, Some(Duration::from_secs(2)));
    assert_eq!(config.service("retry").unwrap().calls.max_attempts, 7, "the service whose name is known");
    assert_eq!(config.service("new-one").unwrap().calls.timeout, Some(Duration::from_secs(3)));
}

#[test]
fn a_list_of_services_closes_the_door() {
    let config =
        load([("LB_SERVICES", "orders, stock"), ("ORDERS_HOSTS", "a:1"), ("STOCK_HOSTS", "b:1"), ("STRAY_HOSTS", "not a host!")])
            .unwrap();
    assert_eq!(config.services().count(), 2);
    let found =
        load([("LB_SERVICES", "orders"), ("ORDERS_HOSTS", "a:1"), ("LB_SERVICES_STRAY_TIMEOUT", "1s")]).unwrap_err().to_string();
    assert!(found.contains("LB_SERVICES_STRAY_TIMEOUT") && found.contains("ORDERS"), "{found}");
}

#[test]
fn lists_objects_and_what_says_nothing() {
    let config = load([
        ("LB_ENDPOINTS", r#"[{"address": "1.2.3.4:5", "weight": 2}]"#),
        ("LB_POLICY", "least_request"),
        ("LB_DEFAULT_ALGORITHM", "random"),
        ("LB_POLICY_CONFIG", r#"{"choiceCount": 3}"#),
        ("LB_RETRY_RETRYABLE_STATUS_CODES", "UNAVAILABLE, 10"),
        ("LB_IDLE_TIMEOUT", "never"),
        ("LB_TRANSPORT_STREAM_WINDOW", "1MiB"),
        ("LB_TIMEOUT", ""),
        ("LB_TLS_ENABLED", "  "),
    ])
    .unwrap();
    let service = config.service("default").unwrap();
    assert_eq!(
        (&*service.policy, &service.policy_config["choiceCount"]),
        ("least_request", &json!(3)),
        "its own name counts before the other"
    );
    assert!(service.calls.retry.as_ref().unwrap().codes().contains(10));
    assert_eq!((service.connection.idle_timeout, service.calls.timeout), (None, None));
}

#[test]
fn what_is_wrong_names_the_variable() {
    let found = load([
        ("LB_SESSION_AFFINITY_TTL", "1800"),
        ("LB_METRICS_ENABLED", "maybe"),
        ("LB_RETRY", "true"),
        ("LB_SERVICES_A_METRICS_ENABLED", "true"),
    ])
    .unwrap_err()
    .to_string();
    for expected in [
        "environment LB_SESSION_AFFINITY_TTL: sessions.ttl is \"1800\", allowed is a duration from 1s to 720h; did you mean 1800s or 1800ms?",
        "environment LB_METRICS_ENABLED: metrics.enabled is \"maybe\", allowed is true or false",
        "environment LB_RETRY: LB_RETRY is no variable of ours",
    ] {
        assert!(found.contains(expected), "{expected} is not in\n{found}");
    }
    let found = load([("X_HOSTS", "a b")]).unwrap_err().to_string();
    assert!(found.contains("environment X_HOSTS: services.x.endpoints"), "{found}");
}

#[cfg(unix)]
#[test]
fn what_is_no_text_is_a_problem_if_it_is_ours() {
    use std::os::unix::ffi::OsStringExt;
    let bytes = || OsString::from_vec(vec![0xff, 0xfe]);
    let load = |name: &str| Config::sources().environment([(OsString::from(name), bytes())]).load();
    assert!(load("LB_TIMEOUT").unwrap_err().to_string().contains("environment LB_TIMEOUT: LB_TIMEOUT is not UTF-8"));
    assert!(load("CB_BACKEND_URL").is_err());
    assert!(load("OTHER").is_ok() && load("OTHER_HOSTS").is_ok(), "another program's is its own affair");
    assert!(Config::sources().environment([(bytes(), bytes())]).load().is_ok());
}
