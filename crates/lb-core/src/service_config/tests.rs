use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::breaker::BreakerConfig;
use crate::drops::DropOverloads;
use crate::limits::{GradientConfig, RateLimits};
use crate::retry::{HedgingPolicy, RetryPolicy};

fn read(config: &Value) -> Result<ServiceConfig, ConfigError> {
    ServiceConfig::from_json(config, &PolicyRegistry::default())
}

/// The field that is refused.
fn refused(config: &Value) -> String {
    match read(config) {
        Ok(read) => panic!("{config} was accepted as {read:?}"),
        Err(error) => error.field,
    }
}

/// The timeout in seconds that holds for this path; `None` if nothing holds.
fn seconds(config: &ServiceConfig, path: &str) -> Option<u64> {
    Some(config.methods.find(path)?.timeout?.as_secs())
}

#[test]
fn an_empty_object_is_a_config_and_unknown_fields_are_ignored_at_every_level() {
    assert_eq!(read(&json!({})).unwrap(), ServiceConfig::default());
    let config = json!({
        "new": [1],
        "loadBalancingConfig": [{"round_robin": {"new": 1}}],
        "methodConfig": [{"new": {}, "name": [{"new": 5}], "timeout": "1s"}],
        "healthCheckConfig": {"new": true}
    });
    let config = read(&config).unwrap();
    assert_eq!((seconds(&config, "/a/b"), config.health_service), (Some(1), None));
}

#[test]
fn what_is_no_object_is_refused() {
    for config in [json!([]), json!("{}"), json!(null), json!(5)] {
        assert_eq!(refused(&config), "service config");
    }
    for text in ["", "{", "{\"a\": 1,}", "nonsense"] {
        let error = ServiceConfig::parse(text, &PolicyRegistry::default()).unwrap_err();
        assert!(error.value.starts_with("not JSON"), "{error}");
    }
    assert!(ServiceConfig::parse("{}", &PolicyRegistry::default()).is_ok());
}

#[test]
fn known_fields_must_be_right_and_errors_name_their_path() {
    for (config, field) in [
        (json!({"methodConfig": {}}), "methodConfig"),
        (json!({"methodConfig": [{}, 5]}), "methodConfig[1]"),
        (json!({"methodConfig": [{}, {"timeout": "3c"}]}), "methodConfig[1].timeout"),
        (json!({"methodConfig": [{"timeout": "-1s"}]}), "methodConfig[0].timeout"),
        (json!({"methodConfig": [{"timeout": 1}]}), "methodConfig[0].timeout"),
        (json!({"methodConfig": [{"waitForReady": "true"}]}), "methodConfig[0].waitForReady"),
        // As grpc-go; proto3's JSON would allow a number in quotes.
        (json!({"methodConfig": [{"maxRequestMessageBytes": "1024"}]}), "methodConfig[0].maxRequestMessageBytes"),
        (json!({"methodConfig": [{"maxResponseMessageBytes": -1}]}), "methodConfig[0].maxResponseMessageBytes"),
        (json!({"methodConfig": [{"maxResponseMessageBytes": 4_294_967_296_u64}]}), "methodConfig[0].maxResponseMessageBytes"),
        (json!({"methodConfig": [{"maxResponseMessageBytes": 1.5}]}), "methodConfig[0].maxResponseMessageBytes"),
        (json!({"methodConfig": [{"name": "x"}]}), "methodConfig[0].name"),
        (json!({"methodConfig": [{"name": ["x"]}]}), "methodConfig[0].name[0]"),
        (json!({"methodConfig": [{"name": [{}, {"service": 5}]}]}), "methodConfig[0].name[1].service"),
        (json!({"methodConfig": [{"name": [{"service": "s", "method": []}]}]}), "methodConfig[0].name[0].method"),
        (json!({"methodConfig": [{"name": [{"method": "m"}]}]}), "methodConfig[0].name[0].method"),
        (json!({"methodConfig": [{"name": [{"service": "", "method": "m"}]}]}), "methodConfig[0].name[0].method"),
        (json!({"methodConfig": [{"loadBalancingConfig": []}]}), "methodConfig[0].loadBalancingConfig"),
        (json!({"methodConfig": [{"retryPolicy": 5}]}), "methodConfig[0].retryPolicy"),
        (json!({"methodConfig": [{}, {"retryPolicy": {"maxAttempts": 1}}]}), "methodConfig[1].retryPolicy.retryableStatusCodes"),
        (json!({"methodConfig": [{"hedgingPolicy": {"maxAttempts": 1}}]}), "methodConfig[0].hedgingPolicy.maxAttempts"),
        (
            json!({"methodConfig": [{"retryPolicy": retries(), "hedgingPolicy": {"maxAttempts": 3}}]}),
            "methodConfig[0].hedgingPolicy",
        ),
        (json!({"retryThrottling": true}), "retryThrottling"),
        (json!({"retryThrottling": {"maxTokens": 10}}), "retryThrottling.tokenRatio"),
        (json!({"retryThrottling": {"maxTokens": 1001, "tokenRatio": 1}}), "retryThrottling.maxTokens"),
        (json!({"healthCheckConfig": "orders"}), "healthCheckConfig"),
        (json!({"healthCheckConfig": {"serviceName": 5}}), "healthCheckConfig.serviceName"),
        (json!({"loadBalancingPolicy": 5}), "loadBalancingPolicy"),
        (json!({"loadBalancingPolicy": "nonesuch"}), "loadBalancingPolicy"),
        (json!({"loadBalancingPolicy": 5, "loadBalancingConfig": [{"random": {}}]}), "loadBalancingPolicy"),
        (
            json!({"loadBalancingConfig": [{"least_request": {"choiceCount": 1}}, {"random": {}}]}),
            "loadBalancingConfig.least_request_experimental.choiceCount",
        ),
        (
            json!({"methodConfig": [{"loadBalancingConfig": [{"least_request": {"choiceCount": 1}}]}]}),
            "methodConfig[0].loadBalancingConfig.least_request_experimental.choiceCount",
        ),
    ] {
        assert_eq!(refused(&config), field, "{config}");
    }
}

