//! Certificates: good ones, and those that nobody should take.

use evenkeel::transport::ClientTls;
use lb_testkit::EchoServerBuilder;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tonic::transport::{Identity, ServerTlsConfig};

/// The name that the channel verifies.
pub(crate) const NAME: &str = "orders.test";

/// An authority that the channel trusts.
pub(crate) struct Certificates(CertifiedIssuer<'static, KeyPair>);

impl Certificates {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(crate) fn client(&self) -> ClientTls {
        ClientTls::ca_certificate(self.0.pem())
    }

    /// With a certificate that is as it should be.
    pub(crate) fn good(&self, server: EchoServerBuilder) -> EchoServerBuilder {
        self.serve(server, NAME, 4000)
    }

    pub(crate) fn expired(&self, server: EchoServerBuilder) -> EchoServerBuilder {
        self.serve(server, NAME, 2001)
    }

    pub(crate) fn of_another(&self, server: EchoServerBuilder) -> EchoServerBuilder {
        self.serve(server, "elsewhere.test", 4000)
    }

    fn serve(&self, server: EchoServerBuilder, name: &str, until: i32) -> EchoServerBuilder {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(until, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap().pem();
        server.tls(ServerTlsConfig::new().identity(Identity::from_pem(certificate, key.serialize_pem()))).unwrap()
    }
}
