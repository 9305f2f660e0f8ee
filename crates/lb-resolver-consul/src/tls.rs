//! TLS to an agent: its own CA, our own certificate.
//!
//! The crypto provider is the one chosen by feature, given to rustls explicitly. Files are read once: those that were named when the resolver is
//! made, the system's authorities only where an agent is asked by TLS, because every channel makes this resolver, whatever its target is.

use std::fmt;
use std::path::PathBuf;

/// Where certificates come from.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct TlsOptions {
    pub(crate) ca: Option<Pem>,
    pub(crate) identity: Option<(Pem, Pem)>,
    pub(crate) server_name: Option<String>,
}

/// A text in PEM, or the file that holds one.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Pem {
    File(PathBuf),
    Text(Vec<u8>),
}

impl fmt::Debug for Pem {
    /// Keys are not printed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.fmt(f),
            Self::Text(text) => write!(f, "{} bytes", text.len()),
        }
    }
}

#[cfg(any(feature = "tls-ring", feature = "tls-aws-lc"))]
pub(crate) use with::Tls;
#[cfg(not(any(feature = "tls-ring", feature = "tls-aws-lc")))]
pub(crate) use without::Tls;

#[cfg(any(feature = "tls-ring", feature = "tls-aws-lc"))]
mod with {
    use std::sync::Arc;
    use std::sync::OnceLock;

    use lb_core::ConfigError;
    use rustls::ClientConfig;
    use rustls::RootCertStore;
    use rustls::crypto::CryptoProvider;
    use rustls_pki_types::CertificateDer;
    use rustls_pki_types::PrivateKeyDer;
    use rustls_pki_types::ServerName;
    use rustls_pki_types::pem::PemObject;
    use tokio::net::TcpStream;
    use tokio_rustls::TlsConnector;

    use super::Pem;
    use super::TlsOptions;
    use crate::failure::Failure;
    use crate::setup::Io;

    /// The way to shake hands, or why there is none.
    pub(crate) struct Tls {
        options: TlsOptions,
        server_name: Option<ServerName<'static>>,
        connector: OnceLock<Result<TlsConnector, ConfigError>>,
    }