fn retries() -> Value {
    json!({
        "maxAttempts": 4, "initialBackoff": "0.1s", "maxBackoff": "1s", "backoffMultiplier": 2,
        "retryableStatusCodes": ["unavailable", 8]
    })
}

#[test]
fn retries_hedges_and_throttling_are_read() {
    let config = read(&json!({
        "retryThrottling": {"maxTokens": 10, "tokenRatio": 0.1},
        "methodConfig": [
            {"name": [{"service": "a"}], "retryPolicy": retries()},
            {"name": [{"service": "b"}], "hedgingPolicy": {"maxAttempts": 3, "hedgingDelay": "0.2s"}},
            {"name": [{"service": "c"}], "retryPolicy": null, "hedgingPolicy": null}
        ]
    }))
    .unwrap();
    let of = |path| config.methods.find(path).unwrap();
    assert_eq!(of("/a/m").retry.as_ref().map(RetryPolicy::max_attempts), Some(4));
    assert_eq!(of("/b/m").hedging.as_ref().map(HedgingPolicy::delay), Some(Duration::from_millis(200)));
    assert_eq!((&of("/c/m").retry, &of("/c/m").hedging), (&None, &None));
    assert_eq!(config.throttling, Some(Throttling::try_new(10.0, 0.1).unwrap()));
}

#[test]
fn the_config_of_the_documentation_is_read_whole() {
    let text = include_str!("../../../../docs/SERVICE_CONFIG.md");
    let (_, json) = text.split_once("```json\n").expect("it has a config");
    let (json, _) = json.split_once("```").expect("which ends");
    let config = ServiceConfig::parse(json, &PolicyRegistry::default()).unwrap();
    assert_eq!(config.policy.as_ref().map(PolicyConfig::name), Some("least_request"));
    assert!(config.throttling.is_some() && config.health_service.is_some());
    let of = |path| config.methods.find(path).unwrap();
    assert!(of("/orders.v1.Orders/Place").retry.is_some() && of("/orders.v1.Catalogue/List").hedging.is_some());
    assert!(of("/orders.v1.Baskets/Get").policy.is_some());
    assert_eq!(seconds(&config, "/orders.v1.Orders/Other"), Some(10));
}

#[test]
fn an_entry_without_a_name_is_for_nobody_and_must_be_right_all_the_same() {
    for name in [json!({}), json!({"name": []}), json!({"name": null})] {
        let mut entry = name;
        entry["timeout"] = json!("1s");
        let config = read(&json!({"methodConfig": [entry.clone()]})).unwrap();
        assert!(config.methods.is_empty());
        entry["timeout"] = json!("1 s");
        assert_eq!(refused(&json!({"methodConfig": [entry]})), "methodConfig[0].timeout");
    }
}

