//! A server that is no etcd, or a broken one: a clear error, and never a hot loop. A fake on purpose; the real one cannot be made to do this.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::future::Future;
use std::io;
use std::time::Duration;

use futures_util::StreamExt;
use lb_core::ResolveError;
use lb_core::ResolveErrorKind;
use lb_core::Resolver;
use lb_core::ResolverStream;
use lb_core::Target;
use lb_core::Trigger;
use lb_resolver_etcd::EtcdConfig;
use lb_resolver_etcd::EtcdResolver;
use lb_testkit::Heard;
use lb_testkit::RawConn;
use lb_testkit::RawServer;
use tokio::time::timeout;

/// A busy machine gets this long.
const PATIENCE: Duration = Duration::from_secs(20);

/// Within a second there are about six attempts with the default pacing; twice that is not hot.
const MOST_ATTEMPTS: u64 = 12;

fn resolve(server: &RawServer) -> ResolverStream {
    let config = EtcdConfig::new().with_request_timeout(Duration::from_millis(300)).unwrap().with_max_endpoints(50);
    let target = Target::parse(&format!("etcd://{}/svc", server.addr()), &|scheme| scheme == "etcd").unwrap();
    EtcdResolver::with_config(config).resolve(&target, Trigger::pair().1)
}

/// What the first list ends with when every call is treated like this.
async fn error_of<F, S>(script: F) -> ResolveError
where
    F: Fn(RawConn) -> S + Send + 'static,
    S: Future<Output = io::Result<()>> + Send + 'static,
{
    let server = RawServer::start(script).await.unwrap();
    let mut stream = resolve(&server);
    let item = timeout(PATIENCE, stream.next()).await.expect("nothing was said").unwrap();
    // Whatever it does for another second, it does not do it often.
    let _ = timeout(Duration::from_secs(1), stream.next()).await;
    assert!(server.accepted() <= MOST_ATTEMPTS, "{} attempts", server.accepted());
    item.expect_err("an endpoint set out of nothing")
}

/// Answers every call with this message.
async fn error_of_message(message: Vec<u8>) -> ResolveError {
    error_of(move |mut conn| {
        let message = message.clone();
        async move {
            conn.handshake(&[]).await?;
            loop {
                let call = conn.next_call().await?;
                conn.reply(call, &message).await?;
            }
        }
    })
    .await
}

/// A field that has a length, shorter than 128.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    [&[number << 3 | 2, u8::try_from(content.len()).unwrap()], content].concat()
}

/// A range answer with this revision, these keys, and whether there is more.
fn range(revision: u8, keys: &[&str], more: bool) -> Vec<u8> {
    let pairs =
        keys.iter().flat_map(|key| field(2, &[field(1, key.as_bytes()), vec![3 << 3, 1], field(5, b"127.0.0.1:1")].concat()));
    [field(1, &[3 << 3, revision]), pairs.collect(), vec![3 << 3, u8::from(more)]].concat()
}

#[tokio::test]
async fn answers_that_make_no_sense_are_malformed() {
    for (message, expected) in [
        (vec![], "names no revision"),
        (range(0, &[], false), "names no revision"),
        (range(5, &[], true), "does not go on"),
        (range(5, &["a/1"], true), "does not go on"),
        (range(5, &["svc/1"], true), "does not go on"),
    ] {
        let error = error_of_message(message).await;
        assert_eq!(error.kind(), ResolveErrorKind::Malformed, "{error}");
        assert!(error.message().contains(expected), "{error}");
    }
}

#[tokio::test]
async fn bytes_that_are_no_message_are_an_error() {
    for message in [b"\xff\xff\xff\xff".to_vec(), field(1, b"\x1a\xff"), vec![2 << 3 | 2, 120, 1, 2, 3]] {
        let error = error_of_message(message).await;
        assert!(error.message().contains("Range"), "{error}");
    }
}

#[tokio::test]
async fn pages_without_end_stop_at_the_most_that_is_allowed() {
    let error = error_of(|mut conn| async move {
        conn.handshake(&[]).await?;
        for page in 0_u32.. {
            let call = conn.next_call().await?;
            conn.reply(call, &range(5, &[&format!("svc/{page:09}")], true)).await?;
        }
        Ok(())
    })
    .await;
    assert!(error.message().contains("more than 50 keys"), "{error}");
}

#[tokio::test]
async fn a_message_that_claims_100_mb_is_refused_unread() {
    let error = error_of(|mut conn| async move {
        conn.handshake(&[]).await?;
        loop {
            let call = conn.next_call().await?;
            conn.begin(call).await?;
            conn.data(call, &[0, 0x05, 0xf5, 0xe1, 0x00, 1, 2, 3], false).await?;
        }
    })
    .await;
    assert_eq!(error.kind(), ResolveErrorKind::Malformed);
    assert!(error.message().contains("too large"), "{error}");
}

