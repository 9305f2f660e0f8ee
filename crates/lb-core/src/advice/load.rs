//! The load of one endpoint, and when it is too much.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::connectivity::ConnectivityState;
use crate::endpoint::EndpointKey;
use crate::policy::ConfigError;
use crate::snapshot::Row;

use super::seconds;

/// What is known of one endpoint: from a [`Row`] of a snapshot, or filled in by hand. Everything but the key may stay unset.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Load {
    /// Which endpoint.
    pub endpoint: EndpointKey,
    /// Calls in flight there.
    #[serde(default)]
    pub in_flight: u32,
    /// Work that waits for it and has not begun.
    #[serde(default)]
    pub queued: u32,
    /// The most it should have in flight; `None` is unknown, and estimated from utilization while there are calls in flight.
    #[serde(default)]
    pub capacity: Option<u32>,
    /// How busy it says it is, from 0; above 1 while overloaded.
    #[serde(default)]
    pub utilization: Option<f64>,
    /// Whether it can take calls; true if not said.
    #[serde(default = "yes")]
    pub healthy: bool,
    /// The share of recent calls that succeeded, 0 to 1.
    #[serde(default)]
    pub success_rate: Option<f64>,
    /// How long calls take, in seconds.
    #[serde(default, with = "seconds::option", rename = "latencySeconds")]
    pub latency: Option<Duration>,
    /// Sessions that live there.
    #[serde(default)]
    pub sessions: u32,
    /// What it can do.
    #[serde(default)]
    pub capabilities: BTreeSet<Arc<str>>,
}

/// From when on an endpoint is overloaded, and until when.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[non_exhaustive]
pub struct Limits {
    /// Overloaded above this share of its capacity; default 0.8.
    pub overload: f64,
    /// No longer overloaded below this share; what advice fills endpoints up to. Default 0.7.
    pub relief: f64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { overload: 0.8, relief: 0.7 }
    }
}

impl Limits {
    /// Limits with 0 < `relief` ≤ `overload`; the distance is what keeps advice from flapping.
    ///
    /// # Errors
    /// Limits that are not in this order, or not numbers.
    pub fn new(overload: f64, relief: f64) -> Result<Self, ConfigError> {
        if !(overload > 0.0 && overload.is_finite()) {
            return Err(ConfigError::new("overload", overload, "a share above 0"));
        }
        if !(relief > 0.0 && relief <= overload) {
            return Err(ConfigError::new("relief", relief, format!("a share above 0, at most the limit of overload, {overload}")));
        }
        Ok(Self { overload, relief })
    }

    /// Whether an endpoint of this load is overloaded, if it was or was not before: above [`overload`](Self::overload) it is, below
    /// [`relief`](Self::relief) it is not, in between it stays what it was.
    pub fn is_overload(&self, load: f64, was: bool) -> bool {
        load > self.overload || (was && load >= self.relief)
    }
}

impl Load {
    /// An endpoint that is healthy and idle.
    pub fn new(endpoint: impl Into<EndpointKey>) -> Self {
        Self {
            endpoint: endpoint.into(),
            in_flight: 0,
            queued: 0,
            capacity: None,
            utilization: None,
            healthy: true,
            success_rate: None,
            latency: None,
            sessions: 0,
            capabilities: BTreeSet::new(),
        }
    }

    /// The endpoint of a snapshot, with the counters it has now; healthy if policies may use it and it is READY. Sessions and queued work
    /// are for the caller to fill in. What the server says it has in flight counts if it is more than this channel's.
    pub fn of(row: &Row) -> Self {
        let (view, stats) = (&row.view, &row.view.stats);
        let attributes = &view.endpoint.attributes;
        Self {
            in_flight: stats.in_flight().max(stats.reported_in_flight().unwrap_or(0)),
            capacity: attributes.capacity,
            utilization: stats.utilization(),
            healthy: row.excluded.is_none() && view.state == ConnectivityState::Ready,
            success_rate: stats.success_rate(),
            latency: stats.latency(),
            capabilities: attributes.capabilities.clone(),
            ..Self::new(view.endpoint.key().clone())
        }
    }

    /// Its load as a share of its capacity: calls in flight and queued work, or its utilization if that is more. `None` if neither a
    /// capacity nor a utilization is known. A capacity of 0 is full.
    pub fn share(&self) -> Option<f64> {
        let counted = self.capacity.map(|capacity| match capacity {
            0 => f64::MAX,
            capacity => self.calls() / f64::from(capacity),
        });
        let said = self.utilization.filter(|used| used.is_finite() && *used >= 0.0);
        counted.into_iter().chain(said).reduce(f64::max)
    }

    /// In flight and queued.
    pub(super) fn calls(&self) -> f64 {
        f64::from(self.in_flight) + f64::from(self.queued)
    }

    /// What a share of 1 would be in calls, at its present share; `None` if there is nothing to tell it from.
    pub(super) fn room_of_one(&self) -> Option<f64> {
        match (self.capacity, self.share()) {
            (Some(capacity), _) => Some(f64::from(capacity)),
            (None, Some(share)) if share > 0.0 && self.in_flight > 0 => Some(self.calls() / share),
            _ => None,
        }
    }
}

fn yes() -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policies::testing::{start, view};
    use crate::{Done, LoadReport, Outcome};

    #[test]
    fn limits_that_make_no_sense_are_refused() {
        for (overload, relief, field) in [
            (0.0, 0.0, "overload"),
            (f64::NAN, 0.5, "overload"),
            (0.8, 0.9, "relief"),
            (0.8, 0.0, "relief"),
            (0.8, f64::NAN, "relief"),
        ] {
            assert_eq!(Limits::new(overload, relief).unwrap_err().field, field);
        }
        assert_eq!(Limits::new(0.8, 0.7), Ok(Limits::default()));
    }

    #[test]
    fn a_load_is_read_from_a_snapshot_and_as_data() {
        let mut view = view(&[ConnectivityState::Ready]).remove(0);
        Arc::make_mut(&mut view.endpoint).attributes.capacity = Some(8);
        (0..3).for_each(|_| view.stats.begin());
        let report = LoadReport { cpu_utilization: 0.5, in_flight: Some(6), ..LoadReport::default() };
        let done = Done::new(view.slot, start(), Duration::from_millis(10), Outcome::Success);
        view.stats.finish(&done.with_load(Some(&report)));
        let load = Load::of(&Row { view: view.clone(), excluded: None });
        assert_eq!((load.in_flight, load.share(), load.healthy), (6, Some(0.75), true));
        assert!(!Load::of(&Row { view, excluded: Some("drained") }).healthy);
        let text = serde_json::to_string(&load).unwrap();
        assert_eq!(serde_json::from_str::<Load>(&text).unwrap(), load, "{text}");
    }

    #[test]
    fn odd_numbers_are_shares_or_nothing() {
        let load = |capacity, utilization| Load { capacity, utilization, in_flight: 3, ..Load::new("a:1") };
        assert_eq!(load(None, None).share(), None);
        assert_eq!(load(None, Some(f64::NAN)).share(), None);
        assert_eq!(load(Some(0), None).share(), Some(f64::MAX));
        assert_eq!(load(Some(4), Some(0.9)).share(), Some(0.9));
        assert_eq!(load(None, Some(0.5)).room_of_one(), Some(6.0));
    }
}
