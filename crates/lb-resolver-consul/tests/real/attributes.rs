//! What Consul knows of an endpoint.

use lb_core::RegistryHealth;
use lb_testkit::services::Consul;
use lb_testkit::services::require;

use crate::support::Watcher;
use crate::support::keys;

const SERVICE: &str = r#"{ "ID": "s1", "Name": "greeter", "Address": "127.0.0.1", "Port": 50001, "Tags": ["gpu", "v2"],
    "Weights": { "Passing": 10, "Warning": 2 }, "Meta": { "zone": "a", "capacity": "5", "team": "x" },
    "Check": { "CheckID": "ttl", "TTL": "60s", "Status": "passing" } }"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn checks_maintenance_weights_and_meta() {
    let Some(root) = require("consul") else { return };
    let consul = Consul::start(&root).unwrap();
    consul.put("/v1/agent/service/register", SERVICE).unwrap();
    let mut watcher = Watcher::start(&consul, "greeter");
    let mut passing = Watcher::start(&consul, "greeter?passing");
    watcher.until_is(&keys([50_001])).await;
    passing.until_is(&keys([50_001])).await;
    let seen = watcher.now();
    let attributes = seen.attributes();
    assert_eq!((attributes.health, attributes.weight, attributes.capacity), (RegistryHealth::Healthy, 10, Some(5)));
    assert_eq!((&*attributes.locality.region, &*attributes.locality.zone), ("dc1", "a"));
    assert!(attributes.capabilities.contains("gpu") && &*attributes.metadata["team"] == "x");

    let mut health = async |change: &str, health: RegistryHealth, weight: u32| {
        consul.put(change, "").unwrap();
        let wanted = format!("{change}: {health:?}");
        watcher.until(&wanted, |seen| (seen.attributes().health, seen.attributes().weight) == (health, weight)).await;
    };
    health("/v1/agent/check/warn/ttl", RegistryHealth::Degraded, 2).await;
    passing.until("none passes", |seen| seen.keys().is_empty() && seen.note().contains("none of 1 passes")).await;
    health("/v1/agent/check/fail/ttl", RegistryHealth::Unhealthy, 10).await;
    health("/v1/agent/service/maintenance/s1?enable=true", RegistryHealth::Draining, 10).await;
    health("/v1/agent/service/maintenance/s1?enable=false", RegistryHealth::Unhealthy, 10).await;
    health("/v1/agent/check/pass/ttl", RegistryHealth::Healthy, 10).await;
    health("/v1/agent/maintenance?enable=true", RegistryHealth::Draining, 10).await;
    health("/v1/agent/maintenance?enable=false", RegistryHealth::Healthy, 10).await;
    passing.until_is(&keys([50_001])).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tags_filters_and_prepared_queries() {
    let Some(root) = require("consul") else { return };
    let consul = Consul::start(&root).unwrap();
    consul.put("/v1/agent/service/register", SERVICE).unwrap();
    consul.register("greeter", "s2", 50_002).unwrap();
    let (status, answer) = consul
        .request("POST", "/v1/query", r#"{ "Name": "tagged", "Service": { "Service": "greeter", "Tags": ["v2"] } }"#)
        .unwrap();
    assert_eq!(status, 200, "{answer}");
    for target in [
        "greeter?tag=gpu&tag=v2",
        "greeter?filter=Service.Meta.zone==a",
        "tagged?query",
        "?query=tagged",
        "greeter?dc=dc1&near=_agent&tag=gpu",
    ] {
        Watcher::start(&consul, target).until_is(&keys([50_001])).await;
    }
    Watcher::start(&consul, "greeter").until_is(&keys([50_001, 50_002])).await;
    for (target, told) in [
        ("greeter?tag=gpu&tag=v3", "service not found"),
        ("other?query", "Query not found"),
        ("greeter?filter=nonsense", "boolean expression"),
        ("greeter?dc=mars", "No path to datacenter"),
    ] {
        Watcher::start(&consul, target).until(target, |seen| seen.failed_with(told)).await;
    }
}
