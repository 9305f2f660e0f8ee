//! A service config in the KV store.

use std::time::Duration;

use lb_core::ServiceConfigUpdate;
use lb_resolver_consul::ConsulConfig;
use lb_testkit::services::Consul;
use lb_testkit::services::ConsulOptions;
use lb_testkit::services::require;
use serde_json::json;

use crate::support::Seen;
use crate::support::Watcher;
use crate::support::config;
use crate::support::keys;

const KEY: &str = "/v1/kv/config/greeter";

fn told(seen: &Seen) -> Option<&ServiceConfigUpdate> {
    seen.last.as_ref().map(|update| &update.service_config)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_comes_changes_breaks_and_goes_with_its_key() {
    let Some(root) = require("consul") else { return };
    let mut consul = Consul::start(&root).unwrap();
    consul.register("greeter", "s1", 50_001).unwrap();
    let mut watcher = Watcher::start(&consul, "greeter?service_config=config/greeter");
    watcher.until_is(&keys([50_001])).await;
    assert_eq!(told(&watcher.now()), Some(&ServiceConfigUpdate::Absent));

    for name in ["random", "round_robin"] {
        let config = json!({"loadBalancingConfig": [{name: {}}]});
        consul.put(KEY, &config.to_string()).unwrap();
        watcher.until(name, |seen| told(seen) == Some(&config.clone().into())).await;
    }
    consul.put(KEY, "{ no JSON").unwrap();
    watcher.until("it is broken", |seen| matches!(told(seen), Some(ServiceConfigUpdate::Broken(_)))).await;
    // Beside it the endpoints go on, and with it.
    consul.register("greeter", "s2", 50_002).unwrap();
    watcher.until_is(&keys([50_001, 50_002])).await;
    assert_eq!(consul.request("DELETE", KEY, "").unwrap().0, 200);
    watcher.until("it is gone", |seen| told(seen) == Some(&ServiceConfigUpdate::Absent)).await;

    let config = json!({"loadBalancingPolicy": "random"});
    consul.put(KEY, &config.to_string()).unwrap();
    watcher.until("it is back", |seen| told(seen) == Some(&config.clone().into())).await;
    // Consul away is no config gone.
    consul.kill().unwrap();
    watcher.until("the endpoints cannot be asked for", |seen| seen.error.is_some()).await;
    assert_eq!(told(&watcher.now()), Some(&config.clone().into()));
    consul.restart().unwrap();
    let next = json!({"loadBalancingPolicy": "round_robin"});
    while consul.put(KEY, &next.to_string()).is_err() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    watcher.until("a change after its return", |seen| told(seen) == Some(&next.clone().into())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_the_token_may_not_read_is_a_broken_config_and_costs_no_endpoint() {
    let Some(root) = require("consul") else { return };
    let consul = Consul::start_with(&root, ConsulOptions { acl: true, tls: false }).unwrap();
    consul.register("greeter", "s1", 50_001).unwrap();
    let rules = r#"service_prefix \"\" { policy = \"read\" } node_prefix \"\" { policy = \"read\" }"#;
    consul.put("/v1/acl/policy", &format!(r#"{{ "Name": "read", "Rules": "{rules}" }}"#)).unwrap();
    let token = consul.put("/v1/acl/token", r#"{ "Policies": [{ "Name": "read" }] }"#).unwrap();
    let secret = token.split("\"SecretID\":\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let plain = ConsulConfig::new().with_agents([consul.addr().to_string()]).unwrap();
    let mut watcher = Watcher::with(plain.with_token(secret).unwrap().with_service_config_key("config/greeter"), "greeter");
    watcher.until_is(&keys([50_001])).await;
    let Some(ServiceConfigUpdate::Broken(reason)) = told(&watcher.now()).cloned() else { panic!("{:?}", watcher.now()) };
    assert!(reason.contains("config/greeter") && reason.contains("403"), "{reason}");
    // The other token reads it, and the target may say that there is none.
    let mut watcher = Watcher::with(config(&consul).with_service_config_key("config/greeter"), "greeter");
    watcher.until("it is read", |seen| told(seen) == Some(&ServiceConfigUpdate::Absent)).await;
}
