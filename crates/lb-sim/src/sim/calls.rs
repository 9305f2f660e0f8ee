//! The life of a call: begun, picked, sent, worked on, answered; or given up.

use std::collections::VecDeque;
use std::time::Duration;

use lb_core::{Done, Outcome};

use crate::agenda::Happening;
use crate::call::{Attempt, Call, CallId, Placed};
use crate::client::Picked;
use crate::tally::End;
use crate::time::{Time, from_seconds};

use super::Sim;

/// Deadlines in the order of their calls: all calls have as long.
#[derive(Debug, Default)]
pub(super) struct Deadlines(VecDeque<(Time, CallId)>);

impl Deadlines {
    pub(super) fn first(&self) -> Option<Time> {
        self.0.front().map(|(at, _)| *at)
    }
}

impl Sim<'_> {
    pub(super) fn arrival(&mut self) {
        self.plan_arrival();
        // All of it is drawn before anybody chooses, so that every candidate meets the same calls.
        let client = self.arrivals.below(self.scenario.clients);
        let work = &self.scenario.work;
        let work = self.arrivals.normal(work.mean_ms, work.deviation_ms).max(0.0) / 1_000.0;
        let key = self.zipf.as_ref().map(|zipf| zipf.draw(&mut self.arrivals));
        let call = self.calls.begin(Call { client, begun: self.now, work, key, attempt: None });
        self.deadlines.0.push_back((self.now + from_seconds(self.scenario.deadline), call));
        self.place(call);
    }

    /// Chooses a server for a call, or lets it wait.
    pub(super) fn place(&mut self, id: CallId) {
        let Some(&mut Call { client, key, .. }) = self.calls.get_mut(id) else { return };
        if let Some(oracle) = &mut self.oracle {
            match oracle.pick(&self.servers, &self.listed) {
                Some(server) => self.send(id, server, None),
                None => self.finish(id, End::Lost),
            }
            return;
        }
        let now = self.clock.at(self.now);
        match self.clients[client].pick(now, &self.hints[key.unwrap_or(0)]) {
            Picked::Send { server, placed, probe } => {
                if let Some((slot, server)) = probe {
                    self.tally.probes += u64::from(self.measures(self.now));
                    self.agenda.add(self.now + self.one_way, Happening::ProbeReaches { client, slot, server });
                }
                placed.stats.begin();
                self.send(id, server, Some(placed));
            }
            Picked::Wait => {
                self.clients[client].waiting.push(id);
                self.settle(client);
            }
            Picked::Fail => self.finish(id, End::Lost),
        }
    }

    fn send(&mut self, id: CallId, server: usize, placed: Option<Placed>) {
        let (now, measures) = (self.now, self.measures(self.now));
        let Some(call) = self.calls.get_mut(id) else { return };
        let attempt =
            Attempt { server, picked: now, placed, ticket: None, reached: (now, 0), outcome: Outcome::Success, said: None };
        call.attempt = Some(attempt);
        self.servers[server].assigned += 1;
        if measures {
            self.tally.by_server[server] += 1;
            if let Some(key) = call.key {
                self.tally.keyed += 1;
                self.tally.moved += u64::from(self.last[key].is_some_and(|last| last != server));
            }
        }
        if let Some(key) = call.key {
            self.last[key] = Some(server);
        }
        self.agenda.add(now + self.one_way, Happening::Reach(id));
    }

    pub(super) fn reach(&mut self, id: CallId) {
        let now = self.now;
        let Some(call) = self.calls.get_mut(id) else { return };
        let (client, key, mut work) = (call.client, call.key, call.work);
        let Some(attempt) = &mut call.attempt else { return };
        let index = attempt.server;
        let server = &mut self.servers[index];
        if let Some(until) = server.stalled {
            return self.agenda.add(until, Happening::Reach(id));
        }
        server.advance(now);
        attempt.reached = (now, server.in_flight());
        let limit = self.scenario.servers.queue_limit;
        let refused = !server.reachable || (limit > 0 && server.in_flight() >= limit);
        let failing = server.failing.filter(|(share, _)| self.failures.fraction() < *share);
        if refused || failing.is_some() {
            attempt.outcome = Outcome::Failure;
            server.signal.failed();
            let wanted = self.clients.get(client).is_some_and(|client| client.wanted.per_call);
            attempt.said = (wanted && server.reachable).then(|| server.signal.say(now, server.in_flight()));
            let wait = failing.map_or(0, |(_, wait)| wait);
            self.agenda.add(now + wait + self.one_way, Happening::Answer(id));
            return;
        }
        if let (Some(key), Some(keys)) = (key, &self.scenario.keys)
            && !server.touch(key, from_seconds(keys.warm_seconds))
        {
            work *= keys.cold_factor;
            self.tally.cold += u64::from(now >= self.start_of_measure);
        }
        attempt.ticket = Some(server.begin(id, work));
        self.plan_due(index);
    }

    /// Puts the server's next end on the agenda, unless an earlier look at it is there already.
    pub(super) fn plan_due(&mut self, index: usize) {
        let server = &mut self.servers[index];
        let Some(next) = server.next_done() else { return };
        if server.due.is_none_or(|due| next < due) {
            server.due = Some(next);
            self.agenda.add(next, Happening::Due(index));
        }
    }

    pub(super) fn due(&mut self, index: usize) {
        let server = &mut self.servers[index];
        // A later look that an earlier one made superfluous.
        if server.due != Some(self.now) {
            return;
        }
        server.due = None;
        server.advance(self.now);
        while let Some(id) = self.servers[index].pop_done() {
            self.worked(index, id);
        }
        self.plan_due(index);
    }

    fn worked(&mut self, index: usize, id: CallId) {
        let (now, server) = (self.now, &mut self.servers[index]);
        let Some(call) = self.calls.get_mut(id) else { return };
        let Some(attempt) = &mut call.attempt else { return };
        let (reached, found) = attempt.reached;
        server.signal.done(now, found, now - reached);
        attempt.ticket = None;
        let wanted = self.clients.get(call.client).is_some_and(|client| client.wanted.per_call);
        attempt.said = wanted.then(|| server.signal.say(now, server.in_flight()));
        self.agenda.add(now + self.one_way, Happening::Answer(id));
    }

    pub(super) fn answer(&mut self, id: CallId) {
        let Some(call) = self.calls.get_mut(id) else { return };
        let outcome = call.attempt.as_ref().map_or(Outcome::Failure, |attempt| attempt.outcome);
        self.finish(id, End::Answered(outcome));
    }

    /// The caller of the oldest call has waited long enough.
    pub(super) fn give_up(&mut self) {
        let Some((_, id)) = self.deadlines.0.pop_front() else { return };
        let Some(call) = self.calls.get_mut(id) else { return };
        let client = call.client;
        if let Some(attempt) = &mut call.attempt {
            attempt.outcome = Outcome::Failure;
            if let Some(ticket) = attempt.ticket.filter(|_| !self.scenario.finishes_abandoned) {
                let server = attempt.server;
                self.servers[server].advance(self.now);
                self.servers[server].cancel(ticket);
                self.plan_due(server);
            }
        } else if let Some(client) = self.clients.get_mut(client) {
            client.waiting.retain(|waiting| *waiting != id);
        }
        self.finish(id, End::GivenUp);
    }

    /// The server went away under a call.
    pub(super) fn lose(&mut self, id: CallId) {
        let now = self.now;
        let Some(call) = self.calls.get_mut(id) else { return };
        let Some(attempt) = &mut call.attempt else { return };
        (attempt.ticket, attempt.outcome) = (None, Outcome::Failure);
        self.agenda.add(now + self.one_way, Happening::Answer(id));
    }

    /// Ends a call, once, and tells who wants to know.
    fn finish(&mut self, id: CallId, end: End) {
        let Some(call) = self.calls.end(id) else { return };
        if let Some(attempt) = call.attempt {
            self.servers[attempt.server].assigned -= 1;
            if let Some(placed) = attempt.placed {
                let report = attempt.said.map(|said| said.report());
                let latency = Duration::from_nanos(self.now - attempt.picked);
                let done = Done::new(placed.slot, self.clock.at(self.now), latency, attempt.outcome);
                let done = done.with_token(placed.token).with_load(report.as_ref());
                placed.stats.finish(&done);
                if let Some(feedback) = &placed.feedback {
                    feedback.finished(&done);
                }
                if let Some(permit) = placed.permit {
                    permit.leave(&done);
                }
            }
        }
        if self.measures(call.begun) {
            self.tally.ended(call.begun - self.start_of_measure, self.now - call.begun, end);
        }
    }
}
