//! TLS to a backend. The crypto provider is the one chosen by feature, given to rustls explicitly.

#[cfg(any(feature = "tls-ring", feature = "tls-aws-lc"))]
pub(crate) use with::Tls;
#[cfg(not(any(feature = "tls-ring", feature = "tls-aws-lc")))]
pub(crate) use without::Tls;

#[cfg(any(feature = "tls-ring", feature = "tls-aws-lc"))]
mod with {
    use std::fmt;
    use std::sync::Arc;

    use lb_core::ConfigError;
    use rustls::crypto::CryptoProvider;
    use rustls::{ClientConfig, RootCertStore};
    use rustls_pki_types::pem::PemObject;
    use rustls_pki_types::{CertificateDer, ServerName};
    use tokio::net::TcpStream;
    use tokio_rustls::TlsConnector;

    use crate::http::backend::Io;
    use crate::http::error::HookError;

    /// Whom to trust.
    #[derive(Clone)]
    pub(crate) struct Tls(Arc<RootCertStore>);

    impl fmt::Debug for Tls {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "{} authorities", self.0.len())
        }
    }

    impl Tls {
        pub(crate) fn compiled() -> Result<(), ConfigError> {
            Ok(())
        }

        /// What the features for trust anchors bring.
        pub(crate) fn platform() -> Self {
            #[allow(unused_mut, reason = "without a feature for trust anchors there are none")]
            let mut store = RootCertStore::empty();
            #[cfg(feature = "tls-native-roots")]
            store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            #[cfg(feature = "tls-webpki-roots")]
            store.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
            Self(Arc::new(store))
        }

        pub(crate) fn trusting(pem: &[u8]) -> Result<Self, ConfigError> {
            let bad = |error: String| ConfigError::new("hooks.ca_certificate", error, "one or more certificates in PEM");
            let mut store = RootCertStore::empty();
            for certificate in CertificateDer::pem_slice_iter(pem) {
                let certificate = certificate.map_err(|error| bad(error.to_string()))?;
                store.add(certificate).map_err(|error| bad(error.to_string()))?;
            }
            if store.is_empty() {
                return Err(bad("without a certificate".to_owned()));
            }
            Ok(Self(Arc::new(store)))
        }

        pub(crate) async fn handshake(&self, host: &str, stream: TcpStream) -> Result<Box<dyn Io>, HookError> {
            let failed = |error: String| HookError::Connect(format!("TLS: {error}"));
            if self.0.is_empty() {
                let advice = "nobody to trust: give a CA, or turn on the feature `tls-native-roots` or `tls-webpki-roots`";
                return Err(failed(advice.to_owned()));
            }
            let config = ClientConfig::builder_with_provider(provider())
                .with_safe_default_protocol_versions()
                .map_err(|error| failed(error.to_string()))?
                .with_root_certificates(Arc::clone(&self.0))
                .with_no_client_auth();
            let name = ServerName::try_from(host.to_owned()).map_err(|error| failed(error.to_string()))?;
            let connecting = Box::pin(TlsConnector::from(Arc::new(config)).connect(name, stream));
            Ok(Box::new(connecting.await.map_err(|error| failed(error.to_string()))?))
        }
    }

    fn provider() -> Arc<CryptoProvider> {
        #[cfg(feature = "tls-ring")]
        return Arc::new(rustls::crypto::ring::default_provider());
        #[cfg(not(feature = "tls-ring"))]
        return Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    }
}

#[cfg(not(any(feature = "tls-ring", feature = "tls-aws-lc")))]
mod without {
    use lb_core::ConfigError;
    use tokio::net::TcpStream;

    use crate::http::backend::Io;
    use crate::http::error::HookError;

    /// TLS that was not compiled in.
    #[derive(Debug, Clone)]
    pub(crate) struct Tls;

    impl Tls {
        pub(crate) fn compiled() -> Result<(), ConfigError> {
            Err(missing())
        }

        pub(crate) fn platform() -> Self {
            Self
        }

        pub(crate) fn trusting(_: &[u8]) -> Result<Self, ConfigError> {
            Err(missing())
        }

        pub(crate) async fn handshake(&self, _: &str, _: TcpStream) -> Result<Box<dyn Io>, HookError> {
            Err(HookError::Connect(missing().to_string()))
        }
    }

    fn missing() -> ConfigError {
        ConfigError::new("hooks.url", "one asked over TLS", "only http, unless the feature `tls-ring` or `tls-aws-lc` is on")
    }
}
