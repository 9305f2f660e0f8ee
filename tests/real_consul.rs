//! Channels under load while the real Consul changes, dies, hangs, forgets and comes back: no call may fail for it.
#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use evenkeel::consul::{ConsulConfig, ConsulRegistration, ConsulResolver, ConsulService};
use evenkeel::{ConnectivityState, EndpointInfo, LbChannel};
use lb_testkit::EchoServer;
use lb_testkit::pb::EchoRequest;
use lb_testkit::pb::echo_client::EchoClient;
use lb_testkit::services::{Consul, require};
use tokio::task::JoinHandle;

/// Generous: only something broken takes so long.
const PATIENCE: Duration = Duration::from_secs(30);

/// Calls one after another until told to end; how many there were, and the first that failed.
struct Load {
    stop: Arc<AtomicBool>,
    calls: Arc<AtomicU64>,
    task: JoinHandle<Option<tonic::Status>>,
}

impl Load {
    fn start(channel: &LbChannel) -> Self {
        let (stop, calls) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, counted, mut client) = (Arc::clone(&stop), Arc::clone(&calls), EchoClient::new(channel.clone()));
        let task = tokio::spawn(async move {
            while !stopped.load(Ordering::Relaxed) {
                if let Err(status) = client.unary(EchoRequest::default()).await {
                    return Some(status);
                }
                counted.fetch_add(1, Ordering::Relaxed);
            }
            None
        });
        Self { stop, calls, task }
    }

    /// Waits for so many calls more: whatever happened before has had its effect.
    async fn calls(&self, more: u64) {
        let wanted = self.calls.load(Ordering::Relaxed) + more;
        let deadline = Instant::now() + PATIENCE;
        while self.calls.load(Ordering::Relaxed) < wanted && !self.task.is_finished() {
            assert!(Instant::now() < deadline, "calls hang");
            tokio::task::yield_now().await;
        }
    }

    async fn ended_well(self) {
        self.stop.store(true, Ordering::Relaxed);
        let failed = self.task.await.unwrap();
        assert!(failed.is_none(), "a call failed: {failed:?}");
    }
}

fn config(consul: &Consul) -> ConsulConfig {
    let config = ConsulConfig::new().with_agents([consul.addr().to_string()]).unwrap();
    config.with_wait(Duration::from_secs(1)).unwrap().with_timeout(Duration::from_secs(1)).unwrap()
}

async fn connect(consul: &Consul) -> LbChannel {
    let resolver = ConsulResolver::with_config(config(consul)).unwrap();
    LbChannel::builder("consul:///echo").resolver(resolver).policy("round_robin").connect(PATIENCE).await.unwrap()
}

fn register(consul: &Consul, server: &EchoServer) {
    consul.register("echo", &server.addr().to_string().replace(':', "-"), server.addr().port()).unwrap();
}

fn ready(endpoints: &[EndpointInfo]) -> BTreeSet<String> {
    let ready = endpoints.iter().filter(|endpoint| endpoint.state == ConnectivityState::Ready);
    ready.map(|endpoint| endpoint.key.to_string()).collect()
}

/// How long it takes until exactly these serve.
async fn until_serve(channel: &LbChannel, servers: &[&EchoServer]) -> Duration {
    let wanted: BTreeSet<_> = servers.iter().map(|server| server.addr().to_string()).collect();
    let (start, mut events) = (Instant::now(), channel.subscribe());
    let seen = async {
        while ready(&channel.endpoints()) != wanted {
            events.next().await.unwrap();
        }
    };
    tokio::time::timeout(PATIENCE, seen).await.unwrap_or_else(|_| panic!("wanted {wanted:?}, there is {channel:?}"));
    start.elapsed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_frozen_and_wiped_under_load_without_a_failed_call() {
    let Some(root) = require("consul") else { return };
    let mut consul = Consul::start(&root).unwrap();
    let mut servers = Vec::new();
    for index in 0..4 {
        servers.push(EchoServer::start(&format!("s{index}")).await.unwrap());
    }
    let [a, b, c, d] = &servers[..] else { unreachable!() };
    register(&consul, a);
    register(&consul, b);
    let channel = connect(&consul).await;
    until_serve(&channel, &[a, b]).await;
    let load = Load::start(&channel);

    consul.kill().unwrap();
    load.calls(500).await;
    consul.restart().unwrap();
    register(&consul, c);
    assert!(until_serve(&channel, &[a, b, c]).await < Duration::from_secs(2));

    consul.pause().unwrap();
    load.calls(500).await;
    consul.resume().unwrap();
    register(&consul, d);
    assert!(until_serve(&channel, &[a, b, c, d]).await < Duration::from_secs(2));

    // A server that leaves first takes itself out, and then goes.
    consul.deregister(&d.addr().to_string().replace(':', "-")).unwrap();
    assert!(until_serve(&channel, &[a, b, c]).await < Duration::from_secs(1));

    consul.wipe().unwrap();
    consul.restart().unwrap();
    load.calls(500).await;
    assert_eq!(ready(&channel.endpoints()).len(), 3, "a registry that forgot everything costs nothing");
    register(&consul, b);
    until_serve(&channel, &[b]).await;
    load.calls(100).await;
    load.ended_well().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_nobody_knows_fails_calls_and_says_why() {
    let Some(root) = require("consul") else { return };
    let consul = Consul::start(&root).unwrap();
    let resolver = ConsulResolver::with_config(config(&consul)).unwrap();
    let channel = LbChannel::builder("consul:///echo").resolver(resolver).build().unwrap();
    let mut client = EchoClient::new(channel);
    let status = tokio::time::timeout(PATIENCE, client.unary(EchoRequest::default())).await.unwrap().unwrap_err();
    assert_eq!(status.code(), tonic::Code::Unavailable);
    assert!(status.message().contains("service \"echo\" is not registered"), "{status}");

    let server = EchoServer::start("s0").await.unwrap();
    let service = ConsulService::new("echo", server.addr().port()).unwrap().with_address("127.0.0.1");
    let registration = ConsulRegistration::register(config(&consul), service).await.unwrap();
    let mut request = tonic::Request::new(EchoRequest::default());
    request.extensions_mut().insert(evenkeel::PickOptions::new().wait_for_ready(true));
    tokio::time::timeout(PATIENCE, client.unary(request)).await.unwrap().unwrap();
    registration.shutdown().await.unwrap();
}
