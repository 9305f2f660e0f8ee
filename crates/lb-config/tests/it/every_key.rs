//! No key is there for nothing: each, set to another value, is another setting; by JSON and by its variable alike.

use lb_config::keys::{self, Key, Kind, Scope};
use lb_config::{Config, Sources};
use lb_core::human;
use serde_json::{Value, json};

/// What a key needs beside it to have any effect, and what it is set to where that is not any other value.
fn context(key: &Key) -> (Value, Option<Value>) {
    match key.path {
        "target" => (json!({}), Some(json!("static:///9.9.9.9:9"))),
        "endpoints" => (json!({}), Some(json!(["9.9.9.9:9"]))),
        "policy" => (json!({}), Some(json!("random"))),
        "policyConfig" => (json!({"policy": "least_request"}), Some(json!({"choiceCount": 3}))),
        "furtherPolicies" => (json!({}), Some(json!(["random"]))),
        "serviceConfig" => (json!({}), Some(json!({"loadBalancingConfig": [{"random": {}}]}))),
        "preset" => (json!({}), Some(json!("gateway"))),
        "authority" | "tls.domainName" => (json!({}), Some(json!("other.example"))),
        "dns.nameServers" => (json!({}), Some(json!(["9.9.9.9:53"]))),
        "dns.refreshFloor" | "dns.refreshCeiling" => (json!({}), Some(json!("1m"))),
        "transport.localAddress" => (json!({}), Some(json!("127.0.0.1"))),
        "tls.certificateFile" | "tls.keyFile" => (json!({"tls": {"certificateFile": "c", "keyFile": "k"}}), None),
        "tls.roots" => (json!({}), Some(json!("webpki"))),
        "concurrencyLimit.min" => (json!({}), Some(json!(5))),
        "concurrencyLimit.max" => (json!({}), Some(json!(500))),
        "recovery.steps.enabled" => (json!({"recovery": {"steps": {"start": 0.5}}}), Some(json!(false))),
        "outlierDetection.successRateEjection.enabled" => (json!({"outlierDetection": {"consecutiveFailures": {}}}), None),
        "metrics.backendTokenFile" | "metrics.backendCaFile" | "metrics.collectionInterval" => {
            (json!({"metrics": {"backendUrl": "http://x"}}), None)
        }
        "webhook.kinds" => (json!({"webhook": {"url": "http://x", "secretsFile": "f"}}), Some(json!(["drained"]))),
        "webhook.secrets" => (json!({"webhook": {"url": "http://x", "secretsFile": "f"}}), Some(json!(["x"]))),
        "webhook.enabled" => (json!({"webhook": {"url": "http://x", "secrets": ["x"]}}), Some(json!(false))),
        path if path.starts_with("webhook.") => (json!({"webhook": {"url": "http://x", "secrets": ["x"]}}), None),
        "consul.certificateFile" | "consul.keyFile" => (json!({"consul": {"certificateFile": "c", "keyFile": "k"}}), None),
        "etcd.certificateFile" | "etcd.keyFile" => (json!({"etcd": {"certificateFile": "c", "keyFile": "k"}}), None),
        "circuitBreaker.backendTokenFile" | "circuitBreaker.backendCaFile" | "circuitBreaker.checkInterval" => {
            (json!({"circuitBreaker": {"backendUrl": "http://x"}}), None)
        }
        "sessions.hashPolicy" => (json!({"sessions": {"mode": "hash"}}), Some(json!("maglev"))),
        "sessions.mode" => (json!({}), Some(json!("hash"))),
        "sessions.tokenKeys" => {
            (json!({"sessions": {"mode": "token", "tokenKeysFile": "f"}}), Some(json!(["0123456789abcdef0123456789abcdef"])))
        }
        "sessions.tokenPath" => (json!({"sessions": {"mode": "token", "tokenKeysFile": "f"}}), Some(json!("/other"))),
        path if path.starts_with("sessions.token") => (json!({"sessions": {"mode": "token", "tokenKeys": ["x"]}}), None),
        "rateLimits.methods" => (json!({}), Some(json!([{"service": "a", "perSecond": 5}]))),
        _ => (json!({}), None),
    }
}

