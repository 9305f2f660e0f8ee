//! Against a server that is none: a fake on purpose, because the real one cannot be made to answer like this.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test that cannot begin has failed")]

mod config_map;
mod fake;

use std::time::{Duration, Instant};

use fake::{Fake, GOOD};
use futures_util::{FutureExt, StreamExt};
use lb_core::{ResolveError, ResolveErrorKind, Resolver, ResolverStream, Target, Trigger};
use lb_resolver_kube::{KubernetesConfig, KubernetesResolver};

const PATIENCE: Duration = Duration::from_secs(20);

fn config(fake: &Fake) -> KubernetesConfig {
    let config = KubernetesConfig::new().with_kubeconfig(Some(fake.kubeconfig())).with_seed(1);
    config.with_timeout(Duration::from_secs(1)).unwrap().with_max_answer(1 << 20).unwrap()
}

fn resolve(config: KubernetesConfig) -> ResolverStream {
    let target = Target::parse("k8s:///orders.shop:grpc", &|scheme| scheme == "k8s").unwrap();
    KubernetesResolver::with_config(config).resolve(&target, Trigger::pair().1)
}

async fn next(stream: &mut ResolverStream) -> Result<usize, ResolveError> {
    let item = tokio::time::timeout(PATIENCE, stream.next()).await.expect("an answer in time").expect("no end");
    item.map(|update| update.endpoints.len())
}

/// The first answer to a list.
async fn told(answer: Vec<u8>) -> ResolveError {
    let fake = Fake::start(move |_| answer.clone()).await;
    next(&mut resolve(config(&fake))).await.unwrap_err()
}

fn ok(body: &str) -> Vec<u8> {
    fake::answer("200 OK", "application/json", body.as_bytes())
}

