//! What a pick costs: nanoseconds per pick and thread, by policy, number of endpoints and number of threads.
//!
//! Pickers are built by `Policy::rebuild` and called through `dyn Picker`, as a channel does. Each thread has a scratch of its own, as
//! each kept clone of a channel does; `fresh` makes a scratch for every pick, as a channel cloned per call does. The accounting
//! of a call (`begin`, `end`) is part of `least_request`, which lives by it.
//!
//! Goals: round_robin at most 10 ns and least_request at most 30 ns at 10 000 endpoints, growing less than 1.2 times from 10; two
//! threads at most 1.5 times per thread.

use std::hint::black_box;
use std::net::SocketAddr;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use http::HeaderMap;
use lb_core::{
    ConnectivityState, Endpoint, EndpointStats, Outcome, PickArgs, PickHints, PickResult, Picker, Plan, PolicyRegistry, Scratch,
    Slot, SubchannelView,
};

const ENDPOINTS: [u32; 4] = [10, 100, 1_000, 10_000];

/// The policies by name, and whether a pick is followed by its accounting.
const POLICIES: [(&str, bool); 5] =
    [("pick_first", false), ("round_robin", false), ("random", false), ("weighted_round_robin", false), ("least_request", true)];

/// A picker, and the counters of its endpoints by slot.
struct Subject {
    picker: Arc<dyn Picker>,
    stats: Vec<Arc<EndpointStats>>,
    accounts: bool,
    /// The same for every pick: a call reads the clock anyway, for its latency.
    now: Instant,
}

impl Subject {
    fn new(policy: &str, accounts: bool, endpoints: u32) -> Self {
        let view: Vec<SubchannelView> = (0..endpoints).map(row).collect();
        let mut policy = PolicyRegistry::default().build(policy, &serde_json::Value::Null).expect("the policy is built in");
        let picker = policy.rebuild(Instant::now(), &view, &mut Plan::new(7)).picker;
        Self { picker, stats: view.into_iter().map(|row| row.stats).collect(), accounts, now: Instant::now() }
    }

    #[inline]
    fn call(&self, headers: &HeaderMap, hints: &PickHints, scratch: &mut Scratch) {
        let picked = self.picker.pick(&mut PickArgs::new(self.now, "/s/m", headers, hints, scratch));
        let PickResult::Pick(slot) = picked else { panic!("every endpoint is READY, yet {picked:?}") };
        if self.accounts {
            let stats = &self.stats[slot.index()];
            stats.begin();
            stats.end(Outcome::Success);
        }
        black_box(slot);
    }

    fn kept(&self, seed: u64, calls: u64) -> Duration {
        let (headers, hints, mut scratch) = (HeaderMap::new(), PickHints::default(), Scratch::new(seed));
        let started = Instant::now();
        for _ in 0..calls {
            self.call(&headers, &hints, &mut scratch);
        }
        started.elapsed()
    }

    fn fresh(&self, calls: u64) -> Duration {
        let (headers, hints) = (HeaderMap::new(), PickHints::default());
        let started = Instant::now();
        for seed in 0..calls {
            self.call(&headers, &hints, &mut Scratch::new(seed));
        }
        started.elapsed()
    }

    /// The mean time of the threads, all of which make this many calls at once.
    fn threaded(&self, threads: u32, calls: u64) -> Duration {
        let barrier = Barrier::new(threads as usize);
        let run = |seed: u32| {
            barrier.wait();
            self.kept(u64::from(seed), calls)
        };
        let total: Duration = thread::scope(|scope| {
            let running: Vec<_> = (0..threads).map(|seed| scope.spawn(move || run(seed))).collect();
            running.into_iter().map(|thread| thread.join().expect("a pick does not panic")).sum()
        });
        total / threads
    }
}

fn row(index: u32) -> SubchannelView {
    let address = SocketAddr::from(([10, (index >> 16) as u8, (index >> 8) as u8, index as u8], 50051));
    // Weights from 1 to 10, so that the weighted policy has something to weigh.
    let endpoint = Endpoint::new(address).with_weight(1 + index % 10);
    SubchannelView::new(Slot::new(index, 0), Arc::new(endpoint), ConnectivityState::Ready, Arc::default())
}

fn picks(criterion: &mut Criterion) {
    for (policy, accounts) in POLICIES {
        let mut group = criterion.benchmark_group(format!("pick/{policy}"));
        for endpoints in ENDPOINTS {
            let subject = Subject::new(policy, accounts, endpoints);
            group.bench_function(format!("{endpoints}/fresh"), |bencher| bencher.iter_custom(|calls| subject.fresh(calls)));
            for threads in [1, 2] {
                group.bench_function(format!("{endpoints}/{threads}T"), |bencher| {
                    bencher.iter_custom(|calls| subject.threaded(threads, calls));
                });
            }
        }
    }
}

criterion_group! {
    name = benches;
    // Short, because there are sixty of them; a pick takes nanoseconds, so that each sample still holds millions.
    config = Criterion::default().warm_up_time(Duration::from_millis(100)).measurement_time(Duration::from_millis(500)).sample_size(20);
    targets = picks
}
criterion_main!(benches);
