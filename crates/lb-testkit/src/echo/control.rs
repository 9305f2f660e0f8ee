//! What a test can ask of, and tell to, a running echo server.

use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::{HeaderMap, Uri};
use tonic::Code;
use tonic::metadata::MetadataMap;

use super::health::HealthControl;
use crate::ledger::{CALL_ID, Pen};
use crate::random::SplitMix;

/// How long a server thinks before it answers.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Latency {
    /// Answers at once.
    None,
    /// Always this long.
    Fixed(Duration),
    /// Uniform between the two.
    Uniform(Duration, Duration),
    /// Exponential with this mean, never more than ten times it.
    Exponential(Duration),
}

/// What goes wrong with calls.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    None,
    FailNext(u64, Code),
    Fail(Code),
    Hang,
}

/// The head of a request as the server saw it.
#[derive(Debug, Clone)]
pub struct RequestHead {
    /// The `:path`, and where the client sent them the `:scheme` and `:authority`.
    pub uri: Uri,
    /// All other headers.
    pub headers: HeaderMap,
}

/// A handle on an echo server; clones are the same server. It outlives the server without keeping it running.
#[derive(Clone)]
pub struct EchoControl(Arc<State>);

struct State {
    name: String,
    calls: AtomicU64,
    active: AtomicUsize,
    most_active: AtomicUsize,
    latency: Mutex<Latency>,
    fault: Mutex<Fault>,
    last_request: Mutex<Option<RequestHead>>,
    random: SplitMix,
    pen: Option<Pen>,
    health: HealthControl,
}

impl EchoControl {
    pub(super) fn new(name: String, latency: Latency, seed: u64, pen: Option<Pen>) -> Self {
        Self(Arc::new(State {
            name,
            calls: AtomicU64::new(0),
            active: AtomicUsize::new(0),
            most_active: AtomicUsize::new(0),
            latency: Mutex::new(latency),
            fault: Mutex::new(Fault::None),
            last_request: Mutex::new(None),
            random: SplitMix::new(seed),
            pen,
            health: HealthControl::default(),
        }))
    }

    /// The name it puts into every reply.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Calls begun since the start, failed ones and those of earlier lives included.
    pub fn calls(&self) -> u64 {
        self.0.calls.load(Ordering::Relaxed)
    }

    /// Calls being served now; a stream counts until its last message or its cancellation.
    pub fn active(&self) -> usize {
        self.0.active.load(Ordering::Relaxed)
    }

    /// The most calls ever served at one time.
    pub fn most_active(&self) -> usize {
        self.0.most_active.load(Ordering::Relaxed)
    }

    /// Takes effect with the next call.
    pub fn set_latency(&self, latency: Latency) {
        *lock(&self.0.latency) = latency;
    }

    /// The next `n` calls end with this code, those after them succeed.
    pub fn fail_next(&self, n: u64, code: Code) {
        *lock(&self.0.fault) = Fault::FailNext(n, code);
    }

    /// Every call ends with this code until [`EchoControl::heal`].
    pub fn fail(&self, code: Code) {
        *lock(&self.0.fault) = Fault::Fail(code);
    }

    /// Calls that begin from now on are never answered.
    pub fn hang(&self) {
        *lock(&self.0.fault) = Fault::Hang;
    }

    /// Ends `fail_next`, `fail` and `hang` for calls that begin from now on.
    pub fn heal(&self) {
        *lock(&self.0.fault) = Fault::None;
    }

    /// The server's health service.
    pub fn health(&self) -> &HealthControl {
        &self.0.health
    }

    /// The head of the latest echo call; only with [`record_requests`](super::EchoServerBuilder::record_requests).
    pub fn last_request(&self) -> Option<RequestHead> {
        lock(&self.0.last_request).clone()
    }

    pub(super) fn record(&self, request: &http::Request<()>) {
        if request.uri().path().starts_with("/evenkeel.echo.v1.Echo/") {
            let head = RequestHead { uri: request.uri().clone(), headers: request.headers().clone() };
            *lock(&self.0.last_request) = Some(head);
        }
    }

    /// Counts a call in; it is counted out when the guard is dropped.
    pub(super) fn enter(&self, metadata: &MetadataMap) -> Active {
        if let (Some(pen), Some(Ok(id))) = (&self.0.pen, metadata.get(CALL_ID).map(|id| id.to_str())) {
            pen.note(id);
        }
        self.0.calls.fetch_add(1, Ordering::Relaxed);
        let active = self.0.active.fetch_add(1, Ordering::Relaxed) + 1;
        self.0.most_active.fetch_max(active, Ordering::Relaxed);
        Active(self.clone())
    }

    /// The code this call must fail with, if any; never returns while hanging.
    pub(super) async fn fault(&self) -> Option<Code> {
        let fault = self.take_fault();
        match fault {
            Fault::None => None,
            Fault::Fail(code) | Fault::FailNext(_, code) => Some(code),
            Fault::Hang => std::future::pending().await,
        }
    }

    fn take_fault(&self) -> Fault {
        let mut fault = lock(&self.0.fault);
        let now = *fault;
        if let Fault::FailNext(left, code) = now {
            *fault = if left > 1 { Fault::FailNext(left - 1, code) } else { Fault::None };
            return if left == 0 { Fault::None } else { now };
        }
        now
    }

    /// How long the next answer takes.
    pub(super) fn think(&self) -> Duration {
        let latency = *lock(&self.0.latency);
        match latency {
            Latency::None => Duration::ZERO,
            Latency::Fixed(fixed) => fixed,
            Latency::Uniform(least, most) => least + most.saturating_sub(least).mul_f64(self.0.random.unit()),
            // Inverse transform; the unit is below 1, so the logarithm is finite.
            Latency::Exponential(mean) => mean.mul_f64((-(1.0 - self.0.random.unit()).ln()).min(10.0)),
        }
    }
}

impl fmt::Debug for EchoControl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EchoControl")
            .field("name", &self.0.name)
            .field("calls", &self.calls())
            .field("active", &self.active())
            .finish_non_exhaustive()
    }
}

/// A call being served.
pub(super) struct Active(EchoControl);

impl Drop for Active {
    fn drop(&mut self) {
        self.0.0.active.fetch_sub(1, Ordering::Relaxed);
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
