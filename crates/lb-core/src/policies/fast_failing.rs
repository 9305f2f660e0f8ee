//! One endpoint that fails in a millisecond among ten that take twenty, under the policies that look at load; no ejection.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::testing::{Caller, weighted};
use crate::feedback::Done;
use crate::policy::{Plan, Policy, SubchannelView};
use crate::registry::PolicyRegistry;
use crate::slot::Slot;
use crate::stats::Outcome;

const SECOND: Duration = Duration::from_secs(1);

/// The failing one is the last.
pub(super) const ENDPOINTS: usize = 11;

const POLICIES: [(&str, &str); 7] = [
    ("prequal", "{}"),
    ("peak_ewma", "{}"),
    ("least_latency", "{}"),
    ("least_latency", r#"{"selectionMethod": "FULL_SCAN"}"#),
    ("least_request", "{}"),
    ("least_request", r#"{"selectionMethod": "FULL_SCAN"}"#),
    ("least_request", r#"{"activeRequestBias": 1}"#),
];

/// A channel without IO and its servers, the last of which may be broken.
pub(super) struct World {
    policy: Box<dyn Policy>,
    pub(super) view: Vec<SubchannelView>,
    pub(super) caller: Caller,
    /// Calls in flight: when each ends, where, and after how long.
    calls: BinaryHeap<Reverse<(Instant, Slot, Duration)>>,
    pub(super) broken: bool,
}

impl World {
    pub(super) fn new(name: &str, config: &str) -> Self {
        let config: Value = serde_json::from_str(config).unwrap();
        let policy = PolicyRegistry::default().build(name, &config).unwrap();
        // Weights matter only to a policy with a bias.
        let weights: Vec<u32> = (0..ENDPOINTS as u32).map(|index| 1 + index % 2).collect();
        Self { policy, view: weighted(&weights), caller: Caller::new(7), calls: BinaryHeap::new(), broken: true }
    }

    /// Calls arrive evenly; returns the share that goes to the last endpoint.
    pub(super) fn run(&mut self, time: Duration, calls_per_second: u32) -> f64 {
        let picker = self.policy.rebuild(self.caller.now, &self.view, &mut Plan::new(1)).picker;
        let (calls, mut to_last) = (time.as_secs() as u32 * calls_per_second, 0);
        for _ in 0..calls {
            self.caller.now += SECOND / calls_per_second;
            self.end_calls();
            let slot = self.caller.slot(&*picker);
            let last = slot.index() == ENDPOINTS - 1;
            to_last += u32::from(last);
            let takes = Duration::from_millis(if last && self.broken { 1 } else { 20 });
            self.view[slot.index()].stats.begin();
            self.calls.push(Reverse((self.caller.now + takes, slot, takes)));
        }
        f64::from(to_last) / f64::from(calls)
    }

    fn end_calls(&mut self) {
        while self.calls.peek().is_some_and(|Reverse((at, ..))| *at <= self.caller.now) {
            let Some(Reverse((at, slot, took))) = self.calls.pop() else { return };
            let outcome = if took < Duration::from_millis(20) { Outcome::Failure } else { Outcome::Success };
            self.view[slot.index()].stats.finish(&Done::new(slot, at, took, outcome));
        }
    }
}

#[test]
fn under_two_per_cent_of_calls_reach_it_after_five_seconds() {
    for (name, config) in POLICIES {
        // From a call now and then to sixteen in flight at each endpoint.
        for (rate, window) in [(50, 60), (500, 5), (8_000, 3)] {
            let mut world = World::new(name, config);
            let before = world.run(5 * SECOND, rate);
            let after = world.run(window * SECOND, rate);
            assert!(after < 0.02, "{name} {config} at {rate}/s: {before} then {after}");
        }
    }
}

#[test]
fn also_if_it_worked_before() {
    for (name, config) in POLICIES {
        let mut world = World::new(name, config);
        world.broken = false;
        let healthy = world.run(20 * SECOND, 500);
        world.broken = true;
        world.run(5 * SECOND, 500);
        let after = world.run(60 * SECOND, 500);
        assert!(after < 0.02, "{name} {config}: {healthy} then {after}");
    }
}

#[test]
fn once_it_works_again_it_gets_calls_again() {
    for (name, config) in POLICIES {
        let mut world = World::new(name, config);
        world.run(10 * SECOND, 500);
        world.broken = false;
        world.run(120 * SECOND, 500);
        let after = world.run(60 * SECOND, 500);
        // Its share is 1/11.
        assert!((0.03..0.3).contains(&after), "{name} {config}: {after}");
    }
}
