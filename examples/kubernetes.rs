//! A service behind a Kubernetes API server: pods come, end and go, and a `kubernetes:` target follows its EndpointSlices.
//! Uses a private API server that `cargo xtask services fetch` has brought, in which this program writes the slices as a cluster would.
//! Run it with `cargo run --example kubernetes --features kubernetes`.

#[path = "support/mod.rs"]
mod support;

use std::collections::BTreeMap;

use evenkeel::LbChannel;
use evenkeel::kubernetes::{KubernetesConfig, KubernetesResolver};
use lb_testkit::EchoServer;
use lb_testkit::pb::EchoRequest;
use lb_testkit::pb::echo_client::EchoClient;
use lb_testkit::services::{self, KubeApi, KubeUser};
use serde_json::json;

use support::{Failure, PATIENCE, key, servers, serves, until};

const SLICES: &str = "/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices";

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let (Some(root), Some(etcd)) = (services::require("kubeapi"), services::require("etcd")) else {
        println!("there is no Kubernetes API server here: run `cargo xtask services fetch`, which builds one in some minutes");
        return Ok(());
    };
    let cluster = KubeApi::start(&root, &etcd)?;
    let servers = servers(3).await?;
    for (index, server) in servers[..2].iter().enumerate() {
        write(&cluster, "POST", index, server, false)?;
    }

    // In a cluster `KubernetesConfig::new()` is all it takes: a pod is given an address, a token and a namespace.
    let config = KubernetesConfig::new().with_kubeconfig(Some(cluster.kubeconfig(KubeUser::Reader, "shop")?));
    let builder = LbChannel::builder("kubernetes:///orders.shop:grpc").resolver(KubernetesResolver::with_config(config));
    let channel = builder.policy("round_robin").connect(PATIENCE).await?;
    until(&channel, "both serve", |endpoints| servers[..2].iter().all(|server| serves(endpoints, &key(server)))).await?;
    println!("two pods:                   {:?}", who_answers(&channel).await?);

    write(&cluster, "POST", 2, &servers[2], false)?;
    until(&channel, "the third serves", |endpoints| serves(endpoints, &key(&servers[2]))).await?;
    println!("scaled up:                  {:?}", who_answers(&channel).await?);

    // A pod that ends gets no new calls but keeps its connection for those it has.
    write(&cluster, "PUT", 0, &servers[0], true)?;
    let first = key(&servers[0]);
    until(&channel, "the first is drained", |endpoints| {
        endpoints.iter().any(|endpoint| endpoint.key == first && !endpoint.attributes.health.takes_calls())
    })
    .await?;
    let answered = who_answers(&channel).await?;
    println!("the first is ending:        {answered:?}");
    assert!(!answered.contains_key("s0"));
    Ok(())
}

/// A slice for one server, because the ports of these differ; in a cluster a slice has up to a hundred pods with the same ports.
fn write(cluster: &KubeApi, method: &str, index: usize, server: &EchoServer, terminating: bool) -> Result<(), Failure> {
    let name = format!("orders-{index}");
    let slice = json!({
        "metadata": { "name": name, "labels": { "kubernetes.io/service-name": "orders" } },
        "addressType": "IPv4",
        "endpoints": [{
            "addresses": [server.addr().ip()],
            "conditions": { "ready": !terminating, "serving": true, "terminating": terminating },
            "targetRef": { "kind": "Pod", "name": name },
        }],
        "ports": [{ "name": "grpc", "port": server.addr().port() }],
    });
    let path = if method == "PUT" { format!("{SLICES}/{name}") } else { SLICES.to_owned() };
    match cluster.request(method, &path, &slice.to_string())? {
        (200 | 201, _) => Ok(()),
        (status, answer) => Err(format!("{method} {path}: {status}: {answer}").into()),
    }
}

/// How many of a few calls each server answers.
async fn who_answers(channel: &LbChannel) -> Result<BTreeMap<String, u32>, Failure> {
    let mut client = EchoClient::new(channel.clone());
    let mut counts = BTreeMap::new();
    for _ in 0..60 {
        *counts.entry(client.unary(EchoRequest::default()).await?.into_inner().server).or_default() += 1;
    }
    Ok(counts)
}
