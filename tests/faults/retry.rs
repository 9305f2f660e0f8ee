//! Transparent retry: what never left goes elsewhere, what was refused goes elsewhere once, and nothing is done twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use evenkeel::{CallError, LbChannel};
use lb_testkit::pb::EchoRequest;
use lb_testkit::pb::echo_client::EchoClient;
use lb_testkit::raw::setting;
use lb_testkit::{EchoServer, Heard, RawServer};
use tokio::sync::{Notify, mpsc};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::Code;

use crate::support::{call, call_error, in_flight, picked, quick_backoff, ready, request, soon, target, until};

const REFUSED_STREAM: u32 = 7;

/// Resets every call with this code, and counts them.
async fn resetting(code: u32) -> (RawServer, Arc<AtomicU64>) {
    let hits = Arc::<AtomicU64>::default();
    let counted = Arc::clone(&hits);
    let server = RawServer::start(move |mut conn| {
        let hits = Arc::clone(&counted);
        async move {
            conn.handshake(&[]).await?;
            loop {
                let call = conn.next_call().await?;
                hits.fetch_add(1, Ordering::Relaxed);
                conn.reset(call, code).await?;
            }
        }
    });
    (server.await.unwrap(), hits)
}

async fn connected(addrs: &[std::net::SocketAddr]) -> LbChannel {
    let channel = LbChannel::builder(target(addrs.iter().copied())).backoff(quick_backoff()).build().unwrap();
    ready(&channel, addrs.len()).await;
    channel
}

#[tokio::test]
async fn a_refused_call_goes_elsewhere() {
    let (refusing, hits) = resetting(REFUSED_STREAM).await;
    let good = EchoServer::start("good").await.unwrap();
    let channel = connected(&[refusing.addr(), good.addr()]).await;
    // One clone, so that the second attempts do not take turns of the first ones.
    let mut client = EchoClient::new(channel.clone());
    for _ in 0..20 {
        let reply = soon("a call", client.unary(request("x"))).await.unwrap();
        assert_eq!(picked(&reply).0, good.addr().to_string());
    }
    assert_eq!((hits.load(Ordering::Relaxed), good.calls()), (10, 20));
    assert_eq!(in_flight(&channel), 0);
}

#[tokio::test]
async fn refused_twice_is_unavailable() {
    let (first, first_hits) = resetting(REFUSED_STREAM).await;
    let (second, second_hits) = resetting(REFUSED_STREAM).await;
    let channel = connected(&[first.addr(), second.addr()]).await;
    for _ in 0..5 {
        let status = call(&channel).await.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable);
        assert!(matches!(call_error(&status), Some(CallError::Lost { .. })), "{status:?}");
    }
    assert_eq!((first_hits.load(Ordering::Relaxed), second_hits.load(Ordering::Relaxed)), (5, 5), "two attempts, elsewhere");
    assert!(channel.endpoints().iter().all(|endpoint| endpoint.state == evenkeel::ConnectivityState::Ready));
}

#[tokio::test]
async fn other_resets_are_not_retried_and_keep_their_code() {
    for (code, expected) in [(8, Code::Cancelled), (11, Code::ResourceExhausted), (12, Code::PermissionDenied), (2, Code::Internal)]
    {
        let (resetting, hits) = resetting(code).await;
        let channel = connected(&[resetting.addr()]).await;
        let status = call(&channel).await.unwrap_err();
        assert_eq!(status.code(), expected, "{status}");
        assert!(
            matches!(call_error(&status), Some(CallError::Failed { endpoint, .. }) if endpoint.as_str() == resetting.addr().to_string())
        );
        assert_eq!(hits.load(Ordering::Relaxed), 1);
    }
}

#[tokio::test]
async fn what_the_server_answers_is_not_retried() {
    let server = EchoServer::start("s").await.unwrap();
    let channel = connected(&[server.addr()]).await;
    server.fail(Code::Unavailable);
    let status = call(&channel).await.unwrap_err();
    assert_eq!((status.code(), server.calls()), (Code::Unavailable, 1));
    assert!(call_error(&status).is_none(), "the status is the server's own: {status:?}");
    assert_eq!(channel.endpoints()[0].failed, 1);
}

#[tokio::test]
async fn goaway_with_a_low_last_stream_sends_the_call_elsewhere() {
    let leaving = RawServer::start(|mut conn| async move {
        conn.handshake(&[]).await?;
        conn.next_call().await?;
        conn.goaway(0, 0, b"not that one").await?;
        conn.drain().await
    })
    .await
    .unwrap();
    let good = EchoServer::start("good").await.unwrap();
    let channel = connected(&[leaving.addr(), good.addr()]).await;
    let mut attempts = 0;
    while leaving.accepted() < 4 {
        let reply = call(&channel).await.unwrap();
        assert_eq!(picked(&reply).0, good.addr().to_string());
        attempts = attempts.max(picked(&reply).1);
    }
    assert_eq!(attempts, 2);
}

