//! When the channel stopped and began to count on the victim.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use evenkeel::{ConnectivityState, LbEvent, Observer};

use crate::support::until;

/// Sees every change, however short.
#[derive(Debug, Clone)]
pub(crate) struct Watch(Arc<Seen>);

#[derive(Debug)]
struct Seen {
    /// The endpoint that is watched; the resolver if there is none.
    key: Option<String>,
    changes: Mutex<Vec<Change>>,
}

#[derive(Debug, Clone, Copy)]
struct Change {
    at: Instant,
    serves: bool,
}

impl Watch {
    pub(crate) fn new(key: Option<String>) -> Self {
        Self(Arc::new(Seen { key, changes: Mutex::default() }))
    }

    /// Waits until the victim is left, at this time or later; yields when it was.
    pub(crate) async fn left(&self, since: Instant) -> Instant {
        until("the channel leaves the victim", || self.first(since, false).is_some()).await;
        self.first(since, false).unwrap_or(since)
    }

    /// Waits until the victim serves; yields since when.
    pub(crate) async fn serves(&self) -> Instant {
        until("the channel takes the victim back", || self.last().is_some_and(|change| change.serves)).await;
        self.last().map_or_else(Instant::now, |change| change.at)
    }

    fn first(&self, since: Instant, serves: bool) -> Option<Instant> {
        let changes = self.0.changes.lock().unwrap();
        changes.iter().find(|change| change.at >= since && change.serves == serves).map(|change| change.at)
    }

    fn last(&self) -> Option<Change> {
        self.0.changes.lock().unwrap().last().copied()
    }
}

impl Observer for Watch {
    fn on_event(&self, event: &LbEvent) {
        let serves = match (event, &self.0.key) {
            (LbEvent::SubchannelState { endpoint, to, .. }, Some(key)) if endpoint.as_str() == key => {
                *to == ConnectivityState::Ready
            }
            (LbEvent::ResolverFailed(_), None) => false,
            (LbEvent::ResolverRecovered, None) => true,
            _ => return,
        };
        let mut changes = self.0.changes.lock().unwrap();
        if changes.last().is_none_or(|last| last.serves != serves) {
            changes.push(Change { at: Instant::now(), serves });
        }
    }
}
