//! Calls through a channel, while the registry has troubles of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use k8s_openapi::api::discovery::v1::{Endpoint, EndpointPort, EndpointSlice};
use lb_resolver_kube::KubernetesResolver;
use lb_testkit::EchoServer;
use lb_testkit::pb::EchoRequest;
use lb_testkit::pb::echo_client::EchoClient;
use lb_testkit::services::KubeUser;
use lb_tonic::LbChannel;

use crate::world::{PATIENCE, World, slice, with_conditions};

/// The slice of one server: their ports differ.
fn served_by(server: &EchoServer) -> EndpointSlice {
    let port = server.addr().port();
    let endpoint = Endpoint { addresses: vec![server.addr().ip().to_string()], ..Endpoint::default() };
    let ports = vec![EndpointPort { name: Some("grpc".to_owned()), port: Some(port.into()), ..EndpointPort::default() }];
    EndpointSlice { ports: Some(ports), ..slice(&format!("s{port}"), vec![endpoint]) }
}

async fn until(what: &str, wanted: impl Fn() -> bool) {
    let reached = async {
        while !wanted() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, reached).await.expect(what);
}

/// Callers that go on until told to stop, and count.
struct Load {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicUsize>,
    tasks: Vec<tokio::task::JoinHandle<Vec<tonic::Status>>>,
}

impl Load {
    fn start(channel: &LbChannel) -> Self {
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let call = || {
            let (stop, done, mut client) = (Arc::clone(&stop), Arc::clone(&done), EchoClient::new(channel.clone()));
            async move {
                let mut failed = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    failed.extend(client.unary(EchoRequest::default()).await.err());
                    done.fetch_add(1, Ordering::Relaxed);
                }
                failed
            }
        };
        let tasks = (0..4).map(|_| tokio::spawn(call())).collect();
        Self { stop, done, tasks }
    }

    async fn more(&self) {
        let now = self.done.load(Ordering::Relaxed);
        until("calls go on", || self.done.load(Ordering::Relaxed) > now + 200).await;
    }

    async fn failed(self) -> Vec<tonic::Status> {
        self.stop.store(true, Ordering::Relaxed);
        let mut failed = Vec::new();
        for task in self.tasks {
            failed.extend(task.await.unwrap());
        }
        failed
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_fails_while_the_api_server_dies_hangs_and_returns() {
    let Some(mut world) = World::start().await else { return };
    let mut servers = Vec::new();
    for name in ["a", "b", "c"] {
        servers.push(EchoServer::start(name).await.unwrap());
    }
    for server in &servers[..2] {
        world.create(&served_by(server)).await;
    }
    let resolver = KubernetesResolver::with_config(world.config(KubeUser::Reader));
    let builder = LbChannel::builder("kubernetes:///orders.shop:grpc").resolver(resolver).policy("round_robin");
    let channel = builder.connect(PATIENCE).await.unwrap();
    let endpoints = |count: usize| channel.endpoints().len() == count;
    until("two", || endpoints(2)).await;
    let load = Load::start(&channel);
    load.more().await;

    world.server.kill().unwrap();
    load.more().await;
    world.server.restart().unwrap();
    world.create(&served_by(&servers[2])).await;
    until("three", || endpoints(3)).await;
    load.more().await;

    world.server.pause().unwrap();
    load.more().await;
    world.server.resume().unwrap();

    // Drained, then gone.
    let mut ending = served_by(&servers[0]);
    ending.endpoints = ending.endpoints.map(|all| all.into_iter().map(|one| with_conditions(one, false, true, true)).collect());
    world.replace(&ending).await;
    until("drained", || channel.endpoints().iter().any(|endpoint| !endpoint.attributes.health.takes_calls())).await;
    assert!(endpoints(3), "drained, not dropped");
    load.more().await;
    world.delete(ending.metadata.name.as_deref().unwrap()).await;
    until("gone", || endpoints(2)).await;
    load.more().await;
    let failed = load.failed().await;
    assert!(failed.is_empty(), "{failed:?}");
}
