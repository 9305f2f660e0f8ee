//! The connections of one endpoint, usually one, and the queue of calls that wait for a stream.
//!
//! Calls go to the oldest connection with room (gRFC A105). If none has room they wait in order; if more connections are allowed,
//! one is dialled. A connection that is lost leaves the others; the pool is closed when the last is gone, and waiting
//! calls then fail as not sent. Spare connections are not closed.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::AbortHandle;

use super::driver::Driver;
use super::link::{Link, Permit};
use super::{KeepaliveConfig, lock};
use crate::BoxFuture;
use crate::call::Origin;
use crate::dial::Dialled;
use crate::error::{CloseReason, TransportError, TransportErrorKind};

/// How long after a failed attempt at a further connection the next may start. As gRPC's first backoff; the calls have a connection
/// to wait on, so there is no hurry.
const DIAL_PAUSE: Duration = Duration::from_secs(1);

/// Dials a further connection to the same address.
pub(crate) type Dial = Box<dyn Fn() -> BoxFuture<'static, Option<Dialled>> + Send + Sync>;

/// What a pool needs to know.
pub(crate) struct PoolConfig {
    pub(crate) origin: Origin,
    pub(crate) keepalive: Option<KeepaliveConfig>,
    pub(crate) adaptive_window: bool,
    /// The connection window to begin with, in bytes.
    pub(crate) window: u32,
    pub(crate) max_connections: usize,
    pub(crate) dial: Dial,
}

/// The connections of one endpoint.
pub(crate) struct Pool {
    pub(crate) config: PoolConfig,
    /// Calls in the queue, and those that are about to join it; see [`Permit`]'s drop.
    waiting: AtomicUsize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Those that take calls, oldest first.
    links: Vec<Arc<Link>>,
    /// The tasks of all connections, draining ones too.
    tasks: Vec<AbortHandle>,
    /// By order of arrival.
    queue: BTreeMap<u64, Seat>,
    arrivals: u64,
    dialling: Option<AbortHandle>,
    closed: Option<CloseReason>,
    /// Whether the tasks were ended too, not only left to finish.
    aborted: bool,
    on_close: Option<oneshot::Sender<CloseReason>>,
}

/// What a queued call finds when it looks.
enum Seat {
    Waiting(Waker),
    Granted(Permit),
}

impl Pool {
    pub(crate) fn new(config: PoolConfig) -> (Arc<Self>, oneshot::Receiver<CloseReason>) {
        let (on_close, closed) = oneshot::channel();
        let state = State { on_close: Some(on_close), ..State::default() };
        (Arc::new(Self { config, waiting: AtomicUsize::new(0), state: Mutex::new(state) }), closed)
    }

    /// Takes a new connection in and starts its task. `None` if the pool is closed.
    pub(crate) fn join(self: &Arc<Self>, dialled: Dialled) -> Option<Arc<Link>> {
        let limit = dialled.connection.max_concurrent_send_streams();
        let link = Arc::new(Link::new(self.clone(), dialled.sender, &dialled.wire, limit, self.config.window));
        let driver = Driver::new(dialled.connection, dialled.wire, link.clone());
        let mut state = lock(&self.state);
        if state.closed.is_some() {
            return None;
        }
        state.links.push(link.clone());
        drop(state);
        // Not under the lock: a runtime that is ending drops the task here and now, and a dropped task leaves the pool.
        self.keep(tokio::spawn(driver).abort_handle());
        self.room();
        Some(link)
    }

    /// Remembers the task of a connection, unless the pool was closed at once meanwhile.
    fn keep(&self, task: AbortHandle) {
        let mut state = lock(&self.state);
        if state.aborted {
            drop(state);
            task.abort();
        } else {
            state.tasks.retain(|task| !task.is_finished());
            state.tasks.push(task);
        }
    }

    /// A permit at once, if nobody waits and `oldest` has room.
    pub(crate) fn try_acquire(&self, oldest: &Arc<Link>) -> Option<Permit> {
        if self.waiting.load(Ordering::Relaxed) == 0 { oldest.try_acquire() } else { None }
    }

    /// A permit for any connection of the pool, or a place in the queue.
    pub(crate) fn acquire(self: &Arc<Self>, cx: &Context<'_>) -> Result<Result<Permit, Ticket>, TransportError> {
        let mut state = lock(&self.state);
        if let Some(reason) = &state.closed {
            return Err(not_sent(reason));
        }
        let number = state.arrivals;
        state.arrivals += 1;
        state.queue.insert(number, Seat::Waiting(cx.waker().clone()));
        // Counted before looking for room: see `Permit::drop`.
        self.waiting.store(state.queue.len(), Ordering::SeqCst);
        let woken = state.grant();
        let permit = state.take_granted(number);
        self.waiting.store(state.queue.len(), Ordering::SeqCst);
        if permit.is_none() {
            self.grow(&mut state);
        }
        drop(state);
        woken.into_iter().for_each(Waker::wake);
        Ok(permit.ok_or_else(|| Ticket { pool: self.clone(), number }))
    }

    /// There may be room: hands it to those who wait, in order.
    pub(super) fn room(&self) {
        if self.waiting.load(Ordering::SeqCst) > 0 {
            let woken = lock(&self.state).grant();
            woken.into_iter().for_each(Waker::wake);
        }
    }

    /// Dials further connections if they are wanted and none is on its way.
    fn grow(self: &Arc<Self>, state: &mut State) {
        if state.dialling.is_some() || !state.wants_another(self.config.max_connections) {
            return;
        }
        let Some(link) = state.links.first() else { return };
        state.dialling = Some(link.runtime.spawn(self.clone().dial()).abort_handle());
    }

