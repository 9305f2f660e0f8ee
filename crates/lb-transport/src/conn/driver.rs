//! The task of one connection: it polls h2, sends what h2 wrote, and watches what arrives.
//!
//! One turn: let those run first who are about to send more; poll h2 until it waits; send the writes kept back; look at what the sniffer
//! saw (a new stream limit, a GOAWAY); then the timers. The task ends when h2 is done, when the peer is found dead, or when it is aborted; however it ends, dropping it
//! leaves the pool and closes the socket.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::{Ping, PingPong};
use tokio::runtime::RuntimeFlavor;
use tokio::time::{Instant, Sleep};

use super::bdp::Bdp;
use super::keepalive::{Keepalive, Step};
use super::link::Link;
use super::traffic::Noted;
use super::wire::{NOT_HTTP2, Settled, Wire};
use crate::config::MIN_WINDOW;
use crate::error::{CloseReason, ConnectFailure};

/// How long a connection without streams may take to send its last bytes and close. A peer that lives takes a round trip.
const FAREWELL: Duration = Duration::from_secs(5);

type H2Connection = h2::client::Connection<Wire, Bytes>;

/// Polls a new connection until the server's first SETTINGS frame is applied.
pub(crate) async fn await_settings(connection: &mut H2Connection, wire: &Wire) -> Result<(), ConnectFailure> {
    std::future::poll_fn(|cx| match Pin::new(&mut *connection).poll(cx) {
        Poll::Ready(result) => Poll::Ready(Err(explain_start(result, wire.settle(cx)))),
        Poll::Pending => match wire.has_settings(cx) {
            Ok(true) => Poll::Ready(Ok(())),
            Ok(false) => Poll::Pending,
            Err(error) => Poll::Ready(Err(ConnectFailure::Handshake(error.to_string()))),
        },
    })
    .await
}

fn explain_start(result: Result<(), h2::Error>, settled: Settled) -> ConnectFailure {
    if let Some(reason) = settled.seen.go_away {
        return ConnectFailure::Handshake(reason.to_string());
    }
    let Err(error) = result else { return ConnectFailure::Handshake("closed by the server".to_owned()) };
    match error.get_io().map(io::Error::kind) {
        Some(NOT_HTTP2) => ConnectFailure::NotHttp2(error.to_string()),
        // TLS 1.3 servers complain of the client's certificate only after the client thinks that the handshake is over.
        Some(io::ErrorKind::InvalidData) => ConnectFailure::Tls(error.to_string()),
        None if error.is_library() => ConnectFailure::NotHttp2(error.to_string()),
        _ => ConnectFailure::Handshake(error.to_string()),
    }
}

/// The task of one connection.
pub(crate) struct Driver {
    connection: H2Connection,
    wire: Wire,
    link: Arc<Link>,
    pings: Option<PingPong>,
    keepalive: Option<Keepalive>,
    /// The next keepalive step; there is one if there is a keepalive.
    timer: Option<Pin<Box<Sleep>>>,
    bdp: Option<Bdp>,
    /// Runs once the connection is over but for its goodbye.
    farewell: Option<Pin<Box<Sleep>>>,
    /// Bytes read when we last looked.
    read: u64,
    /// What went over it when we last looked.
    noted: Noted,
    /// A SETTINGS frame went by that h2 may not have applied yet.
    limit_stale: bool,
    /// Whether the runtime has several threads; see [`steps_back`](Self::steps_back).
    crowded: bool,
    /// Whether the turn to come has been put off.
    put_off: bool,
}

impl Driver {
    pub(super) fn new(mut connection: H2Connection, wire: Wire, link: Arc<Link>) -> Self {
        let now = Instant::now();
        let config = &link.pool.config;
        let keepalive = config.keepalive.as_ref().map(|config| Keepalive::new(config, now));
        let timer = keepalive.as_ref().map(|keepalive| Box::pin(tokio::time::sleep(keepalive.time)));
        let bdp = config.adaptive_window.then(|| Bdp::new(MIN_WINDOW, now));
        let pings = if keepalive.is_some() || bdp.is_some() { connection.ping_pong() } else { None };
        let crowded = link.runtime.runtime_flavor() != RuntimeFlavor::CurrentThread;
        Self {
            connection,
            wire,
            link,
            pings,
            keepalive,
            timer,
            bdp,
            farewell: None,
            read: 0,
            noted: Noted::default(),
            limit_stale: true,
            crowded,
            put_off: false,
        }
    }