#[test]
fn the_most_particular_name_counts_and_nothing_is_merged() {
    let config = read(&json!({"methodConfig": [
        {"name": [{"service": "a.A", "method": "M"}], "waitForReady": true},
        {"name": [{"service": "a.A"}, {"service": "a.B", "method": "N"}], "timeout": "2s"},
        {"name": [{}], "timeout": "3s", "maxRequestMessageBytes": 0}
    ]}))
    .unwrap();
    let of = |path| config.methods.find(path).unwrap();
    assert_eq!((of("/a.A/M").timeout, of("/a.A/M").wait_for_ready), (None, Some(true)));
    for (path, timeout) in [
        ("/a.A/Other", 2),
        ("/a.B/N", 2),
        ("/a.B/Other", 3),
        ("/a.a/M", 3),
        ("/a.A/m/x", 3),
        ("/A/M", 3),
        ("a.A/M", 3),
        ("", 3),
        ("/", 3),
        ("no slash", 3),
    ] {
        assert_eq!(seconds(&config, path), Some(timeout), "{path}");
    }
    assert_eq!(of("/x/y").max_request_message, Some(0));
    let without_default = read(&json!({"methodConfig": [{"name": [{"service": "a.A", "method": "M"}], "timeout": "1s"}]})).unwrap();
    assert_eq!((seconds(&without_default, "/a.A/M"), without_default.methods.find("/a.A/N")), (Some(1), None));
}

#[test]
fn all_ways_to_write_the_name_of_all_methods_are_one() {
    for name in [json!({}), json!({"service": null}), json!({"service": ""}), json!({"service": "", "method": null})] {
        let config = read(&json!({"methodConfig": [{"name": [name], "timeout": "1s"}]})).unwrap();
        assert_eq!(seconds(&config, "/any/thing"), Some(1));
        let twice = json!({"methodConfig": [{"name": [{}]}, {"name": [name]}]});
        assert_eq!(refused(&twice), "methodConfig[1].name[0]");
    }
}

#[test]
fn a_name_that_stands_twice_is_refused_wherever_it_stands() {
    for (one, other) in [
        (json!({"service": "s"}), json!({"service": "s", "method": ""})),
        (json!({"service": "s", "method": "m"}), json!({"service": "s", "method": "m"})),
    ] {
        assert_eq!(refused(&json!({"methodConfig": [{"name": [one, other]}]})), "methodConfig[0].name[1]");
        let error = read(&json!({"methodConfig": [{"name": [one]}, {}, {"name": [other]}]})).unwrap_err();
        assert_eq!(error.field, "methodConfig[2].name[0]");
        assert!(error.allowed.contains("methodConfig[0].name[0]"), "{error}");
    }
    // These only look alike.
    let apart = json!({"methodConfig": [{"name": [{"service": "s"}, {"service": "S"}, {"service": "s", "method": "m"}, {}]}]});
    assert!(read(&apart).is_ok());
}

#[test]
fn the_policy_is_from_the_list_or_else_the_deprecated_field() {
    let name = |config: Value| read(&config).unwrap().policy.map(|policy| policy.name().to_owned());
    assert_eq!(name(json!({})), None);
    assert_eq!(name(json!({"loadBalancingConfig": [{"nonesuch": {}}, {"random": {}}]})).as_deref(), Some("random"));
    assert_eq!(name(json!({"loadBalancingPolicy": "round_robin"})).as_deref(), Some("round_robin"));
    assert_eq!(name(json!({"loadBalancingPolicy": "ROUND_ROBIN"})).as_deref(), Some("round_robin"));
    assert_eq!(name(json!({"loadBalancingPolicy": ""})), None);
    let both = json!({"loadBalancingPolicy": "nonesuch", "loadBalancingConfig": [{"random": {}}]});
    assert_eq!(name(both).as_deref(), Some("random"));
}

#[test]
fn unset_and_empty_health_services_are_two_things() {
    let service = |config: Value| read(&config).unwrap().health_service;
    assert_eq!(service(json!({"healthCheckConfig": {}})), None);
    assert_eq!(service(json!({"healthCheckConfig": null})), None);
    assert_eq!(service(json!({"healthCheckConfig": {"serviceName": ""}})).as_deref(), Some(""));
    assert_eq!(service(json!({"healthCheckConfig": {"serviceName": "orders"}})).as_deref(), Some("orders"));
}

#[test]
fn methods_with_equal_policies_share_one_and_others_have_their_own() {
    let least = |count: u32| json!([{"least_request": {"choiceCount": count}}]);
    let config = read(&json!({"methodConfig": [
        {"name": [{"service": "a"}], "loadBalancingConfig": least(3)},
        {"name": [{"service": "b"}], "loadBalancingConfig": least(3)},
        {"name": [{"service": "c"}], "loadBalancingConfig": least(4)},
        {"name": [{"service": "d"}]}
    ]}))
    .unwrap();
    let of = |path| config.methods.find(path).unwrap();
    assert_eq!(of("/a/m").policy_name(), of("/b/m").policy_name());
    assert_ne!(of("/a/m").policy_name(), of("/c/m").policy_name());
    assert_eq!((of("/d/m").policy_name(), of("/d/m").hints()), (None, None));
    assert_eq!(of("/a/m").hints().unwrap().policy.as_ref(), of("/a/m").policy_name());
    let names: Vec<Arc<str>> = config.methods.policies().into_keys().collect();
    assert_eq!(
        names.iter().map(|name| &**name).collect::<Vec<_>>(),
        ["least_request {\"choiceCount\":3}", "least_request {\"choiceCount\":4}"]
    );
}

