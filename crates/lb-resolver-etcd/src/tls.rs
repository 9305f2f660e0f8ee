//! TLS to etcd.

use std::fmt;

use tonic::transport::Endpoint;

/// Whom to trust and who to be when connecting to etcd. Not to be confused with the channel's TLS to the endpoints themselves.
///
/// Needs one of the features `tls-ring` and `tls-aws-lc`; without them connecting says so. With no certificate authority given, what the
/// features `tls-native-roots` and `tls-webpki-roots` bring is trusted.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct EtcdTls {
    pub(crate) ca: Option<Vec<u8>>,
    pub(crate) identity: Option<(Vec<u8>, Vec<u8>)>,
    pub(crate) domain_name: Option<String>,
}

impl EtcdTls {
    /// The default: the trust anchors of the features that are on, no client certificate, the name of each member as it is written.
    pub fn new() -> Self {
        Self::default()
    }

    /// Trusts only these certificate authorities: one or more certificates in PEM.
    #[must_use]
    pub fn ca_certificate(self, pem: impl Into<Vec<u8>>) -> Self {
        Self { ca: Some(pem.into()), ..self }
    }

    /// Shows this certificate chain, with its key, to etcd; both in PEM.
    #[must_use]
    pub fn identity(self, chain: impl Into<Vec<u8>>, key: impl Into<Vec<u8>>) -> Self {
        Self { identity: Some((chain.into(), key.into())), ..self }
    }

    /// Expects this name in the members' certificates instead of the one they are reached by.
    #[must_use]
    pub fn domain_name(self, name: impl Into<String>) -> Self {
        Self { domain_name: Some(name.into()), ..self }
    }
}

impl fmt::Debug for EtcdTls {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = f.debug_struct("EtcdTls");
        text.field("own_ca", &self.ca.is_some()).field("identity", &self.identity.is_some());
        text.field("domain_name", &self.domain_name).finish()
    }
}

/// The endpoint with TLS, or why it cannot be had.
#[cfg(any(feature = "tls-ring", feature = "tls-aws-lc"))]
pub(crate) fn apply(endpoint: Endpoint, tls: &EtcdTls) -> Result<Endpoint, String> {
    use tonic::transport::{Certificate, ClientTlsConfig, Identity};
    let mut config = ClientTlsConfig::new();
    config = match &tls.ca {
        Some(pem) => config.ca_certificate(Certificate::from_pem(pem)),
        None => config.with_enabled_roots(),
    };
    if let Some((chain, key)) = &tls.identity {
        config = config.identity(Identity::from_pem(chain, key));
    }
    if let Some(name) = &tls.domain_name {
        config = config.domain_name(name);
    }
    endpoint.tls_config(config).map_err(|error| {
        let mut message = error.to_string();
        crate::failure::push_sources(&mut message, &error);
        message
    })
}

/// The endpoint with TLS, or why it cannot be had.
#[cfg(not(any(feature = "tls-ring", feature = "tls-aws-lc")))]
pub(crate) fn apply(_endpoint: Endpoint, _tls: &EtcdTls) -> Result<Endpoint, String> {
    Err("this program was built without TLS; switch on the feature tls-ring or tls-aws-lc".to_owned())
}
