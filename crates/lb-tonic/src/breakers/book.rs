//! Whose breakers there are, and what holds for endpoints that are not listed now.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use lb_core::EndpointKey;
use lb_core::breaker::{BreakerForce, EndpointBreakers, RemoteState, RemoteUpdate};
use lb_core::machine::MAX_ENDPOINTS;
use tokio::time::Instant;

type Group = Option<Arc<str>>;

#[derive(Debug, Default)]
pub(super) struct Book {
    endpoints: BTreeMap<EndpointKey, Weak<EndpointBreakers>>,
    /// What a remote breaker said last, other than CLOSED, and until when it holds.
    remote: BTreeMap<(EndpointKey, Group), (RemoteUpdate, Instant)>,
    /// As many as people force.
    forced: BTreeMap<(EndpointKey, Group), BreakerForce>,
}

impl Book {
    /// Enters the breakers of a fresh endpoint, and says what holds for them.
    pub(super) fn enter(
        &mut self,
        breakers: &Arc<EndpointBreakers>,
        now: Instant,
    ) -> (Vec<RemoteUpdate>, Vec<(Group, BreakerForce)>) {
        let key = breakers.endpoint();
        self.endpoints.insert(key.clone(), Arc::downgrade(breakers));
        let from = (key.clone(), None);
        let updates = self.remote.range(from.clone()..).take_while(|((endpoint, _), _)| endpoint == key);
        let updates = updates.filter_map(|(_, (update, until))| {
            let left = until.checked_duration_since(now)?;
            Some(update.clone().open_for(left.max(Duration::from_millis(1))))
        });
        let forced = self.forced.range(from..).take_while(|((endpoint, _), _)| endpoint == key);
        (updates.collect(), forced.map(|((_, group), force)| (group.clone(), *force)).collect())
    }

    pub(super) fn find(&self, endpoint: &EndpointKey) -> Option<Arc<EndpointBreakers>> {
        self.endpoints.get(endpoint)?.upgrade()
    }

    /// Those of every endpoint that is still there, in the order of their keys.
    pub(super) fn all(&mut self) -> Vec<Arc<EndpointBreakers>> {
        let mut all = Vec::with_capacity(self.endpoints.len());
        self.endpoints.retain(|_, breakers| {
            let breakers = breakers.upgrade();
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
    pub(super) fn remember(&mut self, update: RemoteUpdate, now: Instant, open: Duration) {
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