    /// Whether to let other tasks run first. A runtime with several threads runs a task at once that another one has woken, ahead of all
    /// that are ready: of a hundred calls that are about to be sent each would have a turn of its own, with a write and a system call. A
    /// turn that is put off once comes behind them and takes all of them along. A call that is alone has nobody to wait for, and
    /// a runtime with one thread runs tasks in the order they were woken in anyway.
    fn steps_back(&mut self) -> bool {
        self.put_off = self.crowded && !self.put_off && self.link.in_flight() > 1;
        self.put_off
    }

    /// Ready when the connection is over.
    fn turn(&mut self, cx: &mut Context<'_>) -> Poll<CloseReason> {
        self.wake_keepalive();
        loop {
            let polled = Pin::new(&mut self.connection).poll(cx);
            let settled = self.wire.settle(cx);
            let (room, broken) = (settled.room, settled.broken.as_ref().map(io::Error::to_string));
            self.observe(settled, cx);
            match (polled, broken) {
                (Poll::Ready(result), _) => return Poll::Ready(explain_end(result)),
                (Poll::Pending, Some(why)) => return Poll::Ready(self.drain(cx, why)),
                (Poll::Pending, None) if room => self.link.refresh(),
                (Poll::Pending, None) => break,
            }
        }
        if self.link.is_over() && self.poll_farewell(cx).is_ready() {
            return Poll::Ready(CloseReason::Closed);
        }
        self.check_keepalive(cx)
    }

    /// A peer that reads nothing must not keep a socket and a task that nobody uses.
    fn poll_farewell(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.farewell.get_or_insert_with(|| Box::pin(tokio::time::sleep(FAREWELL))).as_mut().poll(cx)
    }

    /// The socket takes nothing any more; what has already arrived may still hold responses.
    fn drain(&mut self, cx: &mut Context<'_>, why: String) -> CloseReason {
        let _ = Pin::new(&mut self.connection).poll(cx);
        let settled = self.wire.settle(cx);
        self.observe(settled, cx);
        CloseReason::Lost(why)
    }

    /// Acts on what went by.
    fn observe(&mut self, settled: Settled, cx: &mut Context<'_>) {
        self.limit_stale |= settled.seen.settings;
        if self.limit_stale {
            self.link.set_limit(self.connection.max_concurrent_send_streams());
            // While writes are blocked h2 cannot acknowledge settings and does not apply them.
            self.limit_stale = settled.blocked;
        }
        if let Some(reason) = settled.seen.go_away {
            self.go_away(reason);
        }
        self.link.traffic.note(&mut self.noted, settled.seen.data > 0, Instant::now);
        if settled.read != self.read {
            self.read = settled.read;
            self.arrived(settled.seen.data, cx);
        }
    }

    fn go_away(&self, reason: CloseReason) {
        if reason.too_many_pings()
            && let (Some(config), Some(keepalive)) = (&self.link.pool.config.keepalive, &self.keepalive)
        {
            config.too_many_pings(keepalive.time);
        }
        tracing::debug!(%reason, "connection is draining");
        self.link.close(reason);
    }

    /// Bytes arrived, `data` of them DATA.
    fn arrived(&mut self, data: usize, cx: &mut Context<'_>) {
        if self.keepalive.is_none() && self.bdp.is_none() {
            return;
        }
        let now = Instant::now();
        if let (Some(keepalive), Some(timer)) = (&mut self.keepalive, &mut self.timer)
            && keepalive.read(now)
        {
            timer.as_mut().reset(now);
        }
        self.measure(data, now, cx);
    }

    fn measure(&mut self, data: usize, now: Instant, cx: &mut Context<'_>) {
        let (Some(bdp), Some(pings)) = (&mut self.bdp, &mut self.pings) else { return };
        let send = bdp.data(data, now);
        if matches!(pings.poll_pong(cx), Poll::Ready(Ok(_)))
            && let Some(window) = bdp.answered(now)
        {
            self.connection.set_target_window_size(window);
            // Fails while an earlier change is unacknowledged; the next sample tries again.
            let _ = self.connection.set_initial_window_size(window);
            cx.waker().wake_by_ref();
        }
        if send && pings.send_ping(Ping::opaque()).is_ok() {
            bdp.sent(now);
        }
    }

    /// A stream on a connection whose watch sleeps: the watch steps before the stream's headers are written.
    fn wake_keepalive(&mut self) {
        if let (Some(keepalive), Some(timer)) = (&self.keepalive, &mut self.timer)
            && keepalive.is_dormant()
            && self.link.in_flight() > 0
        {
            timer.as_mut().reset(Instant::now());
            self.step_keepalive();
        }
    }

