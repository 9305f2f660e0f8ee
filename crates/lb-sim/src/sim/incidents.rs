//! What the scenario has planned for its servers.

use crate::agenda::Happening;
use crate::scenario::What;
use crate::time::from_seconds;

use super::{Listing, Sim};

/// Clients learn of a change in the registry within this many seconds, each at its own time.
const LATEST_NEWS: f64 = 0.5;

impl Sim<'_> {
    pub(super) fn incident(&mut self, event: usize, server: usize) {
        self.servers[server].advance(self.now);
        match self.scenario.events[event].what {
            What::Fail { share, ms } => {
                self.servers[server].failing = (share > 0.0).then_some((share, from_seconds(ms / 1_000.0)));
            }
            What::Speed(speed) => self.servers[server].speed = speed,
            What::Kill => self.kill(server),
            What::Start => self.back(server),
            What::Stall { seconds, every } => self.stall(event, server, seconds, every),
            What::Restart { seconds } => self.restart(server, seconds),
            What::Drain => self.list(server, Listing::Draining),
            What::Add => self.list(server, Listing::Listed),
            What::Remove => self.list(server, Listing::Absent),
            What::Load(load) => self.rate = self.scenario.rate(load),
        }
        self.plan_due(server);
    }

    fn kill(&mut self, server: usize) {
        self.servers[server].reachable = false;
        for call in self.servers[server].drop_all() {
            self.lose(call);
        }
        self.disconnect(server);
    }

    /// Its calls are finished; nobody may begin another.
    fn restart(&mut self, server: usize, seconds: f64) {
        self.servers[server].reachable = false;
        self.disconnect(server);
        self.agenda.add(self.now + from_seconds(seconds), Happening::Back(server));
    }

    fn stall(&mut self, event: usize, server: usize, seconds: f64, every: f64) {
        let until = self.now + from_seconds(seconds);
        self.servers[server].stalled = Some(until);
        self.agenda.add(until, Happening::Resume(server));
        let again = self.now + from_seconds(every);
        if every > 0.0 && again < self.end {
            self.agenda.add(again, Happening::Incident { event, server });
        }
    }

    pub(super) fn resume(&mut self, index: usize) {
        let server = &mut self.servers[index];
        // Another pause may have begun meanwhile, and ends later.
        if server.stalled.is_some_and(|until| until <= self.now) {
            server.advance(self.now);
            server.stalled = None;
            self.plan_due(index);
        }
    }

    pub(super) fn back(&mut self, server: usize) {
        let server = &mut self.servers[server];
        server.reachable = true;
        server.failing = None;
        server.chill();
    }

    fn disconnect(&mut self, server: usize) {
        let now = self.clock.at(self.now);
        for client in 0..self.clients.len() {
            if self.clients[client].lost(now, server) {
                self.settle(client);
            }
        }
    }

    fn list(&mut self, server: usize, listing: Listing) {
        self.listed[server] = listing;
        for client in 0..self.clients.len() {
            let at = self.now + from_seconds(self.delays.uniform(0.0, LATEST_NEWS));
            self.agenda.add(at, Happening::Resolved(client));
        }
    }
}
