//! `round_robin`: every READY endpoint in turn.
//!
//! **Bound.** Over any `n` consecutive turns each of `n` endpoints is picked once; channel clones that are kept walk on their own
//! and meet that bound each for itself, clones made per call meet it together. A pick is O(1) and writes no shared memory, save
//! the first one of a fresh clone.
//!
//! **When not.** Endpoints of different strength, or calls of very different length: a slow endpoint gets the same number of
//! calls and collects them. Many clients with few calls each gain nothing over [`random`](super::Random).
//!
//! ```
//! use lb_core::{PolicyRegistry, policies::RoundRobin};
//!
//! let typed = RoundRobin::default();
//! let from_json = PolicyRegistry::default().build("round_robin", &serde_json::json!({}))?;
//! # Ok::<(), lb_core::ConfigError>(())
//! ```
//!
//! Source: gRFC A61; gRPC load balancing. The turn survives a rebuild of the picker, where gRPC starts anew at random.

use std::sync::Arc;
use std::time::Instant;

use serde_json::Value;

use super::petiole::{self, NotReady};
use crate::pick::{PickArgs, PickResult, Picker, Score};
use crate::policy::{ConfigError, LbState, Plan, Policy, SubchannelView};
use crate::scratch::Sequence;
use crate::slot::Slot;

/// Every READY endpoint in turn. See the [module table](super) for when to use it.
///
/// Over any `n` consecutive turns each of `n` READY endpoints is picked exactly once, whether a channel clone is kept or made for
/// each call.
#[derive(Debug, Default)]
pub struct RoundRobin {
    sequence: Option<Arc<Sequence>>,
}

impl RoundRobin {
    /// Its name in service configs.
    pub const NAME: &'static str = "round_robin";

    /// From its configuration, which has no fields.
    pub fn from_config(_config: &Value) -> Result<Self, ConfigError> {
        Ok(Self::default())
    }
}

impl Policy for RoundRobin {
    fn rebuild(&mut self, _now: Instant, view: &[SubchannelView], plan: &mut Plan) -> LbState {
        let sequence = Arc::clone(self.sequence.get_or_insert_with(|| petiole::sequence(plan)));
        petiole::spread(view, plan, |ready, others| {
            Arc::new(Turntable { slots: ready.iter().map(|row| row.slot).collect(), sequence, others })
        })
    }
}

/// `slots` is never empty.
#[derive(Debug)]
struct Turntable {
    slots: Box<[Slot]>,
    sequence: Arc<Sequence>,
    others: NotReady,
}

impl Picker for Turntable {
    #[inline]
    fn pick(&self, args: &mut PickArgs<'_>) -> PickResult {
        let len = self.slots.len() as u64;
        let mut turns = args.scratch.turns(&self.sequence);
        PickResult::Pick(petiole::draw_untried(&self.slots, args.tried, || (turns.next_turn() % len) as usize))
    }

    fn restrict(&self, keep: &dyn Fn(Slot) -> bool) -> Arc<dyn Picker> {
        let slots: Box<[Slot]> = self.slots.iter().copied().filter(|slot| keep(*slot)).collect();
        let others = self.others.restricted(keep);
        // A sequence of its own: turns taken elsewhere would skip endpoints here.
        if slots.is_empty() { Arc::new(others) } else { Arc::new(Self { slots, sequence: Sequence::new(0), others }) }
    }

    fn explain(&self, _args: &mut PickArgs<'_>) -> Vec<Score> {
        let share = 1.0 / self.slots.len() as f64;
        self.slots.iter().map(|slot| Score::new(*slot, share, format!("one turn in {}", self.slots.len()))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connectivity::ConnectivityState::{Connecting, Ready, TransientFailure};
    use crate::policies::testing::{Caller, count_fresh, ready, rebuild, slot, view};

    #[test]
    fn a_kept_clone_gives_each_its_turn() {
        let picker = rebuild(&mut RoundRobin::default(), &ready(3)).picker;
        let mut caller = Caller::new(1);
        let picked: Vec<usize> = (0..7).map(|_| caller.slot(&*picker).index()).collect();
        assert_eq!(picked, [0, 1, 2, 0, 1, 2, 0]);
    }

    #[test]
    fn a_clone_per_call_balances_as_exactly() {
        let picker = rebuild(&mut RoundRobin::default(), &ready(7)).picker;
        assert_eq!(count_fresh(&*picker, 7, 700), [100; 7]);
    }

    #[test]
    fn the_start_is_random_and_the_turn_survives_a_rebuild() {
        let first = |entropy| {
            let picker =
                RoundRobin::default().rebuild(crate::policies::testing::start(), &ready(4), &mut Plan::new(entropy)).picker;
            Caller::new(1).slot(&*picker).index()
        };
        let firsts: std::collections::BTreeSet<usize> = (0..4).map(|n| first(n << 33)).collect();
        assert_eq!(firsts.len(), 4);

        let mut policy = RoundRobin::default();
        let mut caller = Caller::new(1);
        let picked: Vec<usize> = (0..4).map(|_| caller.slot(&*rebuild(&mut policy, &ready(4)).picker).index()).collect();
        assert_eq!(picked, [0, 1, 2, 3]);
    }

    #[test]
    fn only_ready_endpoints_are_picked() {
        let mut policy = RoundRobin::default();
        let picker = rebuild(&mut policy, &view(&[Ready, TransientFailure, Connecting, Ready])).picker;
        assert_eq!(count_fresh(&*picker, 4, 10), [5, 0, 0, 5]);
        // A pin to one that is not READY waits for it or fails with its error.
        let mut caller = Caller::new(1);
        assert!(matches!(caller.pick(&*picker.restrict(&|s| s == slot(2))), PickResult::Queue));
        assert!(caller.error(&*picker.restrict(&|s| s == slot(1))).contains("refused by 1"));
        assert_eq!(caller.count(&*picker.restrict(&|s| s != slot(0)), 4, 10), [0, 0, 0, 10]);
    }

    #[test]
    fn later_attempts_go_elsewhere_and_share_the_rest_evenly() {
        let picker = rebuild(&mut RoundRobin::default(), &ready(3)).picker;
        let mut counts = [0; 3];
        let mut caller = Caller::new(1);
        for _ in 0..300 {
            counts[caller.slot_after(&*picker, &[slot(1)]).index()] += 1;
        }
        assert_eq!(counts, [150, 0, 150]);
        // All tried: any, rather than none.
        caller.slot_after(&*picker, &[slot(0), slot(1), slot(2)]);
    }

    #[test]
    fn explanation_names_the_share() {
        let picker = rebuild(&mut RoundRobin::default(), &ready(4)).picker;
        let scores = Caller::new(1).explain(&*picker);
        assert_eq!(scores.iter().map(|score| score.total).sum::<f64>(), 1.0);
        assert_eq!(scores[3].reason, "one turn in 4");
    }
}
