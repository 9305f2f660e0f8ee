//! One connection as callers see it: a counter of streams, the peer's limit, and h2's sender.
//!
//! h2 itself would queue streams beyond the peer's limit without bound and without order of its own, so the gate is here: a call
//! first gets a [`Permit`], which is one atomic compare-and-swap while there is room. The permit lives as long as the stream.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::SendStream;
use h2::client::{ResponseFuture, SendRequest};
use tokio::runtime::Handle;
use tokio::time::Instant;

use super::lock;
use super::pool::Pool;
use super::traffic::{Totals, Traffic};
use super::wire::{Wire, WireView, Writes};
use crate::error::{CloseReason, TransportError, TransportErrorKind};
use crate::serial::next_serial;
use crate::socket_info::SocketFacts;

/// Set in `in_flight` when no new stream may start.
const CLOSED: usize = 1 << (usize::BITS - 1);

/// How h2 says that a handle still holds another stream back. It has no other sign; should the text change, such a call fails as
/// invalid and not as not sent.
const REJECTED: &str = "rejected";

/// One connection of a [`Pool`].
#[derive(Debug)]
pub(crate) struct Link {
    /// Streams that hold a permit, and the CLOSED bit. SeqCst with the pool's `waiting`: see [`Permit::drop`].
    in_flight: AtomicUsize,
    /// The peer's present limit.
    limit: AtomicUsize,
    /// `None` once no new stream may start, so that h2 closes when the last stream ends.
    sender: Mutex<Option<SendRequest<Bytes>>>,
    writes: Arc<Writes>,
    pub(crate) traffic: Arc<Traffic>,
    serial: u64,
    wire: WireView,
    /// Why it takes no new calls.
    closed: OnceLock<CloseReason>,
    /// Why its streams ended, once they have.
    ended: OnceLock<CloseReason>,
    pub(crate) pool: Arc<Pool>,
    /// Where the connection's task runs, and the tasks that pump request bodies.
    pub(crate) runtime: Handle,
    /// Up to this many streams may each keep back a little of the window; see [`H2Body`](crate::H2Body).
    lazy_below: usize,
}

/// The right to one stream; given back when dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    pub(crate) link: Arc<Link>,
}

/// A stream that is open: the response to come, the request to send, and h2's count of writes before it.
pub(crate) struct Opened {
    pub(crate) response: ResponseFuture,
    pub(crate) request: SendStream<Bytes>,
    pub(crate) writes: u64,
}

impl Link {
    pub(super) fn new(pool: Arc<Pool>, sender: SendRequest<Bytes>, wire: &Wire, limit: usize, window: u32) -> Self {
        Self {
            in_flight: AtomicUsize::new(0),
            limit: AtomicUsize::new(limit),
            sender: Mutex::new(Some(sender)),
            writes: wire.writes(),
            traffic: Arc::new(Traffic::new(Instant::now())),
            serial: next_serial(),
            wire: wire.view(),
            closed: OnceLock::new(),
            ended: OnceLock::new(),
            pool,
            runtime: Handle::current(),
            lazy_below: window as usize / 2 / crate::call::LAZY_WINDOW,
        }
    }

    /// A permit, if there is room now.
    pub(super) fn try_acquire(self: &Arc<Self>) -> Option<Permit> {
        let mut present = self.in_flight.load(Ordering::Relaxed);
        loop {
            // CLOSED makes `present` larger than any limit.
            if present >= self.limit.load(Ordering::Relaxed).min(CLOSED) {
                return None;
            }
            match self.in_flight.compare_exchange_weak(present, present + 1, Ordering::SeqCst, Ordering::Relaxed) {
                Ok(_) => return Some(Permit { link: self.clone() }),
                Err(now) => present = now,
            }
        }
    }

    /// Opens a stream. `Err` is typed by whether another connection would do.
    pub(crate) fn open(
        self: &Arc<Self>,
        cx: &mut Context<'_>,
        head: http::Request<()>,
        end: bool,
    ) -> Result<Opened, TransportError> {
        let mut sender = lock(&self.sender);
        let Some(send) = sender.as_mut() else { return Err(self.not_sent()) };
        // Before h2 has the request, so that a write that may hold it always counts; as late as that allows.
        let writes = self.writes.count();
        let result = send.send_request(head, end);
        // A handle remembers a stream that h2 holds back for the limit, and would reject the next; a fresh one does not.
        if result.is_err() || self.in_flight() * 2 >= self.limit.load(Ordering::Relaxed) {
            *send = send.clone();
        }
        if result.is_ok() {
            self.traffic.opened();
        }
        let health = if result.is_err() { send.poll_ready(cx) } else { Poll::Pending };
        drop(sender);
        match result {
            Ok((response, request)) => Ok(Opened { response, request, writes }),
            Err(error) => Err(self.explain_unopened(&error, matches!(health, Poll::Ready(Ok(()))))),
        }
    }