    impl std::fmt::Debug for Tls {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.debug_struct("Tls").field("server_name", &self.server_name).finish_non_exhaustive()
        }
    }

    impl Tls {
        /// An error of what was configured is told at once; having no trust anchors only where TLS is used.
        pub(crate) fn new(options: &TlsOptions) -> Result<Self, ConfigError> {
            let name = |name: &String| {
                let error = || ConfigError::new("consul.tls_server_name", format!("{name:?}"), "a DNS name or an IP address");
                ServerName::try_from(name.clone()).map_err(|_| error())
            };
            let server_name = options.server_name.as_ref().map(name).transpose()?;
            let tls = Self { options: options.clone(), server_name, connector: OnceLock::new() };
            if *options != TlsOptions::default() {
                tls.ensure()?;
            }
            Ok(tls)
        }

        pub(crate) fn ensure(&self) -> Result<(), ConfigError> {
            self.connector().as_ref().map(drop).map_err(Clone::clone)
        }

        fn connector(&self) -> &Result<TlsConnector, ConfigError> {
            self.connector.get_or_init(|| client_config(&self.options).map(|config| TlsConnector::from(Arc::new(config))))
        }

        pub(crate) async fn handshake(&self, host: &str, stream: TcpStream) -> Result<Box<dyn Io>, Failure> {
            let connector = self.connector().as_ref().map_err(|error| Failure::Connect(error.to_string()))?;
            let name = match &self.server_name {
                Some(name) => name.clone(),
                None => ServerName::try_from(host.to_owned()).map_err(|error| Failure::Connect(error.to_string()))?,
            };
            let connecting = Box::pin(connector.connect(name, stream));
            let stream = connecting.await.map_err(|error| Failure::Connect(format!("TLS: {error}")))?;
            Ok(Box::new(stream))
        }
    }

    fn client_config(options: &TlsOptions) -> Result<ClientConfig, ConfigError> {
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| ConfigError::new("consul.tls", error, "versions the provider has"))?
            .with_root_certificates(roots(options)?);
        let Some((chain, key)) = &options.identity else { return Ok(builder.with_no_client_auth()) };
        let chain = certificates("consul.client_certificate", chain)?;
        let bad_key =
            |error: String| ConfigError::new("consul.client_key", error, "a private key in PEM that fits the certificate");
        let key = PrivateKeyDer::from_pem_slice(&read("consul.client_key", key)?).map_err(|error| bad_key(error.to_string()))?;
        builder.with_client_auth_cert(chain, key).map_err(|error| bad_key(error.to_string()))
    }

    fn provider() -> Arc<CryptoProvider> {
        #[cfg(feature = "tls-ring")]
        return Arc::new(rustls::crypto::ring::default_provider());
        #[cfg(not(feature = "tls-ring"))]
        return Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    }

    fn roots(options: &TlsOptions) -> Result<RootCertStore, ConfigError> {
        let mut store = RootCertStore::empty();
        if let Some(ca) = &options.ca {
            for certificate in certificates("consul.ca_certificate", ca)? {
                let bad = |error| ConfigError::new("consul.ca_certificate", error, "certificates of authorities");
                store.add(certificate).map_err(bad)?;
            }
            return Ok(store);
        }
        #[cfg(feature = "tls-native-roots")]
        store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        #[cfg(feature = "tls-webpki-roots")]
        store.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        if store.is_empty() {
            let allowed = "the certificate of Consul's authority; or the feature `tls-native-roots` or `tls-webpki-roots`";
            return Err(ConfigError::new("consul.ca_certificate", "not there", allowed));
        }
        Ok(store)
    }

    fn certificates(field: &'static str, pem: &Pem) -> Result<Vec<CertificateDer<'static>>, ConfigError> {
        let bad = |error: String| ConfigError::new(field, error, "one or more certificates in PEM");
        let text = read(field, pem)?;
        let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
        let found = found.map_err(|error| bad(error.to_string()))?;
        if found.is_empty() { Err(bad("without a certificate".to_owned())) } else { Ok(found) }
    }

    fn read(field: &'static str, pem: &Pem) -> Result<Vec<u8>, ConfigError> {
        match pem {
            Pem::Text(text) => Ok(text.clone()),
            Pem::File(path) => std::fs::read(path)
                .map_err(|error| ConfigError::new(field, format!("{}: {error}", path.display()), "a readable file")),
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn the_authorities_of_the_system_are_read_where_tls_is_used() {
            let tls = Tls::new(&TlsOptions::default()).unwrap();
            assert!(tls.connector.get().is_none());
            let has_roots = cfg!(any(feature = "tls-native-roots", feature = "tls-webpki-roots"));
            assert!(has_roots || tls.ensure().is_err());
            let _ = tls.ensure();
            assert!(tls.connector.get().is_some());
        }

        #[test]
        fn what_was_configured_is_read_at_once() {
            let nonsense = TlsOptions { ca: Some(Pem::Text(b"nonsense".to_vec())), ..TlsOptions::default() };
            assert!(Tls::new(&nonsense).is_err());
        }
    }
}

#[cfg(not(any(feature = "tls-ring", feature = "tls-aws-lc")))]
mod without {
    use lb_core::ConfigError;
    use tokio::net::TcpStream;

    use super::TlsOptions;
    use super::missing;
    use crate::failure::Failure;
    use crate::setup::Io;

    /// TLS that was not compiled in.
    #[derive(Debug)]
    pub(crate) struct Tls;

    impl Tls {
        pub(crate) fn new(options: &TlsOptions) -> Result<Self, ConfigError> {
            if *options == TlsOptions::default() { Ok(Self) } else { Err(missing()) }
        }

        pub(crate) fn ensure(&self) -> Result<(), ConfigError> {
            Err(missing())
        }

        pub(crate) async fn handshake(&self, _: &str, _: TcpStream) -> Result<Box<dyn Io>, Failure> {
            Err(Failure::Connect(missing().to_string()))
        }
    }
}

#[cfg(not(any(feature = "tls-ring", feature = "tls-aws-lc")))]
fn missing() -> lb_core::ConfigError {
    lb_core::ConfigError::new(
        "consul.agent",
        "one asked over TLS",
        "only http, unless the feature `tls-ring` or `tls-aws-lc` is on",
    )
}