    /// Dials as long as calls wait, so that those in the queue need no later arrival to get on.
    async fn dial(self: Arc<Self>) {
        loop {
            match (self.config.dial)().await {
                Some(dialled) => drop(self.join(dialled)),
                None => tokio::time::sleep(DIAL_PAUSE).await,
            }
            let mut state = lock(&self.state);
            if !state.wants_another(self.config.max_connections) {
                state.dialling = None;
                return;
            }
        }
    }

    /// A connection takes no more calls. If it was the last, the pool is closed.
    pub(super) fn left(self: &Arc<Self>, link: &Arc<Link>, reason: &CloseReason) {
        let mut state = lock(&self.state);
        state.links.retain(|other| !Arc::ptr_eq(other, link));
        if state.links.is_empty() {
            self.shut(state, reason.clone());
        } else {
            self.grow(&mut state);
        }
    }

    /// Closes every connection: at once, or when their streams have ended.
    pub(crate) fn close(&self, now: bool) {
        let mut state = lock(&self.state);
        let links = std::mem::take(&mut state.links);
        state.aborted |= now;
        let tasks = if now { std::mem::take(&mut state.tasks) } else { Vec::new() };
        self.shut(state, CloseReason::Closed);
        for link in links {
            link.close(CloseReason::Closed);
        }
        for task in tasks {
            task.abort();
        }
    }

    /// Marks the pool closed, wakes those who wait, and says so; the lock is given up before anybody is told.
    fn shut(&self, mut state: std::sync::MutexGuard<'_, State>, reason: CloseReason) {
        let on_close = state.on_close.take();
        if let Some(attempt) = state.dialling.take() {
            attempt.abort();
        }
        state.closed.get_or_insert_with(|| reason.clone());
        let queue = std::mem::take(&mut state.queue);
        self.waiting.store(0, Ordering::SeqCst);
        drop(state);
        if let Some(on_close) = on_close {
            let _ = on_close.send(reason);
        }
        for seat in queue.into_values() {
            if let Seat::Waiting(waker) = seat {
                waker.wake();
            }
        }
    }

    /// Calls in flight and the sum of the limits, over the connections that take calls.
    pub(crate) fn load(&self) -> (usize, usize) {
        let state = lock(&self.state);
        let in_flight = state.links.iter().map(|link| link.in_flight()).sum();
        let limit = state.links.iter().fold(0_usize, |sum, link| sum.saturating_add(link.limit()));
        (in_flight, limit)
    }

    /// The connections that take calls, oldest first.
    pub(crate) fn links(&self) -> Vec<Arc<Link>> {
        lock(&self.state).links.clone()
    }

    /// The first of the connections that take calls for which this holds.
    pub(crate) fn find(&self, wanted: impl Fn(&Link) -> bool) -> Option<Arc<Link>> {
        lock(&self.state).links.iter().find(|link| wanted(link)).cloned()
    }

    /// Connections that take calls.
    pub(crate) fn connections(&self) -> usize {
        lock(&self.state).links.len()
    }

    /// Calls that wait for a stream.
    pub(crate) fn queued(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }
}

impl State {
    /// Whether calls wait that another connection could take.
    fn wants_another(&self, max: usize) -> bool {
        self.links.len() < max && self.queue.values().any(|seat| matches!(seat, Seat::Waiting(_)))
    }

    /// The permit granted to a place in the queue, which is then given up.
    fn take_granted(&mut self, number: u64) -> Option<Permit> {
        if !matches!(self.queue.get(&number), Some(Seat::Granted(_))) {
            return None;
        }
        match self.queue.remove(&number) {
            Some(Seat::Granted(permit)) => Some(permit),
            _ => None,
        }
    }

    /// Hands free streams to those who wait, in order.
    fn grant(&mut self) -> Vec<Waker> {
        let mut woken = Vec::new();
        let links = &self.links;
        for seat in self.queue.values_mut() {
            if let Seat::Waiting(_) = seat {
                let Some(permit) = links.iter().find_map(Link::try_acquire) else { break };
                if let Seat::Waiting(waker) = std::mem::replace(seat, Seat::Granted(permit)) {
                    woken.push(waker);
                }
            }
        }
        woken
    }
}

/// A place in the queue; dropping it leaves the queue, and passes on what was granted meanwhile.
pub(crate) struct Ticket {
    pool: Arc<Pool>,
    number: u64,
}

impl Ticket {
    /// Ready with a permit when it is this call's turn; `Err` when the pool is closed.
    pub(crate) fn poll(&self, cx: &Context<'_>) -> Poll<Result<Permit, TransportError>> {
        let mut state = lock(&self.pool.state);
        if let Some(permit) = state.take_granted(self.number) {
            self.pool.waiting.store(state.queue.len(), Ordering::SeqCst);
            return Poll::Ready(Ok(permit));
        }
        match state.queue.get_mut(&self.number) {
            Some(Seat::Waiting(waker)) => {
                waker.clone_from(cx.waker());
                Poll::Pending
            }
            _ => Poll::Ready(Err(not_sent(state.closed.as_ref().unwrap_or(&CloseReason::Closed)))),
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut state = lock(&self.pool.state);
        let seat = state.queue.remove(&self.number);
        self.pool.waiting.store(state.queue.len(), Ordering::SeqCst);
        drop(state);
        // A permit in it is given back here, outside the lock.
        drop(seat);
    }
}

fn not_sent(reason: &CloseReason) -> TransportError {
    TransportError::new(TransportErrorKind::NotSent, reason.to_string())
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("waiting", &self.queued()).finish_non_exhaustive()
    }
}
