//! What a selector knows of its endpoints, as data.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::attributes::Attributes;
use crate::connectivity::ConnectivityState;
use crate::endpoint::EndpointKey;

use super::data::seconds;

/// A value that somebody has set by hand, and when.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Stamped<T> {
    /// What was set.
    pub value: T,
    /// When.
    #[serde(skip)]
    pub at: Instant,
    /// How long before the record was read; in data, seconds.
    #[serde(serialize_with = "seconds::serialize")]
    pub age: Duration,
}

impl<T> Stamped<T> {
    pub(super) fn new(value: T, at: Instant) -> Self {
        Self { value, at, age: Duration::ZERO }
    }

    pub(super) fn read(mut self, now: Instant) -> Self {
        self.age = now.saturating_duration_since(self.at);
        self
    }
}

/// What somebody who looks after an endpoint says of its health. As data, times are in seconds and every field may be left out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[non_exhaustive]
pub struct HealthReport {
    /// Whether it may get calls; default `true`.
    pub healthy: bool,
    /// How long it takes to answer; policies that go by latency take it for measured.
    #[serde(with = "seconds::optional")]
    pub response_time: Option<Duration>,
    /// The share of its answers that are errors, 0 to 1; policies that go by success take it for measured.
    pub error_rate: Option<f64>,
    /// How long it has been up; for people.
    #[serde(with = "seconds::optional")]
    pub uptime: Option<Duration>,
    /// What is wrong; for people. Of an unhealthy endpoint the reason its selections fail with.
    pub issues: Vec<String>,
}

impl Default for HealthReport {
    fn default() -> Self {
        Self { healthy: true, response_time: None, error_rate: None, uptime: None, issues: Vec::new() }
    }
}

impl HealthReport {
    /// A healthy one, of which nothing else is known.
    pub fn healthy() -> Self {
        Self::default()
    }

    /// An unhealthy one, and why.
    pub fn unhealthy(issue: impl Into<String>) -> Self {
        Self { healthy: false, issues: vec![issue.into()], ..Self::default() }
    }

    /// Why it gets no calls.
    pub(super) fn reason(&self) -> Arc<str> {
        if self.issues.is_empty() { "set unhealthy".into() } else { self.issues.join(", ").into() }
    }
}

/// One endpoint of a selector at one moment.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct EndpointRecord {
    /// Its identity.
    pub key: EndpointKey,
    /// Its addresses, most preferred first.
    pub addresses: Vec<String>,
    /// Id, locality, capabilities, capacity, weight, metadata and so on.
    pub attributes: Attributes,
    /// READY while it may get calls.
    pub state: ConnectivityState,
    /// Why it gets none although it may be READY, such as `drained`.
    pub excluded: Option<&'static str>,
    /// What it gets of what its peers get.
    pub share: f64,
    /// The load set last.
    pub load: Option<Stamped<f64>>,
    /// The number of connections set last.
    pub connections_set: Option<Stamped<u32>>,
    /// The health set last.
    pub health: Option<Stamped<HealthReport>>,
    /// Connections now: those set, and selections since then that were not reported.
    pub connections: u32,
    /// Selections reported as successes.
    pub succeeded: u64,
    /// Selections reported as failures.
    pub failed: u64,
    /// How long selections take lately, as reported, or as set; in data, seconds.
    #[serde(with = "seconds::optional")]
    pub latency: Option<Duration>,
    /// The share of the latest selections that succeeded, as reported.
    pub success_rate: Option<f64>,
}

/// A selector at one moment.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct SelectorStats {
    /// Endpoints there are.
    pub total: usize,
    /// Those that are READY and that nothing keeps from getting calls.
    pub healthy: usize,
    /// Connections of all endpoints.
    pub connections: u64,
    /// The mean load of the endpoints whose load is known; `None` if that is none.
    pub average_load: Option<f64>,
    /// The policy in use.
    pub policy: String,
    /// Selections made so far.
    pub selected: u64,
    /// Selections that found no endpoint.
    pub failed: u64,
    /// Selections that were made and not reported.
    pub open: usize,
}

/// An endpoint that was selected.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[must_use = "a selection counts as a connection until it is reported"]
#[non_exhaustive]
pub struct Selection {
    /// What to [report](super::Selector::report) the outcome with.
    pub ticket: u64,
    /// The endpoint's key.
    pub key: EndpointKey,
    /// Its addresses, most preferred first.
    pub addresses: Vec<String>,
    /// What is known of it.
    pub attributes: Attributes,
}
