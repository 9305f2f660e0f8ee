//! Three times as many calls as the servers can do, on simulated time: the whole channel, over servers that are functions.
#![allow(clippy::unwrap_used, reason = "a failing helper fails the test")]

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use http::{HeaderValue, Request, Response};
use lb_core::queue::QueueConfig;
use lb_core::{Address, Entropy};
use lb_tonic::{LbChannel, PickOptions};
use lb_transport::{ConnectAttempt, ConnectError, Connection, ConnectionHandle, Connector};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use tonic::body::Body;
use tonic::{Code, Status};
use tower_service::Service;

const SERVERS: usize = 3;
/// What a server does at once without becoming slower.
const PLACES: usize = 4;
const SERVICE: Duration = Duration::from_millis(10);
/// Calls a second that all servers together can do.
const CAPACITY: f64 = (SERVERS * PLACES) as f64 * 100.0;
const LASTS: Duration = Duration::from_secs(3);
const MAX_WAIT: Duration = Duration::from_millis(150);
const MAX_PENDING: usize = 128;

/// Servers that take 10 ms for a call, and longer by the square of what is too much.
#[derive(Debug, Clone, Default)]
struct Servers {
    active: Arc<[AtomicUsize; SERVERS]>,
    most: Arc<AtomicUsize>,
}

impl Connector for Servers {
    type Transport = Line;

    fn connect(
        &self,
        attempt: ConnectAttempt,
    ) -> Pin<Box<dyn Future<Output = Result<Connection<Line>, ConnectError>> + Send + 'static>> {
        let address = attempt.addresses[0].clone();
        let Address::Tcp(tcp) = &address else { unreachable!("the target lists sockets") };
        let line = Line { servers: self.clone(), server: usize::from(tcp.port() - 1) };
        let closed = Box::pin(std::future::pending());
        Box::pin(async move { Ok(Connection::new(line, address, closed, ConnectionHandle::new(|_| {}))) })
    }
}

/// A connection to one of them.
#[derive(Debug, Clone)]
struct Line {
    servers: Servers,
    server: usize,
}

/// Ends when the server is done with it, or its client gave up.
struct Active(Line);

impl Drop for Active {
    fn drop(&mut self) {
        self.0.servers.active[self.0.server].fetch_sub(1, Ordering::Relaxed);
    }
}

impl Service<Request<Body>> for Line {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _request: Request<Body>) -> Self::Future {
        let active = self.servers.active[self.server].fetch_add(1, Ordering::Relaxed) + 1;
        self.servers.most.fetch_max(active, Ordering::Relaxed);
        let guard = Active(self.clone());
        let slow = (active as f64 / PLACES as f64).max(1.0).powi(2);
        Box::pin(async move {
            sleep(SERVICE.mul_f64(slow)).await;
            drop(guard);
            let mut response = Response::new(Body::empty());
            response.headers_mut().insert("grpc-status", HeaderValue::from_static("0"));
            Ok(response)
        })
    }
}

/// What became of the calls of one kind.
#[derive(Debug, Default)]
struct Tally {
    ok: usize,
    shed: usize,
    waited: Vec<Duration>,
}

impl Tally {
    fn shed_share(&self) -> f64 {
        self.shed as f64 / (self.ok + self.shed) as f64
    }

    fn p99(&mut self) -> Duration {
        self.waited.sort_unstable();
        self.waited[self.waited.len() * 99 / 100]
    }
}

struct Run {
    tallies: [Tally; 3],
    /// Calls answered while the load lasted.
    in_time: usize,
    most_waiting: usize,
    most_active: usize,
}

async fn one(mut channel: LbChannel, priority: u8) -> (u8, Result<Duration, Status>, Instant) {
    let mut request = Request::new(Body::empty());
    request.extensions_mut().insert(PickOptions::new().priority(priority));
    let started = Instant::now();
    (priority, channel.call(request).await.map(|_| started.elapsed()), Instant::now())
}

