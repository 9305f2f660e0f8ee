//! The simulation: clients, servers and what happens between them, event by event.
//!
//! Everything random is drawn from a generator of its own by seed and purpose: arrivals, works and keys; the neighbours of each
//! server; the clients' own dice. Two candidates under the same seed meet the same arrivals, works and neighbours.

mod calls;
mod incidents;
mod links;

use lb_core::machine::Event;
use lb_core::{ConfigError, PickHints};

use crate::agenda::{Agenda, Happening};
use crate::call::Calls;
use crate::candidate::{Candidate, Kind};
use crate::client::Client;
use crate::dice::{Dice, Purpose, Zipf};
use crate::oracle::Oracle;
use crate::scenario::Scenario;
use crate::server::Server;
use crate::tally::Tally;
use crate::time::{Clock, Time, from_seconds};
use crate::weather::Weather;

use calls::Deadlines;

/// Called about every simulated tenth of a second with the simulated seconds so far.
pub type Progress<'a> = &'a mut dyn FnMut(f64);

/// One run: a scenario at one load, one candidate, one seed.
///
/// # Errors
/// The candidate's policy refuses its configuration.
pub fn run(scenario: &Scenario, load: f64, candidate: &Candidate, seed: u64, progress: Progress<'_>) -> Result<Tally, ConfigError> {
    let mut sim = Sim::new(scenario, load, candidate, seed)?;
    sim.prepare();
    sim.run(progress);
    Ok(sim.tally)
}

#[derive(Debug)]
struct Sim<'a> {
    scenario: &'a Scenario,
    clock: Clock,
    now: Time,
    agenda: Agenda,
    servers: Vec<Server>,
    /// Empty for oracles.
    clients: Vec<Client>,
    oracle: Option<Oracle>,
    calls: Calls,
    deadlines: Deadlines,
    arrivals: Dice,
    failures: Dice,
    delays: Dice,
    /// Calls a second.
    rate: f64,
    zipf: Option<Zipf>,
    /// One per key; one without a key if there are none.
    hints: Vec<PickHints>,
    /// Which server each key went to last.
    last: Vec<Option<usize>>,
    /// What the registry says.
    listed: Vec<Listing>,
    one_way: Time,
    start_of_measure: Time,
    end: Time,
    tally: Tally,
}

/// What the registry says of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Listing {
    Listed,
    Draining,
    Absent,
}

impl<'a> Sim<'a> {
    fn new(scenario: &'a Scenario, load: f64, candidate: &Candidate, seed: u64) -> Result<Self, ConfigError> {
        let oracle = match candidate.kind {
            Kind::Oracle => Some(Oracle::new(seed, false)),
            Kind::OracleOfTwo => Some(Oracle::new(seed, true)),
            Kind::Policy { .. } => None,
        };
        let keys = scenario.keys.as_ref().map_or(0, |keys| keys.count);
        Ok(Self {
            scenario,
            clock: Clock::start(),
            now: 0,
            agenda: Agenda::default(),
            servers: servers(scenario, seed, keys),
            clients: if oracle.is_some() { Vec::new() } else { clients(scenario, candidate, seed)? },
            oracle,
            calls: Calls::default(),
            deadlines: Deadlines::default(),
            arrivals: Dice::new(seed, Purpose::Arrivals, 0),
            failures: Dice::new(seed, Purpose::Failures, 0),
            delays: Dice::new(seed, Purpose::Resolver, 0),
            rate: scenario.rate(load),
            zipf: scenario.keys.as_ref().map(|keys| Zipf::new(keys.count, keys.skew)),
            hints: hints(keys),
            last: vec![None; keys],
            listed: (0..scenario.all_servers())
                .map(|server| if server < scenario.servers.count { Listing::Listed } else { Listing::Absent })
                .collect(),
            one_way: from_seconds(scenario.network_ms / 2_000.0),
            start_of_measure: from_seconds(scenario.warmup),
            end: from_seconds(scenario.end()),
            tally: Tally::new(scenario.all_servers(), scenario.seconds),
        })
    }

    /// Puts on the agenda what is known from the start.
    fn prepare(&mut self) {
        for server in 0..self.servers.len() {
            let spell = self.servers[server].weather.change(true);
            self.agenda.add(from_seconds(spell), Happening::Weather(server));
        }
        for (event, incident) in self.scenario.events.iter().enumerate() {
            for (turn, server) in incident.affected(self.scenario).into_iter().enumerate() {
                let at = from_seconds(incident.at + incident.every * turn as f64);
                self.agenda.add(at, Happening::Incident { event, server });
            }
        }
        for client in 0..self.clients.len() {
            let now = self.clock.at(0);
            self.clients[client].tell(now, Event::ExitIdle);
            self.resolve(client);
        }
        self.plan_arrival();
    }

