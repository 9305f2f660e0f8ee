//! A resolver that says what the test tells it, and remembers what it was asked.

use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use futures_core::Stream;
use lb_core::{Endpoint, ResolveError, ResolveErrorKind, ResolveNow, Resolver, ResolverStream, ResolverUpdate, Target};
use tokio::sync::{mpsc, watch};

type Answer = Result<ResolverUpdate, ResolveError>;

/// A resolver for one scheme, led by a [`FakeResolverHandle`].
///
/// A stream begins with the last answer pushed before it, if there is one, and then follows the handle; it ends when the
/// handle says so, and never because the handle is gone.
pub struct FakeResolver {
    schemes: [&'static str; 1],
    state: Arc<State>,
}

/// Leads a [`FakeResolver`]; clones lead the same.
#[derive(Clone)]
pub struct FakeResolverHandle(Arc<State>);

#[derive(Default)]
struct State {
    streams: Mutex<Streams>,
    resolves: AtomicU64,
    again: watch::Sender<u64>,
    watching: AtomicUsize,
}

#[derive(Default)]
struct Streams {
    last: Option<Answer>,
    open: Vec<mpsc::UnboundedSender<Answer>>,
    targets: Vec<Target>,
}

impl FakeResolver {
    /// A resolver for `scheme`, and its handle.
    pub fn new(scheme: &'static str) -> (Self, FakeResolverHandle) {
        let state = Arc::<State>::default();
        (Self { schemes: [scheme], state: Arc::clone(&state) }, FakeResolverHandle(state))
    }
}

impl FakeResolverHandle {
    /// Sends a full snapshot to every open stream.
    pub fn update(&self, update: ResolverUpdate) {
        self.push(Ok(update));
    }

    /// Sends a snapshot of these endpoints.
    pub fn endpoints(&self, endpoints: impl IntoIterator<Item = Endpoint>) {
        self.update(ResolverUpdate::new(endpoints.into_iter().collect()));
    }

    /// Sends an error to every open stream.
    pub fn error(&self, error: ResolveError) {
        self.push(Err(error));
    }

    /// Sends the error of a registry that cannot be asked.
    pub fn unavailable(&self, message: &str) {
        self.error(ResolveError::new(ResolveErrorKind::Unavailable, message));
    }

    /// Ends every open stream after what was sent to it.
    pub fn end(&self) {
        self.0.streams().open.clear();
    }

    /// How often [`Resolver::resolve`] was called.
    pub fn resolves(&self) -> u64 {
        self.0.resolves.load(Ordering::Relaxed)
    }

    /// What it was called with, in order.
    pub fn targets(&self) -> Vec<Target> {
        self.0.streams().targets.clone()
    }

    /// How often a channel asked to look again, as heard by its stream; requests that fall together count once.
    pub fn again(&self) -> u64 {
        *self.0.again.borrow()
    }

    /// Waits until a channel has asked to look again `n` times. Cancel safe.
    pub async fn asked_again(&self, n: u64) {
        // The sender lives in the state, so the wait cannot fail.
        let _ = self.0.again.subscribe().wait_for(|again| *again >= n).await;
    }

    /// How many streams are being held; 0 once every channel has dropped its own.
    pub fn watching(&self) -> usize {
        self.0.watching.load(Ordering::Relaxed)
    }

    fn push(&self, answer: Answer) {
        let mut streams = self.0.streams();
        streams.last = Some(answer.clone());
        streams.open.retain(|stream| stream.send(answer.clone()).is_ok());
    }
}

impl State {
    fn streams(&self) -> MutexGuard<'_, Streams> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Resolver for FakeResolver {
    fn schemes(&self) -> &[&'static str] {
        &self.schemes
    }

    fn validate(&self, _: &Target) -> Result<(), ResolveError> {
        Ok(())
    }

    fn resolve(&self, target: &Target, again: ResolveNow) -> ResolverStream {
        let (open, answers) = mpsc::unbounded_channel();
        let mut streams = self.state.streams();
        if let Some(last) = &streams.last {
            let _ = open.send(last.clone());
        }
        streams.open.push(open);
        streams.targets.push(target.clone());
        self.state.resolves.fetch_add(1, Ordering::Relaxed);
        self.state.watching.fetch_add(1, Ordering::Relaxed);
        Box::pin(Answers { answers, again, state: Arc::clone(&self.state) })
    }
}

struct Answers {
    answers: mpsc::UnboundedReceiver<Answer>,
    again: ResolveNow,
    state: Arc<State>,
}

impl Stream for Answers {
    type Item = Answer;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Answer>> {
        while self.again.poll_fired(cx).is_ready() {
            self.state.again.send_modify(|again| *again += 1);
        }
        self.answers.poll_recv(cx)
    }
}

impl Drop for Answers {
    fn drop(&mut self) {
        self.state.watching.fetch_sub(1, Ordering::Relaxed);
    }
}

impl fmt::Debug for FakeResolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FakeResolver").field("scheme", &self.schemes[0]).finish_non_exhaustive()
    }
}

impl fmt::Debug for FakeResolverHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FakeResolverHandle")
            .field("resolves", &self.resolves())
            .field("again", &self.again())
            .field("watching", &self.watching())
            .finish_non_exhaustive()
    }
}
