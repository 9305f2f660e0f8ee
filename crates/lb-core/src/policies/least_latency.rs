//! `least_latency`: the endpoint that answers fastest, of two drawn at random or of all.
//!
//! Endpoints are compared by their mean latency over the last 10 s or so. Failures never lower it, and multiply it. While nothing
//! ends at an endpoint its latency is believed less and less, half after 10 s: so an endpoint that was slow is tried again, and one
//! that has become fast is found. One whose latency is not known yet counts as fast as what it is compared with.
//!
//! **Bound.** By default two different endpoints are drawn, so the `r`-th fastest of `n` gets `2 (n − r) / (n (n − 1))` of the
//! calls: the fastest `2/n`, the slowest none but for the trials. With `"selectionMethod": "FULL_SCAN"` the fastest gets all, and a
//! pick is O(n).
//!
//! **When not.** Calls in flight do not count, so it is for endpoints that answer as fast whatever they are given: caches,
//! endpoints in several regions. Where load makes slow, all clients run to the fastest until it is the slowest, a full scan above
//! all: use [`peak_ewma`](super::PeakEwma).
//!
//! ```
//! use lb_core::{PolicyRegistry, policies::LeastLatency};
//!
//! let typed = LeastLatency::default().with_full_scan();
//! let from_json = PolicyRegistry::default().build("least_latency", &serde_json::json!({"selectionMethod": "FULL_SCAN"}))?;
//! # Ok::<(), lb_core::ConfigError>(())
//! ```
//!
//! Not in gRPC; `selectionMethod` is named as in Envoy's least_request.

use std::sync::Arc;
use std::time::Instant;

use serde_json::Value;

use super::config;
use super::failures::punishment;
use super::petiole;
use super::sampler::{Cost, Measure, Row, Sampler, Selection};
use crate::policy::{ConfigError, LbState, Plan, Policy, SubchannelView};
use crate::stats::{EndpointStats, ticks};

/// The endpoint that answers fastest. See the [module table](super) for when to use it.
#[derive(Debug)]
pub struct LeastLatency {
    selection: Selection,
}

impl Default for LeastLatency {
    /// The faster of two.
    fn default() -> Self {
        Self { selection: Selection::Pair }
    }
}

impl LeastLatency {
    /// Its name in service configs.
    pub const NAME: &'static str = "least_latency";

    /// The fastest of all instead of two.
    #[must_use]
    pub fn with_full_scan(self) -> Self {
        Self { selection: Selection::Scan }
    }

    /// From its configuration: `selectionMethod`, `N_CHOICES` (the default) or `FULL_SCAN`.
    pub fn from_config(config: &Value) -> Result<Self, ConfigError> {
        let default = Self::default();
        Ok(if config::full_scan(Self::NAME, config)? { default.with_full_scan() } else { default })
    }
}

impl Policy for LeastLatency {
    fn rebuild(&mut self, _now: Instant, view: &[SubchannelView], plan: &mut Plan) -> LbState {
        petiole::spread(view, plan, |ready, others| {
            let rows = ready.iter().map(|row| Row::of(row)).collect();
            Arc::new(Sampler { rows, selection: self.selection, measure: Mean, others })
        })
    }
}

#[derive(Debug, Clone, Copy)]
struct Mean;

impl Measure for Mean {
    type Now = i64;

    #[inline]
    fn at(self, now: Instant) -> i64 {
        ticks(now)
    }

    #[inline]
    fn cost(self, stats: &EndpointStats, now: i64) -> Cost {
        Cost { latency: stats.latency_seconds(now).unwrap_or(0.0), load: punishment(stats, || now) }
    }

