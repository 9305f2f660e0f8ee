//! TLS by rustls.
//!
//! The crypto provider is the one chosen by feature, given to rustls explicitly: what else in the process uses rustls, and whether it
//! installed a default, makes no difference. With both features on it is ring. HTTP/2 is asked for by ALPN and must be
//! chosen by the server, as gRPC demands; a server that chooses nothing is named as the failure.

mod build;
mod dialer;

use std::fmt;
use std::sync::Arc;

pub(crate) use dialer::TlsDialer;

/// TLS options of [`H2Connector::with_tls`](crate::H2Connector::with_tls).
///
/// ```
/// # fn main() {}
/// # fn example(ca_pem: Vec<u8>, chain_pem: Vec<u8>, key_pem: Vec<u8>) -> Result<(), Box<dyn std::error::Error>> {
/// use lb_transport::{ClientTls, H2Connector, TransportConfig};
/// let tls = ClientTls::ca_certificate(ca_pem).identity(chain_pem, key_pem);
/// let connector = H2Connector::new(TransportConfig::default())?.with_tls(tls)?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct ClientTls {
    base: Base,
    identity: Option<Identity>,
    domain_name: Option<String>,
}

#[derive(Clone)]
enum Base {
    Roots(Vec<Roots>),
    Ready(Arc<rustls::ClientConfig>),
    /// Options that exclude each other, reported when built.
    Conflict(&'static str),
}

#[derive(Clone)]
enum Roots {
    #[cfg(feature = "tls-native-roots")]
    Native,
    #[cfg(feature = "tls-webpki-roots")]
    Webpki,
    Pem(Vec<u8>),
}

#[derive(Clone)]
struct Identity {
    chain: Vec<u8>,
    key: Vec<u8>,
}

/// TLS options that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TlsConfigError {
    /// No certificate authority is trusted.
    #[error("no trusted certificate: {0}")]
    NoRoots(String),
    /// A text that is not the PEM it should be.
    #[error("{what} is not valid PEM: {why}")]
    Pem {
        /// What was being read.
        what: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// The client's certificate and key do not fit, or are of an unknown kind.
    #[error("client identity: {0}")]
    Identity(String),
    /// Not a name that a certificate can have.
    #[error("domain_name {0:?} is neither a DNS name nor an IP address")]
    DomainName(String),
    /// A ready configuration that cannot be used as it is.
    #[error("TLS configuration: {0}")]
    Config(String),
}

impl ClientTls {
    /// Trusts what the operating system trusts.
    #[cfg(feature = "tls-native-roots")]
    pub fn native_roots() -> Self {
        Self::of(Roots::Native)
    }

    /// Trusts Mozilla's certificate authorities, compiled in.
    #[cfg(feature = "tls-webpki-roots")]
    pub fn webpki_roots() -> Self {
        Self::of(Roots::Webpki)
    }

    /// Trusts only these certificate authorities: one or more certificates in PEM.
    pub fn ca_certificate(pem: impl Into<Vec<u8>>) -> Self {
        Self::of(Roots::Pem(pem.into()))
    }

    /// A ready configuration of rustls. Its ALPN protocols must be empty or hold `h2`; empty becomes `h2`. It excludes
    /// [`identity`](Self::identity) and [`and_ca_certificate`](Self::and_ca_certificate).
    pub fn from_config(config: impl Into<Arc<rustls::ClientConfig>>) -> Self {
        Self { base: Base::Ready(config.into()), identity: None, domain_name: None }
    }

    fn of(roots: Roots) -> Self {
        Self { base: Base::Roots(vec![roots]), identity: None, domain_name: None }
    }

    /// Trusts these certificate authorities too. Building fails on a [ready configuration](Self::from_config).
    #[must_use]
    pub fn and_ca_certificate(mut self, pem: impl Into<Vec<u8>>) -> Self {
        let pem = Roots::Pem(pem.into());
        match &mut self.base {
            Base::Roots(roots) => roots.push(pem),
            Base::Ready(_) => self.base = Base::Conflict("and_ca_certificate adds nothing to a ready configuration"),
            Base::Conflict(_) => {}
        }
        self
    }

    /// The client's certificate chain, its own certificate first, and its private key; both in PEM.
    #[must_use]
    pub fn identity(mut self, chain_pem: impl Into<Vec<u8>>, key_pem: impl Into<Vec<u8>>) -> Self {
        if let Base::Ready(_) = self.base {
            self.base = Base::Conflict("identity cannot be added to a ready configuration");
        }
        self.identity = Some(Identity { chain: chain_pem.into(), key: key_pem.into() });
        self
    }

    /// The name to ask for (SNI) and to verify in the server's certificate. Default: the endpoint's `hostname` attribute, else the
    /// authority, without its port.
    #[must_use]
    pub fn domain_name(mut self, name: impl Into<String>) -> Self {
        self.domain_name = Some(name.into());
        self
    }
}

impl fmt::Debug for ClientTls {
    /// Keys are not printed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientTls")
            .field("identity", &self.identity.is_some())
            .field("domain_name", &self.domain_name)
            .finish_non_exhaustive()
    }
}
