//! `least_request`: the least busy of a few endpoints drawn at random.
//!
//! Each pick draws `choiceCount` READY endpoints with replacement and takes the one with the fewest calls in flight from this
//! process; the first drawn wins a tie. The counters are [`EndpointStats::in_flight`]: they belong to the endpoint, and outlive
//! pickers, policies and the connection.
//!
//! Two options as Envoy has them. With `"selectionMethod": "FULL_SCAN"` every pick looks at all endpoints, and takes any of the
//! least busy ones. With `activeRequestBias`, endpoints of different weights are chosen by `weight / (calls in flight + 1)^bias`
//! (`biased.rs` says how); without it weights do not matter, as in gRPC, where Envoy takes a bias of 1.
//!
//! **Failures.** An endpoint that fails fast is always idle and would attract every call. So once more than 5 % of its latest
//! answers are failures, its `calls in flight + 1` count `1 / success²` times; what it loses comes back as it succeeds, or in 45 s
//! of silence. While nothing fails, and while all fail alike, picks are exactly gRPC's.
//!
//! **Bound.** With two choices the busiest of `n` endpoints has about `log log n` calls more than the mean, where random has
//! `log n / log log n` (Azar 1994, Mitzenmacher 1996). A pick costs O(`choiceCount`) whatever `n`, a full scan O(n); it stops at an
//! idle endpoint that does not fail, which none can beat. An endpoint
//! that hangs or fails still gets a call when every draw hits it: one in `n^choiceCount`.
//!
//! **When not.** A client that has few calls in flight at a time sees only zeros, and the policy is [`random`](super::Random); so
//! it is when a thousand clients share the endpoints. Full scans by many clients find the same idle endpoint at once.
//!
//! ```
//! use lb_core::{PolicyRegistry, policies::LeastRequest};
//!
//! let typed = LeastRequest::with_choices(3)?.with_active_request_bias(1.0)?;
//! let json = serde_json::json!({"choiceCount": 3, "activeRequestBias": {"defaultValue": 1.0}});
//! let from_json = PolicyRegistry::default().build("least_request", &json)?;
//! # Ok::<(), lb_core::ConfigError>(())
//! ```
//!
//! Source: gRFC A48; Envoy's least request. Unlike grpc-go, the counter is not reset when the endpoint leaves READY: calls of the
//! old connection that have not ended still load it.

mod biased;

use std::sync::Arc;
use std::time::Instant;

use serde_json::Value;

use self::biased::{Biased, Weighted};
use super::config;
use super::failures::punishment;
use super::petiole::{self, NotReady};
use super::sampler::{Cost, Measure, Row, Sampler, Selection};
use crate::pick::Picker;
use crate::policy::{ConfigError, LbState, Plan, Policy, SubchannelView};
use crate::stats::{EndpointStats, ticks};

/// One choice would be `random`; gRFC A48 forbids it.
const FEWEST: u32 = 2;

/// More draws cost time and win nothing; gRFC A48 takes larger numbers as this one.
const MOST: u32 = 10;

/// The least busy of a few endpoints drawn at random. See the [module table](super) for when to use it.
#[derive(Debug)]
pub struct LeastRequest {
    choices: u32,
    full_scan: bool,
    bias: Option<f32>,
}

impl Default for LeastRequest {
    /// Two choices, whatever the weights.
    fn default() -> Self {
        Self { choices: FEWEST, full_scan: false, bias: None }
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
        Ok(Self { choices: choices.min(MOST), ..Self::default() })
    }

    /// Looks at all endpoints in every pick. Has no effect among endpoints of different weights with an active-request bias.
    #[must_use]
    pub fn with_full_scan(self) -> Self {
        Self { full_scan: true, ..self }
    }

    /// Chooses among endpoints of different weights by `weight / (calls in flight + 1)^bias`; from 0, which leaves the weights
    /// alone.
    pub fn with_active_request_bias(self, bias: f64) -> Result<Self, ConfigError> {
        if bias >= 0.0 {
            return Ok(Self { bias: Some(bias as f32), ..self });
        }
        Err(ConfigError::new(format!("{}.activeRequestBias", Self::NAME), bias, "a number from 0"))
    }

