//! Users, rights and tokens.

use std::time::Duration;

use lb_core::ResolveErrorKind;
use lb_resolver_etcd::EtcdConfig;
use lb_testkit::services::Etcd;
use lb_testkit::services::EtcdOptions;
use lb_testkit::services::require;

use crate::watched::PATIENCE;
use crate::watched::Watched;

#[tokio::test(flavor = "multi_thread")]
async fn refusals_are_told_as_such_and_a_right_granted_later_helps() {
    let Some(root) = require("etcd") else { return };
    let mut etcd = Etcd::start(&root).unwrap();
    etcd.put("svc/a", "127.0.0.1:1").unwrap();
    etcd.ctl(&["user", "add", "reader:pw"]).unwrap();
    etcd.ctl(&["role", "add", "readers"]).unwrap();
    etcd.ctl(&["user", "grant-role", "reader", "readers"]).unwrap();
    etcd.enable_auth("secret").unwrap();

    for (config, expected) in [
        (EtcdConfig::new(), "user name is empty"),
        (EtcdConfig::new().with_user("root", "wrong"), "invalid user ID or password"),
        (EtcdConfig::new().with_user("reader", "pw"), "permission denied"),
    ] {
        let mut watched = Watched::start(config, &etcd.addrs());
        watched.until_fails(PATIENCE).await;
        let error = watched.read(|said| said.last_error().clone());
        assert_eq!(error.kind(), ResolveErrorKind::Refused, "{error}");
        assert!(error.message().contains(expected) && error.message().contains(&etcd.addrs()), "{error}");
    }

    let mut watched = Watched::start(EtcdConfig::new().with_user("reader", "pw"), &etcd.addrs());
    watched.until_fails(PATIENCE).await;
    etcd.ctl(&["role", "grant-permission", "readers", "--prefix=true", "read", "svc/"]).unwrap();
    watched.until_is(PATIENCE, &["127.0.0.1:1"]).await;
    etcd.ctl(&["put", "svc/b", "127.0.0.1:2"]).unwrap();
    watched.until_is(Duration::from_secs(1), &["127.0.0.1:1", "127.0.0.1:2"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_token_is_replaced_without_a_word() {
    let Some(root) = require("etcd") else { return };
    let options = EtcdOptions { token_ttl: Some(1), ..EtcdOptions::default() };
    let mut etcd = Etcd::start_with(&root, 1, options).unwrap();
    etcd.put("svc/a", "127.0.0.1:1").unwrap();
    etcd.enable_auth("secret").unwrap();
    // A list every few seconds, with a token that lives for one.
    let config = EtcdConfig::new().with_user("root", "secret").with_check_interval(Duration::from_secs(4)).unwrap();
    let mut watched = Watched::start(config, &etcd.addrs());
    watched.until_is(PATIENCE, &["127.0.0.1:1"]).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    etcd.ctl(&["put", "svc/b", "127.0.0.1:2"]).unwrap();
    watched.until_is(Duration::from_secs(1), &["127.0.0.1:1", "127.0.0.1:2"]).await;
    watched.read(|said| assert!(said.errors.is_empty(), "{:?}", said.errors));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_is_no_harm_where_authentication_is_off() {
    let Some(root) = require("etcd") else { return };
    let etcd = Etcd::start(&root).unwrap();
    etcd.put("svc/a", "127.0.0.1:1").unwrap();
    let mut watched = Watched::start(EtcdConfig::new().with_user("root", "secret"), &etcd.addrs());
    watched.until_is(PATIENCE, &["127.0.0.1:1"]).await;
}
