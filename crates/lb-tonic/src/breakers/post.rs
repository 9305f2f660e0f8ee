//! The gate of an endpoint's breakers, behind which they can be exchanged for others.

use std::sync::Arc;

use arc_swap::ArcSwap;
use lb_core::Done;
use lb_core::breaker::{Breakers, EndpointBreakers};
use lb_core::gate::{Entry, Gate, Refusal};
use tokio::time::Instant;

/// A call leaves at the breakers there are when it ends; whether those know it is theirs to say.
#[derive(Debug)]
pub(super) struct Post(ArcSwap<EndpointBreakers>);

impl Post {
    pub(super) fn new(breakers: Arc<EndpointBreakers>) -> Self {
        Self(ArcSwap::new(breakers))
    }

    /// Those there are now.
    pub(super) fn breakers(&self) -> Arc<EndpointBreakers> {
        self.0.load_full()
    }

    /// Others from now on, in the place of those there are.
    pub(super) fn exchange(&self, next: &Breakers, now: Instant) -> Arc<EndpointBreakers> {
        let breakers = self.0.load().by(next, now.into_std());
        self.0.store(Arc::clone(&breakers));
        breakers
    }
}

impl Gate for Post {
    #[inline]
    fn enter(&self, entry: &Entry<'_>) -> Result<u64, Refusal> {
        self.0.load().enter(entry)
    }

    #[inline]
    fn left(&self, token: u64, done: &Done<'_>) {
        self.0.load().left(token, done);
    }

    fn unused(&self, token: u64) {
        self.0.load().unused(token);
    }

    fn refusal(&self, entry: &Entry<'_>) -> Option<Refusal> {
        self.0.load().refusal(entry)
    }
}
