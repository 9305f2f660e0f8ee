//! TLS as the user's endpoint has it.

use lb_core::ConnectivityState;
use lb_testkit::EchoServer;
use lb_tonic::TonicConnector;
use lb_transport::ConnectFailure;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tonic::transport::{Certificate, ClientTlsConfig, Identity, ServerTlsConfig};

use crate::support::*;

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn identity(&self) -> Identity {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new([AUTHORITY.to_owned()]).unwrap().signed_by(&key, &self.0).unwrap();
        Identity::from_pem(certificate.pem(), key.serialize_pem())
    }

    fn certificate(&self) -> Certificate {
        Certificate::from_pem(self.0.pem())
    }

    fn trusting(&self) -> ClientTlsConfig {
        ClientTlsConfig::new().ca_certificate(self.certificate())
    }
}

async fn serve(tls: ServerTlsConfig) -> EchoServer {
    EchoServer::builder().record_requests().tls(tls).unwrap().start().await.unwrap()
}

fn connector(tls: ClientTlsConfig) -> TonicConnector {
    TonicConnector::try_new(move |endpoint| endpoint.tls_config(tls.clone()))
}

/// Why no connection is made.
async fn refused(connector: &TonicConnector, server: &EchoServer) -> ConnectFailure {
    connect(connector, &[server.address()]).await.unwrap_err().failures.remove(0).failure
}

#[tokio::test]
async fn the_authority_is_verified_and_the_scheme_says_so() {
    let ours = Authority::new();
    let server = serve(ServerTlsConfig::new().identity(ours.identity())).await;
    let channel = builder(&[&server], connector(ours.trusting())).build().unwrap();
    call(&channel).await.unwrap();
    assert_eq!(server.last_request().unwrap().uri, "https://orders.test/evenkeel.echo.v1.Echo/Unary");

    server.cut_connections();
    until("it is connected to again", || server.accepted() == 2 && state(&channel, &server) == ConnectivityState::Ready).await;
    call(&channel).await.unwrap();
}

#[tokio::test]
async fn a_server_that_is_not_trusted_is_not_connected_to() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let server = serve(ServerTlsConfig::new().identity(theirs.identity())).await;
    let failure = refused(&connector(ours.trusting()), &server).await;
    assert!(matches!(&failure, ConnectFailure::Tls(why) if why.contains("invalid peer certificate")), "{failure}");
    let failure = refused(&connector(theirs.trusting().domain_name("else.test")), &server).await;
    assert!(matches!(&failure, ConnectFailure::Tls(why) if why.contains("certificate not valid for name")), "{failure}");
}

#[tokio::test]
async fn tls_and_plaintext_do_not_mix() {
    let ours = Authority::new();
    let (secure, open) = (serve(ServerTlsConfig::new().identity(ours.identity())).await, EchoServer::start("open").await.unwrap());
    assert!(!matches!(refused(&plain(), &secure).await, ConnectFailure::Timeout { .. }));
    assert!(matches!(refused(&connector(ours.trusting()), &open).await, ConnectFailure::Tls(_)));
    assert_eq!(open.calls(), 0);
}

#[tokio::test]
async fn client_certificates() {
    let ours = Authority::new();
    let server = serve(ServerTlsConfig::new().identity(ours.identity()).client_ca_root(ours.certificate())).await;
    let connection = connect(&connector(ours.trusting().identity(ours.identity())), &[server.address()]).await.unwrap();
    send(&connection.transport).await.unwrap();
    let failure = refused(&connector(ours.trusting()), &server).await;
    assert!(matches!(failure, ConnectFailure::Tls(_)), "{failure}");
}
