//! Servers under a steady load, called through the real machine and its policies.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::HeaderMap;
use lb_core::machine::{Command, Event, MachineConfig, NamedPolicy};
use lb_core::{
    Choice, Done, Endpoint, EndpointKey, EndpointStats, Feedback, LbEvent, LoadReport, Outcome, PickArgs, PickHints,
    PolicyRegistry, Reported, ResolverUpdate, Row, Scratch, Slot, Snapshot,
};
use lb_testkit::SimNet;
use lb_testkit::sim::What;
use serde_json::Value;

/// Calls come in bursts this far apart.
const BEAT: Duration = Duration::from_millis(5);

/// A call under way.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Call {
    ends: Instant,
    number: u64,
}

/// What has to be known of a call when it ends.
#[derive(Debug)]
struct Under {
    slot: Slot,
    begun: Instant,
    token: u64,
    outcome: Outcome,
    stats: Arc<EndpointStats>,
    feedback: Option<Arc<dyn Feedback>>,
}

/// What happens to a call that begins at a server: how it ends. Gets the server, how many calls it has in flight, and the time.
pub(crate) type Fate = Box<dyn FnMut(usize, u32, Duration) -> Outcome>;

pub(crate) struct Fleet {
    pub(crate) net: SimNet,
    pub(crate) hints: Box<dyn FnMut(u64) -> PickHints>,
    pub(crate) fate: Fate,
    /// Calls begun at each server since they were last taken.
    pub(crate) counts: Vec<u64>,
    pub(crate) errors: u64,
    /// Calls a second.
    pub(crate) rate: u64,
    /// Whether each call comes through a channel clone of its own.
    pub(crate) fresh: bool,
    owed: f64,
    calls: BinaryHeap<Reverse<Call>>,
    under: BTreeMap<u64, Under>,
    number: u64,
    scratch: Scratch,
}

pub(crate) fn address(server: usize) -> String {
    format!("10.0.0.{}:1", server + 1)
}

fn number_of(key: &EndpointKey) -> usize {
    let text = key.as_str().strip_prefix("10.0.0.").and_then(|text| text.strip_suffix(":1"));
    text.unwrap().parse::<usize>().unwrap() - 1
}

pub(crate) fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

pub(crate) fn policy(name: &str, config: &Value) -> NamedPolicy {
    NamedPolicy::new(name, PolicyRegistry::default().build(name, config).unwrap())
}

impl Fleet {
    /// So many servers, all READY, which take 15 to 25 ms for a call; 100 calls a second come for each.
    pub(crate) fn new(config: MachineConfig, policy: NamedPolicy, servers: usize) -> Self {
        let weights = vec![1; servers];
        Self::weighted(config, policy, &weights)
    }

    pub(crate) fn weighted(config: MachineConfig, policy: NamedPolicy, weights: &[u32]) -> Self {
        let (seed, servers) = (config.seed, weights.len());
        let mut net = SimNet::new(config, policy);
        (0..servers).for_each(|server| net.up(&address(server)));
        let endpoint = |(server, weight): (usize, &u32)| {
            Endpoint::new(address(server).parse::<lb_core::Address>().unwrap()).with_weight(*weight)
        };
        net.resolve_to(ResolverUpdate::new(weights.iter().enumerate().map(endpoint).collect()));
        net.exit_idle();
        net.run_for(secs(1));
        Self {
            net,
            hints: Box::new(|_| PickHints::default()),
            fate: Box::new(|_, _, _| Outcome::Success),
            counts: vec![0; servers],
            errors: 0,
            rate: 100 * servers as u64,
            fresh: false,
            owed: 0.0,
            calls: BinaryHeap::new(),
            under: BTreeMap::new(),
            number: 0,
            scratch: Scratch::new(seed.wrapping_mul(77).wrapping_add(5)),
        }
    }

    pub(crate) fn now(&self) -> Instant {
        self.net.clock().now()
    }

    pub(crate) fn row(&self, server: usize) -> &Row {
        let key = EndpointKey::from(address(server));
        self.net.snapshot().rows.iter().find(|row| *row.view.endpoint.key() == key).unwrap()
    }

    pub(crate) fn command(&mut self, command: Command) {
        self.net.command(command);
    }

