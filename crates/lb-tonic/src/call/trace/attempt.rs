//! One attempt, observed.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use http::HeaderMap;
use tokio::time::Instant;
use tonic::Code;

use crate::observe::{AttemptEnd, AttemptKind, AttemptStart, AttemptTrace, Direction, MessageReader, Placed};
use crate::snapshot::Connected;

use super::{CallGuard, CallWatch, Traces};

/// What those who carry an attempt's bytes, and those who know how it ends, tell of it.
pub(crate) struct AttemptWatch {
    call: Arc<CallWatch>,
    traces: Traces<dyn AttemptTrace>,
    started: Instant,
    connected: OnceLock<Arc<Connected>>,
    sent: Flow,
    received: Flow,
    ending: Mutex<Ending>,
}

#[derive(Debug, Default)]
struct Ending {
    code: Option<Code>,
    message: Option<Arc<str>>,
    pushed_back: bool,
}

/// The messages of one direction.
#[derive(Debug)]
struct Flow(Mutex<Passed>);

#[derive(Debug)]
struct Passed {
    messages: MessageReader,
    bytes: u64,
    /// Whether the attempt has ended, and nothing more is told.
    over: bool,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Flow {
    fn new(direction: Direction) -> Self {
        Self(Mutex::new(Passed { messages: MessageReader::new(direction), bytes: 0, over: false }))
    }

    /// Takes the next bytes, and tells of every message that ends in them.
    fn pass(&self, bytes: &[u8], traces: &[Arc<dyn AttemptTrace>]) {
        let Passed { messages, bytes: sum, over } = &mut *locked(&self.0);
        if !*over {
            messages.read(bytes, |message| {
                *sum += message.size;
                traces.iter().for_each(|trace| trace.message(message));
            });
        }
    }

    /// The bytes of all messages.
    fn finish(&self) -> u64 {
        let mut passed = locked(&self.0);
        passed.over = true;
        passed.bytes
    }
}

impl AttemptWatch {
    /// An attempt of `call` that began at `started`.
    pub(super) fn begin(call: &Arc<CallWatch>, kind: AttemptKind, previous: u32, started: Instant) -> AttemptGuard {
        let start = AttemptStart::new(kind, previous, call.ledger().begin(kind, started));
        AttemptGuard {
            watch: Some(Arc::new(Self {
                traces: call.traces.iter().filter_map(|trace| trace.attempt(&start)).collect(),
                call: Arc::clone(call),
                started,
                connected: OnceLock::new(),
                sent: Flow::new(Direction::Sent),
                received: Flow::new(Direction::Received),
                ending: Mutex::default(),
            })),
            call: None,
        }
    }

    /// The next bytes of the request's body.
    pub(crate) fn sent(&self, bytes: &[u8]) {
        self.sent.pass(bytes, &self.traces);
    }

    /// The next bytes of the response's body.
    pub(crate) fn received(&self, bytes: &[u8]) {
        self.received.pass(bytes, &self.traces);
    }

    /// It ends with this code, if nothing else is said.
    pub(crate) fn ends(&self, code: Code) {
        locked(&self.ending).code = Some(code);
    }

    /// And with this to be said about it, if nothing was said before.
    pub(crate) fn explain(&self, message: Arc<str>) {
        locked(&self.ending).message.get_or_insert(message);
    }

    pub(crate) fn pushed_back(&self) {
        locked(&self.ending).pushed_back = true;
    }

    /// It goes there; `now` is for the time it has waited, if it did.
    pub(super) fn placed(
        &self,
        connected: &Arc<Connected>,
        waited: Option<Instant>,
        policy: Option<&str>,
        headers: &mut HeaderMap,
    ) {
        let snapshot = self.call.observers.shared.snapshot.load();
        let waited = waited.map(|now| now.saturating_duration_since(self.started));
        let placed = Placed::new(connected, waited, policy.unwrap_or_else(|| snapshot.core.policy()));
        self.traces.iter().for_each(|trace| trace.placed(&placed, headers));
        // It is placed once.
        let _ = self.connected.set(Arc::clone(connected));
    }

    fn end(&self, now: Instant) -> Ending {
        let mut ending = std::mem::take(&mut *locked(&self.ending));
        let mut ledger = self.call.ledger();
        ledger.end(now);
        let code = *ending.code.get_or_insert_with(|| ledger.given_up());
        drop(ledger);
        let end = AttemptEnd {
            code,
            message: ending.message.as_deref().unwrap_or_default(),
            duration: now.saturating_duration_since(self.started),
            sent: self.sent.finish(),
            received: self.received.finish(),
            pushed_back: ending.pushed_back,
            connected: self.connected.get(),
            observers: &self.call.observers,
        };
        self.traces.iter().for_each(|trace| trace.end(&end));
        ending
    }
}

/// Ends an attempt for its observers when it is dropped, and its call with it if it is the one that answered.
pub(crate) struct AttemptGuard {
    watch: Option<Arc<AttemptWatch>>,
    pub(crate) call: Option<CallGuard>,
}

impl AttemptGuard {
    /// For those who tell more of it.
    pub(crate) fn watch(&self) -> Option<&Arc<AttemptWatch>> {
        self.watch.as_ref()
    }

    /// Ends it now.
    pub(crate) fn end(mut self, now: Instant) {
        self.finish(now);
    }

    fn finish(&mut self, now: Instant) {
        let Some(watch) = self.watch.take() else { return };
        let Ending { code, message, .. } = watch.end(now);
        if let Some(mut call) = self.call.take() {
            call.end(code, message.as_deref().unwrap_or_default(), now);
        }
    }
}

impl Drop for AttemptGuard {
    fn drop(&mut self) {
        if self.watch.is_some() {
            self.finish(Instant::now());
        }
    }
}

impl std::fmt::Debug for AttemptGuard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AttemptGuard")
    }
}
