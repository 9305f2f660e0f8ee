//! GOAWAY: what was begun goes on, what is new goes elsewhere, what was not taken is sent again.

use std::sync::Arc;

use evenkeel::LbChannel;
use lb_testkit::pb::echo_client::EchoClient;
use lb_testkit::raw::setting;
use lb_testkit::{EchoServer, RawServer};
use tokio::sync::{Notify, mpsc};
use tokio_stream::wrappers::UnboundedReceiverStream;

use crate::support::{call, in_flight, picked, quick_backoff, ready, request, soon, target, until};

async fn connected(addrs: &[std::net::SocketAddr]) -> LbChannel {
    let channel = LbChannel::builder(target(addrs.iter().copied())).backoff(quick_backoff()).build().unwrap();
    ready(&channel, addrs.len()).await;
    channel
}

#[tokio::test]
async fn an_open_stream_goes_on_and_new_calls_use_a_new_connection() {
    let server = EchoServer::start("s").await.unwrap();
    let channel = connected(&[server.addr()]).await;
    let (sender, messages) = mpsc::unbounded_channel();
    // Without a deadline: it must survive all the same.
    let mut client = EchoClient::new(channel.clone());
    let mut replies = soon("the headers", client.bidi(UnboundedReceiverStream::new(messages))).await.unwrap().into_inner();
    for round in 1..=3_u64 {
        server.goaway();
        until("there is a new connection", || server.accepted() == round + 1).await;
        sender.send(request("ping")).unwrap();
        assert_eq!(u64::from(soon("the reply", replies.message()).await.unwrap().unwrap().received), round);
        call(&channel).await.unwrap();
        assert_eq!(in_flight(&channel), 1);
    }
    drop(sender);
    assert!(soon("the end", replies.message()).await.unwrap().is_none());
    until("the old connections are closed", || server.connections() == 1).await;
}

/// Three calls at once; the server takes two of them. The third is done elsewhere, and none is done twice.
#[tokio::test]
async fn only_calls_above_the_last_stream_are_sent_again() {
    let leaving = RawServer::start(|mut conn| async move {
        conn.handshake(&[]).await?;
        let calls = [conn.next_call().await?, conn.next_call().await?, conn.next_call().await?];
        // First the warning, then the truth, as a server that drains does.
        conn.goaway((1 << 31) - 1, 0, b"").await?;
        conn.goaway(calls[1], 0, b"draining").await?;
        conn.reply(calls[0], b"").await?;
        conn.reply(calls[1], b"").await?;
        conn.drain().await
    })
    .await
    .unwrap();
    let good = EchoServer::start("good").await.unwrap();
    let channel = connected(&[leaving.addr(), good.addr()]).await;
    let calls: Vec<_> = (0..6)
        .map(|_| {
            let channel = channel.clone();
            tokio::spawn(async move { call(&channel).await })
        })
        .collect();
    let mut answered = [0, 0];
    let mut attempts = 0;
    for call in calls {
        let reply = soon("a call", call).await.unwrap().unwrap();
        answered[usize::from(picked(&reply).0 == good.addr().to_string())] += 1;
        attempts += picked(&reply).1;
    }
    assert_eq!((answered, attempts, good.calls()), ([2, 4], 7, 4));
}

/// They wait for a stream of a connection whose server takes its leave: not one of them is lost, or sent there.
#[tokio::test]
async fn calls_that_wait_for_a_stream_go_elsewhere() {
    let leave = Arc::new(Notify::new());
    let left = Arc::clone(&leave);
    let full = RawServer::start(move |mut conn| {
        let left = Arc::clone(&left);
        async move {
            conn.handshake(&[(setting::MAX_CONCURRENT_STREAMS, 1)]).await?;
            let first = conn.next_call().await?;
            left.notified().await;
            conn.goaway(first, 0, b"max_age").await?;
            conn.reply(first, b"").await?;
            conn.drain().await
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
    until("nine calls wait behind one", || good.calls() == 10 && in_flight(&channel) == 10).await;
    leave.notify_one();
    let mut elsewhere = 0;
    for call in calls {
        let reply = soon("a call", call).await.unwrap().unwrap();
        elsewhere += usize::from(picked(&reply).0 == good.addr().to_string());
    }
    assert_eq!((elsewhere, good.calls()), (19, 19));
}

#[tokio::test]
async fn goaway_and_close_at_once() {
    let leaving = RawServer::start(|mut conn| async move {
        conn.handshake(&[]).await?;
        conn.next_call().await?;
        conn.goaway(0, 0, b"bye").await
    })
    .await
    .unwrap();
    let good = EchoServer::start("good").await.unwrap();
    let channel = connected(&[leaving.addr(), good.addr()]).await;
    while leaving.accepted() < 4 {
        assert_eq!(picked(&call(&channel).await.unwrap()).0, good.addr().to_string());
    }
}

/// A last stream that no client can have opened is an error of the connection, and of nothing else.
#[tokio::test]
async fn nonsense_costs_the_connection_only() {
    let odd = RawServer::start(|mut conn| async move {
        conn.handshake(&[]).await?;
        conn.next_call().await?;
        conn.goaway(1, 0, b"").await?;
        // It must not grow.
        conn.goaway(9, 0, b"").await?;
        conn.drain().await
    })
    .await
    .unwrap();
    let good = EchoServer::start("good").await.unwrap();
    let channel = connected(&[odd.addr(), good.addr()]).await;
    let mut failed = 0;
    for _ in 0..20 {
        if let Err(status) = call(&channel).await {
            assert_eq!(status.code(), tonic::Code::Unavailable, "{status}");
            failed += 1;
        }
    }
    assert!(failed <= odd.accepted(), "{failed} calls failed over {} connections", odd.accepted());
    assert_eq!(in_flight(&channel), 0);
}
