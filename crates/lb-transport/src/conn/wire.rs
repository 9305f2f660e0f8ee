//! The byte stream h2 reads and writes: a socket with deferred writes.
//!
//! h2 flushes after every message of 256 bytes or more, one system call each. Here a write only appends to a buffer and a flush does
//! nothing; the connection's task calls [`Wire::settle`] after each time it has polled h2, so that everything queued by then
//! leaves in one call. Large frames go straight to the socket, since copying 16 KiB costs what the system call costs. The buffer is
//! bounded: when it is full, h2 is told to wait.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::flow::Outgoing;
use super::lock;
use super::sniff::{Seen, Sniffer};
use crate::socket_info::SocketFacts;

/// The most bytes kept back; four of h2's own buffers, so that a burst of small messages fits.
const CAPACITY: usize = 64 * 1024;
/// Writes of this size or more are not copied. Half of h2's buffer and of its usual frame.
const DIRECT: usize = 8 * 1024;
/// Slices of one vectored write; h2 passes two, and one is ours.
const SLICES: usize = 8;

/// The kind of error for a peer whose first bytes are not HTTP/2. h2 keeps the kind of an error and its text; no socket uses this one.
pub(super) const NOT_HTTP2: io::ErrorKind = io::ErrorKind::Unsupported;

/// A connected socket of any kind.
#[derive(Debug)]
pub(crate) enum Socket {
    Tcp(TcpStream),
    #[cfg(unix)]
    Unix(tokio::net::UnixStream),
    #[cfg(any(feature = "tls-ring", feature = "tls-aws-lc"))]
    Tls(Box<tokio_rustls::client::TlsStream<Self>>),
}

