//! `weighted_round_robin`: every READY endpoint in turn, as often as its weight says.
//!
//! Weights are those of the view: the resolver's, as stages changed them. Endpoints of weight 0 stay connected and take nothing,
//! unless every READY endpoint has weight 0; then all get the same.
//!
//! **Bound.** Picks follow the static stride scheduler: over a full cycle each endpoint gets exactly its share, and in between it
//! is at most a few picks off; weights are cut at 10 times and lifted to 1 % of the mean. A channel clone made per call takes its
//! turns from the shared sequence and balances as exactly as one that is kept. Cost: at most `n` turns per pick, on average
//! below 10 for weights within an order of magnitude.
//!
//! **When not.** Weights that nobody maintains are worse than none: [`least_request`](super::LeastRequest) finds out by itself.
//!
//! ```
//! use lb_core::{PolicyRegistry, policies::WeightedRoundRobin};
//!
//! let typed = WeightedRoundRobin::default();
//! let from_json = PolicyRegistry::default().build("weighted_round_robin", &serde_json::json!({}))?;
//! # Ok::<(), lb_core::ConfigError>(())
//! ```
//!
//! Source: gRFC A58, with weights from the resolver in place of load reports; the fields about load reports are checked and have no
//! effect.

use std::sync::Arc;
use std::time::Instant;

use serde_json::Value;

use super::config;
use super::petiole::{self, NotReady};
use super::stride::Stride;
use crate::pick::{PickArgs, PickResult, Picker, Score};
use crate::policy::{ConfigError, LbState, Plan, Policy, SubchannelView};
use crate::scratch::Sequence;
use crate::slot::Slot;

/// Every READY endpoint in turn, as often as its weight says. See the [module table](super) for when to use it.
#[derive(Debug, Default)]
pub struct WeightedRoundRobin {
    sequence: Option<Arc<Sequence>>,
}

impl WeightedRoundRobin {
    /// Its name in service configs.
    pub const NAME: &'static str = "weighted_round_robin";

    /// From its configuration. The fields of gRFC A58 and A114 are about load reports: they are checked, so that what other clients
    /// refuse is refused here, and have no effect.
    pub fn from_config(config: &Value) -> Result<Self, ConfigError> {
        config::flag(Self::NAME, config, "enableOobLoadReport")?;
        for field in ["oobReportingPeriod", "blackoutPeriod", "weightExpirationPeriod", "weightUpdatePeriod"] {
            config::check_duration(Self::NAME, config, field)?;
        }
        config::check_not_negative(Self::NAME, config, "errorUtilizationPenalty")?;
        config::check_texts(Self::NAME, config, "metricNamesForComputingUtilization")?;
        Ok(Self::default())
    }
}

impl Policy for WeightedRoundRobin {
    fn rebuild(&mut self, _now: Instant, view: &[SubchannelView], plan: &mut Plan) -> LbState {
        let sequence = Arc::clone(self.sequence.get_or_insert_with(|| petiole::sequence(plan)));
        petiole::spread(view, plan, |ready, others| {
            Arc::new(Scheduler::new(
                ready.iter().map(|row| Weighted { slot: row.slot, weight: row.weight }).collect(),
                sequence,
                others,
            ))
        })
    }
}

#[derive(Debug, Clone, Copy)]
struct Weighted {
    slot: Slot,
    weight: u32,
}

/// `slots` is never empty and parallel to the stride's weights.
#[derive(Debug)]
struct Scheduler {
    slots: Box<[Slot]>,
    /// `None`: plain turns.
    stride: Option<Stride>,
    sequence: Arc<Sequence>,
    /// All READY endpoints, those of weight 0 included, for restrictions and explanations.
    rows: Box<[Weighted]>,
    others: NotReady,
}

impl Scheduler {
    fn new(rows: Box<[Weighted]>, sequence: Arc<Sequence>, others: NotReady) -> Self {
        let all_zero = rows.iter().all(|row| row.weight == 0);
        let scheduled = || rows.iter().filter(|row| all_zero || row.weight > 0);
        let weights: Vec<f64> = scheduled().map(|row| f64::from(row.weight)).collect();
        Self { slots: scheduled().map(|row| row.slot).collect(), stride: Stride::new(&weights), sequence, others, rows }
    }

    fn share(&self, index: usize) -> f64 {
        self.stride.as_ref().map_or_else(|| 1.0 / self.slots.len() as f64, |stride| stride.share(index))
    }
}

impl Picker for Scheduler {
    #[inline]
    fn pick(&self, args: &mut PickArgs<'_>) -> PickResult {
        let len = self.slots.len() as u64;
        let mut turns = args.scratch.turns(&self.sequence);
        PickResult::Pick(petiole::draw_untried(&self.slots, args.tried, || match &self.stride {
            Some(stride) => stride.next(|| turns.next_turn()),
            None => (turns.next_turn() % len) as usize,
        }))
    }

    fn restrict(&self, keep: &dyn Fn(Slot) -> bool) -> Arc<dyn Picker> {
        let rows: Box<[Weighted]> = self.rows.iter().copied().filter(|row| keep(row.slot)).collect();
        let others = self.others.restricted(keep);
        // A sequence of its own: turns taken elsewhere would skip endpoints here.
        if rows.is_empty() { Arc::new(others) } else { Arc::new(Self::new(rows, Sequence::new(0), others)) }
    }

