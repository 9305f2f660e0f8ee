//! What counts before what, and what is said of it.

use std::time::Duration;

use lb_config::{Config, Source};
use serde_json::json;

use crate::{config, problems};

#[test]
fn a_later_layer_counts_before_an_earlier_one_key_by_key() {
    let directory = tempdir("layers");
    let file = directory.join("lb.json");
    std::fs::write(&file, r#"{"timeout": "2s", "maxAttempts": 2, "waitForReady": true, "services": {"a": {"timeout": "9s"}}}"#)
        .unwrap();
    let loaded = Config::sources()
        .set("waitForReady", false)
        .environment([("LB_TIMEOUT", "3s"), ("LB_MAX_ATTEMPTS", "3")])
        .file(&file)
        .optional_file(directory.join("absent.json"))
        .defaults(json!({"timeout": "1s", "connectTimeout": "4s", "services": {"a": {"target": "static:///1.2.3.4:5"}, "b": {"target": "static:///1.2.3.4:5"}}}))
        .load()
        .unwrap();
    let b = loaded.service("b").unwrap();
    assert_eq!(b.calls.timeout, Some(Duration::from_secs(3)), "the environment before the file");
    assert_eq!((b.calls.max_attempts, b.calls.wait_for_ready), (3, false), "code before all");
    assert_eq!(b.connection.connect_timeout, Duration::from_secs(4), "the program's defaults before ours");
    assert_eq!(loaded.service("a").unwrap().calls.timeout, Some(Duration::from_secs(9)), "one service before all");

    let explanation = loaded.explain();
    let timeout = explanation.find("timeout").unwrap();
    assert_eq!((timeout.value.as_deref(), timeout.source.as_deref()), (Some("3s"), Some("environment LB_TIMEOUT")));
    assert_eq!(timeout.over, ["defaults of the program".to_owned(), format!("file {}", file.display())]);
    assert_eq!(explanation.find("idleTimeout").unwrap().source, None);
    let table = explanation.to_string();
    assert!(
        table.lines().any(|line| line.starts_with("services.a.timeout") && line.contains("9s") && line.contains("lb.json")),
        "{table}"
    );
    assert!(!table.contains("idleTimeout") && format!("{explanation:#}").contains("idleTimeout"));
    std::fs::remove_dir_all(directory).unwrap();
}

#[test]
fn null_takes_back_and_sections_are_on_when_something_in_them_is_set() {
    let base = || Config::sources().defaults(json!({"endpoints": ["1.2.3.4:5"], "retry": {"maxAttempts": 4}, "timeout": "1s"}));
    let settings = |sources: lb_config::Sources| sources.load().unwrap().service("default").unwrap().calls.clone();
    assert_eq!(settings(base()).retry.unwrap().max_attempts(), 4);
    assert!(settings(base().overrides(json!({"retry": false}))).retry.is_none());
    assert!(settings(base().overrides(json!({"retry": {"enabled": false}}))).retry.is_none());
    assert!(settings(base().overrides(json!({"retry": null}))).retry.is_none(), "nothing is said any more");
    assert_eq!(settings(base().overrides(json!({"timeout": null}))).timeout, None);
    assert_eq!(settings(base().overrides(json!({"hedging": {}}))).hedging.unwrap().max_attempts(), 2);
    assert_eq!(settings(base().overrides(json!({"hedging": true}))).hedging.unwrap().max_attempts(), 2);
}

#[test]
fn one_service_switches_for_itself() {
    let config = config(json!({
        "circuitBreaker": true, "retry": {"enabled": false, "maxAttempts": 7},
        "services": {
            "a": {"target": "static:///1.2.3.4:5", "circuitBreaker": false},
            "b": {"target": "static:///1.2.3.4:5", "retry": true},
            "c": {"target": "static:///1.2.3.4:5", "retry": {"maxAttempts": 9}}
        }
    }));
    let [a, b, c] = ["a", "b", "c"].map(|name| config.service(name).unwrap());
    assert!(a.failures.breaker.is_none() && b.failures.breaker.is_some());
    assert!(a.calls.retry.is_none() && c.calls.retry.is_none(), "what all are told to leave off a value alone does not switch on");
    assert_eq!(b.calls.retry.as_ref().unwrap().max_attempts(), 7);
}

#[test]
fn all_that_is_wrong_is_told_at_once_and_where() {
    let directory = tempdir("wrong");
    let file = directory.join("lb.json");
    std::fs::write(
        &file,
        r#"{"timeot": "1s", "retry": {"max_attempts": 3}, "services": {"a": {"connectTimeout": 5, "polcy": "x"}}}"#,
    )
    .unwrap();
    let found = Config::sources()
        .file(&file)
        .environment([("LB_TIMEOUTT", "1s"), ("LB_IDLE_TIMEOUT", "soon")])
        .set("services.a.healthCheck.mode", "wach")
        .set("nothing", 1)
        .load()
        .unwrap_err();
    let text = found.to_string().replace(&*directory.to_string_lossy(), "DIR");
    for expected in [
        "file DIR/lb.json: timeot is no key, allowed is one of ",
        "; did you mean timeout?",
        "retry.max_attempts is no key",
        "did you mean maxAttempts?",
        "file DIR/lb.json: services.a.connectTimeout is 5, allowed is a duration from 1ms to 24h; did you mean 5s or 5ms?",
        "services.a.polcy is no key",
        "did you mean policy?",
        "environment LB_TIMEOUTT: LB_TIMEOUTT is no variable of ours",
        "did you mean LB_TIMEOUT?",
        "environment LB_IDLE_TIMEOUT: idleTimeout is \"soon\", allowed is a duration from 1ms to 720h, or never",
        "code: services.a.healthCheck.mode is \"wach\", allowed is one of watch, poll, tcp; did you mean watch?",
        "code: nothing is no key",
        "services.a is without endpoints, allowed is a target, or a list of endpoints",
    ] {
        assert!(text.contains(expected), "{expected} is not in\n{text}");
    }
    std::fs::remove_dir_all(directory).unwrap();
}

#[test]
fn what_other_rooms_refuse_is_told_by_its_path_and_source() {
    let endpoints = json!(["1.2.3.4:5"]);
    for (tree, expected) in [
        (json!({"concurrencyLimit": {"min": 10, "max": 5}}), "code: concurrencyLimit.min is 10, allowed is at most the maximum, 5"),
        (json!({"recovery": {"linear": {}, "steps": {}}}), "code: recovery"),
        (json!({"policy": "rond_robin"}), "did you mean round_robin?"),
        (json!({"policy": "least_request", "policyConfig": {"choiceCount": "x"}}), "choiceCount"),
        (json!({"retry": {"retryableStatusCodes": ["NOPE"]}}), "code: retry.retryableStatusCodes is \"NOPE\""),
        (
            json!({"serviceConfig": {"methodConfig": [{"name": [{}], "timeout": "3c"}]}}),
            "code: serviceConfig is \"3c\", allowed is methodConfig[0].timeout: ",
        ),
        (json!({"rateLimits": {"methods": [{"service": "a"}]}}), "rateLimits.methods"),
        (json!({"rateLimits": {"methods": [{"service": "a", "perSecond": 5, "brust": 3}]}}), "did you mean burst?"),
        (json!({"dns": {"refreshFloor": "10m"}}), "dns.refreshFloor is 10m, allowed is at most the ceiling, 5m"),
        (json!({"dns": {"nameServers": ["x"]}}), "dns.nameServers is \"x\", allowed is IP addresses with ports"),
        (json!({"transport": {"localAddress": "x"}}), "transport.localAddress is \"x\", allowed is an IP address"),
        (json!({"authority": "a b"}), "authority is \"a b\""),
        (json!({"sessions": {"mode": "token"}}), "token with sessions.tokenKeys or sessions.tokenKeysFile"),
        (json!({"sessions": {"mode": "hash", "hashPolicy": "maglv"}}), "did you mean maglev?"),
        (json!({"target": "static:///1.2.3.4:5"}), "target is set beside endpoints"),
        (json!({"endpoints": [{"address": "1.2.3.4:5", "wieght": 3}]}), "wieght"),
        (json!({"tls": {"roots": "file"}}), "tls.roots is file without a tls.caFile"),
        (json!({"tls": {"keyFile": "x"}}), "both certificateFile and keyFile"),
    ] {
        let mut whole = tree.clone();
        whole["endpoints"] = whole.get("endpoints").unwrap_or(&endpoints).clone();
        let found = problems(whole).to_string();
        assert!(found.contains(expected), "{tree}: {found}");
    }
}

#[test]
fn a_fault_of_all_is_told_once_however_many_services_have_it() {
    let services: serde_json::Map<_, _> =
        (0..50).map(|index| (format!("s{index}"), json!({"target": "static:///1.2.3.4:5"}))).collect();
    let found = problems(json!({"concurrencyLimit": {"min": 10, "max": 5}, "services": services}));
    assert_eq!(found.iter().count(), 1, "{found}");
    let found = problems(json!({"polcy": 1, "services": services}));
    assert_eq!(found.iter().count(), 1, "{found}");
}

#[test]
fn endpoints_and_weights() {
    let config = config(json!({"services": {"a": {
        "weight": 5,
        "endpoints": ["1.2.3.4:5", {"address": "1.2.3.5:5", "weight": 0, "priority": 1}, {"address": "[::1]:6", "id": "x"}]
    }}}));
    let Source::Endpoints(endpoints) = &config.service("a").unwrap().source else { panic!("they are endpoints") };
    assert_eq!(endpoints.iter().map(|endpoint| endpoint.attributes.weight).collect::<Vec<_>>(), [5, 0, 5]);
    assert_eq!(endpoints[1].attributes.priority, 1);
}

#[test]
fn a_diff_names_what_changes_and_what_waits() {
    let before = config(
        json!({"endpoints": ["1.2.3.4:5"], "timeout": "1s", "maxRequests": 5, "services": {"a": {"target": "static:///1.2.3.4:5"}}}),
    );
    let after = config(json!({
        "endpoints": ["1.2.3.4:5", "1.2.3.4:6"], "timeout": "2s", "maxRequests": 6, "maxRequestsPerEndpoint": 7, "policy": "random",
        "metrics": {"collectionInterval": "10s"}, "hedging": {"enabled": false, "maxAttempts": 9},
        "services": {"b": {"target": "static:///1.2.3.4:5"}}
    }));
    let diff = before.diff(&after);
    let live: Vec<&str> = diff.of("default").filter(|changed| changed.live).map(|changed| changed.key).collect();
    assert_eq!(live, ["endpoints", "maxRequests", "policy"]);
    let waiting: Vec<&str> = diff.waiting().map(|changed| changed.key).collect();
    assert_eq!(waiting, ["maxRequestsPerEndpoint", "timeout"]);
    assert_eq!((diff.added, diff.removed), (vec!["b".into()], vec!["a".into()]));
    let text = before.diff(&after).to_string();
    assert!(
        text.contains("services.default.timeout 1s -> 2s (needs a new channel)")
            && text.contains("metrics.collectionInterval none -> 10s"),
        "{text}"
    );
    assert!(!text.contains("hedging"), "off before and after: {text}");
    assert!(before.diff(&before).is_empty() && after == after.clone());
}

#[test]
fn what_was_read_can_be_written_and_read_back() {
    let secret = "0123456789abcdef0123456789abcdef";
    let before = config(json!({
        "preset": "gateway", "timeout": "1m30s",
        "sessions": {"mode": "token", "tokenKeys": [secret]},
        "services": {"a.b/c": {"target": "static:///1.2.3.4:5", "retry": {"maxAttempts": 4}}, "d": {"endpoints": ["1.2.3.4:5"]}}
    }));
    let written = before.to_json();
    for shown in [
        written.to_string(),
        before.effective().to_string(),
        format!("{before:?}"),
        format!("{:#}", before.explain()),
        format!("{:?}", before.service("d")),
    ] {
        assert!(!shown.contains(secret), "{shown}");
    }
    let read = before.replaced("admin", &written).unwrap();
    assert_eq!(read, before);
    assert_eq!(read.explain().find("timeout").unwrap().source.as_deref(), Some("admin"));
    let found = Config::from_json(&written).unwrap_err().to_string();
    assert!(found.contains("sessions.tokenKeys is (hidden), allowed is the secret itself"), "{found}");

    let changed = before.with("admin", &json!({"timeout": null, "services": {"d": {"policy": "random"}}})).unwrap();
    assert_eq!(before.diff(&changed).changed.len(), 3, "{}", before.diff(&changed));
    assert_eq!(serde_json::from_value::<Config>(json!({"endpoints": ["1.2.3.4:5"]})).unwrap().services().count(), 1);
    assert!(serde_json::from_value::<Config>(json!({"x": 1})).unwrap_err().to_string().contains("x is no key"));
}

#[test]
fn a_secret_does_not_show_in_what_is_wrong() {
    let secret = "hunter2-hunter2";
    for tree in [
        json!({"sessions": {"tokenKeys": secret}}),
        json!({"sessions": {"tokenKeys": [{"key": secret}]}}),
        json!({"sessions": {"tokenKey": [secret]}}),
        json!({"circuitBreaker": {"backendUrl": format!("https://me:{secret}@breaker.internal")}}),
    ] {
        let found = problems(tree.clone());
        assert!(!found.to_string().contains(secret) && !format!("{found:?}").contains(secret), "{tree}: {found}");
    }
}

/// A directory of this test alone.
pub(crate) fn tempdir(name: &str) -> std::path::PathBuf {
    let path = std::env::temp_dir().join(format!("lb-config-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&path).expect("a temporary directory can be made");
    path
}
