//! What failures cost an endpoint with the policies that choose by load.
//!
//! An endpoint that fails in a millisecond never has calls in flight, so whoever looks at load alone sends it everything. Here a
//! load counts `1 / success²` times itself, with the share of success among the latest answers: twice at 70 %, four times at half,
//! a hundred times at a tenth. A policy compares endpoints, so what all of them fail alike cancels out.
//!
//! Up to 5 % of failures cost nothing, so that choices among healthy endpoints are what they would be without, and a status that
//! says something about the request, such as NOT_FOUND, does no harm while it is rare. In silence failures are forgotten, half in
//! 10 s: an endpoint that is avoided altogether is tried again after about 45 s at the latest.

use crate::stats::EndpointStats;

/// Failures up to this share are everyday.
const EVERYDAY: f32 = 0.05;

/// The least success that counts: a million times the load, more calls than any endpoint holds. Keeps the cost finite.
const LEAST_SUCCESS: f32 = 0.001;

/// By how much the load of an endpoint counts more for its failures: 1 or more. The time, in [ticks](crate::stats::ticks), is asked
/// for only if there are any.
#[inline]
pub(super) fn punishment(stats: &EndpointStats, now: impl FnOnce() -> i64) -> f32 {
    if stats.failing_at_last() <= EVERYDAY { 1.0 } else { of_share(stats.failing(now())) }
}

fn of_share(failing: f32) -> f32 {
    let success = (1.0 - (failing - EVERYDAY).max(0.0) / (1.0 - EVERYDAY)).max(LEAST_SUCCESS);
    1.0 / (success * success)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cost_by_share() {
        for (failing, expected) in [(0.0, 1.0), (0.05, 1.0), (0.525, 4.0), (0.905, 100.0), (1.0, 1e6)] {
            assert!((of_share(failing) / expected - 1.0).abs() < 1e-3, "{failing}: {}", of_share(failing));
        }
    }
}
