//! The resolver against an agent that lies, babbles, drips and hangs: a clear error, the last set kept, bounded memory, no hot loop.
#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod fake;

use std::time::Duration;
use std::time::Instant;

use futures_util::StreamExt;
use lb_core::ResolveError;
use lb_core::ResolveErrorKind;
use lb_core::Resolver;
use lb_core::ResolverStream;
use lb_core::ResolverUpdate;
use lb_core::Target;
use lb_core::Trigger;
use lb_resolver_consul::ConsulConfig;
use lb_resolver_consul::ConsulResolver;

use fake::Fake;
use fake::Reply;
use fake::answer;
use fake::one;

/// Generous: only a broken resolver waits this long.
const PATIENCE: Duration = Duration::from_secs(30);

/// The most of an answer in these tests.
const LIMIT: usize = 1 << 20;

fn config(fake: &Fake) -> ConsulConfig {
    let config = ConsulConfig::new().with_agents([fake.addr.to_string()]).unwrap().with_max_response(LIMIT).unwrap();
    config.with_timeout(Duration::from_millis(500)).unwrap().with_wait(Duration::from_millis(500)).unwrap()
}

fn open(config: ConsulConfig) -> (Trigger, ResolverStream) {
    let target = Target::parse("consul:///orders", &|scheme| scheme == "consul").unwrap();
    let (trigger, again) = Trigger::pair();
    (trigger, ConsulResolver::with_config(config).unwrap().resolve(&target, again))
}

async fn next(stream: &mut ResolverStream) -> Result<ResolverUpdate, ResolveError> {
    tokio::time::timeout(PATIENCE, stream.next()).await.expect("nothing was yielded").expect("the stream ended")
}

async fn told(fake: &mut Fake, what: &str, wanted: impl FnMut(&fake::Told) -> bool) {
    let waited = tokio::time::timeout(PATIENCE, fake.told.wait_for(wanted)).await;
    assert!(matches!(waited, Ok(Ok(_))), "not within {PATIENCE:?}: {what}");
}

/// First a good answer, then this once, then a good one again: what the stream says of the middle.
async fn between(bad: Reply) -> ResolveError {
    let fake = Fake::start(move |number| match number {
        0 => Reply::Raw(answer("7", one(80))),
        1 => bad.clone(),
        _ => Reply::Raw(answer("9", one(81))),
    })
    .await;
    let (_trigger, mut stream) = open(config(&fake));
    assert_eq!(next(&mut stream).await.unwrap().endpoints[0].key().as_str(), "10.0.0.1:80");
    let error = next(&mut stream).await.unwrap_err();
    assert_eq!(next(&mut stream).await.unwrap().endpoints[0].key().as_str(), "10.0.0.1:81");
    // Asked without waiting after the failure, whatever had changed.
    assert_eq!(fake.told().requests[2], "GET /v1/health/service/orders HTTP/1.1");
    assert_eq!(fake.told().requests[1], "GET /v1/health/service/orders?index=7&wait=500ms HTTP/1.1");
    error
}