    /// The events about shares so far, without times.
    pub(crate) fn told(&self) -> Vec<String> {
        let of = |what: &What| match what {
            What::Event(
                event @ (LbEvent::RecoveryStarted { .. }
                | LbEvent::RecoveryFellBack { .. }
                | LbEvent::RecoveryFinished { .. }
                | LbEvent::Degraded { .. }
                | LbEvent::Disabled { .. }),
            ) => Some(event.to_string()),
            _ => None,
        };
        self.net.records().iter().filter_map(|record| of(&record.what)).collect()
    }

    /// Takes the server away and back, so that its ramp begins now.
    pub(crate) fn bounce(&mut self, server: usize) {
        self.net.kill(&address(server));
        // Long enough for an attempt that fails.
        self.run_for(secs(4));
        self.net.up(&address(server));
        self.net.command(Command::ResetBackoff);
        self.net.run_for(Duration::from_millis(2));
        assert_eq!(self.row(server).view.limited, Some("recovering"), "{:?}", self.row(server));
        self.counts.fill(0);
    }

    /// Lets time pass under load; answers with the calls of each server.
    pub(crate) fn run_for(&mut self, time: Duration) -> Vec<u64> {
        let end = self.now() + time;
        self.counts.fill(0);
        while self.now() < end {
            self.net.run_for(BEAT);
            self.finish();
            self.owed += self.rate as f64 * BEAT.as_secs_f64();
            while self.owed >= 1.0 {
                self.owed -= 1.0;
                self.call();
            }
        }
        self.counts.clone()
    }

    /// What a server gets of what the others get on average.
    pub(crate) fn ratio(counts: &[u64], server: usize) -> f64 {
        let others = counts.iter().sum::<u64>() - counts[server];
        counts[server] as f64 * (counts.len() - 1) as f64 / others as f64
    }

    /// What a server gets of all calls.
    pub(crate) fn part(counts: &[u64], server: usize) -> f64 {
        counts[server] as f64 / counts.iter().sum::<u64>() as f64
    }

    fn call(&mut self) {
        let (now, snapshot) = (self.now(), Arc::clone(self.net.snapshot()));
        self.number += 1;
        let (number, headers) = (self.number, HeaderMap::new());
        let hints = (self.hints)(number);
        let mut fresh = Scratch::new(number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let scratch = if self.fresh { &mut fresh } else { &mut self.scratch };
        let mut args = PickArgs::new(now, "/sim/Call", &headers, &hints, scratch);
        let choice = snapshot.choose(&mut args);
        let (token, probe) = (args.token, args.probe);
        let took = Duration::from_micros(15_000 + args.scratch.random() % 10_000);
        if let Some(slot) = probe {
            answer(&snapshot, slot, now);
        }
        let Choice::Pick { slot, feedback, .. } = choice else {
            match choice {
                // It would wait, and is as good as not made.
                Choice::Queue => {}
                Choice::Connect(slot) => self.net.tell(Event::ConnectRequested(slot)),
                _ => self.errors += 1,
            }
            return;
        };
        let row = snapshot.rows.iter().find(|row| row.view.slot == slot).unwrap();
        let (server, stats) = (number_of(row.view.endpoint.key()), Arc::clone(&row.view.stats));
        stats.begin();
        self.counts[server] += 1;
        let outcome = (self.fate)(server, stats.in_flight(), self.net.clock().elapsed());
        self.errors += u64::from(outcome == Outcome::Failure);
        self.calls.push(Reverse(Call { ends: now + took, number }));
        self.under.insert(number, Under { slot, begun: now, token, outcome, stats, feedback: feedback.cloned() });
    }

    fn finish(&mut self) {
        let now = self.now();
        while self.calls.peek().is_some_and(|call| call.0.ends <= now) {
            let Some(Reverse(Call { ends, number })) = self.calls.pop() else { return };
            let call = self.under.remove(&number).unwrap();
            let done = Done::new(call.slot, ends, ends - call.begun, call.outcome).with_token(call.token);
            call.stats.finish(&done);
            if let Some(feedback) = &call.feedback {
                feedback.finished(&done);
            }
        }
    }
}

/// A server that tells how many calls it has.
fn answer(snapshot: &Snapshot, slot: Slot, now: Instant) {
    let row = snapshot.rows.iter().find(|row| row.view.slot == slot).unwrap();
    let mut report = LoadReport::default();
    (report.in_flight, report.latency) = (Some(row.view.stats.in_flight()), Some(Duration::from_millis(20)));
    row.view.stats.report(now, &report);
    let feedback = snapshot.picker(None).and_then(|picker| picker.feedback());
    feedback.iter().for_each(|feedback| feedback.reported(&Reported::probe(slot, now, &report)));
}
