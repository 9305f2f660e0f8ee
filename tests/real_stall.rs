//! A minute in which no registry answers. The processes are stopped, so that connections stay open, requests are accepted by the kernel and
//! nothing comes back; every time limit is the default one. No call may fail, and what changes afterwards must show within two seconds.
#![cfg(all(feature = "consul", feature = "dns", feature = "etcd"))]
#![allow(clippy::unwrap_used, reason = "a failing helper fails the test")]

#[path = "support/mod.rs"]
#[allow(dead_code, reason = "shared by several test binaries")]
mod support;

use std::time::{Duration, Instant};

use evenkeel::LbChannel;
use evenkeel::consul::{ConsulConfig, ConsulResolver};
use evenkeel::etcd::{EtcdConfig, EtcdRegistrar, EtcdRegistration, EtcdResolver};
use lb_testkit::EchoServer;
use lb_testkit::pb::EchoRequest;
use lb_testkit::services::{self, Consul, Etcd, KNOT_ZONE, Knot};

use crate::support::{Load, ready, servers, until};

/// As long as an operator needs to notice.
const STALL: Duration = Duration::from_secs(60);

/// What changes after the stall shows within this.
const SHOWS: Duration = Duration::from_secs(2);

fn register_in_consul(consul: &Consul, server: &EchoServer) {
    let port = server.addr().port();
    consul.register("orders", &port.to_string(), port).unwrap();
}

/// With a lease, which runs out while nobody can keep it alive.
fn register_in_etcd(etcd: &Etcd, server: &EchoServer) -> EtcdRegistration {
    let registrar = EtcdRegistrar::new(EtcdConfig::new().with_endpoints([etcd.addrs()]).unwrap());
    registrar.register("orders", server.endpoint()).unwrap()
}

/// A channel under load that must not lose a call.
struct Subject {
    name: &'static str,
    channel: LbChannel,
    load: Load,
}

impl Subject {
    async fn new(name: &'static str, channel: LbChannel) -> Self {
        ready(&channel, 2).await;
        // A call now and then for a minute, not as many as there can be.
        let load = Load::start(&channel, 1, &EchoRequest { delay_ms: 5, ..EchoRequest::default() });
        Self { name, channel, load }
    }

    async fn shows(&self, endpoints: usize) {
        let resumed = Instant::now();
        until(self.name, || self.channel.endpoints().len() == endpoints).await;
        assert!(resumed.elapsed() < SHOWS, "{} took {:?}", self.name, resumed.elapsed());
        until("the resolver is well again", || self.channel.resolver().stale_for.is_none()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_minute_without_any_registry_costs_no_call() {
    let Some(consul) = services::require("consul") else { return };
    let Some(etcd) = services::require("etcd") else { return };
    let Some(knot) = services::require("knot") else { return };
    let (consul, etcd) = (Consul::start(&consul).unwrap(), Etcd::start(&etcd).unwrap());
    let servers = servers(3).await;
    let records = "orders 1 A 127.0.0.1\norders 1 A 127.0.0.2\n";
    let knot = Knot::start(&knot, records).unwrap();
    let port = servers[0].addr().port();
    let twin = EchoServer::builder().name("twin").bind(([127, 0, 0, 2], port).into()).start().await.unwrap();
    for server in &servers[..2] {
        register_in_consul(&consul, server);
    }
    let mut registrations: Vec<_> = servers[..2].iter().map(|server| register_in_etcd(&etcd, server)).collect();

    let agent = ConsulResolver::with_config(ConsulConfig::new().with_agents([consul.addr().to_string()]).unwrap()).unwrap();
    let members = EtcdResolver::with_config(EtcdConfig::new().with_endpoints([etcd.addrs()]).unwrap());
    let by_consul = LbChannel::builder("consul:///orders").resolver(agent).policy("round_robin").build().unwrap();
    let by_etcd = LbChannel::builder("etcd:///orders").resolver(members).policy("round_robin").build().unwrap();
    let by_dns = format!("dns://{}/orders.{KNOT_ZONE}:{port}", knot.addr());
    let by_dns = LbChannel::builder(by_dns).policy("round_robin").build().unwrap();
    let subjects =
        [Subject::new("consul", by_consul).await, Subject::new("etcd", by_etcd).await, Subject::new("dns", by_dns).await];

    consul.pause().unwrap();
    etcd.pause(0).unwrap();
    knot.pause().unwrap();
    tokio::time::sleep(STALL).await;
    for subject in &subjects {
        assert_eq!(subject.channel.endpoints().len(), 2, "{}", subject.name);
        subject.load.goes_on(20).await;
    }
    assert!(subjects[1].channel.resolver().stale_for.is_some(), "a watch that nobody answers is noticed");
    consul.resume().unwrap();
    etcd.resume(0).unwrap();
    knot.resume().unwrap();

    register_in_consul(&consul, &servers[2]);
    subjects[0].shows(3).await;
    registrations.push(register_in_etcd(&etcd, &servers[2]));
    subjects[1].shows(3).await;
    for subject in subjects {
        subject.load.stop().await.all_succeeded();
    }
    drop(twin);
}
