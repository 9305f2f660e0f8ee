//! What a pick costs: nanoseconds per pick and thread, by policy, number of endpoints and number of threads.
//!
//! Every policy of the registry. Pickers are built by `Policy::rebuild` and called through `dyn Picker`, as a channel does. Each
//! thread has a scratch of its own, as each kept clone of a channel does; `fresh` makes a scratch for every pick, as a channel
//! cloned per call does; `restricted` is a pick of a call that only half of the endpoints are allowed to. The accounting of a call
//! (`begin`, `end`) is part of the policies that look at load, which live by it. Policies that hash get 64 keys in turn.
//!
//! Goals at 10 000 endpoints: round_robin at most 10 ns, least_request 30 ns; sampling and hashing policies at most twice what they
//! cost at 10; two threads at most 1.5 times per thread; restricted at most 3 times unrestricted.

use std::hint::black_box;
use std::net::SocketAddr;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use http::HeaderMap;
use lb_core::{
    ConnectivityState, Done, Endpoint, EndpointStats, Outcome, PickArgs, PickHints, PickResult, Picker, Plan, PolicyRegistry,
    Scratch, Slot, SubchannelView,
};
use serde_json::{Value, json};

const ENDPOINTS: [u32; 3] = [10, 1_000, 10_000];

/// Policies that do not look at load: their picks are followed by no accounting.
const BLIND: [&str; 8] =
    ["pick_first", "round_robin", "random", "weighted_round_robin", "ring_hash", "maglev", "rendezvous", "ip_hash"];

/// What those policies need that need anything; the others ignore it. A name that ends so is the policy of the name before, with a bound on
/// the load of each endpoint.
const BOUNDED: &str = " bounded";

fn config(bounded: bool) -> Value {
    let mut config = json!({"subsetSize": 20, "childPolicy": [{"round_robin": {}}]});
    if bounded {
        config["hashBalanceFactor"] = json!(125);
    }
    config
}

/// A picker, and the counters of its endpoints by slot.
struct Subject {
    picker: Arc<dyn Picker>,
    stats: Vec<Arc<EndpointStats>>,
    accounts: bool,
    /// Of the calls, in turn; a power of two.
    hints: Vec<PickHints>,
    /// The same for every pick: a call reads the clock anyway, for its latency.
    now: Instant,
}

impl Subject {
    fn new(name: &str, endpoints: u32) -> Self {
        let (now, view): (_, Vec<SubchannelView>) = (Instant::now(), (0..endpoints).map(row).collect());
        view.iter().for_each(|row| answer(row, now));
        let bounded = name.ends_with(BOUNDED);
        let policy = name.strip_suffix(BOUNDED).unwrap_or(name);
        let mut policy = PolicyRegistry::default().build(policy, &config(bounded)).expect("the policy is built in");
        let picker = policy.rebuild(now, &view, &mut Plan::new(7)).picker;
        let hashes = ["hash", "maglev", "rendezvous"].iter().any(|word| name.contains(word));
        Self {
            picker,
            stats: view.into_iter().map(|row| row.stats).collect(),
            accounts: !BLIND.contains(&name),
            hints: (0..if hashes { 64 } else { 1 }).map(|key| hints(hashes.then_some(key))).collect(),
            now,
        }
    }

    /// For calls that may go to every other endpoint only.
    fn restricted(&self) -> Self {
        let picker = self.picker.restrict(&|slot| slot.index() % 2 == 0);
        Self { picker, stats: self.stats.clone(), accounts: self.accounts, hints: self.hints.clone(), now: self.now }
    }

    #[inline]
    fn call(&self, call: u64, headers: &HeaderMap, scratch: &mut Scratch) {
        let hints = &self.hints[call as usize & (self.hints.len() - 1)];
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
        let (headers, mut scratch) = (HeaderMap::new(), Scratch::new(seed));
        let started = Instant::now();
        for call in 0..calls {
            self.call(call, &headers, &mut scratch);
        }
        started.elapsed()
    }

    fn fresh(&self, calls: u64) -> Duration {
        let headers = HeaderMap::new();
        let started = Instant::now();
        for call in 0..calls {
            self.call(call, &headers, &mut Scratch::new(call));
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

/// One call of 10 to 19 ms, so that there is a latency to look at.
fn answer(row: &SubchannelView, now: Instant) {
    let latency = Duration::from_millis(10 + row.slot.index() as u64 % 10);
    row.stats.begin();
    row.stats.finish(&Done::new(row.slot, now, latency, Outcome::Success));
}

fn hints(key: Option<u32>) -> PickHints {
    let mut hints = PickHints::default();
    hints.hash_key = key.map(|key| format!("customer-{key}").into_bytes().into());
    hints
}

/// The names of the registry, those that are another name of the same policy left out.
fn names() -> Vec<String> {
    let registry = PolicyRegistry::default();
    let has_other = |name: &str| {
        let short = name.strip_suffix("_experimental");
        short.is_some_and(|short| registry.names().any(|other| other == short))
    };
    let bounded = ["ring_hash", "maglev", "rendezvous"].map(|name| format!("{name}{BOUNDED}"));
    registry.names().filter(|name| !has_other(name)).map(str::to_owned).chain(bounded).collect()
}

fn picks(criterion: &mut Criterion) {
    for policy in names() {
        let mut group = criterion.benchmark_group(format!("pick/{policy}"));
        for endpoints in ENDPOINTS {
            let subject = Subject::new(&policy, endpoints);
            for threads in [1, 2] {
                group.bench_function(format!("{endpoints}/{threads}T"), |bencher| {
                    bencher.iter_custom(|calls| subject.threaded(threads, calls));
                });
            }
            group.bench_function(format!("{endpoints}/fresh"), |bencher| bencher.iter_custom(|calls| subject.fresh(calls)));
            let restricted = subject.restricted();
            group.bench_function(format!("{endpoints}/restricted"), |bencher| {
                bencher.iter_custom(|calls| restricted.kept(1, calls))
            });
        }
    }
}

criterion_group! {
    name = benches;
    // Short, because there are hundreds of them; a pick takes nanoseconds, so that each sample still holds many.
    config = Criterion::default().warm_up_time(Duration::from_millis(50)).measurement_time(Duration::from_millis(250)).sample_size(10);
    targets = picks
}
criterion_main!(benches);
