//! Whatever happens to etcd, the last good set stands, and what changed meanwhile shows soon after.

use std::time::Duration;
use std::time::Instant;

use lb_core::ResolveErrorKind;
use lb_resolver_etcd::EtcdConfig;
use lb_testkit::Cut;
use lb_testkit::Direction;
use lb_testkit::Fault;
use lb_testkit::FaultProxy;
use lb_testkit::services::Etcd;
use lb_testkit::services::require;

use crate::watched::PATIENCE;
use crate::watched::Watched;

/// What the issue demands: changes show within this time of etcd's return.
const AFTER_RETURN: Duration = Duration::from_secs(2);

#[tokio::test(flavor = "multi_thread")]
async fn killed_and_restarted_it_is_followed_on() {
    let Some(root) = require("etcd") else { return };
    let mut etcd = Etcd::start(&root).unwrap();
    etcd.put("svc/a", "127.0.0.1:1").unwrap();
    let mut watched = Watched::start(EtcdConfig::new(), &etcd.addrs());
    watched.until_is(PATIENCE, &["127.0.0.1:1"]).await;
    for port in 2..4 {
        etcd.kill(0).unwrap();
        watched.until_fails(PATIENCE).await;
        etcd.restart(0).unwrap();
        etcd.put(&format!("svc/{port}"), &format!("127.0.0.1:{port}")).unwrap();
        watched.until("the change", AFTER_RETURN, |said| said.addresses().contains(&format!("127.0.0.1:{port}"))).await;
    }
    watched.read(|said| {
        assert_eq!((said.addresses().len(), said.fewest), (3, Some(1)));
        assert!(said.errors.iter().all(|error| error.kind() == ResolveErrorKind::Unavailable));
        assert!(said.last_error().message().contains("the last good set stands"), "{}", said.last_error());
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn away_at_the_start_it_is_found_when_it_comes() {
    let Some(root) = require("etcd") else { return };
    let mut etcd = Etcd::start(&root).unwrap();
    etcd.put("svc/a", "127.0.0.1:1").unwrap();
    etcd.kill(0).unwrap();
    let mut watched = Watched::start(EtcdConfig::new(), &etcd.addrs());
    watched.until_fails(PATIENCE).await;
    let error = watched.read(|said| said.last_error().clone());
    assert!(error.message().contains(&etcd.addrs()) && error.message().contains("refused"), "{error}");
    etcd.restart(0).unwrap();
    watched.until_is(AFTER_RETURN, &["127.0.0.1:1"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn frozen_it_is_noticed_and_thawed_it_is_followed_on() {
    let Some(root) = require("etcd") else { return };
    let etcd = Etcd::start(&root).unwrap();
    etcd.put("svc/a", "127.0.0.1:1").unwrap();
    let second = Duration::from_secs(1);
    let config = EtcdConfig::new().with_keepalive(5 * second, second).unwrap().with_request_timeout(second).unwrap();
    let mut watched = Watched::start(config, &etcd.addrs());
    watched.until_is(PATIENCE, &["127.0.0.1:1"]).await;
    etcd.pause(0).unwrap();
    watched.until_fails(PATIENCE).await;
    assert_eq!(watched.read(|said| said.addresses().len()), 1);
    etcd.resume(0).unwrap();
    etcd.put("svc/b", "127.0.0.1:2").unwrap();
    watched.until_is(AFTER_RETURN, &["127.0.0.1:1", "127.0.0.1:2"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn compacted_past_our_revision_it_is_listed_anew() {
    let Some(root) = require("etcd") else { return };
    let etcd = Etcd::start(&root).unwrap();
    etcd.put("svc/a", "127.0.0.1:1").unwrap();
    let proxy = FaultProxy::start(etcd.addr(0)).await.unwrap();
    let mut watched = Watched::start(EtcdConfig::new(), &proxy.addr().to_string());
    watched.until_is(PATIENCE, &["127.0.0.1:1"]).await;

    proxy.refuse().await.unwrap();
    proxy.cut(Cut::Rst);
    watched.until_fails(PATIENCE).await;
    etcd.put("svc/b", "127.0.0.1:2").unwrap();
    etcd.delete("svc/a").unwrap();
    etcd.compact().unwrap();
    proxy.accept().await.unwrap();
    watched.until_is(AFTER_RETURN, &["127.0.0.1:2"]).await;
    etcd.put("svc/c", "127.0.0.1:3").unwrap();
    watched.until_is(AFTER_RETURN, &["127.0.0.1:2", "127.0.0.1:3"]).await;
    assert!(watched.read(|said| said.errors.iter().all(|error| error.kind() == ResolveErrorKind::Unavailable)));
}

#[tokio::test(flavor = "multi_thread")]
async fn cut_off_again_and_again_nothing_is_missed() {
    let Some(root) = require("etcd") else { return };
    let etcd = Etcd::start(&root).unwrap();
    let proxy = FaultProxy::start(etcd.addr(0)).await.unwrap();
    let mut watched = Watched::start(EtcdConfig::new(), &proxy.addr().to_string());
    watched.until_is(PATIENCE, &[]).await;
    for port in 1..=30 {
        proxy.cut(if port % 2 == 0 { Cut::Rst } else { Cut::Fin });
        etcd.put(&format!("svc/{port}"), &format!("127.0.0.1:{port}")).unwrap();
        if port > 3 {
            etcd.delete(&format!("svc/{}", port - 3)).unwrap();
        }
    }
    watched.until_is(AFTER_RETURN, &["127.0.0.1:28", "127.0.0.1:29", "127.0.0.1:30"]).await;
    drop(watched);
    closed(&proxy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_stream_stops_in_the_middle_of_a_request() {
    let Some(root) = require("etcd") else { return };
    let etcd = Etcd::start(&root).unwrap();
    let proxy = FaultProxy::start(etcd.addr(0)).await.unwrap();
    proxy.set(Fault::HalfOpen(Direction::ToClient));
    let watched = Watched::start(EtcdConfig::new(), &proxy.addr().to_string());
    while proxy.connections() == 0 {
        tokio::task::yield_now().await;
    }
    drop(watched);
    // It is up to the client alone to end the connection, also when the answer comes after all.
    proxy.set(Fault::Pass);
    closed(&proxy).await;
}

async fn closed(proxy: &FaultProxy) {
    let start = Instant::now();
    while proxy.connections() > 0 {
        assert!(start.elapsed() < Duration::from_secs(5), "a dropped stream leaves its connection open");
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_its_leader_killed_a_cluster_is_followed_on() {
    let Some(root) = require("etcd") else { return };
    let mut etcd = Etcd::start_cluster(&root, 3).unwrap();
    etcd.put("svc/a", "127.0.0.1:1").unwrap();
    let leader = etcd.leader().unwrap();
    // One watches by the leader, one by whichever comes.
    let by_leader = format!("{},{}", etcd.addr(leader), etcd.addrs());
    let mut watched = [Watched::start(EtcdConfig::new(), &by_leader), Watched::start(EtcdConfig::new(), &etcd.addrs())];
    for watched in &mut watched {
        watched.until_is(PATIENCE, &["127.0.0.1:1"]).await;
    }
    etcd.kill(leader).unwrap();
    etcd.leader().unwrap();
    etcd.ctl(&["put", "svc/b", "127.0.0.1:2"]).unwrap();
    for watched in &mut watched {
        watched.until_is(AFTER_RETURN, &["127.0.0.1:1", "127.0.0.1:2"]).await;
        assert_eq!(watched.read(|said| said.fewest), Some(1));
    }
    // Without a majority nothing can be asked, and that is said.
    let other = (0..3).find(|at| *at != leader).unwrap();
    etcd.kill(other).unwrap();
    for watched in &mut watched {
        watched.until_fails(PATIENCE).await;
        assert_eq!(watched.read(|said| said.addresses().len()), 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wiped_it_is_noticed_and_servers_are_given_time() {
    let Some(root) = require("etcd") else { return };
    let mut etcd = Etcd::start(&root).unwrap();
    for port in 1..=5 {
        etcd.put(&format!("svc/{port}"), &format!("127.0.0.1:{port}")).unwrap();
    }
    let grace = Duration::from_secs(1);
    let mut watched = Watched::start(EtcdConfig::new().with_wipe_grace(grace).unwrap(), &etcd.addrs());
    watched.until("all", PATIENCE, |said| said.addresses().len() == 5).await;
    etcd.kill(0).unwrap();
    etcd.wipe(0).unwrap();
    etcd.restart(0).unwrap();
    watched.until("said", PATIENCE, |said| said.errors.iter().any(|error| error.message().contains("lost its data"))).await;
    assert_eq!(watched.read(|said| said.addresses().len()), 5);
    etcd.put("svc/9", "127.0.0.1:9").unwrap();
    watched.until_is(grace + AFTER_RETURN, &["127.0.0.1:9"]).await;
    etcd.put("svc/8", "127.0.0.1:8").unwrap();
    watched.until_is(AFTER_RETURN, &["127.0.0.1:8", "127.0.0.1:9"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wiped_and_filled_again_the_set_is_swapped_without_a_gap() {
    let Some(root) = require("etcd") else { return };
    let mut etcd = Etcd::start(&root).unwrap();
    let fill = |etcd: &Etcd, from: u32, to: u32| {
        (from..=to).for_each(|port| etcd.put(&format!("svc/{port}"), &format!("127.0.0.1:{port}")).unwrap());
    };
    fill(&etcd, 1, 5);
    let mut watched = Watched::start(EtcdConfig::new(), &etcd.addrs());
    watched.until("all", PATIENCE, |said| said.addresses().len() == 5).await;
    etcd.kill(0).unwrap();
    etcd.wipe(0).unwrap();
    etcd.restart(0).unwrap();
    watched.until("said", PATIENCE, |said| said.errors.iter().any(|error| error.message().contains("lost its data"))).await;
    // Long before the default grace of 30 s is over.
    fill(&etcd, 1, 6);
    watched.until("all and one more", AFTER_RETURN, |said| said.addresses().len() == 6).await;
    assert_eq!(watched.read(|said| said.fewest), Some(5));
}

#[tokio::test(flavor = "multi_thread")]
async fn wiped_and_grown_past_our_revision_it_is_noticed_by_the_check() {
    let Some(root) = require("etcd") else { return };
    let mut etcd = Etcd::start(&root).unwrap();
    etcd.put("svc/1", "127.0.0.1:1").unwrap();
    let proxy = FaultProxy::start(etcd.addr(0)).await.unwrap();
    let config = EtcdConfig::new().with_check_interval(Duration::from_secs(10)).unwrap();
    let mut watched = Watched::start(config, &proxy.addr().to_string());
    watched.until_is(PATIENCE, &["127.0.0.1:1"]).await;

    proxy.refuse().await.unwrap();
    proxy.cut(Cut::Rst);
    watched.until_fails(PATIENCE).await;
    etcd.kill(0).unwrap();
    etcd.wipe(0).unwrap();
    etcd.restart(0).unwrap();
    for port in 2..=9 {
        etcd.put(&format!("svc/{port}"), &format!("127.0.0.1:{port}")).unwrap();
    }
    proxy.accept().await.unwrap();
    // The watch goes on as if nothing had happened; the first list after a resumption comes a second later.
    watched
        .until("what is there now", PATIENCE, |said| said.addresses() == (2..=9).map(|port| format!("127.0.0.1:{port}")).collect())
        .await;
}
