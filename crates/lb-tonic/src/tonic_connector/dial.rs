//! Opens the streams that tonic then speaks HTTP/2 on.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use lb_core::Address;
use lb_transport::ConnectFailure;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tonic::transport::Endpoint;

/// Both directions of a stream of bytes.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

pub(super) type BoxStream = Box<dyn Stream>;

type Own = dyn Fn(Address) -> BoxFuture<'static, io::Result<BoxStream>> + Send + Sync;

#[derive(Clone)]
pub(super) enum Dial {
    /// TCP and Unix sockets.
    Sockets,
    /// As the user does it.
    Own(Arc<Own>),
}

impl Dial {
    pub(super) fn with<F, S>(dial: impl Fn(Address) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = io::Result<S>> + Send + 'static,
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        Self::Own(Arc::new(move |address| {
            let dialling = dial(address);
            Box::pin(async move { Ok(Box::new(dialling.await?) as BoxStream) })
        }))
    }

    /// Connects to an address that needs no lookup.
    pub(super) async fn open(&self, options: &Endpoint, address: &Address) -> Result<BoxStream, ConnectFailure> {
        let opened = match (self, address) {
            (Self::Own(dial), address) => dial(address.clone()).await,
            (Self::Sockets, Address::Tcp(address)) => tcp(options, *address).await,
            #[cfg(unix)]
            (Self::Sockets, Address::Unix(path)) => unix(path).await,
            #[cfg(target_os = "linux")]
            (Self::Sockets, Address::UnixAbstract(name)) => unix(std::path::Path::new(&format!("\0{name}"))).await,
            (Self::Sockets, other) => {
                return Err(ConnectFailure::Unsupported(format!("{other} on {}", std::env::consts::OS)));
            }
        };
        opened.map_err(|error| ConnectFailure::Socket(Arc::new(error)))
    }
}

impl fmt::Debug for Dial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sockets => "Sockets",
            Self::Own(_) => "Own",
        })
    }
}

/// tonic applies its options for TCP only to sockets that it opens itself.
async fn tcp(options: &Endpoint, address: SocketAddr) -> io::Result<BoxStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(options.get_tcp_nodelay())?;
    if let Some(idle) = options.get_tcp_keepalive() {
        let mut keepalive = TcpKeepalive::new().with_time(idle);
        if let Some(interval) = options.get_tcp_keepalive_interval() {
            keepalive = keepalive.with_interval(interval);
        }
        if let Some(retries) = options.get_tcp_keepalive_retries() {
            keepalive = keepalive.with_retries(retries);
        }
        SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
    }
    Ok(Box::new(stream))
}

#[cfg(unix)]
async fn unix(path: &std::path::Path) -> io::Result<BoxStream> {
    Ok(Box::new(tokio::net::UnixStream::connect(path).await?))
}
