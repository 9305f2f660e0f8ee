//! What the driver tells observers, and what it looks at to do so.

use std::sync::{Arc, PoisonError};

use lb_core::{ChannelFacts, History, LbEvent, Observer};
use tokio::time::Instant;

use super::Driver;
use crate::sessions::Moved;

impl Driver {
    pub(super) fn look_back(&mut self) {
        let now = Instant::now();
        self.shared.look_back(now);
        self.look_back_at = Some(History::next_look(now.into_std()).into());
    }

    /// Tells observers what they are about to hear of.
    pub(super) fn introduce(&self, observers: &[Arc<dyn Observer>]) {
        let facts = ChannelFacts::new(self.machine.policy(), self.connections.security());
        observers.iter().for_each(|observer| observer.on_channel(&facts));
    }

    /// Tells these too, from now on.
    pub(super) fn attach(&mut self, observers: Vec<Arc<dyn Observer>>) {
        self.introduce(&observers);
        self.observers.extend(observers);
    }

    /// Whether somebody hears events.
    fn is_heard(&self) -> bool {
        !self.observers.is_empty() || self.shared.events.receiver_count() > 0
    }

    /// Looks at loads from now on, if anybody wants to know.
    pub(super) fn begin_loads(&mut self) {
        if self.resolving.is_some() && (self.is_heard() || self.loads.is_wanted()) {
            self.loads.begin();
        }
    }

    pub(super) fn look_at_loads(&mut self) {
        let (snapshot, now) = (Arc::clone(&self.shared.snapshot.load().core), Instant::now());
        if let Some((status, advice)) = self.loads.scale(&snapshot, now) {
            *self.shared.scaling.lock().unwrap_or_else(PoisonError::into_inner) = Some(status);
            advice.iter().for_each(|event| self.emit(event));
        }
        if self.is_heard() {
            let events = self.loads.look(&snapshot, now);
            events.iter().for_each(|event| self.emit(event));
        } else if !self.loads.is_wanted() {
            self.loads.end();
        }
    }

    /// Tells what circuit breakers have done, so that observers hear everything in order and on one task.
    pub(super) fn tell_breakers(&mut self) {
        let changes = self.shared.breakers.as_ref().map(|breakers| breakers.changes()).unwrap_or_default();
        changes.into_iter().for_each(|change| self.emit(&change.into()));
    }

    /// Tells of calls that found no endpoint.
    pub(super) fn tell_pick_failures(&mut self) {
        let told = self.pick_failures.tell(&self.shared.pick_failures, Instant::now());
        told.iter().for_each(|event| self.emit(event));
    }

    /// Tells of sessions that moved, or of some of them if they are very many.
    pub(super) fn tell_moved(&mut self, moved: Moved) {
        let now = Instant::now();
        for event in moved {
            if self.moved.allows(now) {
                self.emit(&event);
            }
        }
    }

    pub(super) fn emit(&mut self, event: &LbEvent) {
        self.log.write(self.source.target.as_str(), event, Instant::now().into_std());
        for observer in &self.observers {
            observer.on_event(event);
        }
        // Nobody subscribed is no error.
        drop(self.shared.events.send(event.clone()));
    }
}
