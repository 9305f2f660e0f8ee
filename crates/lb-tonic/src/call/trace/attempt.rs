//! One attempt, observed.
//!
//! What an attempt has to tell is told by its [`Guard`](crate::call::Guard), which nobody else has, so nothing here is behind a lock but what the
//! task that sends the request counts too: the bytes of a stream, and messages that somebody wants to hear of one by one. A request in
//! one piece that nobody wants to hear of is counted when it is handed over.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::HeaderMap;
use tokio::time::Instant;
use tonic::Code;

use crate::call::request_body::RequestBody;
use crate::observe::{AttemptEnd, AttemptKind, AttemptStart, AttemptTrace, Direction, MessageReader, Placed};
use crate::snapshot::Connected;

use super::{CallGuard, CallWatch, Traces};

/// What is known of an attempt until it ends.
pub(crate) struct AttemptWatch {
    call: Arc<CallWatch>,
    traces: Traces<dyn AttemptTrace>,
    /// Whether anybody wants to hear of messages one by one.
    tells_messages: bool,
    started: Instant,
    sent: Sent,
    received: Flow,
    ending: Ending,
}

#[derive(Debug, Default)]
struct Ending {
    code: Option<Code>,
    message: Option<Arc<str>>,
    pushed_back: bool,
}

/// What goes to the server.
enum Sent {
    /// Bytes of messages that were handed over all at once.
    Whole(u64),
    /// What is counted where it is sent.
    Shared(Arc<SentWatch>),
}

/// For those who send the request's bytes.
pub(crate) struct SentWatch {
    traces: Traces<dyn AttemptTrace>,
    flow: Mutex<Flow>,
}

/// The messages of one direction.
#[derive(Debug)]
struct Flow {
    messages: MessageReader,
    bytes: u64,
    /// Whether the attempt has ended, and nothing more is told.
    over: bool,
}

impl Flow {
    fn new(direction: Direction) -> Self {
        Self { messages: MessageReader::new(direction), bytes: 0, over: false }
    }

    /// Takes the next bytes, and tells of every message that ends in them.
    fn pass(&mut self, bytes: &[u8], traces: &[Arc<dyn AttemptTrace>]) {
        let Self { messages, bytes: sum, over } = self;
        if !*over {
            messages.read(bytes, |message| {
                *sum += message.size;
                traces.iter().for_each(|trace| trace.message(message));
            });
        }
    }

    /// The bytes of all messages.
    fn finish(&mut self) -> u64 {
        self.over = true;
        self.bytes
    }
}

impl SentWatch {
    fn flow(&self) -> MutexGuard<'_, Flow> {
        self.flow.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next bytes of the request's body.
    pub(crate) fn sent(&self, bytes: &[u8]) {
        self.flow().pass(bytes, &self.traces);
    }
}

impl AttemptWatch {
    /// An attempt of `call` that began at `started`.
    pub(super) fn begin(call: &Arc<CallWatch>, kind: AttemptKind, previous: u32, started: Instant) -> AttemptGuard {
        let start = AttemptStart::new(kind, previous, call.ledger().begin(kind, started));
        let traces: Traces<dyn AttemptTrace> = call.traces.iter().filter_map(|trace| trace.attempt(&start)).collect();
        let watch = Self {
            tells_messages: traces.iter().any(|trace| trace.wants_messages()),
            traces,
            call: Arc::clone(call),
            started,
            sent: Sent::Whole(0),
            received: Flow::new(Direction::Received),
            ending: Ending::default(),
        };
        AttemptGuard { watch: Some(Box::new(watch)), call: None }
    }

    /// The next bytes of the response's body.
    pub(crate) fn received(&mut self, bytes: &[u8]) {
        self.received.pass(bytes, if self.tells_messages { &self.traces } else { &[] });
    }

    /// It ends with this code, if nothing else is said.
    pub(crate) fn ends(&mut self, code: Code) {
        self.ending.code = Some(code);
    }

    /// And with this to be said about it, if nothing was said before.
    pub(crate) fn explain(&mut self, message: Arc<str>) {
        self.ending.message.get_or_insert(message);
    }

    pub(crate) fn pushed_back(&mut self) {
        self.ending.pushed_back = true;
    }

    /// Nothing of it was sent after all.
    pub(crate) fn unsent(&mut self) {
        if let Sent::Whole(bytes) = &mut self.sent {
            *bytes = 0;
        }
    }

    /// It goes there; `now` is for the time it has waited, if it did.
    pub(super) fn placed(
        &self,
        connected: &Arc<Connected>,
        waited: Option<Instant>,
        policy: Option<&str>,
        headers: &mut HeaderMap,
    ) {
        let waited = waited.map(|now| now.saturating_duration_since(self.started));
        let placed = Placed::new(connected, waited, policy, &self.call.observers.shared);
        self.traces.iter().for_each(|trace| trace.placed(&placed, headers));
    }

    /// It sends this.
    pub(super) fn sends(&mut self, body: &mut RequestBody) {
        match body.whole() {
            Some(bytes) if !self.tells_messages => {
                let mut flow = Flow::new(Direction::Sent);
                flow.pass(bytes, &[]);
                self.sent = Sent::Whole(flow.bytes);
            }
            _ => {
                let traces = if self.tells_messages { self.traces.clone() } else { Traces::new() };
                let watch = Arc::new(SentWatch { traces, flow: Mutex::new(Flow::new(Direction::Sent)) });
                body.watch = Some(Arc::clone(&watch));
                self.sent = Sent::Shared(watch);
            }
        }
    }

    /// Tells its end, and the call's if it is that too.
    fn end(mut self, now: Instant, connected: Option<&Arc<Connected>>, call: Option<CallGuard>) {
        let ledger = self.call.ledger().end(now);
        let code = self.ending.code.unwrap_or_else(|| ledger.given_up());
        let message = self.ending.message.as_deref().unwrap_or_default();
        let end = AttemptEnd {
            code,
            message,
            duration: now.saturating_duration_since(self.started),
            sent: match &self.sent {
                Sent::Whole(bytes) => *bytes,
                Sent::Shared(watch) => watch.flow().finish(),
            },
            received: self.received.finish(),
            pushed_back: self.ending.pushed_back,
            connected,
            observers: &self.call.observers,
        };
        self.traces.iter().for_each(|trace| trace.end(&end));
        if let Some(mut call) = call {
            call.end(&ledger, code, message, now);
        }
    }
}

/// Ends an attempt for its observers when it is dropped, and its call with it if it is the one that answered.
pub(crate) struct AttemptGuard {
    watch: Option<Box<AttemptWatch>>,
    pub(crate) call: Option<CallGuard>,
}

impl AttemptGuard {
    /// For those who tell more of it.
    pub(crate) fn watch(&mut self) -> Option<&mut AttemptWatch> {
        self.watch.as_deref_mut()
    }

    /// Ends it now; it was there.
    pub(crate) fn end(mut self, now: Instant, connected: &Arc<Connected>) {
        self.finish(now, Some(connected));
    }

    fn finish(&mut self, now: Instant, connected: Option<&Arc<Connected>>) {
        if let Some(watch) = self.watch.take() {
            watch.end(now, connected, self.call.take());
        }
    }
}

impl Drop for AttemptGuard {
    fn drop(&mut self) {
        if self.watch.is_some() {
            self.finish(Instant::now(), None);
        }
    }
}

impl std::fmt::Debug for AttemptGuard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AttemptGuard")
    }
}
