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
use crate::observe::{AttemptEnd, AttemptStart, AttemptTrace, Direction, MessageReader, Placed};
use crate::snapshot::Connected;

use super::few::Few;
use super::{CallWatch, Moment};

/// What is known of an attempt until it ends.
pub(crate) struct AttemptWatch {
    traces: Few<dyn AttemptTrace>,
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
    traces: Few<dyn AttemptTrace>,
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

    /// Takes the next bytes, and tells those who want to hear of it of every message that ends in them.
    fn pass(&mut self, bytes: &[u8], traces: &Few<dyn AttemptTrace>) {
        let Self { messages, bytes: sum, over } = self;
        if !*over {
            messages.read(bytes, |message| {
                *sum += message.size;
                traces.for_each(|trace| trace.message(message));
            });
        }
    }

    /// Takes the next bytes, of messages that nobody wants to hear of one by one.
    #[inline]
    fn count(&mut self, bytes: &[u8]) {
        match self.messages.whole(bytes) {
            Some(size) if !self.over => self.bytes += u64::from(size),
            _ => self.pass(bytes, const { &Few::new() }),
        }
    }

    /// The bytes of all messages in a whole body.
    #[inline]
    fn bytes_of(body: &[u8]) -> u64 {
        let mut flow = Self::new(Direction::Sent);
        flow.count(body);
        flow.bytes
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
    /// An attempt that began at `started`, and that nobody wants to hear of yet.
    #[inline]
    pub(super) fn new(started: Instant) -> Self {
        Self {
            traces: Few::new(),
            tells_messages: false,
            started,
            sent: Sent::Whole(0),
            received: Flow::new(Direction::Received),
            ending: Ending::default(),
        }
    }

    /// Tells those who observe its call that it has begun.
    #[inline]
    pub(super) fn begin(&mut self, call: &CallWatch, start: &AttemptStart) {
        call.traces.for_each(|trace| {
            if let Some(trace) = trace.attempt(start) {
                self.tells_messages |= trace.wants_messages();
                self.traces.push(trace);
            }
        });
    }

    /// The next bytes of the response's body.
    pub(crate) fn received(&mut self, bytes: &[u8]) {
        match self.tells_messages {
            true => self.received.pass(bytes, &self.traces),
            false => self.received.count(bytes),
        }
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
    #[inline]
    pub(super) fn placed(
        &self,
        call: &CallWatch,
        connected: &Arc<Connected>,
        waited: Option<Instant>,
        policy: Option<&str>,
        headers: &mut HeaderMap,
    ) {
        if self.traces.is_empty() {
            return;
        }
        let waited = waited.map(|now| now.saturating_duration_since(self.started));
        let placed = Placed::new(connected, waited, policy, &call.observers.shared);
        self.traces.for_each(|trace| trace.placed(&placed, headers));
    }

    /// It sends this.
    #[inline]
    pub(super) fn sends(&mut self, body: &mut RequestBody) {
        match body.whole() {
            Some(bytes) if !self.tells_messages => self.sent = Sent::Whole(Flow::bytes_of(bytes)),
            _ => self.shares(body),
        }
    }

    /// What it sends is counted where it is sent.
    fn shares(&mut self, body: &mut RequestBody) {
        let traces = if self.tells_messages { self.traces.clone() } else { Few::new() };
        let watch = Arc::new(SentWatch { traces, flow: Mutex::new(Flow::new(Direction::Sent)) });
        body.watch = Some(Arc::clone(&watch));
        self.sent = Sent::Shared(watch);
    }

    /// Tells its end, and what there is to be said of it; `given_up` is how what does not say so itself has ended.
    #[inline(always)] // Twice, and most calls go by one of them.
    pub(super) fn end(&mut self, call: &CallWatch, moment: &Moment<'_>, given_up: Code) -> (Code, &str) {
        let code = self.ending.code.unwrap_or(given_up);
        let message = self.ending.message.as_deref().unwrap_or_default();
        let end = AttemptEnd {
            code,
            message,
            duration: moment.since(self.started),
            sent: match &self.sent {
                Sent::Whole(bytes) => *bytes,
                Sent::Shared(watch) => watch.flow().finish(),
            },
            received: self.received.finish(),
            pushed_back: self.ending.pushed_back,
            connected: moment.connected,
            observers: &call.observers,
        };
        self.traces.for_each(|trace| trace.end(&end));
        call.traces.for_each(|trace| trace.attempted(&end));
        (code, message)
    }
}
