//! The configuration of lb-config, shown and changed over HTTP.

use lb_admin::Admin;
use lb_config::{Channels, Config};
use serde_json::{Value, json};

use crate::client::{ask, get};

const CONFIG: &str = "/api/v1/loadbalancer/config";

fn tree(policy: &str) -> Value {
    json!({ "services": { "orders": { "target": "static:///127.0.0.1:1,127.0.0.1:2", "policy": policy } } })
}

#[tokio::test]
async fn a_configuration_is_changed_over_http_and_read_again_from_its_sources() {
    let sources = Config::sources().defaults(tree("round_robin"));
    let channels = Channels::build(sources.load().unwrap()).unwrap();
    let orders = channels.get("orders").unwrap();
    orders.exit_idle();
    let admin = Admin::builder().configured(&channels, sources).serve().await.unwrap();
    let addr = admin.local_addr();
    let seen = get(CONFIG).of(addr).await;
    assert_eq!(seen.json()["services"]["orders"]["policy"], "round_robin");
    let services = async || get("/api/v1/loadbalancer/algorithms").of(addr).await.json()["services"].clone();
    assert_eq!(services().await.as_object().unwrap().keys().collect::<Vec<_>>(), ["orders"]);

    // Every value says where it is from.
    let explained = get(format!("{CONFIG}/explain")).of(addr).await.json();
    let row = |path: &str| explained["rows"].as_array().unwrap().iter().find(|row| row["path"] == path).cloned();
    let policy = row("services.orders.policy").unwrap();
    assert_eq!((&policy["value"], &policy["source"]), (&json!("round_robin"), &json!("defaults of the program")), "{policy}");
    assert_eq!(row("timeout").unwrap()["source"], Value::Null);

    // What was read can be written back, and changes nothing.
    let same = ask("PUT", CONFIG).json(&seen.json()).of(addr).await;
    assert_eq!((same.status, same.header("etag")), (200, seen.header("etag")), "{same:?}");

    for wrong in [json!({ "timeot": "1s" }), json!({ "services": { "orders": { "policy": "nope" } } }), json!({ "services": 7 })] {
        let detail = ask("PUT", CONFIG).json(&wrong).of(addr).await.problem(422);
        assert!(detail.contains("allowed is"), "{detail}");
    }
    assert_eq!(get(CONFIG).of(addr).await.body, seen.body, "nothing half applied");

    let mut new = tree("random");
    new["services"]["users"] = json!({ "target": "static:///127.0.0.1:3" });
    let changed = ask("PUT", CONFIG).json(&new).header("if-match", seen.header("etag").unwrap()).of(addr).await;
    assert_eq!((changed.status, &changed.json()["changes"]["added"]), (200, &json!(["users"])), "{changed:?}");
    assert_eq!(changed.json()["changes"]["changed"][0]["to"], "random");
    assert_eq!(services().await.as_object().unwrap().keys().collect::<Vec<_>>(), ["orders", "users"]);
    let mut events = orders.subscribe();
    while orders.policy() != "random" {
        events.next().await.unwrap();
    }
    ask("PUT", CONFIG).json(&new).header("if-match", seen.header("etag").unwrap()).of(addr).await.problem(412);

    let reloaded = ask("POST", "/api/v1/admin/loadbalancer/reload").of(addr).await;
    assert_eq!((reloaded.status, &reloaded.json()["changes"]["removed"]), (200, &json!(["users"])));
    assert_eq!(get(CONFIG).of(addr).await.body, seen.body);
}