    /// `healthy`: h2 would open another stream on this connection.
    fn explain_unopened(self: &Arc<Self>, error: &h2::Error, healthy: bool) -> TransportError {
        if healthy && !error.to_string().ends_with(REJECTED) {
            return TransportError::new(TransportErrorKind::Invalid, error.to_string());
        }
        if !healthy && !error.is_io() && !error.is_go_away() {
            // Not the peer's doing and not the request's: there is no identifier left.
            self.close(CloseReason::Exhausted);
        }
        match self.closed.get() {
            Some(_) => self.not_sent(),
            None => TransportError::new(TransportErrorKind::NotSent, error.to_string()),
        }
    }

    fn not_sent(&self) -> TransportError {
        let why = self.closed.get().map_or_else(|| "connection closed".to_owned(), CloseReason::to_string);
        TransportError::new(TransportErrorKind::NotSent, why)
    }

    /// Whether h2 has written nothing since its count was `writes`.
    pub(crate) fn is_unwritten(&self, writes: u64) -> bool {
        self.writes.count() == writes
    }

    /// Whether h2 had written nothing since its count was `writes` when the server's first GOAWAY was read.
    pub(crate) fn was_unwritten_at_go_away(&self, writes: u64) -> bool {
        writes >= self.writes.at_go_away()
    }

    /// Why it takes no new calls.
    pub(crate) fn close_reason(&self) -> Option<&CloseReason> {
        self.closed.get()
    }

    /// What became of the connection, for errors of its streams.
    pub(crate) fn end_reason(&self) -> Option<&CloseReason> {
        self.ended.get().or_else(|| self.closed.get())
    }

    /// Its number among everything in this process that has one.
    pub(crate) fn serial(&self) -> u64 {
        self.serial
    }

    /// What went over it.
    pub(crate) fn totals(&self) -> Totals {
        self.traffic.totals()
    }

    /// What its socket says; nothing once that is gone.
    pub(crate) fn facts(&self) -> SocketFacts {
        self.wire.facts()
    }

    /// Streams that hold a permit.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::SeqCst) & !CLOSED
    }

    /// Whether no stream is left and none may start.
    pub(super) fn is_over(&self) -> bool {
        self.in_flight.load(Ordering::SeqCst) == CLOSED
    }

    pub(crate) fn limit(&self) -> usize {
        self.limit.load(Ordering::Relaxed)
    }

    pub(crate) fn is_lazy(&self) -> bool {
        self.in_flight() < self.lazy_below
    }

    /// Lets go of any stream that h2's handle remembers as held back. To be called when writes were blocked and are no more: then
    /// cancelled streams may have filled h2's own count beyond ours.
    pub(super) fn refresh(&self) {
        if let Some(send) = lock(&self.sender).as_mut() {
            *send = send.clone();
        }
    }

    /// The peer changed its limit.
    pub(super) fn set_limit(&self, limit: usize) {
        if self.limit.swap(limit, Ordering::SeqCst) != limit {
            self.pool.room();
        }
    }

    /// No new streams from now on; those in progress go on. The first reason stays.
    pub(super) fn close(self: &Arc<Self>, reason: CloseReason) {
        if self.closed.set(reason.clone()).is_ok() {
            self.in_flight.fetch_or(CLOSED, Ordering::SeqCst);
            let sender = lock(&self.sender).take();
            // Outside our lock: it takes h2's, and may wake the task.
            drop(sender);
            self.pool.left(self, &reason);
        }
    }

    /// The task is over, and with it every stream.
    pub(super) fn end(self: &Arc<Self>, reason: CloseReason) {
        let _ = self.ended.set(reason.clone());
        self.close(reason);
    }
}

impl Drop for Permit {
    /// A waiting call first counts itself in `waiting`, then looks for room; here the room is made first and `waiting` read after.
    /// Both are SeqCst, so that at least one of the two sees the other.
    fn drop(&mut self) {
        self.link.in_flight.fetch_sub(1, Ordering::SeqCst);
        self.link.pool.room();
    }
}