    fn explain(self, stats: &EndpointStats, now: Instant) -> (Vec<(&'static str, f64)>, String) {
        let mut parts = vec![("punishment", f64::from(punishment(stats, || ticks(now))))];
        let Some(believed) = stats.latency_seconds(ticks(now)) else { return (parts, "latency not known".into()) };
        parts.push(("latency_seconds", f64::from(believed)));
        (parts, format!("latency {:.1?}", stats.latency().unwrap_or_default()))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::feedback::Done;
    use crate::pick::Picker;
    use crate::policies::testing::{Caller, ready, rebuild, slot};
    use crate::stats::Outcome;

    const MS: Duration = Duration::from_millis(1);

    fn answer(row: &SubchannelView, now: Instant, latency: u32) {
        row.stats.begin();
        row.stats.finish(&Done::new(row.slot, now, latency * MS, Outcome::Success));
    }

    fn answered(latencies: &[u32], now: Instant) -> Vec<SubchannelView> {
        let view = ready(latencies.len());
        view.iter().zip(latencies).for_each(|(row, latency)| answer(row, now, *latency));
        view
    }

    fn picker(config: Value, view: &[SubchannelView]) -> Arc<dyn Picker> {
        rebuild(&mut LeastLatency::from_config(&config).unwrap(), view).picker
    }

    #[test]
    fn selection_method_table() {
        let selection = |config| LeastLatency::from_config(&config).map(|policy| policy.selection);
        for two in
            [json!({}), json!({"selectionMethod": null}), json!({"selectionMethod": "N_CHOICES"}), json!({"selectionMethod": 0})]
        {
            assert_eq!(selection(two), Ok(Selection::Pair));
        }
        for all in [json!({"selectionMethod": "FULL_SCAN"}), json!({"selectionMethod": 1})] {
            assert_eq!(selection(all), Ok(Selection::Scan));
        }
        for bad in [json!("full_scan"), json!(2), json!(true)] {
            assert_eq!(selection(json!({"selectionMethod": bad})).unwrap_err().field, "least_latency.selectionMethod");
        }
    }

    #[test]
    fn shares_fall_with_rank() {
        let mut caller = Caller::new(1);
        let view = answered(&[40, 10, 30, 20], caller.now);
        let counts = caller.count(&*picker(json!({}), &view), 4, 6_000);
        // Pairs won of six: 0, 3, 1, 2. Five sigma of a binomial with n = 6 000 are at most 194.
        assert!(counts.iter().zip([0, 3_000, 1_000, 2_000_usize]).all(|(count, all)| count.abs_diff(all) < 194), "{counts:?}");
        assert_eq!(caller.count(&*picker(json!({"selectionMethod": "FULL_SCAN"}), &view), 4, 100), [0, 100, 0, 0]);
    }

    #[test]
    fn an_endpoint_that_was_slow_is_tried_again() {
        for config in [json!({}), json!({"selectionMethod": "FULL_SCAN"})] {
            let mut caller = Caller::new(1);
            let view = answered(&[1_000, 20], caller.now);
            let picker = picker(config, &view);
            let mut tried = None;
            for second in 0..600_u32 {
                caller.now += 1_000 * MS;
                let index = caller.slot(&*picker).index();
                tried = tried.or_else(|| (index == 0).then_some(second));
                answer(&view[index], caller.now, 20);
            }
            // A fiftieth is left after 70 s.
            assert!(tried.is_some_and(|tried| (60..90).contains(&tried)), "{tried:?}");
            assert!(view[0].stats.succeeded() > 100, "and it is used once it was found fast: {}", view[0].stats.succeeded());
        }
    }

    #[test]
    fn later_attempts_of_a_full_scan_take_the_next_best() {
        let mut caller = Caller::new(1);
        let view = answered(&[40, 10, 30, 20], caller.now);
        let picker = picker(json!({"selectionMethod": "FULL_SCAN"}), &view);
        assert_eq!(caller.slot_after(&*picker, &[slot(1)]), slot(3));
        assert_eq!(caller.slot_after(&*picker, &[slot(3), slot(1)]), slot(2));
        assert_eq!(caller.slot_after(&*picker, &[slot(0), slot(1), slot(2), slot(3)]), slot(1));
    }
}
