//! Endpoints taken out and brought back, whatever they are called.

use std::time::Duration;

use lb_core::Endpoint;
use lb_core::recovery::RampConfig;
use lb_resolver_static::ManualResolver;
use lb_tonic::LbChannel;
use serde_json::json;

use crate::client::{ask, get};
use crate::support::{Live, orders};

const INSTANCES: &str = "/api/v1/loadbalancer/instances/orders";

#[tokio::test]
async fn an_endpoint_is_drained_disabled_and_enabled() {
    let live = Live::start(2).await;
    let admin = orders(&live.channel).serve().await.unwrap();
    let addr = admin.local_addr();
    let first = format!("{INSTANCES}/{}", live.instance(0));
    let excluded = async || get(&first).of(addr).await.json()["excluded"].clone();
    for (action, expected) in [
        ("drain", json!("drained")),
        ("drain", json!("drained")),
        ("enable", json!(null)),
        ("disable", json!("disabled")),
        ("enable", json!(null)),
        ("enable", json!(null)),
        ("drain?within=30s", json!("drained")),
    ] {
        let answer = ask("POST", format!("{first}/{action}")).of(addr).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let done = answer.json();
        assert_eq!((&done["done"], &done["service"]), (&json!(true), &json!("orders")));
        assert_eq!(done["action"], action.split('?').next().unwrap());
        assert_eq!((&done["endpoint"]["excluded"], excluded().await), (&expected, expected.clone()), "{action}");
    }
    // The other one has all the calls.
    let takers: Vec<_> = live.channel.scores(&Default::default()).unwrap().into_iter().map(|row| row.endpoint).collect();
    assert_eq!(takers, [live.servers[1].addr().to_string()]);
    for wrong in ["?within=soon", "?within=", "?within=-1s", "?until=1s", "?within=1s&within=2s"] {
        ask("POST", format!("{first}/drain{wrong}")).of(addr).await.problem(400);
    }
    for action in ["drain", "enable", "disable"] {
        ask("POST", format!("{INSTANCES}/10.0.0.9%3A1/{action}")).of(addr).await.problem(404);
        let wrong = get(format!("{first}/{action}")).of(addr).await;
        wrong.problem(405);
        assert_eq!(wrong.header("allow"), Some("POST"));
    }
    ask("POST", format!("{first}/stop")).of(addr).await.problem(404);
}

#[tokio::test]
async fn names_of_endpoints_are_names_and_not_paths() {
    let hostile = ["a/b", "../../../health", "..", "a%2Fb", "drain", "ä ö?x=1#y", "%00", "\u{0}", "unix:/run/orders.sock"];
    let (resolver, handle) = ManualResolver::new("manual");
    let channel = LbChannel::builder("manual:///x").resolver(resolver).build().unwrap();
    channel.exit_idle();
    let endpoints = hostile.iter().enumerate().map(|(index, id)| {
        let mut endpoint = Endpoint::new(format!("127.0.0.1:{}", index + 1).parse::<lb_core::Address>().unwrap());
        endpoint.attributes.id = Some((*id).into());
        endpoint
    });
    handle.set(endpoints);
    let mut events = channel.subscribe();
    while channel.endpoints().len() < hostile.len() {
        events.next().await.unwrap();
    }
    let admin = orders(&channel).serve().await.unwrap();
    for (index, id) in hostile.iter().enumerate() {
        let encoded: String = id.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let found = get(format!("{INSTANCES}/{encoded}")).of(admin.local_addr()).await;
        assert_eq!(found.json()["key"], format!("127.0.0.1:{}", index + 1), "{id:?}");
        let drained = ask("POST", format!("{INSTANCES}/{encoded}/drain")).of(admin.local_addr()).await;
        assert_eq!(drained.json()["endpoint"]["excluded"], "drained", "{id:?}");
    }
    // Nobody walks upwards: two dots are a name like any other.
    assert_eq!(get(format!("{INSTANCES}/..")).of(admin.local_addr()).await.json()["attributes"]["id"], "..");
    // What is not encoded is a path, and leads nowhere.
    for path in ["a/b", "../../../health", "..%2f", "./", "//", "", "127.0.0.1:1/..", "%2E%2E/%2E%2E/health", "drain/drain/drain"] {
        get(format!("{INSTANCES}/{path}")).of(admin.local_addr()).await.problem(404);
    }
    for path in ["%ff", "%C3%28/drain"] {
        get(format!("{INSTANCES}/{path}")).of(admin.local_addr()).await.problem(if path.ends_with("drain") { 405 } else { 400 });
        ask("POST", format!("{INSTANCES}/{path}")).of(admin.local_addr()).await.problem(if path.ends_with("drain") {
            400
        } else {
            405
        });
    }
}

#[tokio::test]
async fn recovery_shows_and_can_be_forced() {
    let ramp = RampConfig::steps().with_step(0.1, Duration::from_secs(30)).unwrap();
    let live = Live::with(2, |builder| builder.recovery(ramp)).await;
    let admin = orders(&live.channel).serve().await.unwrap();
    let addr = admin.local_addr();
    let path = format!("/api/v1/loadbalancer/recovery/orders/{}/force", live.instance(0));
    ask("POST", &path).of(addr).await.problem(409);

    let first = format!("{INSTANCES}/{}", live.instance(0));
    assert_eq!(ask("POST", format!("{first}/disable")).of(addr).await.status, 200);
    assert_eq!(ask("POST", format!("{first}/enable")).of(addr).await.status, 200);
    live.until(|channel| !channel.recovery().is_empty()).await;
    let recovery = get("/api/v1/loadbalancer/recovery").of(addr).await.json();
    let one = &recovery["services"]["orders"][0];
    assert_eq!(one["endpoint"], live.servers[0].addr().to_string());
    assert!(one["share"].as_f64().is_some_and(|share| share > 0.0 && share < 1.0), "{one}");
    assert!(one["nextStep"].as_f64().is_some_and(|next| next <= 30.0), "{one}");

    let forced = ask("POST", &path).of(addr).await;
    assert_eq!((forced.status, &forced.json()["endpoint"]["share"]), (200, &json!(1.0)));
    assert_eq!(get("/api/v1/loadbalancer/recovery").of(addr).await.json()["services"]["orders"], json!([]));
}
