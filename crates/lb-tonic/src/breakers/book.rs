//! Whose breakers there are, and what holds for endpoints that are not listed now.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use lb_core::breaker::{BreakerConfig, BreakerForce, Breakers, EndpointBreakers, RemoteState, RemoteUpdate};
use lb_core::gate::GateSignal;
use lb_core::machine::MAX_ENDPOINTS;
use lb_core::{ConfigError, Endpoint, EndpointKey};
use tokio::time::Instant;

use super::post::Post;

type Group = Option<Arc<str>>;

#[derive(Debug)]
pub(super) struct Book {
    maker: Breakers,
    endpoints: BTreeMap<EndpointKey, Weak<Post>>,
    /// What a remote breaker said last, other than CLOSED, and until when it holds.
    remote: BTreeMap<(EndpointKey, Group), (RemoteUpdate, Instant)>,
    /// As many as people force.
    forced: BTreeMap<(EndpointKey, Group), BreakerForce>,
}

impl Book {
    /// Nobody's breakers yet; they will be made by `maker`.
    pub(super) fn new(maker: Breakers) -> Self {
        Self { maker, endpoints: BTreeMap::new(), remote: BTreeMap::new(), forced: BTreeMap::new() }
    }

    /// The gate of a fresh endpoint.
    pub(super) fn enter(&mut self, endpoint: &Endpoint, signal: &GateSignal, now: Instant) -> Arc<Post> {
        let breakers = self.maker.endpoint(endpoint, signal);
        self.brief(&breakers, now);
        let post = Arc::new(Post::new(breakers));
        self.endpoints.insert(endpoint.key().clone(), Arc::downgrade(&post));
        post
    }

    /// Exchanges the breakers of all endpoints, and makes others from now on.
    pub(super) fn configure(&mut self, config: BreakerConfig, now: Instant) -> Result<(), ConfigError> {
        let next = self.maker.by(config)?;
        let anew = !next.are_grouped_as(&self.maker);
        for post in self.endpoints.values().filter_map(Weak::upgrade) {
            let breakers = post.exchange(&next, now);
            if anew {
                self.brief(&breakers, now);
            }
        }
        self.maker = next;
        Ok(())
    }

    /// Says what holds to breakers that know nothing.
    fn brief(&self, breakers: &EndpointBreakers, now: Instant) {
        let (key, from) = (breakers.endpoint(), (breakers.endpoint().clone(), None));
        let updates = self.remote.range(from.clone()..).take_while(|((endpoint, _), _)| endpoint == key);
        for (_, (update, until)) in updates {
            if let Some(left) = until.checked_duration_since(now) {
                breakers.told(&update.clone().open_for(left.max(Duration::from_millis(1))), now.into_std());
            }
        }
        for ((_, group), force) in self.forced.range(from..).take_while(|((endpoint, _), _)| endpoint == key) {
            breakers.force(group.as_deref(), *force, now.into_std());
        }
    }

    pub(super) fn find(&self, endpoint: &EndpointKey) -> Option<Arc<EndpointBreakers>> {
        Some(self.endpoints.get(endpoint)?.upgrade()?.breakers())
    }

    /// Those of every endpoint that is still there, in the order of their keys.
    pub(super) fn all(&mut self) -> Vec<Arc<EndpointBreakers>> {
        let mut all = Vec::with_capacity(self.endpoints.len());
        self.endpoints.retain(|_, post| {
            let breakers = post.upgrade().map(|post| post.breakers());
            let there = breakers.is_some();
            all.extend(breakers);
            there
        });
        all
    }

    pub(super) fn force(&mut self, endpoint: EndpointKey, group: Option<&str>, force: BreakerForce) {
        let key = (endpoint, group.map(Arc::from));
        if key.1.is_none() {
            self.forced.retain(|(endpoint, _), _| *endpoint != key.0);
        }
        match force {
            // A group can be as configured while all others are forced.
            BreakerForce::Reset if key.1.is_none() || !self.forced.contains_key(&(key.0.clone(), None)) => {
                self.forced.remove(&key);
            }
            _ => drop(self.forced.insert(key, force)),
        }
    }

    /// Remembers what a remote said, for as long as it holds, of at most as many as there may be endpoints.
    pub(super) fn remember(&mut self, update: RemoteUpdate, now: Instant) {
        let open = update.open_for.unwrap_or_else(|| self.maker.config().open_time);
        let key = (update.endpoint.clone(), update.group.clone());
        if key.1.is_none() {
            self.remote.retain(|(endpoint, _), _| *endpoint != key.0);
        }
        if update.state == RemoteState::Closed {
            self.remote.remove(&key);
            return;
        }
        if self.remote.len() >= MAX_ENDPOINTS {
            self.remote.retain(|_, (_, until)| *until > now);
        }
        let until = now.checked_add(open).filter(|_| self.remote.len() < MAX_ENDPOINTS || self.remote.contains_key(&key));
        if let Some(until) = until {
            self.remote.insert(key, (update, until));
        }
    }
}
