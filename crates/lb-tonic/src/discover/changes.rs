//! Any resolver as a stream of changes.

use std::collections::{BTreeSet, VecDeque};
use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use lb_core::{Endpoint, EndpointKey, ResolveError, Resolver, ResolverStream, ResolverUpdate, Target, Trigger};
use tower::discover::Change;

/// The endpoints of a target as they come and go, for tonic's `balance_channel` or any tower balancer.
///
/// It is a `Stream` of `Result<Change<EndpointKey, S>, Infallible>`, and therefore a [`tower::discover::Discover`]. It never fails
/// and never ends: tower gives up on a `Discover` that does either, so a failing resolver is told to
/// [`on_error`](Self::on_error) and the last good set stands. A change of attributes alone is no change. Nothing is read while
/// nobody polls.
pub struct Changes<S> {
    updates: ResolverStream,
    make: Box<dyn FnMut(&Endpoint) -> S + Send>,
    on_error: Box<dyn FnMut(&ResolveError) + Send>,
    known: BTreeSet<EndpointKey>,
    pending: VecDeque<Change<EndpointKey, S>>,
    again: Trigger,
    ended: bool,
}

impl<S> Changes<S> {
    /// Starts resolving `target`. `make` makes what the balancer calls from an endpoint.
    pub fn new(resolver: &dyn Resolver, target: &Target, make: impl FnMut(&Endpoint) -> S + Send + 'static) -> Self {
        let (again, resolve_now) = Trigger::pair();
        Self {
            updates: resolver.resolve(target, resolve_now),
            make: Box::new(make),
            on_error: Box::new(|error| tracing::warn!(target: "evenkeel", "{error}; the last good set stands")),
            known: BTreeSet::new(),
            pending: VecDeque::new(),
            again,
            ended: false,
        }
    }

    /// What to do when the resolver cannot answer; by default a line in the log.
    #[must_use]
    pub fn on_error(mut self, on_error: impl FnMut(&ResolveError) + Send + 'static) -> Self {
        self.on_error = Box::new(on_error);
        self
    }

    /// Asks the resolver to look again.
    pub fn resolve_now(&self) {
        self.again.fire();
    }

    /// Queues what is different from the last set. What goes goes first, so that a balancer never holds both at once.
    fn take(&mut self, update: ResolverUpdate) {
        let listed: BTreeSet<EndpointKey> = update.endpoints.iter().map(|endpoint| endpoint.key().clone()).collect();
        let gone: Vec<EndpointKey> = self.known.difference(&listed).cloned().collect();
        for key in gone {
            self.known.remove(&key);
            self.pending.push_back(Change::Remove(key));
        }
        for endpoint in &update.endpoints {
            if self.known.insert(endpoint.key().clone()) {
                self.pending.push_back(Change::Insert(endpoint.key().clone(), (self.make)(endpoint)));
            }
        }
    }
}

impl<S: Unpin> Stream for Changes<S> {
    type Item = Result<Change<EndpointKey, S>, Infallible>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            if let Some(change) = this.pending.pop_front() {
                return Poll::Ready(Some(Ok(change)));
            }
            if this.ended {
                return Poll::Pending;
            }
            match ready!(this.updates.as_mut().poll_next(cx)) {
                Some(Ok(update)) => this.take(update),
                Some(Err(error)) => (this.on_error)(&error),
                None => this.ended = true,
            }
        }
    }
}

impl<S> fmt::Debug for Changes<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Changes").field("endpoints", &self.known.len()).finish_non_exhaustive()
    }
}
