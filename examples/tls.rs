//! TLS both ways: servers and client show certificates of an authority of one's own, made on the spot.
//! A client that trusts another authority is refused, and one that shows no certificate too; the errors say why.
//! Run it with `cargo run --example tls --features tls-ring`.

#[path = "support/mod.rs"]
mod support;

use std::time::Duration;

use evenkeel::LbChannel;
use evenkeel::transport::ClientTls;
use lb_testkit::EchoServer;
use lb_testkit::pb::EchoRequest;
use lb_testkit::pb::echo_client::EchoClient;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tonic::transport::{Certificate, Identity, ServerTlsConfig};

use support::{Failure, PATIENCE, key, serves, target, tell, until};

/// The name in the servers' certificates. All endpoints of a target share it, whatever their addresses.
const NAME: &str = "orders.internal";

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let ours = Authority::new("ours")?;
    let server_tls = || -> Result<ServerTlsConfig, Failure> {
        let (chain, key) = ours.issue(NAME)?;
        Ok(ServerTlsConfig::new().identity(Identity::from_pem(chain, key)).client_ca_root(Certificate::from_pem(ours.pem())))
    };
    let mut servers = Vec::new();
    for name in ["s0", "s1"] {
        servers.push(EchoServer::builder().name(name).tls(server_tls()?)?.start().await?);
    }

    // The authority is what requests say in `:authority` and the name that certificates must be for. A `dns:` target brings it
    // along; addresses do not. In public one would trust `ClientTls::native_roots()` or `webpki_roots()`.
    let (chain, private) = ours.issue("shop.internal")?;
    let tls = ClientTls::ca_certificate(ours.pem()).identity(chain, private);
    let channel = LbChannel::builder(target(&servers)).tls(tls).authority(NAME).connect(PATIENCE).await?;
    until(&channel, "both serve", |endpoints| servers.iter().all(|server| serves(endpoints, &key(server)))).await?;
    let mut client = EchoClient::new(channel);
    for _ in 0..4 {
        tell("a call over TLS", &client.unary(EchoRequest::default()).await?);
    }

    let (chain, private) = ours.issue("shop.internal")?;
    let misled = ClientTls::ca_certificate(Authority::new("theirs")?.pem()).identity(chain, private);
    refused("a client that trusts another authority", "UnknownIssuer", &servers, misled).await?;
    refused("a client without a certificate", "CertificateRequired", &servers, ClientTls::ca_certificate(ours.pem())).await
}

/// Fails unless connecting does, and for this reason.
async fn refused(what: &str, why: &str, servers: &[EchoServer], tls: ClientTls) -> Result<(), Failure> {
    let builder = LbChannel::builder(target(servers)).tls(tls).authority(NAME);
    let Err(error) = builder.connect(Duration::from_millis(500)).await else { return Err(format!("{what} was let in").into()) };
    println!("{what}: {error}");
    if error.to_string().contains(why) { Ok(()) } else { Err(format!("expected {why}").into()) }
}

/// A certificate authority of one's own.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new(name: &str) -> Result<Self, Failure> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Ok(Self(CertifiedIssuer::self_signed(params, KeyPair::generate()?)?))
    }

    /// Its own certificate, for those who shall trust it.
    fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate for this name, and its key.
    fn issue(&self, name: &str) -> Result<(String, String), Failure> {
        let key = KeyPair::generate()?;
        let certificate = CertificateParams::new(vec![name.to_owned()])?.signed_by(&key, &self.0)?;
        Ok((certificate.pem(), key.serialize_pem()))
    }
}
