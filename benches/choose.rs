//! What a call's wishes cost: nanoseconds per choice among 10 000 READY endpoints, by policy and by wish.
//!
//! `cargo bench --bench choose`. Unlike `pick`, which calls a policy's picker, this is the whole of what a call does to find its endpoint:
//! [`Snapshot::choose`], with the constraint known from a call before, and the accounting of the call with the policies that look at it. A fifth of the endpoints is in each of five
//! regions, every other one has a `gpu`, and each takes 100 calls at once.
//!
//! Goal: at most 3 times what the same policy takes without a wish.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use evenkeel::machine::{Effect, Event, MachineConfig, NamedPolicy};
use evenkeel::{
    Choice, Endpoint, Locality, Machine, Outcome, PickArgs, PickHints, PolicyRegistry, ResolverUpdate, Scratch, Snapshot,
};
use http::HeaderMap;
use serde_json::json;

const ENDPOINTS: u32 = 10_000;
/// And whether they look at the calls in flight.
const POLICIES: [(&str, bool); 4] =
    [("round_robin", false), ("weighted_round_robin", false), ("least_request", true), ("peak_ewma", true)];

fn endpoint(index: u32) -> Endpoint {
    let address = IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + index));
    let mut endpoint = Endpoint::new(SocketAddr::new(address, 50051)).with_weight(1 + index % 10);
    endpoint.attributes.capacity = Some(100);
    endpoint.attributes.locality = Locality::new(format!("region-{}", index % 5), "", "");
    if index.is_multiple_of(2) {
        endpoint.attributes.capabilities.insert("gpu".into());
    }
    endpoint
}

fn snapshot(policy: &str, now: Instant) -> Arc<Snapshot> {
    let built = PolicyRegistry::default().build(policy, &json!({})).expect("the policy is built in");
    let mut machine = Machine::new(MachineConfig::new(1), NamedPolicy::new(policy, built));
    let mut effects = Vec::new();
    machine.handle(now, Event::ExitIdle, &mut effects);
    machine.handle(now, Event::Resolved(ResolverUpdate::new((0..ENDPOINTS).map(endpoint).collect())), &mut effects);
    machine.settle(now, &mut effects);
    for effect in std::mem::take(&mut effects) {
        if let Effect::Connect { slot, attempt, addresses, .. } = effect {
            machine.handle(now, Event::Connected { slot, attempt, address: addresses[0].clone() }, &mut effects);
        }
    }
    machine.settle(now, &mut effects);
    let published =
        effects.into_iter().filter_map(|effect| if let Effect::Publish(snapshot) = effect { Some(snapshot) } else { None });
    published.last().expect("a machine with endpoints publishes")
}

fn wishes() -> [(&'static str, PickHints); 7] {
    [
        ("none", PickHints::new()),
        ("require", PickHints::new().require("gpu")),
        ("exclude", PickHints::new().exclude("10.0.0.7:50051")),
        ("region", PickHints::new().prefer_region("region-3")),
        ("load", PickHints::new().not_overloaded()),
        ("cost", PickHints::new().cost(5)),
        (
            "all of them",
            PickHints::new().require("gpu").exclude("10.0.0.7:50051").prefer_region("region-3").not_overloaded().cost(5),
        ),
    ]
}

fn run(snapshot: &Snapshot, hints: &PickHints, now: Instant, calls: u64, accounts: bool) -> Duration {
    let (headers, mut scratch) = (HeaderMap::new(), Scratch::new(7));
    let started = Instant::now();
    for _ in 0..calls {
        let mut args = PickArgs::new(now, "/s/m", &headers, hints, &mut scratch);
        let Choice::Pick { slot, .. } = snapshot.choose(&mut args) else { panic!("every endpoint is READY and has room") };
        if accounts {
            let stats = &snapshot.rows[slot.index()].view.stats;
            stats.begin();
            stats.end(Outcome::Success);
        }
        black_box(slot);
    }
    started.elapsed()
}

fn choices(criterion: &mut Criterion) {
    let now = Instant::now();
    for (policy, accounts) in POLICIES {
        let snapshot = snapshot(policy, now);
        let mut group = criterion.benchmark_group(format!("choose/{policy}"));
        for (wish, hints) in wishes() {
            group.bench_function(wish, |bencher| bencher.iter_custom(|calls| run(&snapshot, &hints, now, calls, accounts)));
        }
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_millis(100)).measurement_time(Duration::from_millis(300)).sample_size(10);
    targets = choices
}
criterion_main!(benches);