#[tokio::test]
async fn what_cannot_be_read_is_a_clear_error() {
    let list = |items: &str| ok(&format!(r#"{{"metadata":{{"resourceVersion":"1"}},"items":{items}}}"#));
    let not_utf8 = fake::answer("200 OK", "application/json", b"{\"metadata\":{\"resourceVersion\":\"\xff\xfe\"},\"items\":[]}");
    for (answer, part) in [
        (list(r#"[{"metadata":{"name":1}}]"#), "invalid type"),
        (list(r#"{"a":1}"#), "invalid type"),
        (ok("[]"), "cannot be read"),
        (ok("{"), "cannot be read"),
        (list(&format!("{}{}", "[".repeat(50_000), "]".repeat(50_000))), "cannot be read"),
        (not_utf8, "cannot be read"),
        (fake::answer("200 OK", "text/html", b"<html>"), "not an API server"),
        (fake::answer("302 Found", "text/html\r\nLocation: /elsewhere", b""), "redirects are not followed"),
        (fake::answer("404 Not Found", "text/plain", b"nothing"), "does not serve discovery.k8s.io/v1"),
    ] {
        let error = told(answer).await;
        assert_eq!(error.kind(), ResolveErrorKind::Malformed, "{error}");
        assert!(error.to_string().contains(part), "{part}: {error}");
    }
}

#[tokio::test]
async fn a_truncated_answer_is_not_a_shorter_list() {
    let whole = ok(GOOD);
    let error = told(whole[..whole.len() - 3].to_vec()).await;
    assert_eq!(error.kind(), ResolveErrorKind::Unavailable, "{error}");
    let error = told(b"nonsense\r\n\r\n".to_vec()).await;
    assert!(error.to_string().contains("cannot be reached"), "{error}");
}

#[tokio::test]
async fn a_hundred_megabytes_are_not_read() {
    let fake = Fake::endless(b"{\"metadata\":{\"resourceVersion\":\"1\"},\"items\":[],\"x\":\"".to_vec()).await;
    let error = next(&mut resolve(config(&fake))).await.unwrap_err();
    assert!(error.to_string().contains("larger than 1048576 bytes"), "{error}");
    assert!(fake.sent() < 32 << 20, "{} bytes were taken", fake.sent());
}

#[tokio::test]
async fn pages_without_end_are_an_error() {
    let page = format!(r#"{{"metadata":{{"resourceVersion":"1","continue":"more&limit=0"}},"items":[]}}{}"#, " ");
    let fake = Fake::start(move |_| ok(&page)).await;
    let error = next(&mut resolve(config(&fake))).await.unwrap_err();
    assert!(error.to_string().contains("more than 64 pages"), "{error}");
    assert!(fake.requests().iter().skip(1).all(|line| line.contains("continue=more%26limit%3D0 ")), "{:?}", fake.requests());
}

#[tokio::test]
async fn a_slow_drip_ends_in_time() {
    let fake = Fake::drip(ok(GOOD)).await;
    let began = Instant::now();
    let error = next(&mut resolve(config(&fake))).await.unwrap_err();
    assert_eq!(error.kind(), ResolveErrorKind::Unavailable, "{error}");
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_good_set_outlives_whatever_follows() {
    let bad_lines: [&[u8]; 5] = [
        b"{\"type\":\"MODIFIED\",\"object\":{\"metadata\":{\"name\":\"a\"}}}\n",
        b"{\"type\":\"DELETED\",\"object\":7}\n",
        b"\xff\xfe\n",
        b"{\"type\":\"ADDED\"",
        b"{\"type\":\"ERROR\",\"object\":{\"code\":500}}\n",
    ];
    for line in bad_lines {
        // The first list is good, then nothing is.
        let fake = Fake::start(move |request| match request.contains("watch=true") {
            true => fake::answer("200 OK", "application/json", line),
            false => ok(GOOD),
        })
        .await;
        let mut stream = resolve(config(&fake));
        assert_eq!(next(&mut stream).await.unwrap(), 1);
        // Listing repairs it, again and again, and nothing worse than an error comes of it.
        let end = Instant::now() + Duration::from_millis(1500);
        while let Ok(Some(item)) = tokio::time::timeout_at(end.into(), stream.next()).await {
            assert!(item.is_err() || item.is_ok_and(|update| update.endpoints.len() == 1), "{line:?}");
        }
        assert!(fake.requests().len() < 30, "no hot loop: {}", fake.requests().len());
    }
}

#[tokio::test]
async fn watches_that_end_at_once_are_no_hot_loop() {
    let fake = Fake::start(|request| if request.contains("watch=true") { ok("") } else { ok(GOOD) }).await;
    let mut stream = resolve(config(&fake));
    assert_eq!(next(&mut stream).await.unwrap(), 1);
    let end = Instant::now() + Duration::from_secs(2);
    while tokio::time::timeout_at(end.into(), stream.next()).await.is_ok() {}
    assert!((4..30).contains(&fake.requests().len()), "{}", fake.requests().len());
}

#[tokio::test]
async fn history_gone_before_the_watch_begins_is_a_new_list() {
    let gone = r#"{"kind":"Status","code":410,"reason":"Expired","message":"too old"}"#;
    let fake = Fake::start(move |request| match request.contains("watch=true") {
        true => fake::answer("410 Gone", "application/json", gone.as_bytes()),
        false => ok(GOOD),
    })
    .await;
    let mut stream = resolve(config(&fake));
    assert_eq!(next(&mut stream).await.unwrap(), 1);
    let error = next(&mut stream).await.unwrap_err();
    assert!(error.to_string().contains("410"), "{error}");
    assert!(fake.requests().iter().filter(|line| !line.contains("watch=true")).count() >= 2, "{:?}", fake.requests());
}

#[tokio::test]
async fn history_gone_between_two_pages_is_one_page() {
    let first = r#"{"metadata":{"resourceVersion":"1","continue":"more"},"items":[]}"#;
    let gone = r#"{"kind":"Status","code":410,"reason":"Expired"}"#;
    let fake = Fake::start(move |request| match (request.contains("continue=more"), request.contains("limit=0")) {
        (true, _) => fake::answer("410 Gone", "application/json", gone.as_bytes()),
        (false, true) => ok(GOOD),
        (false, false) => ok(first),
    })
    .await;
    assert_eq!(next(&mut resolve(config(&fake))).await.unwrap(), 1);
    assert_eq!(fake.requests().len(), 3, "{:?}", fake.requests());
}

#[tokio::test]
async fn a_pause_that_is_asked_for_is_kept() {
    let fake = Fake::start(|_| fake::answer("429 Too Many Requests", "application/json\r\nRetry-After: 30", b"{}")).await;
    let mut stream = resolve(config(&fake));
    let error = next(&mut stream).await.unwrap_err();
    assert!(error.kind() == ResolveErrorKind::Unavailable && error.to_string().contains("429"), "{error}");
    assert!(tokio::time::timeout(Duration::from_secs(1), stream.next()).await.is_err());
    assert_eq!(fake.requests().len(), 1);
}

#[tokio::test]
async fn a_line_without_end_is_bounded() {
    let fake = Fake::endless_watch(ok(GOOD)).await;
    let mut stream = resolve(config(&fake));
    assert_eq!(next(&mut stream).await.unwrap(), 1);
    // Repaired quietly the first time, told the second.
    let error = next(&mut stream).await.unwrap_err();
    assert!(error.to_string().contains("larger than") || error.to_string().contains("broke off"), "{error}");
}

#[tokio::test]
async fn who_asks_for_a_fresh_look_gets_one_if_the_watch_is_silent() {
    let fake = Fake::silent_watch(ok(GOOD)).await;
    let target = Target::parse("k8s:///orders.shop:grpc", &|scheme| scheme == "k8s").unwrap();
    let (trigger, again) = Trigger::pair();
    let mut stream = KubernetesResolver::with_config(config(&fake)).resolve(&target, again);
    assert_eq!(next(&mut stream).await.unwrap(), 1);
    let mut wait = async |millis| {
        trigger.fire();
        assert!(tokio::time::timeout(Duration::from_millis(millis), stream.next()).await.is_err());
        fake.requests().len()
    };
    assert_eq!(wait(300).await, 2, "a list and a watch");
    assert_eq!(wait(300).await, 2, "not yet silent");
    assert_eq!(wait(5000).await, 2);
    assert_eq!(wait(300).await, 3, "another watch");
}

#[tokio::test]
async fn dropped_it_stops_in_the_middle_of_a_request() {
    let fake = Fake::silent().await;
    let mut stream = resolve(config(&fake).with_timeout(Duration::from_secs(60)).unwrap());
    assert!(tokio::time::timeout(Duration::from_millis(500), stream.next()).await.is_err());
    assert_eq!(fake.open(), 1);
    drop(stream);
    fake.closed(PATIENCE).await;
}

#[tokio::test]
async fn nothing_happens_before_it_is_polled() {
    let fake = Fake::start(|_| ok(GOOD)).await;
    let stream = resolve(config(&fake));
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(fake.requests().is_empty());
    drop(stream);
    let mut stream = resolve(config(&fake));
    assert!(stream.next().now_or_never().is_none());
}