/// One call in ten matters (9), three in ten a little (1), the others not (0). They come at random times.
async fn run(seed: u64, limited: bool) -> (Run, LbChannel) {
    let (servers, mut dice) = (Servers::default(), Entropy::from_seed(seed));
    let mut builder = LbChannel::builder("ipv4:10.0.0.1:1,10.0.0.1:2,10.0.0.1:3").connector(servers.clone()).seed(seed);
    if limited {
        builder = builder.max_requests_per_endpoint(PLACES as u32);
        builder = builder.queue(QueueConfig::new(MAX_PENDING).max_wait(MAX_WAIT));
    }
    let channel = builder.timeout(Duration::from_secs(1)).connect(Duration::from_secs(5)).await.unwrap();
    let mut run = Run { tallies: Default::default(), in_time: 0, most_waiting: 0, most_active: 0 };
    let (mut calls, start, mut at) = (JoinSet::new(), Instant::now(), 0.0);
    while at < LASTS.as_secs_f64() {
        at -= (1.0 - dice.fraction()).ln() / (3.0 * CAPACITY);
        sleep_until(start + Duration::from_secs_f64(at)).await;
        let priority = match dice.fraction() {
            share if share < 0.1 => 9,
            share if share < 0.4 => 1,
            _ => 0,
        };
        calls.spawn(one(channel.clone(), priority));
        run.most_waiting = run.most_waiting.max(channel.queue().map_or(0, |queue| queue.waiting));
    }
    while let Some(done) = calls.join_next().await {
        let (priority, result, ended) = done.unwrap();
        run.in_time += usize::from(result.is_ok() && ended <= start + LASTS);
        let tally = &mut run.tallies[usize::from(priority.min(2))];
        match result {
            Ok(waited) => {
                tally.ok += 1;
                tally.waited.push(waited);
            }
            Err(status) => {
                assert!(!limited || status.code() == Code::ResourceExhausted, "{status}");
                tally.shed += 1;
            }
        }
    }
    run.most_active = servers.most.load(Ordering::Relaxed);
    (run, channel)
}

#[tokio::test(start_paused = true)]
async fn at_three_times_the_capacity_the_servers_do_what_they_can_for_those_who_matter_most() {
    for seed in 1..=3 {
        let (mut run, channel) = run(seed, true).await;
        let goodput = run.in_time as f64 / LASTS.as_secs_f64();
        assert!(goodput >= 0.9 * CAPACITY, "seed {seed}: {goodput} calls a second of {CAPACITY}");
        let [low, some, high] = &mut run.tallies;
        assert!(high.shed_share() < 0.01, "seed {seed}: {} of the high ones shed", high.shed);
        assert!(low.shed_share() > some.shed_share(), "seed {seed}: the lowest are shed first");
        let share = low.ok as f64 / (CAPACITY * LASTS.as_secs_f64());
        assert!(share > 0.05, "seed {seed}: the others alone are more than can be done, yet the lowest get their share: {share}");
        for tally in [&mut *low, some, high] {
            // A timer may fire a tick late.
            assert!(tally.p99() <= MAX_WAIT + SERVICE + Duration::from_millis(2), "seed {seed}: {:?}", tally.p99());
        }
        assert!(
            run.most_waiting <= MAX_PENDING && run.most_active == PLACES,
            "{} waited, {} active",
            run.most_waiting,
            run.most_active
        );
        let stats = channel.queue().unwrap();
        assert_eq!((stats.waiting, stats.gave_up), (0, 0));
        assert_eq!(stats.total_shed() as usize, low.shed + some.shed + high.shed);
        assert!(channel.endpoints().iter().all(|endpoint| endpoint.in_flight == 0));
        println!(
            "seed {seed}: goodput {:.1} %, shed {:.1} % / {:.1} % / {:.2} %, p99 {:?} / {:?} / {:?}",
            100.0 * goodput / CAPACITY,
            100.0 * low.shed_share(),
            100.0 * some.shed_share(),
            100.0 * high.shed_share(),
            low.p99(),
            some.p99(),
            high.p99(),
        );
    }
}

#[tokio::test(start_paused = true)]
async fn without_limits_the_same_load_brings_the_servers_down() {
    let (run, _channel) = run(1, false).await;
    let ok = run.in_time as f64 / LASTS.as_secs_f64();
    assert!(ok < 0.5 * CAPACITY, "or the test above shows nothing: {ok} of {CAPACITY}");
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_is_the_same_run() {
    let ok = |run: &Run| run.tallies.iter().map(|tally| (tally.ok, tally.shed)).collect::<Vec<_>>();
    let (one, other) = (run(7, true).await.0, run(7, true).await.0);
    assert_eq!(ok(&one), ok(&other));
}