    fn check_keepalive(&mut self, cx: &mut Context<'_>) -> Poll<CloseReason> {
        loop {
            let Some(timer) = &mut self.timer else { return Poll::Pending };
            if self.keepalive.as_ref().is_none_or(Keepalive::is_dormant) {
                return Poll::Pending;
            }
            ready!(timer.as_mut().poll(cx));
            if self.step_keepalive() {
                return Poll::Ready(CloseReason::KeepaliveTimeout);
            }
        }
    }

    /// True if the peer is dead.
    fn step_keepalive(&mut self) -> bool {
        let (Some(keepalive), Some(timer)) = (&mut self.keepalive, &mut self.timer) else { return false };
        match keepalive.step(Instant::now(), self.link.in_flight() > 0) {
            Step::Wait(until) => timer.as_mut().reset(until),
            Step::Ping(until) => {
                timer.as_mut().reset(until);
                self.send_ping();
            }
            Step::Sleep => {}
            Step::Dead => return true,
        }
        false
    }

    fn send_ping(&mut self) {
        if let Some(pings) = &mut self.pings {
            self.link.traffic.pinged();
            // Takes an earlier answer off, without which h2 sends no other ping. One that is still out serves as well.
            let _ = pings.poll_pong(&mut Context::from_waker(std::task::Waker::noop()));
            let _ = pings.send_ping(Ping::opaque());
        }
    }
}

fn explain_end(result: Result<(), h2::Error>) -> CloseReason {
    match result {
        Ok(()) => CloseReason::Lost("closed by the server".to_owned()),
        Err(error) => CloseReason::Lost(error.to_string()),
    }
}

impl Future for Driver {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let me = self.get_mut();
        if me.steps_back() {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let reason = ready!(me.turn(cx));
        tracing::debug!(%reason, "connection is over");
        me.link.end(reason);
        Poll::Ready(())
    }
}

impl Drop for Driver {
    /// Before h2's connection is dropped, so that the errors of its streams can say why.
    fn drop(&mut self) {
        self.link.end(CloseReason::Closed);
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::future::poll_fn;

    use tokio::net::UnixStream;

    use super::*;
    use crate::conn::{Pool, PoolConfig, Socket};
    use crate::dial::Dialled;

    fn config() -> PoolConfig {
        PoolConfig {
            origin: crate::call::Origin {
                scheme: http::uri::Scheme::HTTP,
                authority: http::uri::Authority::from_static("orders.test"),
                user_agent: http::HeaderValue::from_static("test"),
            },
            keepalive: None,
            adaptive_window: false,
            window: MIN_WINDOW,
            max_connections: 1,
            dial: Box::new(|| Box::pin(async { None })),
        }
    }

    /// A client, and the server's socket.
    async fn dialled() -> (Dialled, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let wire = Wire::new(Socket::Unix(ours));
        let (sender, connection) = h2::client::handshake(wire.clone()).await.unwrap();
        (Dialled { connection, sender, wire, address: lb_core::Address::Unix("test".into()) }, theirs)
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_reads_nothing_does_not_hold_a_closed_connection() {
        let (dialled, theirs) = dialled().await;
        let wire = dialled.wire.clone();
        let (pool, _) = Pool::new(config());
        let link = pool.join(dialled).unwrap();
        // Fill the socket, so that the goodbye cannot leave.
        poll_fn(|cx| {
            let mut io = wire.clone();
            while tokio::io::AsyncWrite::poll_write(Pin::new(&mut io), cx, &[0; 16 * 1024]).is_ready() {}
            Poll::Ready(())
        })
        .await;
        pool.close(false);
        let closed = async {
            // The task holds the link until it ends.
            while Arc::strong_count(&link) > 1 {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        tokio::time::timeout(FAREWELL * 2, closed).await.expect("the task still runs");
        drop(theirs);
    }

    /// A runtime that is ending drops what is spawned on it there and then, and a dropped driver leaves its pool.
    #[test]
    fn a_connection_that_is_made_while_the_runtime_ends_is_over_at_once() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (dialled, _theirs) = runtime.block_on(dialled());
        let handle = runtime.handle().clone();
        runtime.shutdown_background();
        let (done, joined) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let _entered = handle.enter();
            let (pool, mut closed) = Pool::new(config());
            let link = pool.join(dialled);
            done.send((link.is_some(), closed.try_recv().ok())).unwrap();
        });
        let joined = joined.recv_timeout(Duration::from_secs(10)).expect("it waits for itself");
        assert_eq!(joined, (true, Some(CloseReason::Closed)));
    }
}
