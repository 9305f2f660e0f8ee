//! Servers that register themselves.

use std::time::Duration;

use lb_core::RegistryHealth;
use lb_resolver_consul::ConsulCheck;
use lb_resolver_consul::ConsulConfig;
use lb_resolver_consul::ConsulRegistration;
use lb_resolver_consul::ConsulService;
use lb_testkit::EchoServer;
use lb_testkit::ReservedPort;
use lb_testkit::services::Consul;
use lb_testkit::services::ConsulOptions;
use lb_testkit::services::require;

use crate::support::Watcher;
use crate::support::config;
use crate::support::keys;

fn service(port: u16) -> ConsulService {
    ConsulService::new("greeter", port).unwrap().with_address("127.0.0.1")
}

fn brief() -> ConsulCheck {
    ConsulCheck::ttl(Duration::from_secs(1)).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kept_alive_through_the_loss_of_its_agent_and_of_its_data() {
    let Some(root) = require("consul") else { return };
    let mut consul = Consul::start(&root).unwrap();
    let mut watcher = Watcher::start(&consul, "greeter?passing");
    let registered = service(50_001).with_check(brief()).with_meta("zone", "a");
    let mut registration = ConsulRegistration::register(config(&consul), registered).await.unwrap();
    watcher.until_is(&keys([50_001])).await;
    assert!(registration.is_registered() && &*watcher.now().attributes().locality.zone == "a");
    // Several times its time to live.
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(watcher.now().updates, 1, "it never failed its check");

    consul.wipe().unwrap();
    consul.restart().unwrap();
    // Who watched all along may see no gap, if it is closed soon enough; who begins now sees what the agent without a past was told.
    Watcher::start(&consul, "greeter?passing").until_is(&keys([50_001])).await;
    watcher.until("it is back", |seen| seen.is(&keys([50_001]))).await;
    registration.registered().await;
    registration.shutdown().await.unwrap();
    watcher.until("it is gone", |seen| seen.failed_with("service not found")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_is_told_and_dropping_deregisters() {
    let Some(root) = require("consul") else { return };
    let consul = Consul::start(&root).unwrap();
    let mut watcher = Watcher::start(&consul, "greeter");
    // Long, so that only what is told can be seen.
    let check = ConsulCheck::ttl(Duration::from_secs(600)).unwrap();
    let registration = ConsulRegistration::start(config(&consul), service(50_001).with_check(check)).unwrap();
    watcher.until_is(&keys([50_001])).await;
    for health in [RegistryHealth::Degraded, RegistryHealth::Draining, RegistryHealth::Unhealthy, RegistryHealth::Healthy] {
        registration.set_health(health);
        watcher.until(&format!("{health:?}"), |seen| seen.attributes().health == health).await;
    }
    drop(registration);
    watcher.until("it is gone", |seen| seen.failed_with("service not found")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_check_by_grpc_and_an_agent_that_is_dead() {
    let Some(root) = require("consul") else { return };
    let consul = Consul::start(&root).unwrap();
    let server = EchoServer::start("s0").await.unwrap();
    let check = ConsulCheck::grpc(server.addr().to_string(), Duration::from_secs(1)).unwrap();
    let dead = ReservedPort::new().unwrap();
    let agents = [dead.addr(), consul.addr()].map(|addr| addr.to_string());
    let config = ConsulConfig::new().with_agents(agents).unwrap();
    let registration = ConsulRegistration::register(config, service(server.addr().port()).with_check(check)).await.unwrap();
    let mut watcher = Watcher::start(&consul, "greeter");
    watcher.until("it is healthy", |seen| seen.last.is_some() && seen.attributes().health == RegistryHealth::Healthy).await;
    drop(server);
    watcher.until("it is not", |seen| seen.attributes().health == RegistryHealth::Unhealthy).await;
    registration.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refused_for_want_of_a_token() {
    let Some(root) = require("consul") else { return };
    let consul = Consul::start_with(&root, ConsulOptions { acl: true, tls: false }).unwrap();
    let anonymous = ConsulConfig::new().with_agents([consul.addr().to_string()]).unwrap();
    let error = ConsulRegistration::register(anonymous, service(50_001)).await.unwrap_err();
    assert!(error.to_string().contains("403") && error.to_string().contains("greeter-127.0.0.1-50001"), "{error}");
    ConsulRegistration::register(config(&consul), service(50_001)).await.unwrap().shutdown().await.unwrap();
}