    /// Until every call that began has ended.
    fn run(&mut self, progress: Progress<'_>) {
        const TENTH: Time = 100_000_000;
        let mut told = 0;
        while self.now <= self.end || self.calls.open() > 0 {
            if self.now / TENTH > told {
                told = self.now / TENTH;
                progress(told as f64 / 10.0);
            }
            let deadline = self.deadlines.first().unwrap_or(Time::MAX);
            match self.agenda.next_at() {
                Some(at) if at <= deadline => {
                    let Some((at, what)) = self.agenda.pop() else { return };
                    self.now = at;
                    self.happen(what);
                }
                None if deadline == Time::MAX => return,
                _ => {
                    self.now = deadline;
                    self.give_up();
                }
            }
        }
    }

    fn happen(&mut self, what: Happening) {
        match what {
            Happening::Arrival => self.arrival(),
            Happening::Reach(call) => self.reach(call),
            Happening::Due(server) => self.due(server),
            Happening::Answer(call) => self.answer(call),
            Happening::ProbeReaches { client, slot, server } => self.probe_reaches(client, slot, server),
            Happening::ProbeAnswer { client, slot, said } => self.probe_answer(client, slot, &said),
            Happening::Wake(client) => self.wake(client),
            Happening::Poll(client) => self.poll(client),
            Happening::Weather(server) => self.weather(server),
            Happening::Incident { event, server } => self.incident(event, server),
            Happening::Back(server) => self.back(server),
            Happening::Resume(server) => self.resume(server),
            Happening::Resolved(client) => self.resolve(client),
        }
    }

    fn weather(&mut self, server: usize) {
        self.servers[server].advance(self.now);
        let spell = self.servers[server].weather.change(false);
        self.agenda.add(self.now + from_seconds(spell), Happening::Weather(server));
        self.plan_due(server);
    }

    fn plan_arrival(&mut self) {
        let at = self.now + from_seconds(self.arrivals.exponential(1.0 / self.rate));
        if at < self.end {
            self.agenda.add(at, Happening::Arrival);
        }
    }

    /// Whether what begins now is measured.
    fn measures(&self, begun: Time) -> bool {
        begun >= self.start_of_measure
    }
}

fn servers(scenario: &Scenario, seed: u64, keys: usize) -> Vec<Server> {
    let plan = &scenario.servers;
    let all = scenario.all_servers();
    let mut dice = Dice::new(seed, Purpose::Placement, 0);
    // Speed, and whether its kind is the first to be contended.
    let mut kinds = vec![(1.0, false); all];
    let mut from = 0;
    for kind in &plan.kinds {
        let to = (from + (kind.share * all as f64).round() as usize).min(all);
        kinds[from..to].fill((kind.speed, kind.contended));
        from = to;
    }
    dice.shuffle(&mut kinds);
    let mut order: Vec<usize> = (0..all).collect();
    dice.shuffle(&mut order);
    order.sort_by_key(|server| !kinds[*server].1);
    let mut contended = vec![false; all];
    order.iter().take((plan.contended * all as f64).round() as usize).for_each(|server| contended[*server] = true);
    let server = |index: usize| Server::new(Weather::new(seed, index, contended[index]), kinds[index].0, plan.cores, keys);
    (0..all).map(server).collect()
}

fn clients(scenario: &Scenario, candidate: &Candidate, seed: u64) -> Result<Vec<Client>, ConfigError> {
    let mut clients = Vec::with_capacity(scenario.clients);
    for index in 0..scenario.clients {
        if let Some(policy) = candidate.build()? {
            clients.push(Client::new(seed, index, policy));
        }
    }
    Ok(clients)
}

fn hints(keys: usize) -> Vec<PickHints> {
    let hint = |key: usize| {
        let mut hints = PickHints::default();
        hints.hash_key = Some(format!("key-{key}").into_bytes().into());
        hints
    };
    if keys == 0 { vec![PickHints::default()] } else { (0..keys).map(hint).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_the_last_call_nothing_is_in_flight_anywhere() {
        let mut scenario = Scenario::load("zone_loss").unwrap().stretched(0.05);
        scenario.clients = 10;
        for candidate in ["least_request", "peak_ewma", "oracle"] {
            let mut sim = Sim::new(&scenario, 1.2, &candidate.parse().unwrap(), 1).unwrap();
            sim.prepare();
            sim.run(&mut |_| {});
            assert!(sim.tally.calls > 3_000 && sim.tally.errors > 0, "{candidate}");
            assert_eq!((sim.calls.open(), sim.clients.iter().map(Client::in_flight).sum::<u32>()), (0, 0), "{candidate}");
            assert!(sim.servers.iter().all(|server| server.assigned == 0), "{candidate}");
        }
    }
}
