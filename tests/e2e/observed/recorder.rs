//! An observer that writes down what it is told, and puts a header of its own into every attempt.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use evenkeel::observe::{
    AttemptEnd, AttemptStart, AttemptTrace, CallEnd, CallObserver, CallStart, CallTrace, Direction, Message, Placed,
};
use http::HeaderMap;

/// Dropped or kept, clones write into the same book.
#[derive(Debug, Clone, Default)]
pub(crate) struct Recorder(Arc<Mutex<Vec<Book>>>);

/// What was told of one call.
#[derive(Debug, Clone, Default)]
pub(crate) struct Book {
    /// Everything but times and bytes, in order.
    pub(crate) lines: Vec<String>,
    pub(crate) resolved: Option<Duration>,
    /// Of each attempt: the delay before it.
    pub(crate) delays: Vec<Duration>,
    /// Of each attempt that found an endpoint: how long it has waited, if it did.
    pub(crate) waited: Vec<Option<Duration>>,
    /// Of each attempt, in the order of their ends: how long it took, bytes sent and received.
    pub(crate) attempts: Vec<(Duration, u64, u64)>,
    /// Attempts whose end the call was told of.
    attempted: usize,
    /// How long the call took, and was without an attempt.
    pub(crate) took: Option<(Duration, Duration)>,
    /// Of each attempt, in the order of their ends.
    pub(crate) messages: Vec<String>,
}

impl Recorder {
    fn books(&self) -> MutexGuard<'_, Vec<Book>> {
        self.0.lock().unwrap()
    }

    pub(crate) fn calls(&self) -> usize {
        self.books().len()
    }

    /// Whether so many calls have ended, and all that ever began.
    pub(crate) fn ended(&self, count: usize) -> bool {
        let books = self.books();
        books.len() == count && books.iter().all(|book| book.took.is_some())
    }

    pub(crate) fn book(&self, call: usize) -> Book {
        self.books()[call].clone()
    }
}

struct Call {
    recorder: Recorder,
    index: usize,
    attempts: AtomicUsize,
}

impl Call {
    fn write(&self, write: impl FnOnce(&mut Book)) {
        write(&mut self.recorder.books()[self.index]);
    }
}

struct Attempt {
    call: Arc<Call>,
    number: usize,
}

impl Attempt {
    fn line(&self, line: String) {
        self.call.write(|book| book.lines.push(format!("{} {line}", self.number)));
    }
}

impl CallObserver for Recorder {
    fn call(&self, start: &CallStart<'_>) -> Option<Arc<dyn CallTrace>> {
        let mut books = self.books();
        let registered = if start.is_registered() { "registered" } else { "unregistered" };
        books.push(Book { lines: vec![format!("call {} {registered}", start.method())], ..Book::default() });
        let call = Arc::new(Call { recorder: self.clone(), index: books.len() - 1, attempts: AtomicUsize::new(0) });
        Some(Arc::new(Shared(call)))
    }
}

struct Shared(Arc<Call>);

impl CallTrace for Shared {
    fn resolved(&self, waited: Duration) {
        self.0.write(|book| {
            book.lines.push("resolved".to_owned());
            book.resolved = Some(waited);
        });
    }

    fn attempt(&self, start: &AttemptStart) -> Option<Arc<dyn AttemptTrace>> {
        let attempt = Attempt { call: Arc::clone(&self.0), number: self.0.attempts.fetch_add(1, Ordering::Relaxed) };
        attempt.line(format!("{} {}", start.kind.as_str(), start.previous));
        self.0.write(|book| book.delays.push(start.delay));
        Some(Arc::new(attempt))
    }

    fn attempted(&self, end: &AttemptEnd<'_>) {
        self.0.write(|book| {
            // Told of each, after its own trace and with the same words.
            book.attempted += 1;
            let told = (end.duration, end.sent, end.received);
            assert_eq!((book.attempts.len(), book.attempts.last()), (book.attempted, Some(&told)), "{:?}", book.lines);
        });
    }

    fn end(&self, end: &CallEnd<'_>) {
        self.0.write(|book| {
            assert_eq!(book.attempted, end.attempts as usize, "{:?}", book.lines);
            let (retries, transparent, hedges) = (end.retries, end.transparent_retries, end.hedges);
            book.lines.push(format!("end {:?} of {}: {retries} {transparent} {hedges}", end.code, end.attempts));
            assert!(book.took.replace((end.duration, end.retry_delay)).is_none(), "once: {:?}", book.lines);
            book.messages.push(end.message.to_owned());
        });
    }
}

impl AttemptTrace for Attempt {
    fn placed(&self, placed: &Placed<'_>, headers: &mut HeaderMap) {
        assert_eq!(placed.endpoint().key().to_string(), placed.address().to_string());
        assert!(placed.stats().in_flight() > 0);
        headers.append("x-attempt", self.number.into());
        self.line(format!("placed by {}", placed.policy()));
        self.call.write(|book| book.waited.push(placed.waited()));
    }

    fn message(&self, message: &Message) {
        let way = if message.direction == Direction::Sent { "sent" } else { "received" };
        let compressed = if message.compressed { " compressed" } else { "" };
        self.line(format!("{way} {} of {}{compressed}", message.sequence, message.size));
    }

    fn end(&self, end: &AttemptEnd<'_>) {
        let pushed_back = if end.pushed_back { " pushed back" } else { "" };
        let nowhere = if end.endpoint().is_none() { " nowhere" } else { "" };
        self.line(format!("{:?}{pushed_back}{nowhere}", end.code));
        self.call.write(|book| {
            assert!(book.took.is_none(), "the call ends last");
            book.attempts.push((end.duration, end.sent, end.received));
            book.messages.push(end.message.to_owned());
        });
    }
}
