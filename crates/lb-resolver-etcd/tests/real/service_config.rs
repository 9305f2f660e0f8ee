//! A service config in a key of its own.

use std::time::Duration;

use lb_core::ServiceConfigUpdate;
use lb_resolver_etcd::EtcdConfig;
use lb_testkit::services::Etcd;
use lb_testkit::services::require;
use serde_json::json;

use crate::watched::PATIENCE;
use crate::watched::Said;
use crate::watched::Watched;

const KEY: &str = "config/svc";

fn told(said: &Said) -> Option<&ServiceConfigUpdate> {
    said.update.as_ref().map(|update| &update.service_config)
}

#[tokio::test(flavor = "multi_thread")]
async fn it_comes_changes_breaks_and_goes_with_its_key() {
    let Some(root) = require("etcd") else { return };
    let mut etcd = Etcd::start(&root).unwrap();
    etcd.put("svc/1", "127.0.0.1:1").unwrap();
    // A key that only begins alike is another one.
    etcd.put("config/svc2", "{ no JSON").unwrap();
    let second = Duration::from_secs(1);
    let config = EtcdConfig::new().with_keepalive(5 * second, second).unwrap().with_service_config_key(KEY);
    let mut watched = Watched::start(config, &etcd.addrs());
    watched.until_is(PATIENCE, &["127.0.0.1:1"]).await;
    assert!(watched.read(|said| told(said) == Some(&ServiceConfigUpdate::Absent)));

    for name in ["random", "round_robin"] {
        let config = json!({"loadBalancingConfig": [{name: {}}]});
        etcd.put(KEY, &config.to_string()).unwrap();
        watched.until(name, PATIENCE, |said| told(said) == Some(&config.clone().into())).await;
    }
    etcd.put(KEY, "{ no JSON").unwrap();
    watched.until("it is broken", PATIENCE, |said| matches!(told(said), Some(ServiceConfigUpdate::Broken(_)))).await;
    etcd.put("svc/2", "127.0.0.1:2").unwrap();
    watched.until_is(PATIENCE, &["127.0.0.1:1", "127.0.0.1:2"]).await;
    etcd.delete(KEY).unwrap();
    watched.until("it is gone", PATIENCE, |said| told(said) == Some(&ServiceConfigUpdate::Absent)).await;

    let config = json!({"loadBalancingPolicy": "random"});
    etcd.put(KEY, &config.to_string()).unwrap();
    watched.until("it is back", PATIENCE, |said| told(said) == Some(&config.clone().into())).await;
    // etcd away is no config gone.
    etcd.kill(0).unwrap();
    watched.until_fails(PATIENCE).await;
    assert!(watched.read(|said| told(said) == Some(&config.clone().into())));
    etcd.restart(0).unwrap();
    let next = json!({"loadBalancingPolicy": "round_robin"});
    etcd.put(KEY, &next.to_string()).unwrap();
    watched.until("a change after its return", PATIENCE, |said| told(said) == Some(&next.clone().into())).await;
}
