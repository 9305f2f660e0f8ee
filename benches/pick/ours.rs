//! Our policies.

use std::hint::black_box;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::HeaderMap;
use lb_core::{
    ConnectivityState, Done, Endpoint, EndpointStats, Outcome, PickArgs, PickHints, PickResult, Picker, Plan, PolicyRegistry,
    Scratch, Slot, SubchannelView,
};
use serde_json::{Value, json};

use crate::subject::Picks;

/// Policies that do not look at load: their picks are followed by no accounting.
const BLIND: [&str; 8] =
    ["pick_first", "round_robin", "random", "weighted_round_robin", "ring_hash", "maglev", "rendezvous", "ip_hash"];

/// A name that ends so is the policy of the name before, with a bound on the load of each endpoint.
const BOUNDED: &str = " bounded";

/// A name that ends so is the policy of the name before with all that a call does for it: the clock is read twice, and the latency recorded.
pub(crate) const TIMED: &str = " timed";

/// A name that ends so is the policy of the name before, with a call in flight at each endpoint: none is idle.
const BUSY: &str = " busy";

/// A policy's picker, and what follows its picks.
#[derive(Clone)]
pub(crate) struct Picked {
    picker: Arc<dyn Picker>,
    /// By slot.
    stats: Arc<[Arc<EndpointStats>]>,
    accounting: Accounting,
    /// Of the calls, in turn; a power of two.
    hints: Arc<[PickHints]>,
    /// The same for every pick: a call reads the clock anyway, for its latency.
    now: Instant,
    fresh: bool,
}

#[derive(Clone, Copy)]
enum Accounting {
    None,
    InFlight,
    Latency,
}

/// Every picker whose name is wanted, over this many READY endpoints. They share the endpoints, and so the memory they look at; those that
/// are busy have others.
pub(crate) fn pickers(size: u32, wanted: &dyn Fn(&str) -> bool) -> Vec<(String, Picked)> {
    let now = Instant::now();
    let (busy, idle): (Vec<_>, Vec<_>) = names().into_iter().filter(|name| wanted(name)).partition(|name| name.ends_with(BUSY));
    let mut all = over(size, idle, now, |_| {});
    all.extend(over(size, busy, now, |row| row.stats.begin()));
    all
}

fn over(size: u32, names: Vec<String>, now: Instant, before: impl Fn(&SubchannelView)) -> Vec<(String, Picked)> {
    let view: Vec<SubchannelView> = (0..size).map(row).collect();
    view.iter().for_each(|row| answer(row, now));
    view.iter().for_each(before);
    let stats: Arc<[_]> = view.iter().map(|row| Arc::clone(&row.stats)).collect();
    names.into_iter().map(|name| (name.clone(), Picked::new(&name, &view, Arc::clone(&stats), now))).collect()
}

impl Picked {
    fn new(name: &str, view: &[SubchannelView], stats: Arc<[Arc<EndpointStats>]>, now: Instant) -> Self {
        let policy = [BOUNDED, TIMED, BUSY].iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name);
        let mut policy = PolicyRegistry::default().build(policy, &config(name.ends_with(BOUNDED))).expect("the policy is built in");
        let picker = policy.rebuild(now, view, &mut Plan::new(7)).picker;
        let hashes = ["hash", "maglev", "rendezvous"].iter().any(|word| name.contains(word));
        let accounting = match name {
            _ if BLIND.contains(&name) => Accounting::None,
            _ if name.ends_with(TIMED) => Accounting::Latency,
            _ => Accounting::InFlight,
        };
        let hints = (0..if hashes { 64 } else { 1 }).map(|key| hints(hashes.then_some(key))).collect();
        Self { picker, stats, accounting, hints, now, fresh: false }
    }

    pub(crate) fn kept(&self) -> Arc<dyn Picks> {
        Arc::new(self.clone())
    }

    pub(crate) fn half(&self) -> Arc<dyn Picks> {
        let picker = self.picker.restrict(&|slot| slot.index() % 2 == 0);
        Arc::new(Self { picker, ..self.clone() })
    }

    pub(crate) fn fresh(&self) -> Arc<dyn Picks> {
        Arc::new(Self { fresh: true, ..self.clone() })
    }

    #[inline]
    fn call(&self, call: u64, headers: &HeaderMap, scratch: &mut Scratch) {
        let hints = &self.hints[call as usize & (self.hints.len() - 1)];
        let now = if let Accounting::Latency = self.accounting { Instant::now() } else { self.now };
        let picked = self.picker.pick(&mut PickArgs::new(now, "/s/m", headers, hints, scratch));
        let PickResult::Pick(slot) = picked else { panic!("every endpoint is READY, yet {picked:?}") };
        match self.accounting {
            Accounting::None => {}
            Accounting::InFlight => {
                let stats = &self.stats[slot.index()];
                stats.begin();
                stats.end(Outcome::Success);
            }
            Accounting::Latency => {
                let stats = &self.stats[slot.index()];
                stats.begin();
                let end = Instant::now();
                stats.finish(&Done::new(slot, end, end - now, Outcome::Success));
            }
        }
        black_box(slot);
    }
}

impl Picks for Picked {
    fn run(&self, seed: u64, picks: u64) -> Duration {
        let (headers, mut scratch) = (HeaderMap::new(), Scratch::new(seed));
        let started = Instant::now();
        if self.fresh {
            for call in 0..picks {
                self.call(call, &headers, &mut Scratch::new(call));
            }
        } else {
            for call in 0..picks {
                self.call(call, &headers, &mut scratch);
            }
        }
        started.elapsed()
    }
}

/// What those policies need that need anything; the others ignore it.
fn config(bounded: bool) -> Value {
    let mut config = json!({"subsetSize": 20, "childPolicy": [{"round_robin": {}}]});
    if bounded {
        config["hashBalanceFactor"] = json!(125);
    }
    config
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
    let more = ["ring_hash", "maglev", "rendezvous"].map(|name| format!("{name}{BOUNDED}"));
    let more = more.into_iter().chain([format!("peak_ewma{TIMED}"), format!("least_request{BUSY}")]);
    registry.names().filter(|name| !has_other(name)).map(str::to_owned).chain(more).collect()
}
