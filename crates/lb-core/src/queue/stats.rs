//! What a queue has seen.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Serialize, Serializer};

/// A queue at one moment, and what became of those who waited. A call that found its place in its first look counts as served, too.
///
/// As data, names are in camel case and times are seconds with decimals.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct QueueStats {
    /// Calls that wait now.
    pub waiting: usize,
    /// The same by priority.
    pub by_priority: BTreeMap<u8, usize>,
    /// How long the call has waited that waits longest; zero if nobody waits.
    #[serde(serialize_with = "seconds")]
    pub oldest: Duration,
    /// Calls that got a place.
    pub served: u64,
    /// Calls that found the queue full.
    pub refused: u64,
    /// Calls that had to go because the queue was full and one came that mattered more.
    pub displaced: u64,
    /// Calls that waited as long as they may.
    pub timed_out: u64,
    /// Calls that were cancelled, or failed for another reason, while they waited.
    pub gave_up: u64,
    /// Calls shed (refused, displaced or timed out) by priority.
    pub shed: BTreeMap<u8, u64>,
    /// The longest that a call which was served or timed out has waited, ever.
    #[serde(serialize_with = "seconds")]
    pub longest_wait: Duration,
}

fn seconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64())
}

impl QueueStats {
    /// Calls shed: refused, displaced or timed out.
    pub fn total_shed(&self) -> u64 {
        self.refused + self.displaced + self.timed_out
    }
}
