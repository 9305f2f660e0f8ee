//! Views and callers for the tests of policies.

use std::sync::Arc;
use std::time::Instant;

use http::HeaderMap;

use crate::connectivity::ConnectivityState;
use crate::endpoint::Endpoint;
use crate::hints::PickHints;
use crate::pick::{PickArgs, PickResult, Picker, Score};
use crate::policy::{LbState, Plan, Policy, SubchannelView};
use crate::scratch::Scratch;
use crate::slot::Slot;

/// An instant to count from; nothing depends on which.
pub(crate) fn start() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "an Instant has no other constructor; the value does not matter")]
    Instant::now()
}

pub(crate) fn slot(index: u32) -> Slot {
    Slot::new(index, 0)
}

/// Endpoints `10.0.x.y:1` of weight 1 in these states; failing ones say who they are.
pub(crate) fn view(states: &[ConnectivityState]) -> Vec<SubchannelView> {
    let row = |(index, state): (usize, &ConnectivityState)| {
        let address: std::net::SocketAddr = ([10, (index >> 16) as u8, (index >> 8) as u8, index as u8], 1).into();
        let mut row = SubchannelView::new(slot(index as u32), Arc::new(Endpoint::new(address)), *state, Arc::default());
        row.error = (*state == ConnectivityState::TransientFailure).then(|| format!("refused by {index}").into());
        row
    };
    states.iter().enumerate().map(row).collect()
}

pub(crate) fn ready(count: usize) -> Vec<SubchannelView> {
    view(&vec![ConnectivityState::Ready; count])
}

pub(crate) fn weighted(weights: &[u32]) -> Vec<SubchannelView> {
    let mut view = ready(weights.len());
    view.iter_mut().zip(weights).for_each(|(row, weight)| row.weight = *weight);
    view
}

/// Rebuilds with a fresh plan without entropy.
pub(crate) fn rebuild(policy: &mut dyn Policy, view: &[SubchannelView]) -> LbState {
    policy.rebuild(start(), view, &mut Plan::default())
}

/// Somebody who calls: a channel clone with its scratch.
pub(crate) struct Caller {
    /// The time of its picks.
    pub(crate) now: Instant,
    pub(crate) headers: HeaderMap,
    pub(crate) hints: PickHints,
    scratch: Scratch,
}

impl Caller {
    pub(crate) fn new(seed: u64) -> Self {
        Self { now: start(), headers: HeaderMap::new(), hints: PickHints::default(), scratch: Scratch::new(seed) }
    }

    /// Its calls from now on have this hash key.
    pub(crate) fn with_key(&mut self, key: &str) -> &mut Self {
        self.hints.hash_key = Some(key.as_bytes().into());
        self
    }

    /// The endpoint of each of the keys `k0`, `k1`, …, all of which must be picked.
    pub(crate) fn slots_of_keys(&mut self, picker: &dyn Picker, keys: usize) -> Vec<Slot> {
        (0..keys).map(|key| self.with_key(&format!("k{key}")).slot(picker)).collect()
    }

    pub(crate) fn pick(&mut self, picker: &dyn Picker) -> PickResult {
        self.pick_after(picker, &[])
    }

    pub(crate) fn pick_after(&mut self, picker: &dyn Picker, tried: &[Slot]) -> PickResult {
        picker.pick(&mut PickArgs::new(self.now, "/s/m", &self.headers, &self.hints, &mut self.scratch).with_tried(tried))
    }

    pub(crate) fn slot(&mut self, picker: &dyn Picker) -> Slot {
        self.slot_after(picker, &[])
    }

    pub(crate) fn slot_after(&mut self, picker: &dyn Picker, tried: &[Slot]) -> Slot {
        match self.pick_after(picker, tried) {
            PickResult::Pick(slot) => slot,
            other => panic!("expected a pick, got {other:?}"),
        }
    }

    /// What a picker wants probed.
    pub(crate) fn probe(&mut self, picker: &dyn Picker) -> Option<Slot> {
        let mut args = PickArgs::new(self.now, "/s/m", &self.headers, &self.hints, &mut self.scratch);
        let _ = picker.pick(&mut args);
        args.probe
    }

    /// A pick and its token.
    pub(crate) fn token(&mut self, picker: &dyn Picker) -> (Slot, u64) {
        let mut args = PickArgs::new(self.now, "/s/m", &self.headers, &self.hints, &mut self.scratch);
        match picker.pick(&mut args) {
            PickResult::Pick(slot) => (slot, args.token),
            other => panic!("expected a pick, got {other:?}"),
        }
    }

    pub(crate) fn error(&mut self, picker: &dyn Picker) -> String {
        match self.pick(picker) {
            PickResult::Fail(error) => error.to_string(),
            other => panic!("expected a failure, got {other:?}"),
        }
    }

    pub(crate) fn explain(&mut self, picker: &dyn Picker) -> Vec<Score> {
        picker.explain(&mut PickArgs::new(self.now, "/s/m", &self.headers, &self.hints, &mut self.scratch))
    }

    /// How often each of `endpoints` is picked in `picks` picks.
    pub(crate) fn count(&mut self, picker: &dyn Picker, endpoints: usize, picks: usize) -> Vec<usize> {
        let mut counts = vec![0; endpoints];
        for _ in 0..picks {
            counts[self.slot(picker).index()] += 1;
        }
        counts
    }
}

/// How often each of `endpoints` is picked when every call comes through a channel clone of its own.
pub(crate) fn count_fresh(picker: &dyn Picker, endpoints: usize, picks: usize) -> Vec<usize> {
    let mut counts = vec![0; endpoints];
    for seed in 0..picks {
        counts[Caller::new(seed as u64).slot(picker).index()] += 1;
    }
    counts
}
