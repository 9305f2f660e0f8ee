//! What became of calls at the limits, as data.

use std::collections::BTreeMap;

use serde::Serialize;

use super::rate::RateLimit;

/// Counts since the channel was made, whatever its limits were meanwhile, and the state of the limits it has.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct DoorCounts {
    /// Calls that passed every limit, while there were any.
    pub admitted: u64,
    /// Calls the flood guard shed.
    pub shed_by_flood: u64,
    /// Calls the channel's rate shed.
    pub shed_by_channel: u64,
    /// Calls the rate of a method or service shed.
    pub shed_by_method: u64,
    /// Calls the rate of their key shed.
    pub shed_by_key: u64,
    /// Floods that have begun.
    pub floods: u64,
    /// Whether one is on, as of the last call.
    pub flooding: bool,
    /// The channel's rate.
    pub channel: Option<MeterCounts>,
    /// The rates of methods and services by path.
    pub methods: BTreeMap<String, MeterCounts>,
    /// The rate of all other methods.
    pub other_methods: Option<MeterCounts>,
    /// The rate of each key.
    pub keys: Option<KeyCounts>,
}

impl DoorCounts {
    /// Calls shed by any limit.
    pub fn shed(&self) -> u64 {
        self.shed_by_flood + self.shed_by_channel + self.shed_by_method + self.shed_by_key
    }
}

/// One rate.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct MeterCounts {
    /// What it is set to.
    pub limit: RateLimit,
    /// Tokens left now, 0 to the burst.
    pub tokens: f64,
    /// Calls it shed.
    pub shed: u64,
}

/// The rates of keys.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct KeyCounts {
    /// What each key's is set to.
    pub limit: RateLimit,
    /// Keys whose bucket is not full now.
    pub in_use: usize,
    /// Keys there is room for.
    pub capacity: usize,
    /// How often a new key took over a bucket that was not full: with many, `max_keys` is too small.
    pub crowded: u64,
}
