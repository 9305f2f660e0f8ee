//! From options to a rustls configuration.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::TlsConnector;

use super::{Base, ClientTls, Identity, Roots, TlsConfigError};
use crate::tls::TlsDialer;

pub(super) const H2: &[u8] = b"h2";

impl ClientTls {
    /// Reads roots, certificates and names.
    pub(crate) fn build(self) -> Result<TlsDialer, TlsConfigError> {
        let domain_name = self.domain_name.map(server_name).transpose()?;
        let config = match self.base {
            Base::Roots(roots) => Arc::new(from_roots(&roots, self.identity.as_ref())?),
            Base::Ready(config) => with_alpn(config)?,
            Base::Conflict(why) => return Err(TlsConfigError::Config(why.to_owned())),
        };
        Ok(TlsDialer { connector: TlsConnector::from(config), domain_name })
    }
}

fn server_name(name: String) -> Result<ServerName<'static>, TlsConfigError> {
    ServerName::try_from(name.clone()).map_err(|_| TlsConfigError::DomainName(name))
}

fn from_roots(roots: &[Roots], identity: Option<&Identity>) -> Result<ClientConfig, TlsConfigError> {
    let mut store = RootCertStore::empty();
    for roots in roots {
        add(&mut store, roots)?;
    }
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| TlsConfigError::Config(error.to_string()))?
        .with_root_certificates(store);
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some(Identity { chain, key }) => {
            let chain = certificates("client certificate chain", chain)?;
            let key = PrivateKeyDer::from_pem_slice(key)
                .map_err(|error| TlsConfigError::Pem { what: "client key", why: error.to_string() })?;
            builder.with_client_auth_cert(chain, key).map_err(|error| TlsConfigError::Identity(error.to_string()))?
        }
    };
    config.alpn_protocols = vec![H2.to_vec()];
    Ok(config)
}

fn provider() -> Arc<CryptoProvider> {
    #[cfg(feature = "tls-ring")]
    return Arc::new(rustls::crypto::ring::default_provider());
    #[cfg(not(feature = "tls-ring"))]
    return Arc::new(rustls::crypto::aws_lc_rs::default_provider());
}

fn add(store: &mut RootCertStore, roots: &Roots) -> Result<(), TlsConfigError> {
    match roots {
        #[cfg(feature = "tls-native-roots")]
        Roots::Native => {
            // One unreadable file among many is no reason to trust nobody.
            let found = rustls_native_certs::load_native_certs();
            if store.add_parsable_certificates(found.certs).0 == 0 {
                let why = found.errors.first().map_or_else(|| "the system has none".to_owned(), ToString::to_string);
                return Err(TlsConfigError::NoRoots(why));
            }
        }
        #[cfg(feature = "tls-webpki-roots")]
        Roots::Webpki => store.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Roots::Pem(pem) => {
            for certificate in certificates("CA certificate", pem)? {
                store.add(certificate).map_err(|error| TlsConfigError::NoRoots(error.to_string()))?;
            }
        }
    }
    Ok(())
}

/// At least one certificate.
fn certificates(what: &'static str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsConfigError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let found = found.map_err(|error| TlsConfigError::Pem { what, why: error.to_string() })?;
    if found.is_empty() { Err(TlsConfigError::Pem { what, why: "it holds no certificate".to_owned() }) } else { Ok(found) }
}

fn with_alpn(config: Arc<ClientConfig>) -> Result<Arc<ClientConfig>, TlsConfigError> {
    if config.alpn_protocols.is_empty() {
        let mut config = Arc::unwrap_or_clone(config);
        config.alpn_protocols = vec![H2.to_vec()];
        return Ok(Arc::new(config));
    }
    if config.alpn_protocols.iter().any(|protocol| protocol == H2) {
        return Ok(config);
    }
    Err(TlsConfigError::Config("its ALPN protocols do not hold h2".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_used_is_said_when_built() {
        let error = |tls: ClientTls| tls.build().err().map(|error| error.to_string()).unwrap_or_default();
        assert!(error(ClientTls::ca_certificate("nonsense")).contains("holds no certificate"));
        let bad = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(error(ClientTls::ca_certificate(bad)).contains("no trusted certificate"));
        let config = from_roots(&[], None).unwrap();
        assert_eq!(error(ClientTls::from_config(config.clone())), "");
        assert!(error(ClientTls::from_config(config.clone()).domain_name("not a name")).contains("\"not a name\""));
        assert!(error(ClientTls::from_config(config.clone()).identity("", "")).contains("ready configuration"));
        assert!(error(ClientTls::from_config(config.clone()).and_ca_certificate("")).contains("ready configuration"));
        let mut http1 = config;
        http1.alpn_protocols = vec![b"http/1.1".to_vec()];
        assert!(error(ClientTls::from_config(http1)).contains("h2"));
    }

    #[cfg(feature = "tls-webpki-roots")]
    #[test]
    fn compiled_roots_build() {
        assert!(ClientTls::webpki_roots().build().is_ok());
    }
}
