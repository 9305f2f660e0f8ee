//! `peak_ewma`: the better of two random endpoints by latency times calls in flight.
//!
//! Each pick draws two different READY endpoints and takes the one where [`peak_latency`](crate::EndpointStats::peak_latency) ×
//! (calls in flight + 1) is less. The latency rises at once to the slowest call and sinks over 10 s, so an endpoint that stalls
//! loses its calls after the first that shows it. An endpoint whose latency is not known yet is compared by its calls in flight
//! alone.
//!
//! **Failures** never lower a latency, and multiply the cost: one that fails most of its calls is avoided however fast it fails.
//! **Idle decay:** while nothing ends at an endpoint its latency and its failures are believed less and less; so one that is twice
//! as slow as its rivals is tried again after 10 s, one that is fifty times as slow after 70 s.
//!
//! **Bound.** A pick is O(1) and reads two endpoints. The slowest endpoint never wins a pair, so unlike with
//! [`least_request`](super::LeastRequest) its share goes to nothing while it stays slow.
//!
//! **When not.** Latency and calls in flight are this client's own. With a thousand clients that each have less than a call per
//! endpoint in flight they say little, and the policy collapses under load: the servers' own reports are needed then. Methods of
//! very different cost through one channel mislead it as well: give them a policy each.
//!
//! ```
//! use lb_core::{PolicyRegistry, policies::PeakEwma};
//!
//! let typed = PeakEwma::default();
//! let from_json = PolicyRegistry::default().build("peak_ewma", &serde_json::json!({}))?;
//! # Ok::<(), lb_core::ConfigError>(())
//! ```
//!
//! Source: Finagle's and Linkerd's peak EWMA balancer; two choices: Mitzenmacher 1996. Not in gRPC. Where Finagle gives an unknown
//! endpoint that has calls in flight a large penalty, here it counts like its rival.

use std::sync::Arc;
use std::time::Instant;

use serde_json::Value;

use super::peak::Peak;
use super::petiole;
use super::sampler::{Row, Sampler, Selection};
use crate::policy::{ConfigError, LbState, Plan, Policy, SubchannelView};

/// The better of two by latency times calls in flight. See the [module table](super) for when to use it.
#[derive(Debug, Default)]
pub struct PeakEwma(());

impl PeakEwma {
    /// Its name in service configs.
    pub const NAME: &'static str = "peak_ewma";

    /// From its configuration, which has no fields.
    pub fn from_config(_config: &Value) -> Result<Self, ConfigError> {
        Ok(Self::default())
    }
}

impl Policy for PeakEwma {
    fn rebuild(&mut self, _now: Instant, view: &[SubchannelView], plan: &mut Plan) -> LbState {
        petiole::spread(view, plan, |ready, others| {
            let rows = ready.iter().map(|row| Row::of(row)).collect();
            Arc::new(Sampler { rows, selection: Selection::Pair, measure: Peak, others })
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::feedback::Done;
    use crate::policies::testing::{Caller, ready, rebuild, slot};
    use crate::stats::Outcome;

    const MS: Duration = Duration::from_millis(1);

    /// Endpoints that have each answered one call, in so many milliseconds; 0 has not.
    fn answered(latencies: &[u32], now: Instant) -> Vec<SubchannelView> {
        let view = ready(latencies.len());
        for (row, latency) in view.iter().zip(latencies).filter(|(_, latency)| **latency > 0) {
            row.stats.begin();
            row.stats.finish(&Done::new(row.slot, now, *latency * MS, Outcome::Success));
        }
        view
    }

    #[test]
    fn the_faster_of_two_wins_until_its_calls_outweigh_it() {
        let mut caller = Caller::new(1);
        let view = answered(&[10, 35], caller.now);
        let picker = rebuild(&mut PeakEwma::default(), &view).picker;
        for (in_flight, winner) in [(0, 0), (2, 0), (3, 1)] {
            (view[0].stats.in_flight()..in_flight).for_each(|_| view[0].stats.begin());
            assert!((0..50).all(|_| caller.slot(&*picker) == slot(winner)), "{in_flight}");
        }
    }

    #[test]
    fn a_new_endpoint_gets_its_share_and_no_more() {
        let mut caller = Caller::new(1);
        let view = answered(&[10, 10, 10, 0], caller.now);
        let picker = rebuild(&mut PeakEwma::default(), &view).picker;
        let count = caller.count(&*picker, 4, 4_000)[3];
        assert!(count.abs_diff(1_000) < 140, "{count}");
        view[3].stats.begin();
        assert_eq!(caller.count(&*picker, 4, 1_000)[3], 0);
    }

    #[test]
    fn one_slow_call_costs_an_endpoint_its_calls_and_time_forgives() {
        let mut caller = Caller::new(1);
        let view = answered(&[10, 10], caller.now);
        let picker = rebuild(&mut PeakEwma::default(), &view).picker;
        view[0].stats.begin();
        view[0].stats.finish(&Done::new(slot(0), caller.now, 500 * MS, Outcome::Success));
        assert_eq!(caller.count(&*picker, 2, 100), [0, 100]);
        for _ in 0..40 {
            caller.now += 1_000 * MS;
            view[1].stats.begin();
            view[1].stats.finish(&Done::new(slot(1), caller.now, 10 * MS, Outcome::Success));
        }
        assert_eq!(caller.count(&*picker, 2, 100), [0, 100], "500 / 17");
        caller.now += 70_000 * MS;
        view[1].stats.begin();
        view[1].stats.finish(&Done::new(slot(1), caller.now, 10 * MS, Outcome::Success));
        assert_eq!(caller.count(&*picker, 2, 100), [100, 0], "500 / 122");
    }

    #[test]
    fn explanation_says_what_is_known() {
        let mut caller = Caller::new(1);
        let picker = rebuild(&mut PeakEwma::default(), &answered(&[10, 0], caller.now)).picker;
        let reasons: Vec<String> = caller.explain(&*picker).into_iter().map(|score| score.reason).collect();
        assert_eq!(reasons[0], "peak latency 10.0ms, 0 calls in flight; better of two");
        assert_eq!(reasons[1], "latency not known, 0 calls in flight; better of two");
    }
}
