//! Consul goes, hangs, forgets, and comes back.

use std::time::Duration;

use lb_core::ResolveErrorKind;
use lb_resolver_consul::ConsulConfig;
use lb_testkit::ReservedPort;
use lb_testkit::services::Consul;
use lb_testkit::services::require;

use crate::support::Watcher;
use crate::support::config;
use crate::support::keys;

/// What is promised: a change shows within this of the return.
const RETURN: Duration = Duration::from_secs(2);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_and_restarted() {
    let Some(root) = require("consul") else { return };
    let mut consul = Consul::start(&root).unwrap();
    consul.register("greeter", "s1", 50_001).unwrap();
    let mut watcher = Watcher::start(&consul, "greeter");
    watcher.until_is(&keys([50_001])).await;

    consul.kill().unwrap();
    watcher.until("it cannot be reached", |seen| seen.failed_with("cannot be reached")).await;
    // Long enough for the longest pause between attempts.
    watcher.until("it is tried again", |seen| seen.errors >= 7).await;
    assert_eq!(watcher.now().keys(), keys([50_001]));
    assert_eq!(watcher.now().error.unwrap().kind(), ResolveErrorKind::Unavailable);

    consul.restart().unwrap();
    consul.register("greeter", "s2", 50_002).unwrap();
    let took = watcher.until_is(&keys([50_001, 50_002])).await;
    assert!(took < RETURN, "{took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frozen_and_thawed() {
    let Some(root) = require("consul") else { return };
    let consul = Consul::start(&root).unwrap();
    consul.register("greeter", "s1", 50_001).unwrap();
    let config = config(&consul).with_wait(Duration::from_secs(1)).unwrap().with_timeout(Duration::from_secs(1)).unwrap();
    let mut watcher = Watcher::with(config, "greeter");
    watcher.until_is(&keys([50_001])).await;

    consul.pause().unwrap();
    watcher.until("it hangs", |seen| seen.failed_with("did not answer within") && seen.errors >= 3).await;
    assert_eq!(watcher.now().keys(), keys([50_001]));
    consul.resume().unwrap();
    consul.register("greeter", "s2", 50_002).unwrap();
    let took = watcher.until_is(&keys([50_001, 50_002])).await;
    assert!(took < RETURN, "{took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wiped_so_that_its_index_goes_backwards() {
    let Some(root) = require("consul") else { return };
    let mut consul = Consul::start(&root).unwrap();
    for value in 0..100 {
        consul.put("/v1/kv/raises-the-index", &value.to_string()).unwrap();
    }
    consul.register("greeter", "s1", 50_001).unwrap();
    let mut watcher = Watcher::start(&consul, "greeter");
    watcher.until_is(&keys([50_001])).await;

    consul.wipe().unwrap();
    consul.restart().unwrap();
    watcher.until("it knows nothing", |seen| seen.failed_with("service not found")).await;
    assert_eq!(watcher.now().keys(), keys([50_001]), "a registry that forgot costs no working set");
    consul.register("greeter", "s2", 50_002).unwrap();
    let took = watcher.until_is(&keys([50_002])).await;
    assert!(took < RETURN, "{took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_quorum_what_is_known_stands_and_stale_answers_serve() {
    let Some(root) = require("consul") else { return };
    let mut consuls = Consul::start_cluster(&root, 3).unwrap();
    consuls[0].register("greeter", "s1", 50_001).unwrap();
    let brisk = || config(&consuls[0]).with_wait(Duration::from_secs(2)).unwrap();
    let (mut watcher, late) = (Watcher::with(brisk(), "greeter"), brisk());
    watcher.until_is(&keys([50_001])).await;
    // The leader's word, too, has reached the server that will be alone.
    let mut stale = Watcher::with(brisk(), "greeter?stale");
    stale.until_is(&keys([50_001])).await;

    consuls[1].kill().unwrap();
    consuls[2].kill().unwrap();
    watcher.until("there is no leader", |seen| seen.failed_with("500") && seen.failed_with("No cluster leader")).await;
    assert_eq!(watcher.now().keys(), keys([50_001]));

    stale.until("a stale answer", |seen| seen.keys() == keys([50_001]) && seen.note().contains("no leader")).await;
    // Who knows nothing yet takes what there is rather than nothing.
    let mut late = Watcher::with(late, "greeter");
    late.until("a first answer", |seen| seen.keys() == keys([50_001]) && seen.note().contains("no leader")).await;

    consuls[1].restart().unwrap();
    consuls[0].register("greeter", "s2", 50_002).unwrap();
    watcher.until_is(&keys([50_001, 50_002])).await;
    late.until_is(&keys([50_001, 50_002])).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_several_agents_one_is_enough() {
    let Some(root) = require("consul") else { return };
    let mut consuls = Consul::start_cluster(&root, 3).unwrap();
    for (consul, port) in consuls.iter().zip(50_001..) {
        consul.register("greeter", &format!("s{port}"), port).unwrap();
    }
    let dead = ReservedPort::new().unwrap();
    let agents = [dead.addr(), consuls[0].addr(), consuls[1].addr()].map(|addr| addr.to_string());
    let mut watcher = Watcher::with(ConsulConfig::new().with_agents(agents).unwrap(), "greeter");
    watcher.until_is(&keys([50_001, 50_002, 50_003])).await;
    assert_eq!(watcher.now().errors, 0, "failing over is no error");

    consuls[0].kill().unwrap();
    consuls[1].deregister("s50002").unwrap();
    watcher.until("the change is seen", |seen| !seen.keys().contains("127.0.0.1:50002")).await;
}
