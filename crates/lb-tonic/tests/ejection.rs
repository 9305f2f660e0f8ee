//! A third of the endpoints failing all calls, with ejection at gRPC's own interval of 10 s, on simulated time: the whole channel, over
//! servers that are functions.
#![allow(clippy::unwrap_used, reason = "a failing helper fails the test")]

use std::convert::Infallible;
use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use http::{HeaderValue, Request, Response};
use lb_core::retry::RetryPolicy;
use lb_core::stages::{FailurePercentageEjection, OutlierConfig};
use lb_core::{Address, ConnectivityState};
use lb_tonic::LbChannel;
use lb_transport::{ConnectAttempt, ConnectError, Connection, ConnectionHandle, Connector};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tonic::body::Body;
use tower_service::Service;

const SERVERS: u16 = 10;
const FAILING: u16 = 3;
const CALLS_PER_SECOND: u32 = 100;

/// Servers that answer at once; the first ones with UNAVAILABLE while they are broken.
#[derive(Debug, Clone, Default)]
struct Servers {
    broken: Arc<AtomicBool>,
    attempts: Arc<AtomicU64>,
}

impl Connector for Servers {
    type Transport = Line;

    fn connect(
        &self,
        attempt: ConnectAttempt,
    ) -> Pin<Box<dyn Future<Output = Result<Connection<Line>, ConnectError>> + Send + 'static>> {
        let address = attempt.addresses[0].clone();
        let Address::Tcp(tcp) = &address else { unreachable!("the target lists sockets") };
        let line = Line { servers: self.clone(), fails: tcp.port() <= FAILING };
        let closed = Box::pin(std::future::pending());
        Box::pin(async move { Ok(Connection::new(line, address, closed, ConnectionHandle::new(|_| {}))) })
    }
}

/// A connection to one of them.
#[derive(Debug, Clone)]
struct Line {
    servers: Servers,
    fails: bool,
}

impl Service<Request<Body>> for Line {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _request: Request<Body>) -> Self::Future {
        self.servers.attempts.fetch_add(1, Ordering::Relaxed);
        let status = if self.fails && self.servers.broken.load(Ordering::Relaxed) { "14" } else { "0" };
        let mut response = Response::new(Body::empty());
        response.headers_mut().insert("grpc-status", HeaderValue::from_static(status));
        Box::pin(ready(Ok(response)))
    }
}

/// Calls at an even pace.
struct Load {
    channel: LbChannel,
    servers: Servers,
    next: Instant,
}

/// What became of some calls.
struct Tally {
    calls: u64,
    ok: u64,
    attempts: u64,
}

impl Tally {
    fn per_call(&self) -> f64 {
        self.attempts as f64 / self.calls as f64
    }
}

impl Load {
    async fn start() -> Self {
        let servers = Servers::default();
        let measure = FailurePercentageEjection::default();
        let mut outliers = OutlierConfig::default();
        (outliers.failure_percentage, outliers.max_ejection_percent) = (Some(measure), 40);
        assert_eq!(outliers.interval, Duration::from_secs(10), "gRPC's default");
        let addresses: Vec<String> = (1..=SERVERS).map(|port| format!("10.0.0.1:{port}")).collect();
        let builder = LbChannel::builder(format!("ipv4:{}", addresses.join(","))).connector(servers.clone()).seed(1);
        let builder = builder.policy("round_robin").retry(RetryPolicy::default()).outlier_detection(outliers);
        let channel = builder.connect(Duration::from_secs(5)).await.unwrap();
        Self { channel, servers, next: Instant::now() }
    }

    /// Calls until this is so, for at most `most`.
    async fn run(&mut self, most: Duration, until: impl Fn(&LbChannel) -> bool) -> Tally {
        let before = self.servers.attempts.load(Ordering::Relaxed);
        let (mut tally, end) = (Tally { calls: 0, ok: 0, attempts: 0 }, Instant::now() + most);
        let mut calls = JoinSet::new();
        while Instant::now() < end && (!calls.len().is_multiple_of(10) || !until(&self.channel)) {
            self.next += Duration::from_secs(1) / CALLS_PER_SECOND;
            sleep_until(self.next).await;
            let mut channel = self.channel.clone();
            calls.spawn(async move { channel.call(Request::new(Body::empty())).await.is_ok_and(|response| ok(&response)) });
        }
        let ended = Instant::now();
        while let Some(ok) = calls.join_next().await {
            (tally.calls, tally.ok) = (tally.calls + 1, tally.ok + u64::from(ok.unwrap()));
        }
        // Those that were retried ended a little later.
        self.next += ended.elapsed();
        tally.attempts = self.servers.attempts.load(Ordering::Relaxed) - before;
        tally
    }
}

fn ok<B>(response: &Response<B>) -> bool {
    response.headers().get("grpc-status").is_some_and(|status| status == "0")
}

fn ready_ones(channel: &LbChannel) -> usize {
    channel.endpoints().iter().filter(|endpoint| endpoint.state == ConnectivityState::Ready).count()
}

#[tokio::test(start_paused = true)]
async fn at_grpcs_own_interval_extra_attempts_end_with_the_interval_in_which_endpoints_failed_all_calls() {
    let mut load = Load::start().await;
    let all = |channel: &LbChannel| ready_ones(channel) == usize::from(SERVERS);
    let without = |channel: &LbChannel| ready_ones(channel) == usize::from(SERVERS - FAILING);
    load.run(Duration::from_secs(5), all).await;
    load.servers.broken.store(true, Ordering::Relaxed);
    let broke = Instant::now();
    let before = load.run(Duration::from_secs(60), without).await;
    let took = broke.elapsed();
    println!("{} of {} calls, {:.3} attempts each, ejected after {took:?}", before.ok, before.calls, before.per_call());
    // Over 85 % of an interval's calls have to have failed: at worst the second interval is the first such.
    assert!(took <= Duration::from_secs(20), "{took:?}");
    assert!(before.ok as f64 > 0.999 * before.calls as f64, "{} of {}", before.ok, before.calls);
    assert!(before.per_call() < 1.6, "{}", before.per_call());
    // 30 s ejected, and three sweeps: nobody is tried twice.
    let after = load.run(Duration::from_secs(25), |_| false).await;
    assert_eq!((after.ok, after.attempts), (after.calls, after.calls), "1.0 attempts each from the ejection on");

    // Those that are back and still fail are out again after one interval, for longer; healed ones stay.
    load.run(Duration::from_secs(30), all).await;
    let again = load.run(Duration::from_secs(30), without).await;
    assert!(again.ok == again.calls && again.per_call() < 1.6, "{} of {}", again.ok, again.calls);
    load.servers.broken.store(false, Ordering::Relaxed);
    load.run(Duration::from_secs(90), all).await;
    let healed = load.run(Duration::from_secs(60), |channel| !all(channel)).await;
    assert_eq!((healed.calls, healed.attempts), (60 * u64::from(CALLS_PER_SECOND), healed.calls));
    assert!(load.channel.endpoints().iter().all(|endpoint| endpoint.in_flight == 0));
}
