//! How slow the slowest calls are when endpoints are not alike, by policy, beside tonic's channels and gRPC's Go implementation.
//!
//! `cargo bench --bench tail [-- --quick] [--scenario 'all' | 'slow;flap'] [--policies 'all' | 'prequal;round_robin'] [--rounds N] [--millis N] [--rate N]`
//!
//! Four servers, each a process of its own that sleeps rather than works, on loopback; what the last of them does is the scenario. Calls come
//! at random, on a schedule that does not wait for answers, and a call counts from when it *should* have begun: a caller that waits for
//! one answer before its next call would measure a slow endpoint once where its users meet it hundred times. Every arm of every round has fresh
//! servers and a fresh channel, so that nothing learned or queued in one reaches the next, and all arms of a round meet the same schedule. p50, p99
//! and p99.9 are of all calls of all rounds together; a call given up at its deadline (1 s) counts as having taken that long, one that was
//! answered with an error counts as failed and has no latency.
//!
//! The scenario `busy` is the losing regime of clever policies: servers that burn CPU, cheap calls, callers without a pause. There it is calls per
//! second that count.

mod arms;
mod fleet;
mod load;
mod options;
mod peer;
mod report;
mod scenario;
mod server;
mod service;

use std::error::Error;
use std::time::Duration;

use lb_bench::peer::Peer;
use lb_bench::{BenchError, Options, Rounds, Suite, cpu_time, cpu_time_of};
use tokio::runtime::{Builder, Runtime};

use arms::{Arm, Client, Kind};
use fleet::Fleet;
use load::Outcome;
use options::Plan;
use report::Results;
use scenario::{Arrivals, Scenario};

type Failure = Box<dyn Error + Send + Sync>;

/// What one arm did in one round.
#[derive(Clone, Debug)]
struct Run {
    outcome: Outcome,
    /// Calls each endpoint was sent in the window.
    shares: Vec<u64>,
    /// CPU seconds of the client in the window, and of the servers; of one that was killed nothing is known.
    cpu: [f64; 2],
}

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [flag, address, profile] = &arguments[..]
        && flag == server::SERVE
    {
        return server::serve(address, profile);
    }
    let options = Options::from_env()?;
    let mut plan = Plan::new(&options)?;
    peer::skip_missing(&mut plan.arms);
    let mut suite = Suite::new("tail", "The slowest calls", &options)?;
    for scenario in &plan.scenarios {
        eprintln!("{}: {} …", scenario.name, scenario.what);
        let results = measure(&plan, scenario)?;
        report::add(&mut suite, scenario, &results)?;
    }
    suite.write()?;
    Ok(())
}

fn measure(plan: &Plan, scenario: &Scenario) -> Result<Results, Failure> {
    let names: Vec<String> = plan.arms.iter().map(|arm| arm.name.clone()).collect();
    let mut results = Results::new(names.clone());
    let rounds = Rounds::new(names, plan.rounds)?;
    for visit in rounds.visits() {
        // Every run warms up by itself.
        let Some(round) = visit.round else { continue };
        let arm = &plan.arms[visit.subject];
        match run(arm, scenario, round as u64, plan.window) {
            Ok(run) => results.push(visit.subject, run),
            Err(error) => return Err(format!("{}, {}: {error}", scenario.name, arm.name).into()),
        }
    }
    Ok(results)
}

/// One arm for one window, on servers of its own.
fn run(arm: &Arm, scenario: &Scenario, seed: u64, window: Duration) -> Result<Run, Failure> {
    let mut fleet = Fleet::start(scenario)?;
    let mut caller = Caller::start(arm, &fleet)?;
    caller.call(scenario.arrivals, u64::MAX - seed, arm.warm_up)?;
    let before = fleet.calls()?;
    let cpu = cpu_of(&fleet, &caller)?;
    fleet.disturb(scenario.disturbance);
    let outcome = caller.call(scenario.arrivals, seed, window)?;
    fleet.calm()?;
    let after = fleet.calls()?;
    let now = cpu_of(&fleet, &caller)?;
    let shares = after.iter().zip(before).map(|(after, before)| after.saturating_sub(before)).collect();
    Ok(Run { outcome, shares, cpu: [0, 1].map(|side: usize| (now[side] - cpu[side]).max(0.0)) })
}

/// Who calls: this process, or a peer's program.
enum Caller {
    Here(Box<(Runtime, Client)>),
    There(Peer),
}

impl Caller {
    fn start(arm: &Arm, fleet: &Fleet) -> Result<Self, Failure> {
        if let Kind::Peer(policy) = arm.kind {
            return Ok(Self::There(peer::start(policy, fleet.addresses())?));
        }
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let client = runtime.block_on(Client::connect(&arm.kind, fleet.addresses()))?;
        Ok(Self::Here(Box::new((runtime, client))))
    }

    fn call(&mut self, arrivals: Arrivals, seed: u64, window: Duration) -> Result<Outcome, Failure> {
        let here = match self {
            Self::Here(here) => here,
            Self::There(program) => return peer::call(program, arrivals, window),
        };
        let (runtime, client) = &mut **here;
        match arrivals {
            Arrivals::Open(rate) => runtime.block_on(load::open(client, lb_bench::Arrivals::new(rate, seed)?, window)),
            Arrivals::Closed(callers) => runtime.block_on(load::closed(client, callers, window)),
        }
    }
}

fn cpu_of(fleet: &Fleet, caller: &Caller) -> Result<[f64; 2], BenchError> {
    let client = match caller {
        Caller::Here(..) => cpu_time()?,
        Caller::There(peer) => cpu_time_of(peer.id())?,
    };
    let servers = fleet.ids().into_iter().map(cpu_time_of).sum::<Result<Duration, _>>()?;
    Ok([client.as_secs_f64(), servers.as_secs_f64()])
}
