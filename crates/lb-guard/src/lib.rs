//! What a guard counts: picks of every policy over READY endpoints, with the calls' accounting where the policy lives by it.
//!
//! A crate of its own, because counting wants a framework and a build of nothing but `lb-core`: `benches/guard.rs` counts instructions, and
//! `cargo xtask bench guard` compares them with `budgets.json`. Nanoseconds are the business of the benchmark `pick`.

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

/// Policies that do not look at load: their picks are followed by no accounting.
const BLIND: [&str; 8] =
    ["pick_first", "round_robin", "random", "weighted_round_robin", "ring_hash", "maglev", "rendezvous", "ip_hash"];

const BOUNDED: &str = " bounded";

/// What those policies need that need anything; the others ignore it.
fn config(bounded: bool) -> Value {
    let mut config = json!({"subsetSize": 20, "childPolicy": [{"round_robin": {}}]});
    if bounded {
        config["hashBalanceFactor"] = json!(125);
    }
    config
}

/// A policy's picker, and all that a pick is given.
#[derive(Debug)]
pub struct Subject {
    picker: Arc<dyn Picker>,
    /// By slot.
    stats: Vec<Arc<EndpointStats>>,
    accounts: bool,
    /// Of the calls, in turn; a power of two.
    hints: Vec<PickHints>,
    /// The same for every pick: a call reads the clock anyway, for its latency.
    now: Instant,
    headers: HeaderMap,
    scratch: Scratch,
}

impl Subject {
    /// The policy of this name over so many endpoints. A name that ends in ` bounded` is the policy of the name before, with a bound on the
    /// load of each endpoint.
    ///
    /// # Panics
    /// No policy has that name.
    pub fn new(name: &str, endpoints: u32) -> Self {
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
            headers: HeaderMap::new(),
            scratch: Scratch::new(1),
        }
    }

    /// So many picks, one after the other, each a call that ends at once.
    ///
    /// # Panics
    /// A pick finds no endpoint, though all are READY.
    pub fn pick(&mut self, picks: usize) {
        for pick in 0..picks {
            let hints = &self.hints[pick & (self.hints.len() - 1)];
            let picked = self.picker.pick(&mut PickArgs::new(self.now, "/s/m", &self.headers, hints, &mut self.scratch));
            let PickResult::Pick(slot) = picked else { panic!("every endpoint is READY, yet {picked:?}") };
            if self.accounts {
                let stats = &self.stats[slot.index()];
                stats.begin();
                stats.end(Outcome::Success);
            }
            black_box(slot);
        }
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

#[cfg(test)]
mod tests {
    use lb_core::PolicyRegistry;
    use serde_json::Value;

    /// Whether the same policy is also known by a shorter name.
    fn is_alias(registry: &PolicyRegistry, name: &str) -> bool {
        name.strip_suffix("_experimental").is_some_and(|short| registry.names().any(|other| other == short))
    }

    #[test]
    fn every_policy_has_a_budget() {
        let budgets: Value = serde_json::from_str(include_str!("../budgets.json")).unwrap();
        let registry = PolicyRegistry::default();
        for policy in registry.names().filter(|name| !is_alias(&registry, name)) {
            for endpoints in ["10", "10000"] {
                let budget = &budgets["picks"][policy][endpoints];
                assert!(
                    budget.is_number(),
                    "{policy} has no budget: add it to benches/guard.rs, then `cargo xtask bench guard --bless`"
                );
            }
        }
    }
}
