//! The machine's effects, executed, and the world's answers to them.

use std::sync::Arc;
use std::time::Duration;

use lb_core::machine::{AttemptId, Effect, Event};
use lb_core::{ResolveError, ResolverUpdate, ServingStatus, Slot};

use super::SimNet;
use super::record::{Record, What};
use super::world::{ATTEMPT_DELAY, Happening, Next};

impl SimNet {
    pub(super) fn plan(&mut self, after: Duration, happening: Happening) {
        self.planned += 1;
        self.agenda.insert((self.clock.now() + after, self.planned), happening);
    }

    pub(super) fn record(&mut self, what: What) {
        self.records.push(Record { at: self.clock.elapsed(), what });
    }

    pub(super) fn answer(&mut self, answer: Result<ResolverUpdate, ResolveError>) {
        self.resolver.latest = Some(answer);
        if self.resolver.running {
            self.plan(Duration::ZERO, Happening::Resolved);
            self.run_for(Duration::ZERO);
        }
    }

    pub(super) fn execute(&mut self, effect: Effect) {
        match effect {
            Effect::StartResolver => {
                self.resolver.running = true;
                self.plan(Duration::ZERO, Happening::Resolved);
                self.record(What::ResolverStarted);
            }
            Effect::StopResolver => {
                self.resolver.running = false;
                self.record(What::ResolverStopped);
            }
            Effect::ReResolve => {
                self.resolver.asked_again += 1;
                if let Some(after) = self.resolver.answers_after {
                    self.plan(after, Happening::Resolved);
                }
                self.record(What::ReResolve);
            }
            Effect::Connect { slot, attempt, endpoint, addresses, timeout } => {
                self.record(What::Connect { slot, attempt, endpoint: endpoint.key().clone(), addresses: addresses.clone() });
                self.world.begin(slot, attempt, addresses);
                self.plan(Duration::ZERO, Happening::Try(attempt, 0));
                self.plan(timeout, Happening::TimedOut(attempt));
            }
            // Nobody is there to measure for.
            Effect::Spare(_) | Effect::Measured(_) => {}
            // Nothing is in progress here: what a graceful close waits for is over at once.
            Effect::Close { attempt, .. } | Effect::Retire { attempt, .. } => {
                self.world.forget(attempt);
                self.record(What::Close(attempt));
            }
            Effect::WatchHealth { slot, attempt, .. } => {
                self.record(What::WatchHealth(attempt));
                if self.world.watch(attempt) {
                    self.plan(Duration::ZERO, Happening::Health(slot, attempt));
                }
            }
            Effect::WakeAt(at) => self.wake_at = at,
            Effect::Publish(snapshot) => {
                self.record(What::Published { generation: snapshot.generation, state: snapshot.state });
                self.snapshot = snapshot;
            }
            Effect::Emit(event) => self.record(What::Event(event)),
            // A new effect of the machine must be simulated before a test can trust this.
            other => panic!("the simulation does not know {other:?}"),
        }
    }

    /// The world moves on; yields what the machine must be told.
    pub(super) fn happen(&mut self, happening: Happening) -> Option<Event> {
        match happening {
            Happening::Resolved => self.resolved(),
            Happening::Try(attempt, index) => self.try_address(attempt, index),
            Happening::Arrived(attempt, index) => self.arrived(attempt, index),
            Happening::TimedOut(attempt) => self.failed(attempt, "timed out"),
            Happening::Ended(attempt) => self.world.is_connected(attempt).then(|| self.lost(attempt)),
            Happening::Health(slot, attempt) => {
                let status = self.world.health(attempt)?;
                Some(self.healthy(slot, attempt, &status))
            }
        }
    }

    fn resolved(&self) -> Option<Event> {
        let latest = self.resolver.latest.clone().filter(|_| self.resolver.running)?;
        Some(latest.map_or_else(Event::ResolveFailed, Event::Resolved))
    }

    fn try_address(&mut self, attempt: AttemptId, index: usize) -> Option<Event> {
        let Some((next, latency)) = self.world.next(attempt, index) else {
            // Past the last address: only hanging ones can still answer, and they will not.
            return if self.world.hangs(attempt) { None } else { self.failed(attempt, "connection refused") };
        };
        match next {
            Next::Accept => self.plan(latency, Happening::Arrived(attempt, index)),
            Next::Refuse => self.plan(latency, Happening::Try(attempt, index + 1)),
            Next::Hang => self.plan(ATTEMPT_DELAY, Happening::Try(attempt, index + 1)),
        }
        None
    }

    fn arrived(&mut self, attempt: AttemptId, index: usize) -> Option<Event> {
        // The world may have changed while the packets were on their way.
        if !matches!(self.world.next(attempt, index)?, (Next::Accept, _)) {
            return self.try_address(attempt, index + 1);
        }
        let (slot, address, lifetime) = self.world.connect(attempt, index)?;
        if let Some(lifetime) = lifetime {
            self.plan(lifetime, Happening::Ended(attempt));
        }
        self.record(What::Connected(attempt, address.clone()));
        Some(Event::Connected { slot, attempt, address })
    }

    fn failed(&mut self, attempt: AttemptId, error: &str) -> Option<Event> {
        let slot = self.world.fail(attempt)?;
        let error: Arc<str> = error.into();
        self.record(What::ConnectFailed(attempt, Arc::clone(&error)));
        Some(Event::ConnectFailed { slot, attempt, error })
    }

    pub(super) fn lost(&mut self, attempt: AttemptId) -> Event {
        let (slot, address) = self.world.forget(attempt).expect("only open connections are lost");
        self.record(What::Lost(attempt, address));
        Event::Closed { slot, attempt, reason: "the simulated peer is gone".into() }
    }

    pub(super) fn healthy(&mut self, slot: Slot, attempt: AttemptId, status: &ServingStatus) -> Event {
        self.record(What::Health(attempt, status.clone()));
        Event::Health { slot, attempt, status: status.clone() }
    }
}
