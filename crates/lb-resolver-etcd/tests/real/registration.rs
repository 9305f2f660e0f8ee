//! Servers that register are found, and only as long as they are there.

use std::time::Duration;
use std::time::Instant;

use lb_core::Address;
use lb_core::Endpoint;
use lb_resolver_etcd::EtcdConfig;
use lb_resolver_etcd::EtcdFormat;
use lb_resolver_etcd::EtcdRegistrar;
use lb_resolver_etcd::EtcdRegistration;
use lb_resolver_etcd::RegistrationState;
use lb_testkit::services::Etcd;
use lb_testkit::services::require;
use tokio::time::timeout;

use crate::watched::PATIENCE;
use crate::watched::Watched;

fn endpoint(port: u16) -> Endpoint {
    Endpoint::new(format!("127.0.0.1:{port}").parse::<Address>().unwrap())
}

fn registrar(etcd: &Etcd) -> EtcdRegistrar {
    let config = EtcdConfig::new().with_endpoints([etcd.addrs()]).unwrap();
    EtcdRegistrar::new(config).with_ttl(Duration::from_secs(2)).unwrap()
}

async fn registered(registration: &mut EtcdRegistration) {
    assert!(timeout(PATIENCE, registration.registered()).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_comes_changes_and_goes() {
    let Some(root) = require("etcd") else { return };
    let etcd = Etcd::start(&root).unwrap();
    let mut watched = Watched::start(EtcdConfig::new(), &etcd.addrs());
    let mut first = registrar(&etcd).register("svc", endpoint(1)).unwrap();
    let second = registrar(&etcd).with_format(EtcdFormat::GrpcNaming).register("svc/", endpoint(2).with_weight(7)).unwrap();
    assert_eq!((first.key(), second.key()), ("svc/127.0.0.1:1", "svc/127.0.0.1:2"));
    registered(&mut first).await;
    watched.until_is(PATIENCE, &["127.0.0.1:1", "127.0.0.1:2"]).await;
    assert_eq!(watched.read(|said| said.endpoints()[1].attributes.weight), 7);

    first.update(endpoint(1).with_weight(5).attributes);
    watched.until("the new weight", PATIENCE, |said| said.endpoints()[0].attributes.weight == 5).await;
    // Longer than the time to live: it is kept alive.
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!((watched.read(|said| said.addresses().len()), first.state()), (2, RegistrationState::Registered));

    // Before the time to live is over, so by our doing.
    let start = Instant::now();
    assert!(first.shutdown().await);
    watched.until_is(PATIENCE, &["127.0.0.1:2"]).await;
    drop(second);
    watched.until_is(PATIENCE, &[]).await;
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_lease_is_replaced() {
    let Some(root) = require("etcd") else { return };
    let mut etcd = Etcd::start(&root).unwrap();
    let mut registration = registrar(&etcd).register("svc", endpoint(1)).unwrap();
    registered(&mut registration).await;
    let mut watched = Watched::start(EtcdConfig::new(), &etcd.addrs());
    watched.until_is(PATIENCE, &["127.0.0.1:1"]).await;

    let leases = etcd.ctl(&["lease", "list"]).unwrap();
    etcd.ctl(&["lease", "revoke", leases.lines().last().unwrap()]).unwrap();
    watched.until_is(PATIENCE, &[]).await;
    watched.until_is(PATIENCE, &["127.0.0.1:1"]).await;

    // The data lost: the server is back before anybody who knew it has dropped it.
    etcd.kill(0).unwrap();
    etcd.wipe(0).unwrap();
    let updates = watched.read(|said| said.updates);
    etcd.restart(0).unwrap();
    watched.until("back", PATIENCE, |said| said.updates > updates).await;
    assert_eq!(watched.read(|said| said.addresses().len()), 1);
    registered(&mut registration).await;
    assert!(registration.shutdown().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_starts_while_etcd_is_away_and_ends_while_it_is_away() {
    let Some(root) = require("etcd") else { return };
    let mut etcd = Etcd::start(&root).unwrap();
    etcd.kill(0).unwrap();
    let mut registration = registrar(&etcd).register("svc", endpoint(1)).unwrap();
    let state = timeout(PATIENCE, registration.changed()).await.unwrap();
    assert!(matches!(&state, RegistrationState::Failing(reason) if reason.contains("refused")), "{state}");
    etcd.restart(0).unwrap();
    registered(&mut registration).await;
    etcd.kill(0).unwrap();
    assert!(!timeout(PATIENCE, registration.shutdown()).await.unwrap(), "nobody was told");
}
