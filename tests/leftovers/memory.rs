//! Memory stays flat, whatever the resolver says.

use std::ops::Range;
use std::time::Duration;

use evenkeel::breaker::BreakerConfig;
use evenkeel::limits::{FloodLimit, GradientConfig, KeyLimit, RateLimit, RateLimits};
use evenkeel::queue::QueueConfig;
use evenkeel::stages::OutlierConfig;
use evenkeel::{ConnectivityState, Endpoint, LbChannel, PickOptions};
use lb_testkit::pb::EchoRequest;
use lb_testkit::pb::echo_client::EchoClient;
use lb_testkit::{EchoServer, FakeResolver, FakeResolverHandle, count, live};
use serde_json::json;
use tonic::Code;

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

/// Everything that repeats, holds back or sheds calls, at once: retries and hedges, breakers and ejections, a queue that is full, a limit
/// of each kind, and keys from strangers. Memory is what it was, however long that goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retries_hedges_breakers_queues_and_limits_together() {
    let _alone = crate::alone().await;
    let servers = servers(4).await;
    let (channel, handle) = guarded();
    handle.endpoints(endpoints(&servers));
    ready(&channel, 4).await;
    // Tables of keys and buffers grow to their bounds first.
    storm(&channel, &servers, 0..500).await;
    let (bytes, tasks, sockets) = settled(&channel, &handle, &servers).await;
    let before = Done::of(&channel, &servers);
    storm(&channel, &servers, 500..2_500).await;
    let after = settled(&channel, &handle, &servers).await;
    assert_eq!((after.1, after.2), (tasks, sockets), "tasks and sockets");
    // Twenty bytes kept per call would show.
    assert!(after.0 < bytes + 360_000, "{bytes} bytes in use before, {} after", after.0);
    let done = Done::of(&channel, &servers);
    println!("{bytes} bytes before, {} after; {before:?} then {done:?}", after.0);
    // Or the test shows nothing.
    assert!(
        done.attempts > before.attempts + 3_000 && done.served > before.served && done.shed > before.shed,
        "{before:?} {done:?}"
    );
}

/// What shows that everything was in use.
#[derive(Debug)]
struct Done {
    attempts: u64,
    /// After a wait in the queue.
    served: u64,
    /// By the queue or a limit.
    shed: u64,
}

impl Done {
    fn of(channel: &LbChannel, servers: &[EchoServer]) -> Self {
        let queue = channel.queue().unwrap();
        let attempts = servers.iter().map(|server| server.calls()).sum();
        Self { attempts, served: queue.served, shed: queue.total_shed() + channel.limits().shed() }
    }
}

fn guarded() -> (LbChannel, FakeResolverHandle) {
    let ms = Duration::from_millis;
    let (resolver, handle) = FakeResolver::new("fake");
    let policy = |kind: &str| match kind {
        "retryPolicy" => json!({"maxAttempts": 4, "initialBackoff": "0.001s", "maxBackoff": "0.004s", "backoffMultiplier": 2,
            "retryableStatusCodes": ["UNAVAILABLE"]}),
        _ => json!({"maxAttempts": 3, "hedgingDelay": "0.001s", "nonFatalStatusCodes": ["UNAVAILABLE"]}),
    };
    let method = |method: &str, kind: &str| {
        let mut config = json!({"name": [{"service": "evenkeel.echo.v1.Echo", "method": method}]});
        config[kind] = policy(kind);
        config
    };
    let config = json!({
        "methodConfig": [method("Unary", "hedgingPolicy"), method("ServerStream", "retryPolicy")],
        "retryThrottling": {"maxTokens": 1000, "tokenRatio": 1},
    });
    let rate = |per_second: u32| RateLimit::per_second(per_second).unwrap();
    let keys = KeyLimit::by_option(rate(50)).max_keys(256).unwrap();
    let limits =
        RateLimits::new().flood(FloodLimit::above(100_000).unwrap()).channel(rate(100_000)).endpoint(rate(20_000)).key(keys);
    let outliers = json!({"interval": "0.1s", "baseEjectionTime": "0.1s", "failurePercentageEjection": {"requestVolume": 5}});
    let builder = LbChannel::builder("fake:///orders").resolver(resolver).backoff(quick_backoff()).policy("least_request");
    let builder = builder.service_config(config).circuit_breaker(BreakerConfig::default().open_time(ms(20)));
    let builder = builder.outlier_detection(OutlierConfig::from_json(&outliers).unwrap()).rate_limits(limits);
    let builder = builder.concurrency_limit(GradientConfig::new()).max_requests_per_endpoint(2_u32).max_requests(7_u32);
    (builder.queue(QueueConfig::new(8).max_wait(ms(20))).build().unwrap(), handle)
}

/// These rounds, each of some calls at once; servers fail and are slow in turn.
async fn storm(channel: &LbChannel, servers: &[EchoServer], rounds: Range<usize>) {
    for round in rounds {
        if round % 50 == 0 {
            servers.iter().for_each(|server| server.heal());
            servers[round / 50 % 4].fail(Code::Unavailable);
            servers[(round / 50 + 1) % 4].set_latency(lb_testkit::Latency::Fixed(Duration::from_millis(3)));
            servers[(round / 50 + 2) % 4].set_latency(lb_testkit::Latency::Fixed(Duration::ZERO));
        }
        let calls = (0..if round % 10 == 0 { 30 } else { 6 }).map(|number| one_of_many(channel, round * 30 + number));
        soon("the calls", futures_util::future::join_all(calls)).await;
    }
    servers.iter().for_each(|server| server.heal());
    until("nothing is in flight", || crate::support::in_flight(channel) == 0).await;
}

async fn one_of_many(channel: &LbChannel, number: usize) {
    let mut client = EchoClient::new(channel.clone());
    let mut asked = tonic::Request::new(request("x"));
    asked.set_timeout(Duration::from_millis([1, 20, 200][number % 3]));
    // Every key is another one; no more of them are remembered than there may be.
    asked.extensions_mut().insert(PickOptions::new().priority((number % 4) as u8).limit_key(format!("stranger {number}")));
    match number % 5 {
        0 => _ = futures_util::FutureExt::now_or_never(client.unary(asked)),
        1 | 2 => {
            if let Ok(reply) = client.server_stream(asked).await {
                let mut replies = reply.into_inner();
                while let Ok(Some(_)) = replies.message().await {}
            }
        }
        _ => _ = client.unary(asked).await,
    }
}
