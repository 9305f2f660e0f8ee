//! The client's side of a TLS handshake.

use std::fmt;

use rustls_pki_types::ServerName;
use tokio_rustls::TlsConnector;

use super::build::H2;
use crate::conn::Socket;
use crate::error::ConnectFailure;

/// Options that were read and found good.
#[derive(Clone)]
pub(crate) struct TlsDialer {
    pub(super) connector: TlsConnector,
    pub(super) domain_name: Option<ServerName<'static>>,
}

impl TlsDialer {
    /// `name` is a host as in an authority: an IPv6 address is in brackets.
    pub(crate) async fn handshake(&self, name: &str, socket: Socket) -> Result<Socket, ConnectFailure> {
        let name = match &self.domain_name {
            Some(name) => name.clone(),
            None => {
                let bare = name.trim_start_matches('[').trim_end_matches(']');
                ServerName::try_from(bare.to_owned()).map_err(|_| ConnectFailure::Authority(name.to_owned()))?
            }
        };
        let connecting = Box::pin(self.connector.connect(name, socket));
        let stream = connecting.await.map_err(|error| ConnectFailure::Tls(error.to_string()))?;
        match stream.get_ref().1.alpn_protocol() {
            Some(H2) => Ok(Socket::Tls(Box::new(stream))),
            Some(other) => Err(ConnectFailure::NotHttp2(format!("it chose \"{}\" by ALPN", other.escape_ascii()))),
            None => Err(ConnectFailure::NotHttp2("it chose no protocol by ALPN, and gRPC over TLS needs h2".to_owned())),
        }
    }
}

impl fmt::Debug for TlsDialer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsDialer").field("domain_name", &self.domain_name).finish_non_exhaustive()
    }
}