#[test]
fn a_policy_of_methods_follows_the_one_of_its_kind_that_they_had() {
    let entry = |service: &str, method: &str, name: &str, n: u32| json!({"name": [{"service": service, "method": method}], "loadBalancingConfig": [{name: {"n": n}}]});
    let table = |entries: Value| read(&json!({"methodConfig": entries})).unwrap().methods;
    let before = table(json!([
        entry("a", "", "random", 1),
        entry("b", "M", "random", 2),
        entry("c", "", "round_robin", 3),
        entry("", "", "random", 4)
    ]));
    let after = table(json!([
        // Its service had one; so had the method; another kind; and what had none of its own had that of all.
        entry("a", "M", "random", 11),
        entry("b", "M", "random", 12),
        entry("c", "", "random", 13),
        entry("d", "", "random", 14)
    ]));
    let name = |n: u32| Arc::from(format!("random {{\"n\":{n}}}"));
    assert_eq!(after.predecessors(&before), [(11, 1), (12, 2), (14, 4)].map(|(now, was)| (name(now), name(was))).into());
    assert_eq!(after.predecessors(&MethodTable::default()), BTreeMap::new());
}

#[test]
fn more_policies_of_methods_than_a_channel_should_ask_are_refused() {
    let with = |count: usize| {
        let entry = |n: usize| json!({"name": [{"service": format!("s{n}")}], "loadBalancingConfig": [{"random": {"n": n}}]});
        json!({"methodConfig": (0..count).map(entry).collect::<Vec<_>>()})
    };
    assert!(read(&with(MAX_METHOD_POLICIES)).is_ok());
    assert_eq!(refused(&with(MAX_METHOD_POLICIES + 1)), "methodConfig");
}

#[test]
fn a_long_value_is_cut_in_the_error() {
    let error = read(&json!({"methodConfig": "é".repeat(10_000)})).unwrap_err();
    assert!(error.to_string().chars().count() < 300, "{error}");
}

/// The rule of precedence, once more and slowly.
fn slowly(names: &BTreeMap<(String, String), u64>, service: &str, method: &str) -> Option<u64> {
    let at = |service: &str, method: &str| names.get(&(service.to_owned(), method.to_owned())).copied();
    at(service, method).or_else(|| at(service, "")).or_else(|| at("", ""))
}

fn names() -> impl Strategy<Value = BTreeMap<(String, String), u64>> {
    let pair = (prop_oneof!["", "[a-c]{1,2}"], prop_oneof!["", "[a-c]{1,2}"]);
    let pair = pair.prop_map(|(service, method)| if service.is_empty() { (service, String::new()) } else { (service, method) });
    prop::collection::btree_map(pair, 1..1000_u64, 0..8)
}

fn any_json() -> impl Strategy<Value = Value> {
    let field = prop_oneof![
        Just("methodConfig"),
        Just("name"),
        Just("service"),
        Just("method"),
        Just("timeout"),
        Just("waitForReady"),
        Just("maxRequestMessageBytes"),
        Just("loadBalancingConfig"),
        Just("loadBalancingPolicy"),
        Just("healthCheckConfig"),
        Just("serviceName"),
        Just("retryPolicy"),
        Just("hedgingPolicy"),
        Just("retryThrottling"),
        Just("round_robin"),
        Just("evenkeel"),
        Just("dropOverloads"),
        Just("dropPercentage"),
        Just("numerator")
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[0-9.s-]{0,6}".prop_map(Value::from),
        ".{0,4}".prop_map(Value::from)
    ];
    leaf.prop_recursive(5, 40, 5, move |inner| {
        let fields = prop::collection::vec((field.clone(), inner.clone()), 0..5);
        prop_oneof![
            prop::collection::vec(inner, 0..4).prop_map(Value::from),
            fields.prop_map(|fields| Value::Object(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()))
        ]
    })
}

