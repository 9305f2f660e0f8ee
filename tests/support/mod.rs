//! What the tests of the channel share: patience, targets, a load, and reading errors.

use std::collections::BTreeMap;
use std::error::Error;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use evenkeel::{BackoffConfig, CallError, ConnectivityState, EndpointInfo, LbChannel, PickedEndpoint};
use lb_testkit::EchoServer;
use lb_testkit::pb::echo_client::EchoClient;
use lb_testkit::pb::{EchoReply, EchoRequest};
use tokio::task::JoinSet;
use tonic::{Response, Status};

/// Far more than anything here takes on a busy machine; a test that needs it all hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(40);

/// Fails the test if this takes too long.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("not within {PATIENCE:?}: {what}"),
    }
}

/// Waits until the condition holds.
pub(crate) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    soon(what, async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}

/// Echo servers named `s0`, `s1`, ….
pub(crate) async fn servers(count: usize) -> Vec<EchoServer> {
    let mut servers = Vec::new();
    for index in 0..count {
        servers.push(EchoServer::start(&format!("s{index}")).await.unwrap());
    }
    servers
}

/// The target that lists these addresses.
pub(crate) fn target(addrs: impl IntoIterator<Item = SocketAddr>) -> String {
    let addrs: Vec<String> = addrs.into_iter().map(|addr| addr.to_string()).collect();
    format!("static:///{}", addrs.join(","))
}

pub(crate) fn target_of(servers: &[EchoServer]) -> String {
    target(servers.iter().map(EchoServer::addr))
}

/// Attempts after 50 ms, 80 ms and so on, at most 500 ms and a fifth.
pub(crate) fn quick_backoff() -> BackoffConfig {
    let (initial, max) = (Duration::from_millis(50), Duration::from_millis(500));
    BackoffConfig::try_new(initial, 1.6, max, 0.2, Duration::from_secs(5)).unwrap()
}

/// What the channel says of this endpoint now.
pub(crate) fn info(channel: &LbChannel, addr: SocketAddr) -> EndpointInfo {
    let key = addr.to_string();
    channel.endpoints().into_iter().find(|endpoint| endpoint.key.as_str() == key).unwrap_or_else(|| panic!("{key} is not listed"))
}

/// Waits until the channel shows this endpoint in this state.
pub(crate) async fn until_state(channel: &LbChannel, addr: SocketAddr, state: ConnectivityState) {
    until(&format!("{addr} is {state}"), || info(channel, addr).state == state).await;
}

/// Leaves IDLE and waits until so many endpoints are READY.
pub(crate) async fn ready(channel: &LbChannel, count: usize) {
    channel.exit_idle();
    until(&format!("{count} endpoints are READY"), || {
        channel.endpoints().iter().filter(|endpoint| endpoint.state == ConnectivityState::Ready).count() >= count
    })
    .await;
}

/// Calls in progress over all endpoints.
pub(crate) fn in_flight(channel: &LbChannel) -> u32 {
    channel.endpoints().iter().map(|endpoint| endpoint.in_flight).sum()
}

pub(crate) fn request(payload: &'static str) -> EchoRequest {
    EchoRequest { payload: payload.into(), ..EchoRequest::default() }
}

/// The endpoint and the number of attempts of an answered call.
pub(crate) fn picked<T>(response: &Response<T>) -> (String, u32) {
    let picked = response.extensions().get::<PickedEndpoint>().expect("every response says who answered");
    (picked.endpoint().key().to_string(), picked.attempts())
}

/// What the channel itself says went wrong; `None` if the status is the server's.
pub(crate) fn call_error(status: &Status) -> Option<&CallError> {
    status.source()?.downcast_ref()
}

/// One unary call.
pub(crate) async fn call(channel: &LbChannel) -> Result<Response<EchoReply>, Status> {
    soon("a unary call", EchoClient::new(channel.clone()).unary(request("x"))).await
}

/// Calls from several tasks without a pause, until stopped.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    ok: Arc<AtomicU64>,
    tally: Arc<Mutex<Tally>>,
    tasks: JoinSet<()>,
}

/// What became of the calls of a load.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) ok: u64,
    pub(crate) by_server: BTreeMap<String, u64>,
    pub(crate) failures: Vec<Status>,
}

impl Load {
    /// So many callers, each with a clone of the channel.
    pub(crate) fn start(channel: &LbChannel, callers: usize, request: &EchoRequest) -> Self {
        let mut load = Self { stop: Arc::default(), ok: Arc::default(), tally: Arc::default(), tasks: JoinSet::new() };
        for _ in 0..callers {
            let (stop, ok, tally) = (Arc::clone(&load.stop), Arc::clone(&load.ok), Arc::clone(&load.tally));
            let (mut client, request) = (EchoClient::new(channel.clone()), request.clone());
            load.tasks.spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let result = client.unary(request.clone()).await;
                    ok.fetch_add(u64::from(result.is_ok()), Ordering::Relaxed);
                    if result.is_err() {
                        // Calls that fail at once must not keep everything else from running.
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                    tally.lock().unwrap().count(result);
                }
            });
        }
        load
    }

    /// Calls that succeeded so far.
    pub(crate) fn ok(&self) -> u64 {
        self.ok.load(Ordering::Relaxed)
    }

    /// Waits until so many more calls have succeeded.
    pub(crate) async fn goes_on(&self, calls: u64) {
        let enough = self.ok() + calls;
        until(&format!("{calls} more calls succeed"), || self.ok() >= enough).await;
    }

    /// Lets every caller finish its call.
    pub(crate) async fn stop(mut self) -> Tally {
        self.stop.store(true, Ordering::Relaxed);
        soon("every caller finishes its call", async { while self.tasks.join_next().await.is_some() {} }).await;
        std::mem::take(&mut *self.tally.lock().unwrap())
    }
}

impl Tally {
    fn count(&mut self, result: Result<Response<EchoReply>, Status>) {
        match result {
            Ok(reply) => {
                self.ok += 1;
                *self.by_server.entry(reply.into_inner().server).or_default() += 1;
            }
            Err(status) => self.failures.push(status),
        }
    }

    /// Fails the test if a call failed.
    pub(crate) fn all_succeeded(&self) {
        assert!(self.failures.is_empty(), "{} of {} calls failed: {:?}", self.failures.len(), self.ok, self.failures.first());
    }
}

/// Repeatable randomness: Knuth's 64-bit linear congruential generator, of which the upper half is good enough to shuffle.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    /// A number below `n`.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % n
    }

    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}
