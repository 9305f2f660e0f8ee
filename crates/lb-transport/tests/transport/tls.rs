//! TLS against a rustls server with certificates made on the spot.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use h2::server::Builder;
use lb_core::{Attributes, Endpoint};
use lb_transport::{
    ClientTls, ConnectAttempt, ConnectError, ConnectFailure, Connection, Connector, H2Connector, H2Transport, TransportConfig,
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::PrivateKeyDer;
use tokio_rustls::TlsAcceptor;

use crate::support::*;

struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self { issuer: CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap() }
    }

    fn certify(&self, name: &str, until: i32) -> (rcgen::Certificate, KeyPair) {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(until, 1, 1);
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }

    fn tls(&self) -> ClientTls {
        ClientTls::ca_certificate(self.issuer.pem())
    }
}

#[derive(Clone, Copy)]
struct Server {
    name: &'static str,
    until: i32,
    alpn: &'static [&'static [u8]],
    client_certificate: bool,
}

const GOOD: Server = Server { name: "orders.test", until: 4000, alpn: &[b"h2"], client_certificate: false };

async fn start(authority: &Authority, server: Server) -> SocketAddr {
    let (certificate, key) = authority.certify(server.name, server.until);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().unwrap();
    let builder = if server.client_certificate {
        let mut roots = RootCertStore::empty();
        roots.add(authority.issuer.der().clone()).unwrap();
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
        builder.with_client_cert_verifier(verifier)
    } else {
        builder.with_no_client_auth()
    };
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let mut config = builder.with_single_cert(vec![certificate.der().clone()], key).unwrap();
    config.alpn_protocols = server.alpn.iter().map(|protocol| protocol.to_vec()).collect();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let (listener, address) = listen().await;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                if let Ok(stream) = acceptor.accept(stream).await {
                    serve_connection(Builder::new(), stream, echo).await;
                }
            });
        }
    });
    address
}

async fn connect_tls(tls: ClientTls, attempt: ConnectAttempt) -> Result<Connection<H2Transport>, ConnectError> {
    let connector = H2Connector::new(TransportConfig::new()).unwrap().with_tls(tls).unwrap();
    within(connector.connect(attempt)).await
}

async fn failure(tls: ClientTls, address: SocketAddr) -> ConnectFailure {
    connect_tls(tls, attempt(address)).await.unwrap_err().failures.remove(0).failure
}

#[tokio::test]
async fn calls_pass_over_tls() {
    let authority = Authority::new();
    let address = start(&authority, GOOD).await;
    let connection = connect_tls(authority.tls(), attempt(address)).await.unwrap();
    for size in [0, 100, 20_000, 3_000_000] {
        let (reply, _) = within(call(&connection.transport, Pieces::one(vec![5; size]))).await.unwrap();
        assert_eq!(reply.len(), size);
    }
}

#[tokio::test]
async fn a_connection_names_its_cipher_and_the_servers_certificate() {
    let authority = Authority::new();
    let address = start(&authority, GOOD).await;
    let connection = connect_tls(authority.tls(), attempt(address)).await.unwrap();
    let info = connection.transport.sockets()[0].info();
    let security = info.security.expect("TLS");
    assert!(security.cipher_suite.starts_with("TLS_") && security.cipher_suite.contains("SHA"), "{}", security.cipher_suite);
    let certificate = security.remote_certificate.expect("a certificate");
    assert!(certificate.windows(11).any(|part| part == b"orders.test"), "not the certificate of the server");
    assert_eq!(info.remote, Some(address.into()));
    assert!(info.options.iter().any(|(name, _)| *name == "TCP_NODELAY"));
}

#[tokio::test]
async fn the_name_comes_from_the_option_then_the_endpoint_then_the_authority() {
    let authority = Authority::new();
    let address = start(&authority, GOOD).await;
    let mut attributes = Attributes::default();
    attributes.hostname = Some("orders.test".into());
    let endpoint = Arc::new(Endpoint::new(address).with_attributes(attributes));
    let named = ConnectAttempt::new(endpoint.clone(), "elsewhere.test:443", Duration::from_secs(5));
    connect_tls(authority.tls(), named).await.unwrap();
    let wrong = ConnectAttempt::new(Arc::new(Endpoint::new(address)), "elsewhere.test:443", Duration::from_secs(5));
    let error = connect_tls(authority.tls(), wrong.clone()).await.unwrap_err().to_string();
    assert!(error.contains("TLS") && error.contains("elsewhere.test"), "{error}");
    connect_tls(authority.tls().domain_name("orders.test"), wrong).await.unwrap();
}

#[tokio::test]
async fn certificates_that_should_not_be_trusted_are_not() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let expired = start(&authority, Server { until: 2001, ..GOOD }).await;
    for (failure, word) in [
        (failure(authority.tls(), expired).await, "xpired"),
        (failure(stranger.tls(), start(&authority, GOOD).await).await, "invalid peer certificate"),
    ] {
        assert!(matches!(&failure, ConnectFailure::Tls(text) if text.contains(word)), "{failure}");
    }
}

#[tokio::test]
async fn a_server_must_choose_h2() {
    let authority = Authority::new();
    let none = failure(authority.tls(), start(&authority, Server { alpn: &[], ..GOOD }).await).await;
    assert!(matches!(&none, ConnectFailure::NotHttp2(text) if text.contains("ALPN")), "{none}");
    let http1 = failure(authority.tls(), start(&authority, Server { alpn: &[b"http/1.1"], ..GOOD }).await).await;
    assert!(matches!(&http1, ConnectFailure::Tls(text) if text.contains("NoApplicationProtocol")), "{http1}");
}

#[tokio::test]
async fn a_client_certificate_is_shown_and_its_absence_reported() {
    let authority = Authority::new();
    let address = start(&authority, Server { client_certificate: true, ..GOOD }).await;
    let (certificate, key) = authority.certify("client.test", 4000);
    let tls = authority.tls().identity(certificate.pem(), key.serialize_pem());
    let connection = connect_tls(tls, attempt(address)).await.unwrap();
    assert_eq!(within(call(&connection.transport, Pieces::one("x"))).await.unwrap().0, b"x");
    let missing = failure(authority.tls(), address).await;
    assert!(matches!(&missing, ConnectFailure::Tls(text) if text.contains("CertificateRequired")), "{missing}");
}

#[tokio::test]
async fn a_server_without_tls_is_a_tls_failure() {
    let address = serve(Builder::new(), echo).await;
    let failure = failure(Authority::new().tls(), address).await;
    assert!(matches!(failure, ConnectFailure::Tls(_)), "{failure}");
}
