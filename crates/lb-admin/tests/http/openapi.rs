//! The document tells the truth: about every route, and about nothing else.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::client::{ask, get};
use crate::support::{Live, orders};

const DOCUMENT: &str = "/api/v1/loadbalancer/openapi.json";

/// Every route that was promised, with the parameters that make one of it.
const PROMISED: &[(&str, &str)] = &[
    ("get", "/health"),
    ("get", "/metrics"),
    ("get", "/api/v1/loadbalancer/stats"),
    ("get", "/api/v1/loadbalancer/stats/{service}"),
    ("get", "/api/v1/loadbalancer/instances"),
    ("get", "/api/v1/loadbalancer/instances/{service}"),
    ("get", "/api/v1/loadbalancer/instances/{service}/{instance}"),
    ("post", "/api/v1/loadbalancer/instances/{service}/{instance}/drain"),
    ("post", "/api/v1/loadbalancer/instances/{service}/{instance}/enable"),
    ("post", "/api/v1/loadbalancer/instances/{service}/{instance}/disable"),
    ("get", "/api/v1/loadbalancer/algorithms"),
    ("get", "/api/v1/loadbalancer/algorithms/{service}"),
    ("put", "/api/v1/loadbalancer/algorithms/{service}"),
    ("get", "/api/v1/loadbalancer/config"),
    ("get", "/api/v1/loadbalancer/config/explain"),
    ("put", "/api/v1/loadbalancer/config"),
    ("get", "/api/v1/loadbalancer/health"),
    ("get", "/api/v1/loadbalancer/performance"),
    ("get", "/api/v1/loadbalancer/sessions"),
    ("delete", "/api/v1/loadbalancer/sessions"),
    ("delete", "/api/v1/loadbalancer/sessions/{session}"),
    ("get", "/api/v1/loadbalancer/recovery"),
    ("post", "/api/v1/loadbalancer/recovery/{service}/{instance}/force"),
    ("post", "/api/v1/loadbalancer/explain/{service}"),
    ("get", "/api/v1/loadbalancer/stream"),
    ("get", "/api/v1/admin/loadbalancer/debug"),
    ("post", "/api/v1/admin/loadbalancer/reset"),
    ("post", "/api/v1/admin/loadbalancer/reload"),
];

fn operations(document: &Value) -> BTreeSet<(String, String)> {
    let paths = document["paths"].as_object().unwrap();
    let methods = |item: &Value| item.as_object().unwrap().keys().filter(|key| key.len() < 7).cloned().collect::<Vec<_>>();
    paths.iter().flat_map(|(path, item)| methods(item).into_iter().map(|method| (method, path.clone()))).collect()
}

#[tokio::test]
async fn every_promised_route_is_described_and_there() {
    let live = Live::start(1).await;
    let admin = orders(&live.channel).metrics(|| Ok::<_, String>(String::new())).serve().await.unwrap();
    let addr = admin.local_addr();
    let document = get(DOCUMENT).of(addr).await.json();
    let described = operations(&document);
    for (method, path) in PROMISED {
        assert!(described.contains(&((*method).to_owned(), (*path).to_owned())), "{method} {path}");
    }
    for (_, path) in &described {
        let of_path: BTreeSet<_> = described.iter().filter(|(_, other)| other == path).map(|(method, _)| method.clone()).collect();
        let real = path.replace("{service}", "orders").replace("{instance}", &live.instance(0)).replace("{session}", "s");
        // What is not described is not there, and what is described is.
        let wrong = ask("PATCH", &real).of(addr).await;
        wrong.problem(405);
        let allowed = wrong.header("allow").unwrap().to_ascii_lowercase();
        let allowed: BTreeSet<_> = allowed.split(',').map(str::to_owned).filter(|method| method != "head").collect();
        assert_eq!(allowed, of_path, "{path}");
    }
    let problem = &document["paths"]["/api/v1/loadbalancer/stats"]["get"]["responses"]["default"]["content"];
    assert!(problem["application/problem+json"]["schema"]["$ref"].is_string(), "{problem}");
}

#[tokio::test]
async fn the_copy_in_the_repository_is_this_one() {
    let live = Live::start(1).await;
    let admin = orders(&live.channel).serve().await.unwrap();
    let document = get(DOCUMENT).of(admin.local_addr()).await.json();
    let text = serde_json::to_string_pretty(&document).unwrap() + "\n";
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/admin-openapi.json");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(path, &text).unwrap();
    }
    let copy = std::fs::read_to_string(path).unwrap();
    assert!(copy == text, "docs/admin-openapi.json is not up to date: run this test with UPDATE_DOCS=1");
}
