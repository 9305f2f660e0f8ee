//! A channel to an `etcd:` target whose servers register themselves, against a real etcd that is killed, frozen and wiped under load.
#![cfg(feature = "etcd")]
#![allow(clippy::unwrap_used, reason = "a failing helper fails the test")]

#[path = "support/mod.rs"]
#[allow(dead_code, reason = "shared by several test binaries")]
mod support;

use std::time::Duration;

use evenkeel::LbChannel;
use evenkeel::etcd::{EtcdConfig, EtcdRegistrar, EtcdRegistration, EtcdResolver};
use lb_testkit::EchoServer;
use lb_testkit::pb::EchoRequest;
use lb_testkit::services::{self, Etcd};
use tonic::Code;

use crate::support::{Load, call, quick_backoff, ready, servers, until};

fn config(etcd: &Etcd) -> EtcdConfig {
    let second = Duration::from_secs(1);
    let config = EtcdConfig::new().with_endpoints([etcd.addrs()]).unwrap();
    config.with_keepalive(5 * second, second).unwrap().with_request_timeout(second).unwrap()
}

fn channel(etcd: &Etcd) -> LbChannel {
    let resolver = EtcdResolver::with_config(config(etcd));
    LbChannel::builder("etcd:///orders").resolver(resolver).backoff(quick_backoff()).policy("round_robin").build().unwrap()
}

fn register(etcd: &Etcd, server: &EchoServer) -> EtcdRegistration {
    let registrar = EtcdRegistrar::new(config(etcd)).with_ttl(Duration::from_secs(5)).unwrap();
    registrar.register("orders", server.endpoint()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_fails_whatever_becomes_of_etcd() {
    let Some(root) = services::require("etcd") else { return };
    let mut etcd = Etcd::start(&root).unwrap();
    let servers = servers(3).await;
    let first = register(&etcd, &servers[0]);
    let _second = register(&etcd, &servers[1]);
    let channel = channel(&etcd);
    ready(&channel, 2).await;
    let load = Load::start(&channel, 4, &EchoRequest { delay_ms: 1, ..EchoRequest::default() });
    load.goes_on(100).await;

    etcd.kill(0).unwrap();
    load.goes_on(200).await;
    assert_eq!(channel.endpoints().len(), 2);
    etcd.restart(0).unwrap();
    let _third = register(&etcd, &servers[2]);
    until("the third serves", || servers[2].calls() > 10).await;

    etcd.pause(0).unwrap();
    load.goes_on(200).await;
    assert_eq!(channel.endpoints().len(), 3);
    etcd.resume(0).unwrap();

    // All data lost: the servers register again before the channel lets any of them go.
    etcd.kill(0).unwrap();
    etcd.wipe(0).unwrap();
    etcd.restart(0).unwrap();
    let registered =
        || etcd.ctl(&["get", "--prefix", "orders/", "--keys-only"]).unwrap().lines().filter(|line| !line.is_empty()).count();
    until("all have registered again", || registered() == 3).await;
    assert_eq!(channel.endpoints().len(), 3);

    assert!(first.shutdown().await);
    until("the first is let go", || servers[0].connections() == 0).await;
    load.goes_on(100).await;
    load.stop().await.all_succeeded();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_nobody_registered_fails_at_once_and_says_so() {
    let Some(root) = services::require("etcd") else { return };
    let etcd = Etcd::start(&root).unwrap();
    let channel = channel(&etcd);
    let status = call(&channel).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains("etcd has no keys below \"orders/\""), "{status}");
    let server = EchoServer::start("s").await.unwrap();
    let _registration = register(&etcd, &server);
    ready(&channel, 1).await;
    call(&channel).await.unwrap();
}