#[tokio::test]
async fn half_an_answer_is_not_taken_for_one() {
    let error = error_of(|mut conn| async move {
        conn.handshake(&[]).await?;
        let call = conn.next_call().await?;
        conn.begin(call).await?;
        let answer = range(5, &["svc/1", "svc/2"], false);
        conn.data(call, &[&[0, 0, 0, 0, u8::try_from(answer.len()).unwrap()], &answer[..20]].concat(), true).await?;
        conn.drain().await
    })
    .await;
    assert!(error.message().contains("Range"), "{error}");
}

#[tokio::test]
async fn a_slow_drip_ends_with_the_time_for_a_request() {
    let error = error_of(|mut conn| async move {
        conn.handshake(&[]).await?;
        let call = conn.next_call().await?;
        conn.begin(call).await?;
        conn.data(call, &[0, 0, 0, 0, 100], false).await?;
        for _ in 0..100 {
            tokio::time::sleep(Duration::from_millis(50)).await;
            conn.data(call, &[1], false).await?;
        }
        conn.drain().await
    })
    .await;
    assert_eq!(error.kind(), ResolveErrorKind::Unavailable);
    assert!(error.message().contains("no answer within 300ms"), "{error}");
}

#[tokio::test]
async fn whoever_is_no_etcd_is_named() {
    for words in [&b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"[..], b"220 mail\r\n", b"\x00\x00\x00\xff\xff"] {
        let error = error_of(move |mut conn| async move {
            conn.write(words).await?;
            conn.drain().await
        })
        .await;
        assert!(error.kind() == ResolveErrorKind::Unavailable && error.message().starts_with("etcd 127.0.0.1:"), "{error}");
    }
    let error = error_of(|conn| async move {
        conn.abort();
        Ok(())
    })
    .await;
    assert_eq!(error.kind(), ResolveErrorKind::Unavailable);
}

#[tokio::test]
async fn refusals_and_odd_codes_are_told_and_not_repeated_hotly() {
    for (code, message, kind) in [
        (16, "etcdserver: invalid auth token", ResolveErrorKind::Refused),
        (7, "etcdserver: permission denied", ResolveErrorKind::Refused),
        (11, "etcdserver: mvcc: required revision has been compacted", ResolveErrorKind::Unavailable),
        (12, "unknown service etcdserverpb.KV", ResolveErrorKind::Malformed),
        (0, "", ResolveErrorKind::Unavailable),
        (99, "", ResolveErrorKind::Unavailable),
    ] {
        let error = error_of(move |mut conn| async move {
            conn.handshake(&[]).await?;
            loop {
                let call = conn.next_call().await?;
                conn.trailers_only(call, code, message).await?;
            }
        })
        .await;
        assert_eq!(error.kind(), kind, "{error}");
    }
}

#[tokio::test]
async fn a_watch_that_ends_again_and_again_does_not_make_a_hot_loop() {
    // Made, and in the same breath: cancelled, cancelled for compaction, ended, nonsense.
    let made = [field(1, &[3 << 3, 5]), vec![3 << 3, 1]].concat();
    let cancelled = [made.clone(), vec![4 << 3, 1]].concat();
    let compacted = [cancelled.clone(), vec![5 << 3, 9]].concat();
    for second in [cancelled, compacted, b"\xff\xff".to_vec(), vec![]] {
        let made = made.clone();
        let server = RawServer::start(move |mut conn| {
            let (made, second) = (made.clone(), second.clone());
            async move {
                conn.handshake(&[]).await?;
                loop {
                    let Heard::Data { stream, data, .. } = conn.heard().await? else { continue };
                    // The first field of a list is its key, that of a watch a message that begins with its key.
                    match data.get(7) {
                        None => {}
                        Some(b'\n') => {
                            conn.begin(stream).await?;
                            conn.message(stream, &made).await?;
                            conn.message(stream, &second).await?;
                            conn.trailers(stream, 0).await?;
                        }
                        Some(_) => conn.reply(stream, &range(5, &["svc/1"], false)).await?,
                    }
                }
            }
        })
        .await
        .unwrap();
        let mut stream = resolve(&server);
        let mut updates = 0;
        let _ = timeout(Duration::from_secs(2), async {
            while let Some(item) = stream.next().await {
                updates += usize::from(item.is_ok_and(|update| update.endpoints.len() == 1));
            }
        })
        .await;
        assert!(updates > 0, "the list was good");
        assert!((2..=2 * MOST_ATTEMPTS).contains(&server.accepted()), "{} attempts in 2 s", server.accepted());
    }
}
