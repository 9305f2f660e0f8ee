//! The set follows the keys.

use std::collections::BTreeSet;
use std::time::Duration;

use lb_core::ResolveErrorKind;
use lb_resolver_etcd::EtcdConfig;
use lb_testkit::services::Etcd;
use lb_testkit::services::require;

use crate::watched::PATIENCE;
use crate::watched::Watched;

/// What the issue demands: the truth within a second of the last change.
const SOON: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_changes_in_bursts_end_with_the_truth() {
    let Some(root) = require("etcd") else { return };
    let etcd = Etcd::start(&root).unwrap();
    let mut watched = Watched::start(EtcdConfig::new(), &etcd.addrs());
    watched.until_is(PATIENCE, &[]).await;
    assert!(watched.read(|said| said.update.clone()).unwrap().note.unwrap().contains("no keys below \"svc/\""));

    let (mut truth, mut random) = (BTreeSet::new(), 1_u32);
    for burst in 0..10 {
        for _ in 0..100 {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let port = 1 + (random >> 16) % 20;
            let (key, value) = (format!("svc/{port}"), format!("127.0.0.1:{port}"));
            if truth.remove(&value) {
                etcd.delete(&key).unwrap();
            } else {
                etcd.put(&key, &value).unwrap();
                truth.insert(value);
            }
        }
        watched.until(&format!("burst {burst}: {truth:?}"), SOON, |said| said.addresses() == truth).await;
    }
    assert!(watched.read(|said| said.errors.is_empty()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_endpoints_are_listed_in_pages_and_all_go_with_their_lease() {
    let Some(root) = require("etcd") else { return };
    let etcd = Etcd::start(&root).unwrap();
    for port in 1..=1000 {
        etcd.put(&format!("svc/{port}"), &format!(r#"{{"address":"127.0.0.1:{port}","weight":{port}}}"#)).unwrap();
    }
    // Beside the name, not below it.
    etcd.put("svc2/1", "127.0.0.2:1").unwrap();
    etcd.put("svc", "127.0.0.2:2").unwrap();
    let mut watched = Watched::start(EtcdConfig::new(), &etcd.addrs());
    watched.until("all", PATIENCE, |said| said.addresses().len() == 1000).await;
    let weights: u32 = watched.read(|said| said.endpoints().iter().map(|endpoint| endpoint.attributes.weight).sum());
    assert_eq!((weights, watched.read(|said| said.updates)), (500_500, 1), "one update with all of them");

    etcd.ctl(&["del", "--prefix", "svc/"]).unwrap();
    watched.until_is(SOON, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_lease_takes_its_endpoint_out() {
    let Some(root) = require("etcd") else { return };
    let etcd = Etcd::start(&root).unwrap();
    etcd.put("svc/a", "127.0.0.1:1").unwrap();
    let granted = etcd.ctl(&["lease", "grant", "2"]).unwrap();
    let lease = granted.split(' ').nth(1).unwrap();
    etcd.ctl(&["put", &format!("--lease={lease}"), "svc/b", "127.0.0.1:2"]).unwrap();
    let mut watched = Watched::start(EtcdConfig::new(), &etcd.addrs());
    watched.until_is(PATIENCE, &["127.0.0.1:1", "127.0.0.1:2"]).await;
    watched.until_is(PATIENCE, &["127.0.0.1:1"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_value_costs_its_endpoint_and_all_bad_ones_cost_nothing() {
    let Some(root) = require("etcd") else { return };
    let etcd = Etcd::start(&root).unwrap();
    etcd.put("svc/a", r#"{"Op":0,"Addr":"127.0.0.1:1","Metadata":{"weight":9}}"#).unwrap();
    etcd.put("svc/b", r#"{"address":"127.0.0.1:99999"}"#).unwrap();
    let mut watched = Watched::start(EtcdConfig::new(), &etcd.addrs());
    watched.until_is(PATIENCE, &["127.0.0.1:1"]).await;
    let note = watched.read(|said| said.update.clone().unwrap().note.unwrap());
    assert!(note.contains("1 of 2") && note.contains("svc/b") && note.contains("99999"), "{note}");

    etcd.put("svc/a", "nonsense").unwrap();
    watched.until_fails(SOON).await;
    assert_eq!(watched.read(|said| said.last_error().kind()), ResolveErrorKind::Malformed);
    assert_eq!(watched.read(|said| said.addresses().len()), 1);
    etcd.put("svc/b", "127.0.0.1:2").unwrap();
    watched.until_is(SOON, &["127.0.0.1:2"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_is_allowed_is_refused_and_the_last_good_set_stands() {
    let Some(root) = require("etcd") else { return };
    let etcd = Etcd::start(&root).unwrap();
    etcd.put("svc/a", "127.0.0.1:1").unwrap();
    let mut watched = Watched::start(EtcdConfig::new().with_max_endpoints(2), &etcd.addrs());
    watched.until_is(PATIENCE, &["127.0.0.1:1"]).await;
    for port in 2..10 {
        etcd.put(&format!("svc/{port}"), &format!("127.0.0.1:{port}")).unwrap();
    }
    watched.until("refused", PATIENCE, |said| said.errors.iter().any(|error| error.message().contains("more than 2 keys"))).await;
    assert!(watched.read(|said| said.addresses().len()) <= 2);
    etcd.ctl(&["del", "--prefix", "svc/"]).unwrap();
    watched.until_is(PATIENCE, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn values_that_fill_a_message_come_in_smaller_pages() {
    let Some(root) = require("etcd") else { return };
    let etcd = Etcd::start(&root).unwrap();
    // 100 times 60 kB in one answer would be three times what the smallest setting reads.
    let filler = "x".repeat(60_000);
    for port in 1..=100 {
        let value = format!(r#"{{"address":"127.0.0.1:{port}","metadata":{{"x":"{filler}"}}}}"#);
        etcd.put(&format!("svc/{port}"), &value).unwrap();
    }
    let mut watched = Watched::start(EtcdConfig::new().with_max_message_bytes(0), &etcd.addrs());
    watched.until("all", PATIENCE, |said| said.addresses().len() == 100).await;
    assert!(watched.read(|said| said.errors.is_empty()));
}

#[tokio::test(flavor = "multi_thread")]
async fn asking_lists_again_but_not_more_often_than_allowed() {
    let Some(root) = require("etcd") else { return };
    let etcd = Etcd::start(&root).unwrap();
    etcd.put("svc/a", "127.0.0.1:1").unwrap();
    let config = EtcdConfig::new().with_min_interval(Duration::from_secs(3600)).unwrap();
    let mut watched = Watched::start(config, &etcd.addrs());
    watched.until_is(PATIENCE, &["127.0.0.1:1"]).await;
    for port in 2..100 {
        watched.trigger.fire();
        etcd.put("svc/a", &format!("127.0.0.1:{port}")).unwrap();
    }
    watched.until_is(SOON, &["127.0.0.1:99"]).await;
    assert!(watched.read(|said| said.errors.is_empty()));
}
