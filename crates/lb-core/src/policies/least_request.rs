//! `least_request`: the least busy of a few endpoints drawn at random.
//!
//! Each pick draws `choiceCount` READY endpoints with replacement and takes the one with the fewest calls in flight from this
//! process; the first drawn wins a tie. The counters are [`EndpointStats::in_flight`]: they belong to the endpoint, and outlive
//! pickers, policies and the connection.
//!
//! **Bound.** With two choices the busiest of `n` endpoints has about `log log n` calls more than the mean, where random has
//! `log n / log log n` (Azar 1994, Mitzenmacher 1996). A pick costs O(`choiceCount`) whatever `n`. An endpoint that hangs still gets
//! a call when every draw hits it: one in `n^choiceCount`.
//!
//! **When not.** An endpoint that fails fast looks idle and attracts calls; combine with ejection. A client that has few calls in
//! flight at a time sees only zeros, and the policy is [`random`](super::Random).
//!
//! ```
//! use lb_core::{PolicyRegistry, policies::LeastRequest};
//!
//! let typed = LeastRequest::with_choices(3)?;
//! let from_json = PolicyRegistry::default().build("least_request", &serde_json::json!({"choiceCount": 3}))?;
//! # Ok::<(), lb_core::ConfigError>(())
//! ```
//!
//! Source: gRFC A48. Unlike grpc-go, the counter is not reset when the endpoint leaves READY: calls of the old connection that
//! have not ended still load it.

use std::sync::Arc;
use std::time::Instant;

use serde_json::Value;

use super::config;
use super::petiole::{self, HasSlot, NotReady};
use crate::pick::{PickArgs, PickResult, Picker, Score};
use crate::policy::{ConfigError, LbState, Plan, Policy, SubchannelView};
use crate::scratch::Scratch;
use crate::slot::Slot;
use crate::stats::EndpointStats;

/// One choice would be `random`; gRFC A48 forbids it.
const FEWEST: u32 = 2;

/// More draws cost time and win nothing; gRFC A48 takes larger numbers as this one.
const MOST: u32 = 10;

/// The least busy of a few endpoints drawn at random. See the [module table](super) for when to use it.
#[derive(Debug)]
pub struct LeastRequest {
    choices: u32,
}

impl Default for LeastRequest {
    /// Two choices.
    fn default() -> Self {
        Self { choices: FEWEST }
    }
}

impl LeastRequest {
    /// Its name in service configs; `least_request` is accepted as well.
    pub const NAME: &'static str = "least_request_experimental";

    /// Draws this many endpoints per pick: at least 2; more than 10 are taken as 10.
    pub fn with_choices(choices: u32) -> Result<Self, ConfigError> {
        if choices < FEWEST {
            return Err(ConfigError::new(
                format!("{}.choiceCount", Self::NAME),
                choices,
                "a whole number from 2; 10 and more are 10",
            ));
        }
        Ok(Self { choices: choices.min(MOST) })
    }

    /// From its configuration: `choiceCount`, default 2.
    pub fn from_config(config: &Value) -> Result<Self, ConfigError> {
        Self::with_choices(config::unsigned(Self::NAME, config, "choiceCount", FEWEST)?)
    }
}

impl Policy for LeastRequest {
    fn rebuild(&mut self, _now: Instant, view: &[SubchannelView], plan: &mut Plan) -> LbState {
        petiole::spread(view, plan, |ready, others| {
            let rows = ready.iter().map(|row| Row { slot: row.slot, stats: Arc::clone(&row.stats) }).collect();
            Arc::new(Sampler { rows, choices: self.choices, others })
        })
    }
}

/// `rows` is never empty.
#[derive(Debug)]
struct Sampler {
    rows: Box<[Row]>,
    choices: u32,
    others: NotReady,
}

/// Slot and counters side by side: with many endpoints each table of its own would be a cache miss more per pick.
#[derive(Debug, Clone)]
struct Row {
    slot: Slot,
    stats: Arc<EndpointStats>,
}