/// Calls an `AsyncRead`/`AsyncWrite` method on whatever the socket is.
macro_rules! forward {
    ($socket:expr, $method:ident $(, $argument:expr)*) => {
        match $socket {
            Socket::Tcp(stream) => Pin::new(stream).$method($($argument),*),
            #[cfg(unix)]
            Socket::Unix(stream) => Pin::new(stream).$method($($argument),*),
            #[cfg(any(feature = "tls-ring", feature = "tls-aws-lc"))]
            Socket::Tls(stream) => Pin::new(&mut **stream).$method($($argument),*),
        }
    };
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        forward!(self.get_mut(), poll_read, cx, buf)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        forward!(self.get_mut(), poll_write, cx, buf)
    }

    fn poll_write_vectored(self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        forward!(self.get_mut(), poll_write_vectored, cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        forward!(self.get_mut(), poll_flush, cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        forward!(self.get_mut(), poll_shutdown, cx)
    }
}

/// One handle is h2's, the other the task's; both are used by that task alone, so the lock is never waited for.
#[derive(Debug, Clone)]
pub(crate) struct Wire {
    state: Arc<Mutex<WireState>>,
    writes: Arc<Writes>,
}

/// How often h2 has written. A request handed to h2 at some count has not left h2 while the count is the same, which tells a call
/// that was never sent from one that may have been.
#[derive(Debug)]
pub(crate) struct Writes {
    count: AtomicU64,
    /// The count when the first GOAWAY was read; the largest number before.
    at_go_away: AtomicU64,
}

impl Writes {
    pub(super) fn count(&self) -> u64 {
        self.count.load(Ordering::Acquire)
    }

    /// The count when the first GOAWAY was read; the largest number before.
    pub(super) fn at_go_away(&self) -> u64 {
        self.at_go_away.load(Ordering::Acquire)
    }
}

#[derive(Debug)]
struct WireState {
    socket: Socket,
    out: Vec<u8>,
    /// How much of `out` has gone to the socket.
    gone: usize,
    /// h2 was told to wait for room.
    blocked: bool,
    /// And that was the last it was told.
    refused: bool,
    sniffer: Sniffer,
    outgoing: Outgoing,
    /// Bytes read, ever.
    read: u64,
}

/// What [`Wire::settle`] found.
#[derive(Debug, Default)]
pub(super) struct Settled {
    pub(super) seen: Seen,
    /// Bytes read, ever.
    pub(super) read: u64,
    /// h2 waits for room that is not there yet.
    pub(super) blocked: bool,
    /// h2 waited for room, and now there is some: poll it again.
    pub(super) room: bool,
    /// The socket takes nothing any more.
    pub(super) broken: Option<io::Error>,
}

impl Wire {
    pub(crate) fn new(socket: Socket) -> Self {
        let (sniffer, outgoing) = (Sniffer::default(), Outgoing::default());
        let state = WireState { socket, out: Vec::new(), gone: 0, blocked: false, refused: false, sniffer, outgoing, read: 0 };
        let writes = Writes { count: AtomicU64::new(0), at_go_away: AtomicU64::new(u64::MAX) };
        Self { state: Arc::new(Mutex::new(state)), writes: Arc::new(writes) }
    }

    /// A way to look at the socket that does not keep it open.
    pub(super) fn view(&self) -> WireView {
        WireView(Arc::downgrade(&self.state))
    }

    /// The count of h2's writes.
    pub(super) fn writes(&self) -> Arc<Writes> {
        self.writes.clone()
    }

    /// Sends what was kept back, and says what arrived; to be called after each poll of h2.
    pub(super) fn settle(&self, cx: &mut Context<'_>) -> Settled {
        let mut state = lock(&self.state);
        let kept = state.gone < state.out.len();
        let flushed = state.poll_flush(cx);
        // With nothing kept back it is the socket that h2 waits for, and the socket wakes the task. To poll h2 again at once could go on
        // for ever: a socket takes nothing from a task that has used up its budget, until that task lets others run.
        let waits = flushed.is_pending() || state.refused && !kept;
        let (blocked, room) = (state.blocked && waits, state.blocked && !waits);
        state.blocked = blocked;
        let broken = if let Poll::Ready(Err(error)) = flushed { Some(error) } else { None };
        Settled { seen: std::mem::take(&mut state.sniffer.seen), read: state.read, blocked, room, broken }
    }

    /// Whether the server's first SETTINGS frame went by; leaves what was seen for [`settle`](Self::settle).
    pub(super) fn has_settings(&self, cx: &mut Context<'_>) -> io::Result<bool> {
        let mut state = lock(&self.state);
        match state.poll_flush(cx) {
            Poll::Ready(Err(error)) => Err(error),
            _ => Ok(state.sniffer.seen.settings),
        }
    }
}

/// Looks at a socket and what went over it. Keeps nothing open but for that moment.
#[derive(Debug)]
pub(super) struct WireView(Weak<Mutex<WireState>>);

impl WireView {
    /// What is known of the socket; nothing once it is gone.
    pub(super) fn facts(&self) -> SocketFacts {
        let Some(state) = self.0.upgrade() else { return SocketFacts::default() };
        let state = lock(&state);
        let (ours, theirs) = (state.outgoing.flow, state.sniffer.flow);
        SocketFacts { windows: Some((ours.window(theirs), theirs.window(ours))), ..state.socket.facts() }
    }
}

impl WireState {
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.gone < self.out.len() {
            let n = ready!(Pin::new(&mut self.socket).poll_write(cx, &self.out[self.gone..]))?;
            self.took(n)?;
        }
        self.out.clear();
        self.gone = 0;
        Poll::Ready(Ok(()))
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.out.is_empty() && !self.socket_buffers() {
            return Poll::Ready(Ok(()));
        }
        ready!(self.poll_drain(cx))?;
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    /// Whether the socket itself keeps bytes back, so that a flush matters even if we keep none.
    fn socket_buffers(&self) -> bool {
        #[cfg(any(feature = "tls-ring", feature = "tls-aws-lc"))]
        return matches!(self.socket, Socket::Tls(_));
        #[cfg(not(any(feature = "tls-ring", feature = "tls-aws-lc")))]
        return false;
    }

    fn took(&mut self, n: usize) -> io::Result<()> {
        if n == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.gone += n;
        Ok(())
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let size = bufs.iter().map(|buf| buf.len()).sum::<usize>();
        let poll = if size >= DIRECT { self.write_through(cx, bufs) } else { self.keep_back(cx, bufs, size) };
        self.refused = poll.is_pending();
        self.blocked |= self.refused;
        if let Poll::Ready(Ok(taken)) = poll {
            self.follow(bufs, taken);
        }
        poll
    }

    /// Looks at what h2 has written.
    fn follow(&mut self, bufs: &[IoSlice<'_>], mut taken: usize) {
        for buf in bufs {
            let now = &buf[..buf.len().min(taken)];
            taken -= now.len();
            self.outgoing.feed(now);
        }
    }

    fn keep_back(&mut self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>], size: usize) -> Poll<io::Result<usize>> {
        if self.out.len() + size > CAPACITY {
            ready!(self.poll_drain(cx))?;
        }
        for buf in bufs {
            self.out.extend_from_slice(buf);
        }
        Poll::Ready(Ok(size))
    }

    /// Writes what is kept back and `bufs` in one call; returns how much of `bufs` went.
    fn write_through(&mut self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        loop {
            let kept = self.out.len() - self.gone;
            let mut slices = [IoSlice::new(&[]); SLICES];
            slices[0] = IoSlice::new(&self.out[self.gone..]);
            let used = 1 + bufs.len().min(SLICES - 1);
            slices[1..used].copy_from_slice(&bufs[..used - 1]);
            let first = usize::from(kept == 0);
            let n = ready!(Pin::new(&mut self.socket).poll_write_vectored(cx, &slices[first..used]))?;
            if n < kept {
                self.took(n)?;
                continue;
            }
            self.out.clear();
            self.gone = 0;
            if n > kept || kept == 0 {
                return Poll::Ready(Ok(n - kept));
            }
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut state = lock(&self.state);
        let state = &mut *state;
        let before = buf.filled().len();
        ready!(Pin::new(&mut state.socket).poll_read(cx, buf))?;
        let new = &buf.filled()[before..];
        state.read += new.len() as u64;
        let fed = state.sniffer.feed(new).map_err(|what| io::Error::new(NOT_HTTP2, what));
        if state.sniffer.seen.go_away.is_some() {
            // The first one counts.
            self.writes.at_go_away.fetch_min(self.writes.count(), Ordering::AcqRel);
        }
        Poll::Ready(fed)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        self.writes.count.fetch_add(1, Ordering::Release);
        lock(&self.state).poll_write(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// Left to [`Wire::settle`].
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = lock(&self.state);
        ready!(state.poll_flush(cx))?;
        Pin::new(&mut state.socket).poll_shutdown(cx)
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests;