#[tokio::test]
async fn nonsense_is_a_clear_error_and_the_next_answer_counts() {
    let raw = |text: &str| Reply::Raw(text.as_bytes().to_vec());
    let deep = answer("8", "[".repeat(500_000));
    for (bad, kind, word) in [
        (Reply::Raw(answer("8", "{}")), ResolveErrorKind::Malformed, "unreadable"),
        (Reply::Raw(answer("8", r#"[{"Service":{"Port":"80"}}]"#)), ResolveErrorKind::Malformed, "invalid type"),
        (Reply::Raw(answer("8", b"[{\"Service\":{\"ID\":\"\xff\"}}]")), ResolveErrorKind::Malformed, "unreadable"),
        (Reply::Raw(deep), ResolveErrorKind::Malformed, "unreadable"),
        (Reply::Raw(answer("8", one(70_000))), ResolveErrorKind::Malformed, "port 70000 is not from 1 to 65535"),
        (Reply::Raw(answer("8", &one(80)[..20])), ResolveErrorKind::Malformed, "EOF"),
        (raw("SSH-2.0-OpenSSH_9\r\n"), ResolveErrorKind::Malformed, "unreadable"),
        (
            raw("HTTP/1.1 302 Found\r\nLocation: /v1/health/service/orders\r\nContent-Length: 0\r\n\r\n"),
            ResolveErrorKind::Malformed,
            "not followed",
        ),
        (
            raw("HTTP/1.1 503 No\r\nContent-Length: 6\r\n\r\nno\x1b[2J"),
            ResolveErrorKind::Unavailable,
            "503 Service Unavailable: no [2J",
        ),
        (raw("HTTP/1.1 403 No\r\nContent-Length: 3\r\n\r\nACL"), ResolveErrorKind::Refused, "403 Forbidden: ACL"),
    ] {
        let error = between(bad).await;
        assert_eq!(error.kind(), kind, "{error}");
        assert!(
            error.to_string().contains(word) && error.to_string().contains("service \"orders\": Consul at http://127.0.0.1:"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_body_without_end_is_given_up_at_the_limit() {
    let mut fake = Fake::start(|_| Reply::Endless).await;
    let (_trigger, mut stream) = open(config(&fake));
    let error = next(&mut stream).await.unwrap_err();
    assert!(error.kind() == ResolveErrorKind::Malformed && error.to_string().contains("more than 1048576 bytes"), "{error}");
    told(&mut fake, "the connection is closed", |told| told.open == 0).await;
    // What the kernel's buffers hold on both sides comes on top of what was read.
    assert!(fake.told().sent < 16 << 20, "{}", fake.told().sent);
}

#[tokio::test]
async fn dripping_and_silent_agents_are_given_up_in_time() {
    for (reply, word) in [(Reply::Drip, "did not finish its answer within 500ms"), (Reply::Silence, "did not answer within 500ms")]
    {
        let mut fake = Fake::start(move |_| reply.clone()).await;
        let (_trigger, mut stream) = open(config(&fake));
        let error = next(&mut stream).await.unwrap_err();
        assert!(error.kind() == ResolveErrorKind::Unavailable && error.to_string().contains(word), "{error}");
        drop(stream);
        told(&mut fake, "the connection is closed", |told| told.open == 0).await;
    }
}

#[tokio::test]
async fn a_waiting_query_that_is_cut_off_is_asked_again_before_anything_is_said() {
    let fake = Fake::start(|number| match number {
        0 => Reply::Raw(answer("7", one(80))),
        1 => Reply::Cut(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n[".to_vec()),
        _ => Reply::Raw(answer("9", one(81))),
    })
    .await;
    let (_trigger, mut stream) = open(config(&fake));
    next(&mut stream).await.unwrap();
    assert_eq!(next(&mut stream).await.unwrap().endpoints[0].key().as_str(), "10.0.0.1:81");
    assert!(fake.told().requests.len() == 3 && !fake.told().requests[2].contains("index"), "{:?}", fake.told().requests);
}

#[tokio::test]
async fn an_agent_that_cannot_keep_the_connection_is_an_error_in_the_end() {
    let fake = Fake::start(|number| match number {
        0 => Reply::Raw(answer("7", one(80))),
        _ => Reply::Cut(Vec::new()),
    })
    .await;
    let (_trigger, mut stream) = open(config(&fake));
    next(&mut stream).await.unwrap();
    let error = next(&mut stream).await.unwrap_err();
    assert!(error.kind() == ResolveErrorKind::Unavailable && error.to_string().contains("broke the connection off"), "{error}");
}

#[tokio::test]
async fn whatever_the_index_is_there_is_no_hot_loop() {
    for index in ["0", "1", "7", "x", "-3"] {
        let mut fake = Fake::start(move |_| Reply::Raw(answer(index, one(80)))).await;
        let pace = Duration::from_millis(50);
        let (_trigger, mut stream) = open(config(&fake).with_min_interval(pace).unwrap());
        let start = Instant::now();
        next(&mut stream).await.unwrap();
        let watching = tokio::spawn(async move { stream.next().await.map(drop) });
        told(&mut fake, "it goes on asking", |told| told.requests.len() >= 10).await;
        assert!(start.elapsed() >= 9 * pace, "index {index}: {:?}", start.elapsed());
        assert_eq!(fake.told().open, 1, "one connection is kept");
        watching.abort();
    }
}

#[tokio::test]
async fn an_index_that_goes_backwards_is_forgotten() {
    let mut fake = Fake::start(|number| Reply::Raw(answer(if number == 0 { "20" } else { "5" }, one(80)))).await;
    let (_trigger, mut stream) = open(config(&fake).with_min_interval(Duration::from_millis(10)).unwrap());
    next(&mut stream).await.unwrap();
    let watching = tokio::spawn(async move { stream.next().await.map(drop) });
    told(&mut fake, "four requests", |told| told.requests.len() >= 4).await;
    let index = |request: &String| request.split("index=").nth(1).map(|rest| rest.split('&').next().unwrap().to_owned());
    let indexes: Vec<_> = fake.told().requests.iter().map(index).take(4).collect();
    assert_eq!(indexes, [None, Some("20".to_owned()), None, Some("5".to_owned())]);
    watching.abort();
}

#[tokio::test]
async fn dropped_in_the_middle_of_a_query_it_closes_the_connection() {
    let mut fake = Fake::start(|number| if number == 0 { Reply::Raw(answer("7", one(80))) } else { Reply::Silence }).await;
    let (_trigger, mut stream) = open(config(&fake).with_wait(Duration::from_secs(600)).unwrap());
    next(&mut stream).await.unwrap();
    {
        let mut waiting = Box::pin(stream.next());
        let told = told(&mut fake, "the query waits", |told| told.requests.len() == 2);
        tokio::select! { _ = &mut waiting => panic!("nothing has changed"), () = told => {} }
    }
    assert_eq!(fake.told().open, 1);
    drop(stream);
    told(&mut fake, "the connection is closed", |told| told.open == 0).await;
}

#[tokio::test]
async fn a_fresh_look_replaces_a_query_that_waits() {
    let mut fake = Fake::start(|number| match number {
        0 => Reply::Raw(answer("7", one(80))),
        1 => Reply::Silence,
        _ => Reply::Raw(answer("9", one(81))),
    })
    .await;
    let (again, mut stream) = open(config(&fake).with_wait(Duration::from_secs(600)).unwrap());
    next(&mut stream).await.unwrap();
    let watching = tokio::spawn(async move { next(&mut stream).await.unwrap() });
    told(&mut fake, "the query waits", |told| told.requests.len() == 2).await;
    let start = Instant::now();
    again.fire();
    again.fire();
    assert_eq!(watching.await.unwrap().endpoints[0].key().as_str(), "10.0.0.1:81");
    // Not for every failed call, but long before the query would have ended.
    assert!((Duration::from_secs(8)..Duration::from_secs(20)).contains(&start.elapsed()), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_token_file_that_cannot_be_read_is_named() {
    let fake = Fake::start(|_| Reply::Raw(answer("7", one(80)))).await;
    let (_trigger, mut stream) = open(config(&fake).with_token_file("/nonexistent/token"));
    let error = next(&mut stream).await.unwrap_err();
    assert!(error.to_string().contains("/nonexistent/token") && fake.told().requests.is_empty(), "{error}");
}
