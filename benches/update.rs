//! The cost of a change: one endpoint of many gets another weight, all of them do, or one comes and goes.
//!
//! `cargo bench --bench update`. Measured is the machine alone: from the resolver's answer to the published snapshot. What the
//! channel adds is one pointer per endpoint.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Instant;

use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use evenkeel::machine::{Effect, Event, MachineConfig, NamedPolicy};
use evenkeel::policies::RoundRobin;
use evenkeel::{Endpoint, Machine, ResolverUpdate};

const SIZES: [u32; 2] = [1_000, 10_000];

fn endpoint(index: u32, weight: u32) -> Endpoint {
    let address = IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + index));
    Endpoint::new(SocketAddr::new(address, 50051)).with_weight(weight)
}

fn endpoints(count: u32, weight: impl Fn(u32) -> u32) -> ResolverUpdate {
    ResolverUpdate::new((0..count).map(|index| endpoint(index, weight(index))).collect())
}

/// A machine whose endpoints are all READY.
fn ready(count: u32, now: Instant) -> Machine {
    let policy = NamedPolicy::new(RoundRobin::NAME, Box::new(RoundRobin::default()));
    let mut machine = Machine::new(MachineConfig::new(1), policy);
    let mut effects = Vec::new();
    machine.handle(now, Event::ExitIdle, &mut effects);
    machine.handle(now, Event::Resolved(endpoints(count, |_| 1)), &mut effects);
    machine.settle(now, &mut effects);
    for effect in std::mem::take(&mut effects) {
        if let Effect::Connect { slot, attempt, addresses, .. } = effect {
            machine.handle(now, Event::Connected { slot, attempt, address: addresses[0].clone() }, &mut effects);
        }
    }
    machine.settle(now, &mut effects);
    machine
}

fn apply(machine: &mut Machine, update: ResolverUpdate, now: Instant) -> Vec<Effect> {
    let mut effects = Vec::new();
    machine.handle(now, Event::Resolved(update), &mut effects);
    machine.settle(now, &mut effects);
    effects
}

fn updates(criterion: &mut Criterion) {
    let now = Instant::now();
    let mut group = criterion.benchmark_group("update");
    group.sample_size(20);
    for count in SIZES {
        let mut machine = ready(count, now);
        let mut turn = 0;
        let mut run = |name: &str, make: &dyn Fn(u32) -> ResolverUpdate| {
            group.bench_function(BenchmarkId::new(name, count), |bencher| {
                bencher.iter_batched(
                    || {
                        turn += 1;
                        make(turn)
                    },
                    |update| black_box(apply(&mut machine, update, now)),
                    BatchSize::LargeInput,
                );
            });
        };
        run("nothing", &|_| endpoints(count, |_| 1));
        run("one weight", &|turn| endpoints(count, |index| if index == 7 { turn } else { 1 }));
        run("every weight", &|turn| endpoints(count, |_| turn));
        run("one comes or goes", &|turn| endpoints(count + turn % 2, |_| 1));
    }
    group.finish();
}

criterion_group!(benches, updates);
criterion_main!(benches);