impl HasSlot for Row {
    #[inline]
    fn slot(&self) -> Slot {
        self.slot
    }
}

impl Sampler {
    #[inline]
    fn sample(&self, scratch: &mut Scratch) -> usize {
        let len = self.rows.len() as u32;
        let mut best = scratch.below(len) as usize;
        let mut load = self.rows[best].stats.in_flight();
        for _ in 1..self.choices {
            let other = scratch.below(len) as usize;
            let other_load = self.rows[other].stats.in_flight();
            if other_load < load {
                (best, load) = (other, other_load);
            }
        }
        best
    }

    /// The chance of an endpoint with this load: all draws hit as busy ones, not all busier ones, and those alike share it.
    fn chance(&self, load: u32, loads: &[u32]) -> f64 {
        // `loads` is sorted.
        let as_busy = loads.len() - loads.partition_point(|other| *other < load);
        let busier = loads.len() - loads.partition_point(|other| *other <= load);
        let all_among = |count: usize| (count as f64 / loads.len() as f64).powi(self.choices as i32);
        (all_among(as_busy) - all_among(busier)) / (as_busy - busier).max(1) as f64
    }
}

impl Picker for Sampler {
    #[inline]
    fn pick(&self, args: &mut PickArgs<'_>) -> PickResult {
        PickResult::Pick(petiole::draw_untried(&self.rows, args.tried, || self.sample(args.scratch)))
    }

    fn restrict(&self, keep: &dyn Fn(Slot) -> bool) -> Arc<dyn Picker> {
        let rows: Box<[Row]> = self.rows.iter().filter(|row| keep(row.slot)).cloned().collect();
        let others = self.others.restricted(keep);
        if rows.is_empty() { Arc::new(others) } else { Arc::new(Self { rows, choices: self.choices, others }) }
    }

