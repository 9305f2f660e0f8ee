//! TLS, with a client certificate that is the user.
#![cfg(feature = "tls-ring")]

use std::net::Ipv4Addr;

use lb_core::ResolveErrorKind;
use lb_resolver_etcd::EtcdConfig;
use lb_resolver_etcd::EtcdTls;
use lb_testkit::services::Etcd;
use lb_testkit::services::EtcdCertificates;
use lb_testkit::services::EtcdOptions;
use lb_testkit::services::require;
use rcgen::BasicConstraints;
use rcgen::CertificateParams;
use rcgen::CertifiedIssuer;
use rcgen::DnType;
use rcgen::ExtendedKeyUsagePurpose;
use rcgen::IsCa;
use rcgen::KeyPair;
use rcgen::SanType;

use crate::watched::PATIENCE;
use crate::watched::Watched;

fn certificates() -> EtcdCertificates {
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate().unwrap()).unwrap();
    let certify = |name: &str| {
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::IpAddress(Ipv4Addr::LOCALHOST.into())];
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &ca).unwrap().pem(), key.serialize_pem())
    };
    let (cert, key) = certify("server");
    EtcdCertificates { ca: ca.pem(), cert, key, client: Some(certify("reader")) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_certificate_is_the_user() {
    let Some(root) = require("etcd") else { return };
    let tls = certificates();
    let options = EtcdOptions { tls: Some(tls.clone()), ..EtcdOptions::default() };
    let mut etcd = Etcd::start_with(&root, 1, options).unwrap();
    etcd.ctl(&["put", "svc/a", "127.0.0.1:1"]).unwrap();
    etcd.ctl(&["role", "add", "readers"]).unwrap();
    etcd.ctl(&["role", "grant-permission", "readers", "--prefix=true", "read", "svc/"]).unwrap();
    etcd.ctl(&["user", "add", "reader", "--no-password"]).unwrap();
    etcd.ctl(&["user", "grant-role", "reader", "readers"]).unwrap();
    etcd.enable_auth("secret").unwrap();

    let trusting = EtcdTls::new().ca_certificate(tls.ca);
    let (chain, key) = tls.client.unwrap();
    let known = EtcdConfig::new().with_tls(trusting.clone().identity(chain, key));
    let mut watched = Watched::start(known, &etcd.addrs());
    watched.until_is(PATIENCE, &["127.0.0.1:1"]).await;
    etcd.ctl(&["put", "svc/b", "127.0.0.1:2"]).unwrap();
    watched.until_is(PATIENCE, &["127.0.0.1:1", "127.0.0.1:2"]).await;

    // A stranger, somebody who distrusts the server, and somebody who speaks without TLS.
    let other = certificates().ca;
    for config in
        [EtcdConfig::new().with_tls(trusting), EtcdConfig::new().with_tls(EtcdTls::new().ca_certificate(other)), EtcdConfig::new()]
    {
        let mut watched = Watched::start(config, &etcd.addrs());
        watched.until_fails(PATIENCE).await;
        let error = watched.read(|said| said.last_error().clone());
        assert_eq!(error.kind(), ResolveErrorKind::Unavailable, "{error}");
        assert!(error.message().contains(&etcd.addrs()), "{error}");
    }
}
