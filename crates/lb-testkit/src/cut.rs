//! Server-side sockets that can be cut from outside.
//!
//! A server framework owns its connections in tasks nobody can reach. Wrapping each accepted socket gives the test the
//! switch: cutting makes the next read or write fail, which ends the task, and the socket closes with RST as a killed process's would.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::{oneshot, watch};
use tonic::transport::server::Connected;

/// A stream socket of either family.
#[derive(Debug)]
pub(crate) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// The connections a server has accepted.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    cuts: Mutex<Vec<oneshot::Sender<()>>>,
    open: watch::Sender<usize>,
    accepted: AtomicU64,
}

impl Connections {
    /// Wraps an accepted socket so that [`Connections::cut_all`] reaches it.
    pub(crate) fn adopt(self: &Arc<Self>, socket: Socket) -> CutIo {
        let (cut, listening) = oneshot::channel();
        let mut cuts = self.cuts.lock().unwrap_or_else(PoisonError::into_inner);
        cuts.retain(|cut| !cut.is_closed());
        cuts.push(cut);
        self.accepted.fetch_add(1, Ordering::Relaxed);
        self.open.send_modify(|open| *open += 1);
        CutIo { socket, cut: Some(listening), connections: Arc::clone(self) }
    }

    /// Cuts every connection that is open now.
    pub(crate) fn cut_all(&self) {
        self.cuts.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    pub(crate) fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    pub(crate) fn open(&self) -> usize {
        *self.open.borrow()
    }

    /// Waits until no connection is open. Cancel safe.
    pub(crate) async fn none_open(&self) {
        // The sender lives in `self`, so the wait cannot fail.
        let _ = self.open.subscribe().wait_for(|open| *open == 0).await;
    }
}

/// A socket that fails once it is cut.
#[derive(Debug)]
pub(crate) struct CutIo {
    socket: Socket,
    cut: Option<oneshot::Receiver<()>>,
    connections: Arc<Connections>,
}

impl CutIo {
    /// Fails if cut, and otherwise arranges to be woken when it is.
    fn check(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let cut = match &mut self.cut {
            None => true,
            Some(cut) => Pin::new(cut).poll(cx).is_ready(),
        };
        if cut {
            self.cut = None;
            if let Socket::Tcp(stream) = &self.socket {
                // Closing with unsent or unread data and no linger sends RST, as the kernel does for a killed process.
                let _ = socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO));
            }
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        Ok(())
    }
}

impl Drop for CutIo {
    fn drop(&mut self) {
        self.connections.open.send_modify(|open| *open -= 1);
    }
}

impl AsyncRead for CutIo {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.check(cx)?;
        match &mut self.socket {
            Socket::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Socket::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for CutIo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        match &mut self.socket {
            Socket::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Socket::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        match &mut self.socket {
            Socket::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Socket::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.socket {
            Socket::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Socket::Unix(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.socket {
            Socket::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Socket::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

impl Connected for CutIo {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}
