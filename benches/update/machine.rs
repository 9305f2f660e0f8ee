//! The state machine alone, every endpoint READY.

use std::error::Error;
use std::hint::black_box;
use std::time::Instant;

use evenkeel::machine::{Effect, Event, MachineConfig, NamedPolicy};
use evenkeel::policies::RoundRobin;
use evenkeel::{Machine, ResolverUpdate};
use lb_bench::{Measured, Rounds, Sample, Spread};
use lb_testkit::count::allocated;

use super::endpoint;

/// Microseconds.
pub(crate) const TIME: &str = "µs";

/// Updates of one case in a round; the median of their times counts, so that one that was interrupted does not.
const UPDATES: u32 = 15;

type Make = fn(count: u32, turn: u32) -> ResolverUpdate;

/// What changes, by name. The first is what the others are compared with.
const CASES: [(&str, Make); 5] = [
    ("every weight", |count, turn| endpoints(count, |_| turn)),
    ("nothing", |count, _| endpoints(count, |_| 1)),
    ("one weight", |count, turn| endpoints(count, |index| if index == 7 { turn } else { 1 })),
    ("one comes or goes", |count, turn| endpoints(count + turn % 2, |_| 1)),
    ("half are replaced", |count, turn| {
        let first = count / 2 * (turn % 2);
        ResolverUpdate::new((first..first + count).map(|index| endpoint(index, 1)).collect())
    }),
];

fn endpoints(count: u32, weight: impl Fn(u32) -> u32) -> ResolverUpdate {
    ResolverUpdate::new((0..count).map(|index| endpoint(index, weight(index))).collect())
}

pub(crate) fn measure(count: u32, rounds: usize) -> Result<Measured, Box<dyn Error>> {
    let now = Instant::now();
    let mut machines: Vec<Machine> = CASES.iter().map(|(_, make)| ready(make(count, 1), now)).collect();
    let mut turn = 1;
    Rounds::new(CASES.map(|(name, _)| name), rounds)?.run(|case| {
        let (mut times, mut counted) = (Vec::new(), (0, 0));
        for _ in 0..UPDATES {
            turn += 1;
            let update = CASES[case].1(count, turn);
            let (time, allocations, bytes) = allocated(|| {
                let started = Instant::now();
                apply(&mut machines[case], update, now);
                started.elapsed()
            });
            times.push(time.as_secs_f64() * 1e6);
            counted = (counted.0 + allocations, counted.1 + bytes);
        }
        let per_update = |sum: u64| sum as f64 / f64::from(UPDATES);
        let sample = Sample::new().with(TIME, Spread::of(times)?.median);
        Ok(sample.with("allocations", per_update(counted.0)).with("bytes", per_update(counted.1)))
    })
}

fn apply(machine: &mut Machine, update: ResolverUpdate, now: Instant) {
    let mut effects = Vec::new();
    machine.handle(now, Event::Resolved(update), &mut effects);
    machine.settle(now, &mut effects);
    connect(machine, black_box(effects), now);
}

fn ready(update: ResolverUpdate, now: Instant) -> Machine {
    let policy = NamedPolicy::new(RoundRobin::NAME, Box::new(RoundRobin::default()));
    let (mut machine, mut effects) = (Machine::new(MachineConfig::new(1), policy), Vec::new());
    machine.handle(now, Event::ExitIdle, &mut effects);
    apply(&mut machine, update, now);
    machine
}

/// Connects whoever the machine wants connected, as fast as can be.
fn connect(machine: &mut Machine, effects: Vec<Effect>, now: Instant) {
    let mut more = Vec::new();
    for effect in effects {
        if let Effect::Connect { slot, attempt, addresses, .. } = effect {
            machine.handle(now, Event::Connected { slot, attempt, address: addresses[0].clone() }, &mut more);
        }
    }
    machine.settle(now, &mut more);
}