#[tokio::test]
async fn calls_that_never_left_go_elsewhere_when_their_connection_is_lost() {
    let lose = Arc::new(Notify::new());
    let losing = Arc::clone(&lose);
    let full = RawServer::start(move |mut conn| {
        let lose = Arc::clone(&losing);
        async move {
            conn.handshake(&[(setting::MAX_CONCURRENT_STREAMS, 0)]).await?;
            tokio::select! {
                () = lose.notified() => conn.abort(),
                result = conn.drain() => result?,
            }
            Ok(())
        }
    })
    .await
    .unwrap();
    let good = EchoServer::start("good").await.unwrap();
    let channel = connected(&[full.addr(), good.addr()]).await;
    let calls: Vec<_> = (0..20)
        .map(|_| {
            let channel = channel.clone();
            tokio::spawn(async move { call(&channel).await })
        })
        .collect();
    until("half of the calls wait for a stream", || good.calls() == 10 && in_flight(&channel) == 10).await;
    lose.notify_waiters();
    let mut attempts = [0; 3];
    for call in calls {
        let reply = soon("the call succeeds", call).await.unwrap().unwrap();
        assert_eq!(picked(&reply).0, good.addr().to_string());
        attempts[picked(&reply).1 as usize] += 1;
    }
    assert_eq!((attempts, good.calls()), ([0, 10, 10], 20));
}

#[tokio::test]
async fn there_is_no_limit_to_attempts_that_never_left() {
    let server = RawServer::start(|mut conn| async move {
        if conn.index() < 5 {
            conn.handshake(&[(setting::MAX_CONCURRENT_STREAMS, 0)]).await?;
            // Time enough for the call to be queued on this connection.
            let _ = tokio::time::timeout(Duration::from_millis(200), conn.drain()).await;
            return Ok(());
        }
        conn.handshake(&[]).await?;
        loop {
            let call = conn.next_call().await?;
            conn.reply(call, b"").await?;
        }
    })
    .await
    .unwrap();
    let channel = connected(&[server.addr()]).await;
    let reply = call(&channel).await.unwrap();
    assert!(picked(&reply).1 > 3, "{} attempts", picked(&reply).1);
}

/// Reads this many bytes of a call's body, refuses the call, and says so.
async fn refusing_after(bytes: usize) -> (RawServer, mpsc::UnboundedReceiver<()>) {
    let (refused, refusals) = mpsc::unbounded_channel();
    let server = RawServer::start(move |mut conn| {
        let refused = refused.clone();
        async move {
            conn.handshake(&[]).await?;
            let mut read = 0;
            loop {
                if let Heard::Data { stream, data, .. } = conn.heard().await? {
                    read += data.len();
                    if read >= bytes {
                        conn.reset(stream, REFUSED_STREAM).await?;
                        let _ = refused.send(());
                        read = 0;
                    }
                }
            }
        }
    });
    (server.await.unwrap(), refusals)
}

#[tokio::test]
async fn a_client_stream_is_replayed_and_goes_on() {
    let (refusing, mut refusals) = refusing_after(1).await;
    let good = EchoServer::start("good").await.unwrap();
    let channel = connected(&[refusing.addr(), good.addr()]).await;
    // Two calls in turn: one of them begins at the refusing endpoint.
    for _ in 0..2 {
        let (messages, sent) = mpsc::unbounded_channel();
        let mut client = EchoClient::new(channel.clone());
        let call = tokio::spawn(async move { client.client_stream(UnboundedReceiverStream::new(sent)).await });
        let begun = good.calls();
        messages.send(request("first")).unwrap();
        until("the good server has the call", || good.calls() > begun).await;
        messages.send(request("second")).unwrap();
        messages.send(request("last")).unwrap();
        drop(messages);
        let reply = soon("the stream is answered", call).await.unwrap().unwrap().into_inner();
        assert_eq!((&*reply.server, reply.received, &*reply.payload), ("good", 3, &b"last"[..]));
    }
    soon("the refusal", refusals.recv()).await.unwrap();
    assert_eq!(good.calls(), 2);
}

#[tokio::test]
async fn a_stream_too_large_to_replay_fails_and_says_so() {
    let (refusing, _refusals) = refusing_after(400 * 1024).await;
    let channel = connected(&[refusing.addr()]).await;
    let (messages, sent) = mpsc::unbounded_channel();
    for _ in 0..6 {
        messages.send(EchoRequest { payload: vec![7; 100 * 1024].into(), ..EchoRequest::default() }).unwrap();
    }
    let mut client = EchoClient::new(channel.clone());
    let status = soon("the stream fails", client.client_stream(UnboundedReceiverStream::new(sent))).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    assert!(matches!(call_error(&status), Some(CallError::Lost { .. })), "{status:?}");
    assert!(status.message().contains(&refusing.addr().to_string()) && status.message().contains("too large"), "{status}");
    assert_eq!(in_flight(&channel), 0);
}
