//! Connections, probes and reports: what passes between a client and its servers beside calls.

use std::time::Duration;

use lb_core::{Attributes, Endpoint, Locality, RegistryHealth, Reported, Slot};

use crate::agenda::Happening;
use crate::client::address_of;
use crate::signal::Said;
use crate::time::Time;

use super::{Listing, Sim};

/// The shortest period in which a server reports out of band; gRPC's servers allow 30 s by default, which is raised here so that
/// policies that depend on such reports are seen at their best.
const SHORTEST_PERIOD: Duration = Duration::from_millis(100);

impl Sim<'_> {
    /// Tells a client what the registry lists.
    pub(super) fn resolve(&mut self, client: usize) {
        let endpoints = self.listed.iter().enumerate().filter(|(_, listing)| **listing != Listing::Absent);
        let zones = self.scenario.servers.zones;
        let endpoints = endpoints.map(|(server, listing)| endpoint(server, zones, *listing)).collect();
        let now = self.clock.at(self.now);
        self.clients[client].resolved(now, endpoints);
        self.settle(client);
    }

    /// Lets a client's machine decide, and does what it asks for.
    pub(super) fn settle(&mut self, client: usize) {
        let now = self.clock.at(self.now);
        let before = self.clients[client].wake_at;
        let (openings, published) = self.clients[client].settle(now);
        if !openings.is_empty() {
            // A handshake is one round trip more than the refusal of one; the difference matters to nobody here.
            let at = self.now + 2 * self.one_way;
            self.clients[client].inbox.extend(openings.into_iter().map(|opening| (at, opening)));
            self.agenda.add(at, Happening::Wake(client));
        }
        let wake_at = self.clients[client].wake_at;
        if let Some(at) = wake_at.filter(|_| wake_at != before) {
            self.agenda.add(self.clock.time(at).max(self.now), Happening::Wake(client));
        }
        if published {
            self.published(client);
        }
    }

    fn published(&mut self, client: usize) {
        let wants = self.clients[client].wanted.out_of_band.is_some();
        if wants && !std::mem::replace(&mut self.clients[client].polling, true) {
            self.agenda.add(self.now + 2 * self.one_way, Happening::Poll(client));
        }
        for call in std::mem::take(&mut self.clients[client].waiting) {
            self.place(call);
        }
    }

    /// Attempts have been answered, or the time of a wake-up has come.
    pub(super) fn wake(&mut self, client: usize) {
        let now = self.clock.at(self.now);
        let this = &mut self.clients[client];
        let mut news = false;
        while this.inbox.front().is_some_and(|(at, _)| *at <= self.now) {
            let Some((_, opening)) = this.inbox.pop_front() else { break };
            let accepted = self.servers[opening.server].reachable;
            this.opened(now, opening, accepted);
            news = true;
        }
        if this.wake_at.is_some_and(|at| at <= now) {
            this.wake_at = None;
            this.tell(now, lb_core::machine::Event::Tick);
            news = true;
        }
        if news {
            self.settle(client);
        }
    }

    /// Every connected server reports to this client out of band.
    pub(super) fn poll(&mut self, client: usize) {
        let Some(period) = self.clients[client].wanted.out_of_band else {
            self.clients[client].polling = false;
            return;
        };
        let answering = |(_, server): &(Slot, usize)| self.servers[*server].stalled.is_none();
        let connected: Vec<(Slot, usize)> = self.clients[client].connected().filter(answering).collect();
        for (slot, server) in connected {
            let said = self.said(server);
            self.tell_reported(client, slot, &said, false);
        }
        let period = period.max(SHORTEST_PERIOD).as_nanos() as Time;
        if self.now < self.end {
            self.agenda.add(self.now + period, Happening::Poll(client));
        }
    }

    pub(super) fn probe_reaches(&mut self, client: usize, slot: Slot, server: usize) {
        if let Some(until) = self.servers[server].stalled {
            return self.agenda.add(until, Happening::ProbeReaches { client, slot, server });
        }
        if self.servers[server].reachable {
            let said = self.said(server);
            self.agenda.add(self.now + self.one_way, Happening::ProbeAnswer { client, slot, said });
        }
    }

    pub(super) fn probe_answer(&self, client: usize, slot: Slot, said: &Said) {
        self.tell_reported(client, slot, said, true);
    }

    fn said(&mut self, server: usize) -> Said {
        let server = &mut self.servers[server];
        server.advance(self.now);
        server.signal.say(self.now, server.in_flight())
    }

    fn tell_reported(&self, client: usize, slot: Slot, said: &Said, probed: bool) {
        let now = self.clock.at(self.now);
        let Some((stats, feedback)) = self.clients[client].listeners(slot) else { return };
        let load = said.report();
        stats.report(now, &load);
        if let Some(feedback) = feedback {
            let reported = if probed { Reported::probe(slot, now, &load) } else { Reported::out_of_band(slot, now, &load) };
            feedback.reported(&reported);
        }
    }
}

fn endpoint(server: usize, zones: usize, listing: Listing) -> Endpoint {
    let mut attributes = Attributes::default();
    attributes.id = Some(format!("server-{server}").into());
    attributes.locality = Locality::new("lab", format!("zone-{}", server % zones), "");
    if listing == Listing::Draining {
        attributes.health = RegistryHealth::Draining;
    }
    Endpoint::new(address_of(server)).with_attributes(attributes)
}