/// Another value than the default.
fn another(key: &Key) -> Value {
    let default = key.default();
    let same = |one: &Value, other: &Value| one == other || (one.is_number() && one.as_f64() == other.as_f64());
    let differs = |value: &&Value| !default.as_ref().is_some_and(|default| same(default, value));
    let other = |values: &[Value]| values.iter().find(differs).cloned().expect("two values differ");
    match key.kind {
        Kind::Flag => other(&[json!(true), json!(false)]),
        Kind::Whole(least, most) => other(&[json!(least), json!(most.min(least + 1))]),
        Kind::Number(least, most) => other(&[json!(least), json!(most)]),
        Kind::Above(most) => other(&[json!(most), json!(most / 2.0)]),
        Kind::Time(least, most) | Kind::TimeOrNever(least, most) => other(&[json!(human::show(least)), json!(human::show(most))]),
        Kind::Size(least, most) => other(&[json!(least), json!(most.min(least + 1))]),
        Kind::Choice(words) => other(&words.iter().map(|word| json!(word)).collect::<Vec<_>>()),
        Kind::Texts | Kind::Secrets => json!(["x"]),
        Kind::Codes => json!(["ABORTED"]),
        Kind::Url => json!("http://other.example/path"),
        _ => json!("other"),
    }
}

fn put(tree: &mut Value, path: &str, value: Value) {
    let at = path.split('.').fold(tree, |at, name| &mut at[name]);
    *at = value;
}

/// Sources in which every section that a key is in is on.
fn base(key: &Key, beside: Value) -> Sources {
    let mut on = if key.path == "target" { json!({"target": "static:///1.2.3.4:5"}) } else { json!({"endpoints": ["1.2.3.4:5"]}) };
    for (at, _) in key.path.match_indices('.') {
        let section = &key.path[..at];
        if keys::find_section(section).is_some_and(|section| section.switch) && key.path != format!("{section}.enabled") {
            put(&mut on, &format!("{section}.enabled"), json!(true));
        }
    }
    Config::sources().defaults(on).defaults(beside)
}

/// What it all means, as far as it can be shown.
fn meaning(sources: &Sources) -> String {
    let config = sources.load().unwrap_or_else(|problems| panic!("{problems}"));
    format!("{:?} {:?} {:?}", config.service("default").expect("it has endpoints"), config.metrics(), config.webhook())
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(list) if list.iter().all(Value::is_string) => {
            list.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(",")
        }
        other => other.to_string(),
    }
}

#[test]
fn every_key_has_an_effect_and_its_variable_has_the_same() {
    for key in keys::all() {
        let (beside, value) = context(key);
        let value = value.unwrap_or_else(|| another(key));
        let before = meaning(&base(key, beside.clone()));
        let by_json = meaning(&base(key, beside.clone()).set(key.path, value.clone()));
        assert!(before != by_json, "{} = {value} means nothing", key.path);
        let by_variable = base(key, beside).environment([(key.variable(), text(&value))]);
        assert!(by_json == meaning(&by_variable), "{}={}", key.variable(), text(&value));
    }
}

#[test]
fn every_key_of_a_service_can_be_set_for_one_alone() {
    for key in keys::all() {
        let (beside, value) = context(key);
        let value = value.unwrap_or_else(|| another(key));
        let path = format!("services.default.{}", key.path);
        let loaded = base(key, beside).set(path, value).load();
        match key.scope {
            Scope::Top => assert!(loaded.unwrap_err().to_string().contains("only at the top"), "{}", key.path),
            _ => {
                let config = loaded.unwrap_or_else(|problems| panic!("{}: {problems}", key.path));
                let row = config.explain().find(&format!("services.default.{}", key.path)).cloned();
                assert_eq!(row.and_then(|row| row.source).as_deref(), Some("code"), "{}", key.path);
            }
        }
    }
}

#[test]
fn what_is_out_of_range_is_refused_at_both_ends() {
    for key in keys::all() {
        let beyond = match key.kind {
            Kind::Whole(least, most) => vec![json!(most + 1), least.checked_sub(1).map_or_else(|| json!(-1), |below| json!(below))],
            Kind::Number(least, most) => vec![json!(least - 0.001), json!(most + 0.001)],
            Kind::Above(most) => vec![json!(0), json!(most * 1.001)],
            Kind::Time(least, most) | Kind::TimeOrNever(least, most) => {
                let below = least.checked_sub(std::time::Duration::from_nanos(1)).filter(|_| !least.is_zero());
                let above = most + std::time::Duration::from_nanos(1);
                [below, Some(above)]
                    .into_iter()
                    .flatten()
                    .map(|time| json!(human::show(time)))
                    .chain([json!("never ever")])
                    .collect()
            }
            Kind::Size(least, most) => {
                vec![json!(most + 1), least.checked_sub(1).map_or_else(|| json!("-1"), |below| json!(below))]
            }
            Kind::Flag => vec![json!("true"), json!(1)],
            Kind::Text => vec![json!(""), json!(5)],
            _ => vec![json!(5.5)],
        };
        for value in beyond {
            let (beside, _) = context(key);
            let found =
                base(key, beside).set(key.path, value.clone()).load().expect_err(&format!("{} = {value}", key.path)).to_string();
            assert!(found.starts_with(&format!("code: {} is ", key.path)), "{} = {value}: {found}", key.path);
        }
    }
}