    /// From its configuration: `choiceCount`, default 2; `selectionMethod`, `N_CHOICES` (the default) or `FULL_SCAN`;
    /// `activeRequestBias`, a number or an object with a `defaultValue`, as Envoy has it.
    pub fn from_config(config: &Value) -> Result<Self, ConfigError> {
        let choices = Self::with_choices(config::unsigned(Self::NAME, config, "choiceCount", FEWEST)?)?;
        let policy = if config::full_scan(Self::NAME, config)? { choices.with_full_scan() } else { choices };
        match config.get("activeRequestBias") {
            None | Some(Value::Null) => Ok(policy),
            Some(Value::Object(bias)) => policy.with_bias(bias.get("defaultValue").unwrap_or(&Value::Null)),
            Some(bias) => policy.with_bias(bias),
        }
    }

    fn with_bias(self, bias: &Value) -> Result<Self, ConfigError> {
        let number = bias.as_f64().ok_or_else(|| {
            ConfigError::new(format!("{}.activeRequestBias", Self::NAME), bias, "a number from 0, or {\"defaultValue\": number}")
        })?;
        self.with_active_request_bias(number)
    }

    fn picker(&self, ready: &[&SubchannelView], others: NotReady) -> Arc<dyn Picker> {
        let alike = ready.iter().all(|row| row.weight == ready[0].weight);
        match self.bias {
            Some(bias) if !alike => {
                let rows = ready.iter().map(|row| Weighted { row: Row::of(row), weight: row.weight }).collect();
                Arc::new(Biased::new(rows, self.choices, bias, others))
            }
            _ => {
                let selection = if self.full_scan { Selection::Scan } else { Selection::Draws(self.choices) };
                let rows = ready.iter().map(|row| Row::of(row)).collect();
                Arc::new(Sampler { rows, selection, measure: InFlight, others })
            }
        }
    }
}

impl Policy for LeastRequest {
    fn rebuild(&mut self, _now: Instant, view: &[SubchannelView], plan: &mut Plan) -> LbState {
        petiole::spread(view, plan, |ready, others| self.picker(ready, others))
    }
}

#[derive(Debug, Clone, Copy)]
struct InFlight;

impl Measure for InFlight {
    /// Only needed where there are failures.
    type Now = Instant;

    #[inline]
    fn at(self, now: Instant) -> Instant {
        now
    }

    #[inline]
    fn cost(self, stats: &EndpointStats, now: Instant) -> Cost {
        Cost { latency: 1.0, load: (stats.in_flight() as f32 + 1.0) * punishment(stats, || ticks(now)) }
    }

    /// An idle endpoint that does not fail.
    #[inline]
    fn is_least(self, cost: Cost) -> bool {
        cost.load <= 1.0
    }

    fn explain(self, stats: &EndpointStats, now: Instant) -> (Vec<(&'static str, f64)>, String) {
        let (in_flight, punishment) = (stats.in_flight(), punishment(stats, || ticks(now)));
        let parts = vec![("in_flight", f64::from(in_flight)), ("punishment", f64::from(punishment))];
        let failing = if punishment > 1.0 { ", failing" } else { "" };
        (parts, format!("{in_flight} calls in flight{failing}"))
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
    fn options_of_envoy() {
        let policy = |config| LeastRequest::from_config(&config).map(|policy| (policy.full_scan, policy.bias));
        assert_eq!(policy(json!({"selectionMethod": "FULL_SCAN", "activeRequestBias": null})), Ok((true, None)));
        assert_eq!(policy(json!({"activeRequestBias": 0})), Ok((false, Some(0.0))));
        let envoy = json!({"activeRequestBias": {"defaultValue": 1.5, "runtimeKey": "x"}, "selectionMethod": "N_CHOICES"});
        assert_eq!(policy(envoy), Ok((false, Some(1.5))));
        for bad in [json!(-1), json!("1"), json!({}), json!({"defaultValue": -0.5}), json!([1])] {
            assert_eq!(
                policy(json!({"activeRequestBias": bad})).unwrap_err().field,
                "least_request_experimental.activeRequestBias"
            );
        }
        assert!(LeastRequest::default().with_active_request_bias(f64::NAN).is_err());
        assert_eq!(policy(json!({"selectionMethod": "ALL"})).unwrap_err().field, "least_request_experimental.selectionMethod");
    }

    #[test]
    fn a_full_scan_takes_any_of_the_least_busy() {
        let view = ready(5);
        [0, 1, 3].into_iter().for_each(|index| load(&view, index, 1 + index));
        let picker = rebuild(&mut LeastRequest::default().with_full_scan(), &view).picker;
        let counts = Caller::new(1).count(&*picker, 5, 10_000);
        // Five sigma of a binomial with n = 10 000 and p = 1/2 are 250.
        assert!(counts[2].abs_diff(5_000) < 250 && counts[2] + counts[4] == 10_000, "{counts:?}");
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
