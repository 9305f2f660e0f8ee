//! `random`: any READY endpoint, each as likely.
//!
//! **Bound.** After `c` picks an endpoint of `n` has had `c/n` ± about `√(c/n)`. A pick is O(1) and writes no shared memory.
//!
//! **When not.** One client that should be even over short times: [`round_robin`](super::RoundRobin) is exact at the same cost.
//! Random never marches in step with other clients or with a periodic pattern of calls, which is what it is for.
//!
//! ```
//! use lb_core::{PolicyRegistry, policies::Random};
//!
//! let typed = Random::default();
//! let from_json = PolicyRegistry::default().build("random", &serde_json::json!({}))?;
//! # Ok::<(), lb_core::ConfigError>(())
//! ```
//!
//! Not in gRPC; states and connections as gRFC A61 has them for round_robin.

use std::sync::Arc;
use std::time::Instant;

use serde_json::Value;

use super::petiole::{self, NotReady};
use crate::pick::{PickArgs, PickResult, Picker, Score};
use crate::policy::{ConfigError, LbState, Plan, Policy, SubchannelView};
use crate::slot::Slot;

/// Any READY endpoint, each as likely. See the [module table](super) for when to use it.
#[derive(Debug, Default)]
pub struct Random(());

impl Random {
    /// Its name in service configs.
    pub const NAME: &'static str = "random";

    /// From its configuration, which has no fields.
    pub fn from_config(_config: &Value) -> Result<Self, ConfigError> {
        Ok(Self::default())
    }
}

impl Policy for Random {
    fn rebuild(&mut self, _now: Instant, view: &[SubchannelView], plan: &mut Plan) -> LbState {
        petiole::spread(view, plan, |ready, others| Arc::new(Die { slots: ready.iter().map(|row| row.slot).collect(), others }))
    }
}

/// `slots` is never empty.
#[derive(Debug)]
struct Die {
    slots: Box<[Slot]>,
    others: NotReady,
}

impl Picker for Die {
    #[inline]
    fn pick(&self, args: &mut PickArgs<'_>) -> PickResult {
        let len = self.slots.len() as u32;
        PickResult::Pick(petiole::draw_untried(&self.slots, args.tried, || args.scratch.below(len) as usize))
    }

    fn restrict(&self, keep: &dyn Fn(Slot) -> bool) -> Arc<dyn Picker> {
        let slots: Box<[Slot]> = self.slots.iter().copied().filter(|slot| keep(*slot)).collect();
        let others = self.others.restricted(keep);
        if slots.is_empty() { Arc::new(others) } else { Arc::new(Self { slots, others }) }
    }

    fn explain(&self, _args: &mut PickArgs<'_>) -> Vec<Score> {
        let share = 1.0 / self.slots.len() as f64;
        self.slots.iter().map(|slot| Score::new(*slot, share, format!("one chance in {}", self.slots.len()))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policies::testing::{Caller, count_fresh, ready, rebuild, slot};

    /// Five sigma of a binomial with 100 000 picks over 10 endpoints: 5 · √(100 000 · 0.1 · 0.9).
    const FIVE_SIGMA: usize = 475;

    #[test]
    fn picks_are_uniform_for_kept_and_fresh_clones() {
        let picker = rebuild(&mut Random::default(), &ready(10)).picker;
        for counts in [Caller::new(42).count(&*picker, 10, 100_000), count_fresh(&*picker, 10, 100_000)] {
            assert!(counts.iter().all(|count| count.abs_diff(10_000) < FIVE_SIGMA), "{counts:?}");
        }
    }

    #[test]
    fn later_attempts_go_elsewhere() {
        let picker = rebuild(&mut Random::default(), &ready(2)).picker;
        let mut caller = Caller::new(1);
        assert!((0..200).all(|_| caller.slot_after(&*picker, &[slot(0)]) == slot(1)));
    }

    #[test]
    fn a_restriction_draws_among_the_rest() {
        let picker = rebuild(&mut Random::default(), &ready(3)).picker.restrict(&|s| s != slot(1));
        let counts = Caller::new(1).count(&*picker, 3, 1_000);
        assert!(counts[1] == 0 && counts[0] > 400 && counts[2] > 400, "{counts:?}");
    }
}
