//! A ConfigMap from a server that is none.

use std::time::{Duration, Instant};

use futures_util::StreamExt;
use lb_core::{ResolverStream, ServiceConfigUpdate};

use crate::fake::{self, Fake, GOOD};
use crate::{PATIENCE, config, ok, resolve};

const MAP: &str = r#"{"metadata":{"resourceVersion":"1"},"items":[{"metadata":{"name":"orders","resourceVersion":"1"},"data":{"service_config.json":"{}"}}]}"#;

fn watch(fake: &Fake) -> ResolverStream {
    resolve(config(fake).with_service_config_map("orders").unwrap())
}

/// The endpoints are good; what is asked of ConfigMaps is answered so.
async fn fake(answer: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static) -> Fake {
    Fake::start(move |request| match (request.contains("/configmaps?"), request.contains("watch=true")) {
        (true, _) => answer(request),
        (false, true) => fake::SILENCE.to_vec(),
        (false, false) => ok(GOOD),
    })
    .await
}

/// The first config, which comes with the endpoints.
async fn told(stream: &mut ResolverStream) -> ServiceConfigUpdate {
    let item = tokio::time::timeout(PATIENCE, stream.next()).await.expect("an answer in time").expect("no end");
    let update = item.unwrap();
    assert_eq!(update.endpoints.len(), 1);
    update.service_config
}

#[tokio::test]
async fn what_cannot_be_read_breaks_the_config_and_no_more() {
    for (answer, part) in [
        (ok("[]"), "cannot be read"),
        (
            ok(r#"{"metadata":{"resourceVersion":"1"},"items":[{"metadata":{"name":"orders"},"data":{"service_config.json":7}}]}"#),
            "invalid type",
        ),
        (fake::answer("200 OK", "text/html", b"<html>"), "not an API server"),
        (fake::answer("404 Not Found", "text/plain", b"nothing"), "does not serve v1"),
        (
            ok(&format!("{{\"metadata\":{{\"resourceVersion\":\"1\"}},\"x\":\"{}\"}}", "x".repeat(2 << 20))),
            "larger than 1048576 bytes",
        ),
    ] {
        let fake = fake(move |_| answer.clone()).await;
        let config = told(&mut watch(&fake)).await;
        assert!(matches!(&config, ServiceConfigUpdate::Broken(reason) if reason.contains(part)), "{part}: {config:?}");
    }
}

#[tokio::test]
async fn another_config_map_is_not_ours() {
    let fake = fake(|_| ok(&MAP.replace("orders", "others"))).await;
    assert_eq!(told(&mut watch(&fake)).await, ServiceConfigUpdate::Absent);
    assert!(fake.requests().iter().any(|line| line.contains("/namespaces/shop/configmaps?fieldSelector=metadata.name%3Dorders&")));
}

#[tokio::test]
async fn a_good_config_outlives_whatever_follows() {
    let bad_lines: [&[u8]; 4] = [
        b"{\"type\":\"DELETED\",\"object\":7}\n",
        b"\xff\xfe\n",
        b"{\"type\":\"ADDED\"",
        b"{\"type\":\"ERROR\",\"object\":{\"code\":410}}\n",
    ];
    for line in bad_lines {
        let fake = fake(move |request| match request.contains("watch=true") {
            true => fake::answer("200 OK", "application/json", line),
            false => ok(MAP),
        })
        .await;
        let mut stream = watch(&fake);
        assert_eq!(told(&mut stream).await, "{}".into());
        let end = Instant::now() + Duration::from_millis(1500);
        while let Ok(Some(item)) = tokio::time::timeout_at(end.into(), stream.next()).await {
            assert_eq!(item.unwrap().service_config, "{}".into(), "{line:?}");
        }
        assert!(fake.requests().len() < 40, "no hot loop: {}", fake.requests().len());
    }
}

#[tokio::test]
async fn dropped_it_stops_in_the_middle_of_a_request() {
    let fake = Fake::silent().await;
    let silent = config(&fake).with_timeout(Duration::from_secs(60)).unwrap().with_service_config_map("orders").unwrap();
    let mut stream = resolve(silent);
    assert!(tokio::time::timeout(Duration::from_millis(500), stream.next()).await.is_err());
    assert_eq!(fake.open(), 2);
    drop(stream);
    fake.closed(PATIENCE).await;
}
