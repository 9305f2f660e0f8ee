//! The user's options, and whether they include TLS.
//!
//! tonic speaks TLS where the endpoint's URI says `https` *and* TLS is configured; where only the second is true it speaks plaintext and says
//! nothing. An endpoint's scheme is fixed before the user configures it, and whether they have set up TLS cannot be read from
//! it. So it is observed: the endpoint is made with `https`, handed a stream that goes nowhere, and the first byte it writes tells a TLS
//! handshake from anything else.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll};

use http::Uri;
use http::uri::{Authority, Scheme};
use lb_transport::{BoxError, ConnectFailure};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tonic::transport::Endpoint;

use super::watched::OneShot;
use crate::transport::causes;

/// The type of a TLS handshake record (RFC 8446 §5.1). HTTP/2 begins with `PRI`.
const TLS_HANDSHAKE: u8 = 22;

/// An endpoint with the user's options.
#[derive(Debug, Clone)]
pub(super) struct Prepared {
    pub(super) endpoint: Endpoint,
    pub(super) tls: bool,
}

impl Prepared {
    /// What a handshake that failed for this reason is.
    pub(super) fn failure(&self, why: String) -> ConnectFailure {
        if self.tls { ConnectFailure::Tls(why) } else { ConnectFailure::Handshake(why) }
    }
}

type Configure = dyn Fn(Endpoint) -> Result<Endpoint, BoxError> + Send + Sync;

pub(super) struct Options {
    configure: Box<Configure>,
    /// The endpoint of the authority asked for last. Nearly always it is the same: the target's. Reading the
    /// platform's root certificates for every attempt would cost milliseconds each.
    latest: Mutex<Option<(Arc<str>, Prepared)>>,
}

impl Options {
    pub(super) fn new(configure: impl Fn(Endpoint) -> Result<Endpoint, BoxError> + Send + Sync + 'static) -> Self {
        Self { configure: Box::new(configure), latest: Mutex::default() }
    }

    pub(super) async fn prepare(&self, authority: &Arc<str>) -> Result<Prepared, ConnectFailure> {
        let latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((_, prepared)) = latest.filter(|(known, _)| known == authority) {
            return Ok(prepared);
        }
        let parsed: Authority = authority.parse().map_err(|_| ConnectFailure::Authority(authority.to_string()))?;
        let prepared = self.configured(&parsed).await?;
        *self.latest.lock().unwrap_or_else(PoisonError::into_inner) = Some((Arc::clone(authority), prepared.clone()));
        Ok(prepared)
    }

    async fn configured(&self, authority: &Authority) -> Result<Prepared, ConnectFailure> {
        let endpoint = self.endpoint(Scheme::HTTPS, authority)?;
        if speaks_tls(&endpoint).await {
            return Ok(Prepared { endpoint, tls: true });
        }
        Ok(Prepared { endpoint: self.endpoint(Scheme::HTTP, authority)?, tls: false })
    }

    fn endpoint(&self, scheme: Scheme, authority: &Authority) -> Result<Endpoint, ConnectFailure> {
        let uri = Uri::builder().scheme(scheme).authority(authority.clone()).path_and_query("/").build();
        let uri = uri.map_err(|_| ConnectFailure::Authority(authority.to_string()))?;
        let wrong = |error: BoxError| ConnectFailure::Unsupported(format!("tonic endpoint options: {}", causes(&*error)));
        (self.configure)(Endpoint::from(uri)).map_err(wrong)
    }
}

async fn speaks_tls(endpoint: &Endpoint) -> bool {
    let first = Arc::<OnceLock<u8>>::default();
    // The stream fails as soon as it is written to, so this does not wait and never succeeds.
    let _ = endpoint.connect_with_connector(OneShot::new(Nowhere(Arc::clone(&first)))).await;
    first.get() == Some(&TLS_HANDSHAKE)
}

/// Notes the first byte written to it.
struct Nowhere(Arc<OnceLock<u8>>);

impl AsyncRead for Nowhere {
    fn poll_read(self: Pin<&mut Self>, _cx: &mut Context<'_>, _buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Err(io::ErrorKind::NotConnected.into()))
    }
}

impl AsyncWrite for Nowhere {
    fn poll_write(self: Pin<&mut Self>, _cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if let Some(first) = buf.first() {
            self.0.get_or_init(|| *first);
        }
        Poll::Ready(Err(io::ErrorKind::NotConnected.into()))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
