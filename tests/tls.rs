//! TLS: names, trust, client certificates, and what calls are told when it fails.
#![cfg(feature = "tls-ring")]
#![allow(clippy::unwrap_used, reason = "a failing helper fails the test")]

#[path = "support/mod.rs"]
#[allow(dead_code, reason = "shared by several test binaries")]
mod support;

use evenkeel::transport::ClientTls;
use evenkeel::{BuildError, ConnectivityState, LbChannel, LbChannelBuilder};
use lb_testkit::EchoServer;
use lb_testkit::pb::EchoRequest;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tonic::Code;
use tonic::transport::{Certificate, Identity, ServerTlsConfig};

use crate::support::{Load, call, info, quick_backoff, ready, target, until_state};

const NAME: &str = "orders.test";

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// A certificate for this name, good until this year; and its key. Both in PEM.
    fn certify(&self, name: &str, until: i32) -> (String, String) {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(until, 1, 1);
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.0).unwrap().pem(), key.serialize_pem())
    }

    fn server_tls(&self, name: &str, until: i32) -> ServerTlsConfig {
        let (certificate, key) = self.certify(name, until);
        ServerTlsConfig::new().identity(Identity::from_pem(certificate, key))
    }

    async fn serve(&self, server: &str, name: &str) -> EchoServer {
        start(server, self.server_tls(name, 4000)).await
    }

    fn client_tls(&self) -> ClientTls {
        ClientTls::ca_certificate(self.0.pem())
    }
}

async fn start(name: &str, tls: ServerTlsConfig) -> EchoServer {
    EchoServer::builder().name(name).record_requests().tls(tls).unwrap().start().await.unwrap()
}

fn builder(servers: &[&EchoServer], tls: ClientTls) -> LbChannelBuilder {
    LbChannel::builder(target(servers.iter().map(|server| server.addr()))).authority(NAME).tls(tls).backoff(quick_backoff())
}

/// The only endpoint cannot be used, and a call is told whose fault it is.
async fn refused(server: &EchoServer, tls: ClientTls, says: &str) {
    let status = call(&builder(&[server], tls).build().unwrap()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    for part in [server.addr().to_string().as_str(), says] {
        assert!(status.message().contains(part), "{part:?} is not in: {status}");
    }
    assert_eq!(server.calls(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_balance_over_tls_and_survive_restarts() {
    let authority = Authority::new();
    let mut servers = Vec::new();
    for index in 0..3 {
        servers.push(authority.serve(&format!("s{index}"), NAME).await);
    }
    let channel = builder(&servers.iter().collect::<Vec<_>>(), authority.client_tls()).build().unwrap();
    ready(&channel, 3).await;
    for _ in 0..30 {
        call(&channel).await.unwrap();
    }
    for server in &servers {
        assert_eq!(server.calls(), 10);
        let head = server.last_request().unwrap();
        assert_eq!((head.uri.authority().unwrap().as_str(), head.uri.scheme_str()), (NAME, Some("https")));
    }
    let load = Load::start(&channel, 8, &EchoRequest::default());
    for server in &mut servers {
        load.goes_on(20).await;
        server.shutdown().await;
        server.restart().await.unwrap();
        until_state(&channel, server.addr(), ConnectivityState::Ready).await;
    }
    load.goes_on(20).await;
    load.stop().await.all_succeeded();
}

#[tokio::test]
async fn each_endpoint_can_have_a_name_of_its_own() {
    let authority = Authority::new();
    let (blue, green) = (authority.serve("blue", "blue.test").await, authority.serve("green", "green.test").await);
    let spec = format!("static:///{};hostname=blue.test,{};hostname=green.test", blue.addr(), green.addr());
    let channel = LbChannel::builder(spec).tls(authority.client_tls()).build().unwrap();
    ready(&channel, 2).await;
    for _ in 0..4 {
        call(&channel).await.unwrap();
    }
    for (server, name) in [(&blue, "blue.test"), (&green, "green.test")] {
        assert_eq!((server.calls(), server.last_request().unwrap().uri.authority().unwrap().as_str()), (2, name));
    }
}

#[tokio::test]
async fn the_name_to_verify_can_differ_from_the_authority() {
    let authority = Authority::new();
    let server = authority.serve("s", "inner.test").await;
    let channel = builder(&[&server], authority.client_tls().domain_name("inner.test")).build().unwrap();
    call(&channel).await.unwrap();
    assert_eq!(server.last_request().unwrap().uri.authority().unwrap(), NAME);
}

#[tokio::test]
async fn what_should_not_be_trusted_is_not() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    refused(&authority.serve("s", "elsewhere.test").await, authority.client_tls(), NAME).await;
    refused(&start("s", authority.server_tls(NAME, 2001)).await, authority.client_tls(), "xpired").await;
    refused(&stranger.serve("s", NAME).await, authority.client_tls(), "TLS").await;
    let plain = EchoServer::start("plain").await.unwrap();
    refused(&plain, authority.client_tls(), "TLS").await;
}

#[tokio::test]
async fn plaintext_at_a_tls_server_is_a_failed_attempt() {
    let authority = Authority::new();
    let server = authority.serve("s", NAME).await;
    let channel = LbChannel::builder(server.target()).backoff(quick_backoff()).build().unwrap();
    let status = call(&channel).await.unwrap_err();
    assert!(status.code() == Code::Unavailable && status.message().contains(&server.addr().to_string()), "{status}");
}

#[tokio::test]
async fn one_bad_certificate_beside_a_good_one_costs_no_call() {
    let authority = Authority::new();
    let (bad, good) = (authority.serve("bad", "elsewhere.test").await, authority.serve("good", NAME).await);
    let channel = builder(&[&bad, &good], authority.client_tls()).build().unwrap();
    for _ in 0..100 {
        assert_eq!(call(&channel).await.unwrap().into_inner().server, "good");
    }
    assert!(info(&channel, bad.addr()).error.unwrap().contains("TLS"));
}

#[tokio::test]
async fn a_client_certificate_is_shown_where_it_is_asked_for() {
    let authority = Authority::new();
    let tls = authority.server_tls(NAME, 4000).client_ca_root(Certificate::from_pem(authority.0.pem()));
    let server = start("s", tls).await;
    // With TLS 1.3 the server refuses after the client's handshake is done; without SETTINGS that is no connection all the same.
    refused(&server, authority.client_tls(), "").await;
    let (certificate, key) = authority.certify("client.test", 4000);
    let channel = builder(&[&server], authority.client_tls().identity(certificate, key)).build().unwrap();
    call(&channel).await.unwrap();
}

#[tokio::test]
async fn options_that_make_no_sense_are_errors_when_the_channel_is_built() {
    let server = EchoServer::start("s").await.unwrap();
    for tls in [ClientTls::ca_certificate("not PEM"), Authority::new().client_tls().identity("not", "PEM")] {
        let error = builder(&[&server], tls).build().unwrap_err();
        assert!(!matches!(error, BuildError::NoRuntime | BuildError::NotReady { .. }), "{error:?}");
    }
}
