//! Instructions per pick, which no busy neighbour changes: what CI watches.
//!
//! Every policy of the registry at 10 and at 10 000 endpoints, [`PICKS`] picks each, counted by callgrind through gungraun; what builds the
//! picker is not counted. `cargo xtask bench guard` runs this and compares the counts with `budgets.json`.

#![allow(missing_docs, reason = "what the framework's macros make is public")]

use gungraun::{Callgrind, LibraryBenchmarkConfig, library_benchmark, library_benchmark_group, main};
use lb_guard::Subject;

/// Enough that what happens once in a while has its share, and soon done at fifty times the usual time. A multiple of the 64 keys of
/// policies that hash. `xtask` divides by it.
const PICKS: usize = 1024;

/// What each policy is counted at; `xtask` knows them by their place in this list.
fn sizes(policy: &'static str) -> [(&'static str, u32); 2] {
    [10, 10_000].map(|endpoints| (policy, endpoints))
}

fn subject((policy, endpoints): (&'static str, u32)) -> Subject {
    Subject::new(policy, endpoints)
}

#[library_benchmark]
#[benches::adaptive(iter = sizes("adaptive"), setup = subject)]
#[benches::capability_aware(iter = sizes("capability_aware"), setup = subject)]
#[benches::cost_aware(iter = sizes("cost_aware"), setup = subject)]
#[benches::health_aware(iter = sizes("health_aware"), setup = subject)]
#[benches::ip_hash(iter = sizes("ip_hash"), setup = subject)]
#[benches::least_latency(iter = sizes("least_latency"), setup = subject)]
#[benches::least_request(iter = sizes("least_request"), setup = subject)]
#[benches::maglev(iter = sizes("maglev"), setup = subject)]
#[benches::maglev_bounded(iter = sizes("maglev bounded"), setup = subject)]
#[benches::outlier_detection_experimental(iter = sizes("outlier_detection_experimental"), setup = subject)]
#[benches::peak_ewma(iter = sizes("peak_ewma"), setup = subject)]
#[benches::performance(iter = sizes("performance"), setup = subject)]
#[benches::pick_first(iter = sizes("pick_first"), setup = subject)]
#[benches::prequal(iter = sizes("prequal"), setup = subject)]
#[benches::priority_spillover(iter = sizes("priority_spillover"), setup = subject)]
#[benches::random(iter = sizes("random"), setup = subject)]
#[benches::random_subsetting(iter = sizes("random_subsetting"), setup = subject)]
#[benches::rendezvous(iter = sizes("rendezvous"), setup = subject)]
#[benches::rendezvous_bounded(iter = sizes("rendezvous bounded"), setup = subject)]
#[benches::ring_hash(iter = sizes("ring_hash"), setup = subject)]
#[benches::ring_hash_bounded(iter = sizes("ring_hash bounded"), setup = subject)]
#[benches::round_robin(iter = sizes("round_robin"), setup = subject)]
#[benches::score(iter = sizes("score"), setup = subject)]
#[benches::task(iter = sizes("task"), setup = subject)]
#[benches::weighted(iter = sizes("weighted"), setup = subject)]
#[benches::weighted_round_robin(iter = sizes("weighted_round_robin"), setup = subject)]
#[benches::workload_aware(iter = sizes("workload_aware"), setup = subject)]
#[benches::wrr_locality(iter = sizes("wrr_locality"), setup = subject)]
fn pick(mut subject: Subject) -> Subject {
    subject.pick(PICKS);
    // Returned, so that taking it down is not counted.
    subject
}

library_benchmark_group!(name = policies, benchmarks = pick);
main!(
    config = LibraryBenchmarkConfig::default().tool(Callgrind::with_args(["--cache-sim=no"])),
    library_benchmark_groups = policies
);