    fn explain(&self, _args: &mut PickArgs<'_>) -> Vec<Score> {
        // Scheduled rows come in the same order in `slots`.
        let mut scheduled = 0;
        let score = |row: &Weighted| {
            let mut score = Score::new(row.slot, 0.0, format!("weight {}", row.weight));
            score.parts.push(("weight", f64::from(row.weight)));
            if self.slots.get(scheduled) == Some(&row.slot) {
                score.total = self.share(scheduled);
                scheduled += 1;
            } else {
                score.reason.push_str(", and others have more");
            }
            score
        };
        self.rows.iter().map(score).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::policies::testing::{Caller, count_fresh, rebuild, slot, weighted};

    fn picker(weights: &[u32]) -> Arc<dyn Picker> {
        rebuild(&mut WeightedRoundRobin::default(), &weighted(weights)).picker
    }

    #[test]
    fn fields_about_load_reports_are_checked() {
        let full = json!({
            "enableOobLoadReport": true, "oobReportingPeriod": "10s", "blackoutPeriod": "-1s", "weightExpirationPeriod": "180s",
            "weightUpdatePeriod": "0.01s", "errorUtilizationPenalty": 1, "metricNamesForComputingUtilization": ["named_metrics.x"],
        });
        for good in [json!({}), json!({"unknown": []}), full] {
            assert!(WeightedRoundRobin::from_config(&good).is_ok(), "{good}");
        }
        for (field, value) in [
            ("enableOobLoadReport", json!("yes")),
            ("blackoutPeriod", json!("10")),
            ("weightUpdatePeriod", json!(1)),
            ("errorUtilizationPenalty", json!(-1)),
            ("metricNamesForComputingUtilization", json!([1])),
        ] {
            let error = WeightedRoundRobin::from_config(&json!({field: value})).unwrap_err();
            assert_eq!(error.field, format!("weighted_round_robin.{field}"));
        }
    }

    #[test]
    fn shares_are_exact_for_kept_and_fresh_clones() {
        assert_eq!(Caller::new(1).count(&*picker(&[1, 2, 3]), 3, 60_000), [10_000, 20_000, 30_000]);
        assert_eq!(count_fresh(&*picker(&[1, 2, 3]), 3, 60_000), [10_000, 20_000, 30_000]);
    }

    #[test]
    fn the_sequence_of_picks_is_the_published_one() {
        let (picker, mut caller) = (picker(&[4, 3, 2, 1]), Caller::new(1));
        let picked: Vec<usize> = (0..18).map(|_| caller.slot(&*picker).index()).collect();
        assert_eq!(picked, [0, 1, 2, 0, 2, 0, 1, 3, 0, 1, 2, 0, 1, 0, 2, 3, 0, 1]);
    }

    #[test]
    fn weight_zero_takes_nothing_unless_all_are_zero() {
        assert_eq!(Caller::new(1).count(&*picker(&[0, 5, 5]), 3, 100), [0, 50, 50]);
        assert_eq!(Caller::new(1).count(&*picker(&[0, 5]), 2, 10), [0, 10]);
        assert_eq!(Caller::new(1).count(&*picker(&[0, 0, 0, 0]), 4, 100), [25; 4]);
        assert_eq!(Caller::new(1).count(&*picker(&[0]), 1, 10), [10]);
    }

    #[test]
    fn a_restriction_weighs_the_rest_anew() {
        let picker = picker(&[1, 3, 0, 50]);
        assert_eq!(Caller::new(1).count(&*picker.restrict(&|s| s != slot(3)), 4, 400), [100, 300, 0, 0]);
        assert_eq!(Caller::new(1).count(&*picker.restrict(&|s| s == slot(2)), 4, 5), [0, 0, 5, 0]);
        assert!(Caller::new(1).error(&*picker.restrict(&|_| false)).contains("restrictions"));
    }

    #[test]
    fn absurd_weights_do_not_overflow_and_nothing_starves() {
        let counts = Caller::new(1).count(&*picker(&[1, u32::MAX, u32::MAX, 0]), 4, 100_000);
        // The least share is 1 % of the mean: (2/3 · 0.01) / (2 + 2/3 · 0.01) of all.
        assert!((300..=360).contains(&counts[0]) && counts[3] == 0, "{counts:?}");
        assert!(counts[1].abs_diff(counts[2]) <= 2, "{counts:?}");
    }

    #[test]
    fn a_change_of_weight_applies_to_the_next_picker() {
        let (mut policy, mut caller) = (WeightedRoundRobin::default(), Caller::new(1));
        assert_eq!(caller.count(&*rebuild(&mut policy, &weighted(&[1, 1])).picker, 2, 100), [50, 50]);
        assert_eq!(caller.count(&*rebuild(&mut policy, &weighted(&[1, 3])).picker, 2, 400), [100, 300]);
    }

    #[test]
    fn later_attempts_go_elsewhere() {
        let (picker, mut caller) = (picker(&[1, 1000]), Caller::new(1));
        assert!((0..100).all(|_| caller.slot_after(&*picker, &[slot(1)]) == slot(0)));
    }

    #[test]
    fn explanation_names_weight_and_share() {
        let scores = Caller::new(1).explain(&*picker(&[1, 0, 3]));
        let shares: Vec<f64> = scores.iter().map(|score| (score.total * 100.0).round()).collect();
        assert_eq!(shares, [25.0, 0.0, 75.0]);
        assert_eq!(scores[1].reason, "weight 0, and others have more");
    }
}
