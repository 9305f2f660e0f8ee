//! The socket under tonic's connection, and the connector that gives it away once.

use std::fmt;
use std::future::{Ready, ready};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::Uri;
use hyper_util::rt::TokioIo;
use lb_transport::CloseReason;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;
use tower_service::Service;

use super::dial::BoxStream;
use super::link::Link;

/// Gives its stream to the first who asks. A second request, which would be tonic's hidden reconnect, is refused before it is
/// made, and every call that led to it fails with [`Refused`] in its chain of causes.
pub(super) struct OneShot<S>(Option<S>);

/// tonic asked for a second connection: the first takes no more calls. The call was not sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Refused;

impl<S> OneShot<S> {
    pub(super) fn new(stream: S) -> Self {
        Self(Some(stream))
    }
}

impl<S: AsyncRead + AsyncWrite> Service<Uri> for OneShot<S> {
    type Response = TokioIo<S>;
    type Error = Refused;
    type Future = Ready<Result<TokioIo<S>, Refused>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Refused>> {
        Poll::Ready(self.0.as_ref().map(|_| ()).ok_or(Refused))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        ready(self.0.take().map(TokioIo::new).ok_or(Refused))
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the connection takes no more calls")
    }
}

impl std::error::Error for Refused {}

/// A stream that tells its link when it is over, and fails when its link is cut.
pub(super) struct WatchedIo {
    io: BoxStream,
    link: Arc<Link>,
    cut: oneshot::Receiver<()>,
    greeting: Option<Greeting>,
}

/// Resolves once the server has shown that it is one; `Err` says what it is instead.
pub(super) type Greeted = oneshot::Receiver<Result<(), String>>;

impl WatchedIo {
    pub(super) fn new(io: BoxStream, link: Arc<Link>, cut: oneshot::Receiver<()>, tls: bool) -> (Self, Greeted) {
        let (say, greeted) = oneshot::channel();
        let greeting = Greeting { say, head: Head::default(), tls, turns: 0, listening: false };
        (Self { io, link, cut, greeting: Some(greeting) }, greeted)
    }

    /// Fails if the link is cut, and arranges to be woken when it is.
    fn check(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.cut.is_terminated() || Pin::new(&mut self.cut).poll(cx).is_ready() {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        Ok(())
    }

    fn lost<T>(&self, error: io::Error) -> Poll<io::Result<T>> {
        self.link.retire(CloseReason::Lost(error.to_string()));
        Poll::Ready(Err(error))
    }

    fn written(&mut self, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match result {
            Poll::Ready(Err(error)) => self.lost(error),
            other => {
                if let Some(greeting) = &mut self.greeting {
                    greeting.listening = false;
                }
                other
            }
        }
    }

    /// `Err` if what was read cannot come from an HTTP/2 server.
    fn heard(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some(greeting) = &mut self.greeting else { return Ok(()) };
        let Err(what) = greeting.feed(bytes) else { return Ok(()) };
        if let Some(greeting) = self.greeting.take() {
            let _ = greeting.say.send(Err(what.clone()));
        }
        Err(io::Error::new(io::ErrorKind::InvalidData, what))
    }
}

impl AsyncRead for WatchedIo {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        this.check(cx)?;
        // Being asked for more means that what came before was found in order.
        if let Some(greeting) = this.greeting.take_if(|greeting| greeting.is_complete()) {
            let _ = greeting.say.send(Ok(()));
        }
        let before = buf.filled().len();
        match Pin::new(&mut this.io).poll_read(cx, buf) {
            Poll::Ready(Ok(())) if buf.filled().len() == before && buf.remaining() > 0 => {
                this.link.retire(CloseReason::Lost("closed by the server".to_owned()));
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Ok(())) => match this.heard(&buf.filled()[before..]) {
                Ok(()) => Poll::Ready(Ok(())),
                Err(error) => this.lost(error),
            },
            Poll::Ready(Err(error)) => this.lost(error),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncWrite for WatchedIo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        let result = Pin::new(&mut self.io).poll_write(cx, buf);
        self.written(result)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        let result = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.written(result)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check(cx)?;
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check(cx)?;
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

impl Drop for WatchedIo {
    fn drop(&mut self) {
        self.link.retire(CloseReason::Lost("tonic closed the connection".to_owned()));
    }
}

/// Waits for the server's first words.
///
/// In plaintext they are a SETTINGS frame (RFC 9113 §3.4). Under TLS nothing can be read, but peers take turns: the server's
/// second turn comes after our side of the handshake and our SETTINGS, which an HTTP/2 server has to acknowledge, while one that does not
/// accept our certificate uses it to say goodbye.
struct Greeting {
    say: oneshot::Sender<Result<(), String>>,
    head: Head,
    tls: bool,
    /// How often the server began to speak.
    turns: u8,
    listening: bool,
}

/// The header of the first frame.
#[derive(Default)]
struct Head {
    bytes: [u8; 9],
    have: usize,
}

impl Greeting {
    fn feed(&mut self, bytes: &[u8]) -> Result<(), String> {
        if !std::mem::replace(&mut self.listening, true) {
            self.turns = self.turns.saturating_add(1);
        }
        if self.tls { Ok(()) } else { self.head.feed(bytes) }
    }

    fn is_complete(&self) -> bool {
        if self.tls { self.turns >= 2 } else { self.head.have == self.head.bytes.len() }
    }
}

impl Head {
    const SETTINGS: u8 = 4;

    fn feed(&mut self, bytes: &[u8]) -> Result<(), String> {
        let now = bytes.len().min(self.bytes.len() - self.have);
        self.bytes[self.have..][..now].copy_from_slice(&bytes[..now]);
        self.have += now;
        match self.bytes[3] {
            Self::SETTINGS => Ok(()),
            _ if self.have <= 3 => Ok(()),
            _ => Err(format!("its first words are {:?}", String::from_utf8_lossy(&self.bytes[..self.have]))),
        }
    }
}