#[test]
fn limits_are_ours_and_a_wrong_one_refuses_the_config() {
    assert_eq!(read(&json!({})).unwrap().limits, ConfigLimits::default());
    let limits = |evenkeel| read(&json!({"evenkeel": evenkeel, "timeout": 1})).map(|config| config.limits);
    assert_eq!(limits(json!({"unheardOf": 7})), Ok(ConfigLimits::default()), "unknown fields are ignored");
    let rates = json!({"channel": {"perSecond": 100}, "methods": [{"service": "a.B", "method": "C", "perSecond": 5}]});
    let both = limits(json!({"rateLimits": rates, "concurrencyLimit": {"max": 50}})).unwrap();
    assert_eq!(both.rates, Some(RateLimits::from_json(&rates).unwrap()));
    assert_eq!(both.concurrency, Some(GradientConfig::from_json(&json!({"max": 50})).unwrap()));
    assert_eq!(both.of_endpoints(), Some("evenkeel.concurrencyLimit"));
    let breaker = json!({"consecutiveFailures": 3, "methodGroups": "METHOD"});
    let guards = limits(json!({"circuitBreaker": breaker, "maxRequests": 100, "maxRequestsPerEndpoint": 0})).unwrap();
    assert_eq!(guards.breaker, Some(BreakerConfig::from_json(&breaker).unwrap()));
    assert_eq!((guards.max_requests, guards.max_requests_per_endpoint), (Some(100), Some(0)));
    let drops = json!([{"category": "lb", "dropPercentage": {"numerator": 5}}]);
    assert_eq!(limits(json!({"dropOverloads": drops})).unwrap().drops, Some(DropOverloads::from_json(&drops).unwrap()));
    assert_eq!(limits(json!({"dropOverloads": []})).unwrap().drops, Some(DropOverloads::default()), "said, and nothing");
    let endpoint = limits(json!({"rateLimits": {"endpoint": {"perSecond": 1}}})).unwrap();
    assert_eq!(endpoint.of_endpoints(), Some("evenkeel.rateLimits.endpoint"));
    assert_eq!(limits(json!({"rateLimits": rates})).unwrap().of_endpoints(), None);
    for (evenkeel, field) in [
        (json!(1), "evenkeel"),
        (json!({"rateLimits": []}), "evenkeel.rateLimits"),
        (json!({"rateLimits": {"channel": {"perSecond": -1}}}), "evenkeel.rateLimits.channel"),
        (json!({"rateLimits": {"methods": "x".repeat(1000)}}), "evenkeel.rateLimits.methods"),
        (json!({"concurrencyLimit": {"max": 0}}), "evenkeel.concurrencyLimit.max"),
        (json!({"circuitBreaker": 7}), "evenkeel.circuitBreaker"),
        (json!({"circuitBreaker": {"trialCalls": 0}}), "evenkeel.circuitBreaker.trialCalls"),
        (json!({"circuitBreaker": {"failureRate": {"percent": 101}}}), "evenkeel.circuitBreaker.failureRate.percent"),
        (json!({"maxRequests": -1}), "evenkeel.maxRequests"),
        (json!({"maxRequestsPerEndpoint": "8"}), "evenkeel.maxRequestsPerEndpoint"),
        (json!({"dropOverloads": "x".repeat(1000)}), "evenkeel.dropOverloads"),
        (json!({"dropOverloads": [{"category": "x".repeat(1000)}]}), "evenkeel.dropOverloads[0].dropPercentage"),
        (json!({"dropOverloads": [{"category": "x".repeat(1000), "dropPercentage": {}}]}), "evenkeel.dropOverloads[0].category"),
    ] {
        let error = limits(evenkeel.clone()).unwrap_err();
        assert!(error.field.starts_with(field) && error.value.len() < 300, "{evenkeel}: {error}");
    }
}

proptest! {
    #[test]
    fn a_method_finds_what_the_rule_says(names in names(), service in "[a-c]{1,2}", method in "[a-c]{1,2}") {
        let entry = |((service, method), timeout): (&(String, String), &u64)| {
            json!({"name": [{"service": service, "method": method}], "timeout": format!("{timeout}s")})
        };
        let config = read(&json!({"methodConfig": names.iter().map(entry).collect::<Vec<_>>()})).unwrap();
        prop_assert_eq!(seconds(&config, &format!("/{service}/{method}")), slowly(&names, &service, &method));
    }

    #[test]
    fn any_json_is_read_or_refused(config in any_json()) {
        let _ = read(&config);
        let wrapped = json!({"methodConfig": [{"name": [{}], "timeout": config}]});
        if let Ok(read) = read(&wrapped) {
            prop_assert!(read.methods.find("/a/b").unwrap().timeout.is_none_or(|timeout| timeout <= Duration::from_secs(315_576_000_001)));
        }
    }
}