    fn explain(&self, _args: &mut PickArgs<'_>) -> Vec<Score> {
        let loads: Vec<u32> = self.rows.iter().map(|row| row.stats.in_flight()).collect();
        let mut sorted = loads.clone();
        sorted.sort_unstable();
        let score = |(row, load): (&Row, &u32)| {
            let mut score =
                Score::new(row.slot, self.chance(*load, &sorted), format!("{load} calls in flight, best of {}", self.choices));
            score.parts.push(("in_flight", f64::from(*load)));
            score
        };
        self.rows.iter().zip(&loads).map(score).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::connectivity::ConnectivityState::{Ready, TransientFailure};
    use crate::policies::testing::{Caller, ready, rebuild, slot, view};
    use crate::stats::Outcome;

    fn load(view: &[SubchannelView], index: usize, calls: usize) {
        (0..calls).for_each(|_| view[index].stats.begin());
    }

    #[test]
    fn choice_count_table() {
        let choices = |config| LeastRequest::from_config(&config).map(|policy| policy.choices);
        assert_eq!(choices(json!({})), Ok(2));
        assert_eq!(choices(json!({"choiceCount": null, "unknown": 1})), Ok(2));
        assert_eq!(choices(json!({"choiceCount": 2})), Ok(2));
        assert_eq!(choices(json!({"choiceCount": 10})), Ok(10));
        assert_eq!(choices(json!({"choiceCount": 11})), Ok(10));
        assert_eq!(choices(json!({"choiceCount": u32::MAX})), Ok(10));
        for bad in [json!(0), json!(1), json!(-1), json!(2.5), json!("2"), json!(1_u64 << 32), json!([])] {
            let error = choices(json!({"choiceCount": bad})).unwrap_err();
            assert_eq!((error.field.as_str(), error.value), ("least_request_experimental.choiceCount", bad.to_string()));
        }
    }

    #[test]
    fn the_less_busy_of_the_drawn_wins_and_the_first_of_equals() {
        let view = ready(4);
        let picker = Sampler {
            rows: view.iter().map(|row| Row { slot: row.slot, stats: Arc::clone(&row.stats) }).collect(),
            choices: 2,
            others: NotReady::new(Box::default()),
        };
        load(&view, 0, 3);
        load(&view, 1, 1);
        // Every pair of draws occurs; replay the generator to know which it was.
        for seed in 0..200 {
            let mut replay = Scratch::new(seed);
            let (first, second) = (replay.below(4) as usize, replay.below(4) as usize);
            let loads = [3, 1, 0, 0];
            let expected = if loads[second] < loads[first] { second } else { first };
            assert_eq!(picker.sample(&mut Scratch::new(seed)), expected, "draws {first}, {second}");
        }
    }

    #[test]
    fn counters_outlive_pickers_and_configurations() {
        let view = ready(2);
        load(&view, 0, 5);
        let mut caller = Caller::new(3);
        for choices in [2, 3] {
            let mut policy = LeastRequest::with_choices(choices).unwrap();
            let counts = caller.count(&*rebuild(&mut policy, &view).picker, 2, 4_000);
            // Endpoint 0 wins only if every draw hits it: 1/4 and 1/8; five sigma of a binomial are at most 137.
            assert!(counts[0].abs_diff(4_000 >> choices) < 137, "{choices}: {counts:?}");
        }
        (0..5).for_each(|_| view[0].stats.end(Outcome::Success));
        assert_eq!(view[0].stats.in_flight(), 0);
    }

    #[test]
    fn calls_with_accounting_stay_close_together() {
        let view = ready(100);
        let picker = rebuild(&mut LeastRequest::default(), &view).picker;
        let mut caller = Caller::new(9);
        (0..10_000).for_each(|_| view[caller.slot(&*picker).index()].stats.begin());
        let most = view.iter().map(|row| row.stats.in_flight()).max().unwrap();
        // Two choices: mean 100 plus log log n plus a constant. Random would reach about 100 + 2.5 · 10.
        assert!(most <= 105, "{most}");
    }

    #[test]
    fn explained_shares_are_those_picked() {
        let view = ready(3);
        load(&view, 0, 2);
        load(&view, 2, 1);
        let picker = rebuild(&mut LeastRequest::default(), &view).picker;
        let mut caller = Caller::new(5);
        let shares: Vec<f64> = caller.explain(&*picker).iter().map(|score| score.total).collect();
        // All draws hit it: 1/9; all hit 0 or 2 but not only 0: 3/9; the rest: 5/9.
        for (share, ninths) in shares.iter().zip([1.0, 5.0, 3.0]) {
            assert!((share * 9.0 - ninths).abs() < 1e-9, "{shares:?}");
        }
        let counts = caller.count(&*picker, 3, 90_000);
        // Five sigma of a binomial with n = 90 000 are at most 750.
        assert!(counts.iter().zip(&shares).all(|(count, share)| count.abs_diff((share * 90_000.0) as usize) < 750), "{counts:?}");
    }

    #[test]
    fn without_ready_endpoints_it_behaves_as_round_robin() {
        let picker = rebuild(&mut LeastRequest::default(), &view(&[TransientFailure; 2])).picker;
        let mut caller = Caller::new(1);
        assert!(caller.error(&*picker).contains("refused by 0"));
        assert!(caller.error(&*picker).contains("refused by 1"));
        assert!(caller.error(&*rebuild(&mut LeastRequest::default(), &[]).picker).contains("no endpoints"));
    }

    #[test]
    fn later_attempts_and_restrictions_go_elsewhere() {
        let view = view(&[Ready, Ready, Ready]);
        load(&view, 1, 10);
        load(&view, 2, 10);
        let picker = rebuild(&mut LeastRequest::default(), &view).picker;
        let mut caller = Caller::new(1);
        assert!((0..200).all(|_| caller.slot_after(&*picker, &[slot(0)]) != slot(0)));
        let rest = picker.restrict(&|s| s == slot(2));
        assert!((0..20).all(|_| caller.slot(&*rest) == slot(2)));
        assert!(caller.error(&*picker.restrict(&|_| false)).contains("restrictions"));
    }
}
