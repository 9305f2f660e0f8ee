//! What is registered is what is seen, soon.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use lb_core::ResolveErrorKind;
use lb_testkit::services::Consul;
use lb_testkit::services::require;

use crate::support::Watcher;
use crate::support::keys;

/// What is promised: the truth within this of the last change.
const SOON: Duration = Duration::from_secs(1);

/// Consul limits how many operations one transaction has.
const TRANSACTION: usize = 64;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_changes_in_bursts_end_in_the_truth() {
    let Some(root) = require("consul") else { return };
    let consul = Consul::start(&root).unwrap();
    consul.register("greeter", "s0", 50_000).unwrap();
    let mut watcher = Watcher::start(&consul, "greeter");
    let mut truth = BTreeSet::from([50_000]);
    watcher.until_is(&keys(truth.clone())).await;
    let mut random: u64 = 7;
    for _ in 0..20 {
        for _ in 0..50 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let port = 50_001 + (random >> 33) as u16 % 20;
            if truth.insert(port) {
                consul.register("greeter", &format!("s{port}"), port).unwrap();
            } else {
                truth.remove(&port);
                consul.deregister(&format!("s{port}")).unwrap();
            }
        }
        let took = watcher.until_is(&keys(truth.clone())).await;
        assert!(took < SOON, "{took:?}");
    }
    let seen = watcher.now();
    assert!(seen.ever.is_subset(&keys(50_000..50_021)), "invented: {:?}", seen.ever);
    assert_eq!(seen.errors, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_endpoints() {
    let Some(root) = require("consul") else { return };
    let consul = Consul::start(&root).unwrap();
    consul.put("/v1/catalog/register", r#"{ "Node": "elsewhere", "Address": "127.0.0.1" }"#).unwrap();
    let ports: Vec<u16> = (20_000..21_000).collect();
    for ports in ports.chunks(TRANSACTION) {
        let mut operations = String::new();
        for port in ports {
            let service = format!(r#"{{ "ID": "s{port}", "Service": "many", "Address": "127.0.0.1", "Port": {port} }}"#);
            let comma = if operations.is_empty() { "" } else { "," };
            write!(operations, r#"{comma}{{ "Service": {{ "Verb": "set", "Node": "elsewhere", "Service": {service} }} }}"#)
                .unwrap();
        }
        consul.put("/v1/txn", &format!("[{operations}]")).unwrap();
    }
    let mut watcher = Watcher::start(&consul, "many");
    watcher.until_is(&keys(ports.clone())).await;
    consul.put("/v1/catalog/deregister", r#"{ "Node": "elsewhere", "ServiceID": "s20000" }"#).unwrap();
    let took = watcher.until_is(&keys(ports.into_iter().skip(1))).await;
    assert!(took < SOON, "{took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_service_is_told_at_once_and_found_when_it_comes() {
    let Some(root) = require("consul") else { return };
    let consul = Consul::start(&root).unwrap();
    let mut watcher = Watcher::start(&consul, "nobody");
    let took = watcher.until("it is not found", |seen| seen.failed_with("service \"nobody\" is not registered")).await;
    assert!(took < 2 * SOON, "{took:?}");
    assert_eq!(watcher.now().error.unwrap().kind(), ResolveErrorKind::NotFound);

    consul.register("nobody", "n1", 50_001).unwrap();
    assert!(watcher.until_is(&keys([50_001])).await < SOON);

    // What works is kept when Consul says that there is nothing, and the channel is told why.
    consul.deregister("n1").unwrap();
    let took = watcher.until("it is gone", |seen| seen.failed_with("service not found")).await;
    assert!(took < SOON && watcher.now().keys() == keys([50_001]), "{took:?}");
    consul.register("nobody", "n1", 50_001).unwrap();
    watcher.until_is(&keys([50_001])).await;
    assert_eq!(watcher.now().errors, 2, "each state is told once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_wants_an_empty_set_gets_it() {
    let Some(root) = require("consul") else { return };
    let consul = Consul::start(&root).unwrap();
    consul.register("greeter", "s1", 50_001).unwrap();
    let mut watcher = Watcher::with(crate::support::config(&consul).with_clear_when_empty(true), "greeter");
    watcher.until_is(&keys([50_001])).await;
    consul.deregister("s1").unwrap();
    watcher.until("it is empty", |seen| seen.is(&BTreeSet::new()) && seen.note().contains("not registered")).await;
}
