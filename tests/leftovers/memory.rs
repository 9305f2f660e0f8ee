//! Memory stays flat, whatever the resolver says.

use std::time::Duration;

use evenkeel::{ConnectivityState, Endpoint, LbChannel, PickOptions};
use lb_testkit::pb::EchoRequest;
use lb_testkit::pb::echo_client::EchoClient;
use lb_testkit::{EchoServer, FakeResolver, FakeResolverHandle, count, live};

use crate::support::{call, quick_backoff, ready, request, servers, soon, until};

fn channel() -> (LbChannel, FakeResolverHandle) {
    let (resolver, handle) = FakeResolver::new("fake");
    (LbChannel::builder("fake:///orders").resolver(resolver).backoff(quick_backoff()).build().unwrap(), handle)
}

fn endpoints(servers: &[EchoServer]) -> Vec<Endpoint> {
    servers.iter().map(EchoServer::endpoint).collect()
}

fn listed(channel: &LbChannel, endpoints: &[Endpoint]) -> bool {
    channel.endpoints().iter().map(|endpoint| &endpoint.key).eq(endpoints.iter().map(Endpoint::key))
}

/// So many sets, each another one than the last; every 50th is waited for, so that many are not taken for one.
async fn rotate(channel: &LbChannel, handle: &FakeResolverHandle, all: &[Endpoint], updates: usize) {
    for update in 0..updates {
        let set: Vec<Endpoint> = (0..3).map(|place| all[(update + place) % all.len()].clone()).collect();
        handle.endpoints(set.clone());
        if update % 50 == 0 {
            until("the set is taken over", || listed(channel, &set)).await;
        }
        tokio::task::yield_now().await;
    }
}

/// Memory, tasks and sockets once only the first three endpoints are left and connected, and nothing changes any more.
async fn settled(channel: &LbChannel, handle: &FakeResolverHandle, servers: &[EchoServer]) -> (usize, usize, usize) {
    handle.endpoints(endpoints(&servers[..3]));
    until("only three endpoints are connected", || {
        channel.endpoints().iter().filter(|endpoint| endpoint.state == ConnectivityState::Ready).count() == 3
            && servers.iter().map(EchoServer::connections).sum::<usize>() == 3
    })
    .await;
    let mut last = (0, 0, 0);
    soon("nothing changes for a while", async {
        loop {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let now = (live::live_bytes(), count::tasks(), count::sockets().unwrap());
            if now == std::mem::replace(&mut last, now) {
                return;
            }
        }
    })
    .await;
    last
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_thousand_updates_without_a_call_and_then_one_call() {
    let _alone = crate::alone().await;
    let servers = servers(8).await;
    let newest = EchoServer::start("newest").await.unwrap();
    let (channel, handle) = channel();
    let all = endpoints(&servers);
    handle.endpoints(endpoints(&servers[..3]));
    ready(&channel, 3).await;
    rotate(&channel, &handle, &all, 500).await;
    let (bytes, tasks, sockets) = settled(&channel, &handle, &servers).await;

    rotate(&channel, &handle, &all, 2_000).await;
    let after = settled(&channel, &handle, &servers).await;
    assert_eq!((after.1, after.2), (tasks, sockets), "tasks and sockets");
    // An endpoint is 1 KiB before it is connected: one in thirty kept would show.
    assert!(after.0 < bytes + 256 * 1024, "{bytes} bytes in use before, {} after", after.0);

    handle.endpoints([newest.endpoint()]);
    // The update was sent before the call; the channel may take it after it has picked.
    until("the newest set is taken over", || listed(&channel, &[newest.endpoint()])).await;
    assert_eq!(call(&channel).await.unwrap().into_inner().server, "newest");
    assert_eq!(servers.iter().map(|server| server.calls()).sum::<u64>(), 0);
}

/// Calls of every fate: what they used is given back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_succeed_fail_time_out_or_are_given_up() {
    let _alone = crate::alone().await;
    let servers = servers(3).await;
    let (channel, handle) = channel();
    handle.endpoints(endpoints(&servers));
    ready(&channel, 3).await;
    // Buffers, tables and slabs grow to what they need, and stay.
    fates(&channel, &servers, 2_000).await;
    let (bytes, tasks, sockets) = settled(&channel, &handle, &servers).await;
    fates(&channel, &servers, 8_000).await;
    let after = settled(&channel, &handle, &servers).await;
    assert_eq!((after.1, after.2), (tasks, sockets), "tasks and sockets");
    // Forty bytes kept per call would show. What one thread's calls hand on to its next ones may be there for another thread only now:
    // 256 lists of headers, 216 KB.
    assert!(after.0 < bytes + 320_000, "{bytes} bytes in use before, {} after", after.0);
}

async fn fates(channel: &LbChannel, servers: &[EchoServer], rounds: usize) {
    servers[0].set_latency(lb_testkit::Latency::Fixed(Duration::from_millis(1)));
    for round in 0..rounds {
        let mut client = EchoClient::new(channel.clone());
        let mut asked = tonic::Request::new(EchoRequest { fail_with: (round % 2) as u32 * 5, ..request("x") });
        asked.set_timeout(Duration::from_micros(1 + 700 * (round as u64 % 4)));
        if round % 8 == 0 {
            asked.extensions_mut().insert(PickOptions::new().exclude(&*format!("10.0.{}.{}:1", round / 250, round % 250)));
        }
        let call = client.unary(asked);
        // A third is given up before its first answer can be there.
        if round % 3 == 0 {
            let _ = futures_util::FutureExt::now_or_never(call);
        } else {
            let _ = soon("a call", call).await;
        }
    }
    until("nothing is in flight", || crate::support::in_flight(channel) == 0).await;
}
