//! Who is compared if nobody says who.

use crate::candidate::Candidate;

/// Every policy that can do without a configuration, and the oracles to measure them by; but for those that look at what these
/// scenarios do not have (keys, localities, capabilities, costs). Those a build of `lb-core` does not know are left out.
pub const LINEUP: &[&str] = &[
    "oracle",
    "oracle_p2c",
    "random",
    "round_robin",
    "weighted_round_robin",
    "least_request",
    r#"least_request (full scan) = least_request{"selectionMethod":"FULL_SCAN"}"#,
    "least_latency",
    "peak_ewma",
    "weighted",
    "performance",
    "task",
    "health_aware",
    "prequal",
    r#"prequal (no probes) = prequal{"probesPerCall":0}"#,
    "adaptive",
];

/// The candidates of [`LINEUP`] that exist.
pub fn lineup() -> Vec<Candidate> {
    LINEUP.iter().filter_map(|name| name.parse().ok()).collect()
}
