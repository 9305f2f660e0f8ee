//! What a server says about its own load.
//!
//! A report comes with the trailers of a call, on a stream of its own (out of band), or as the answer to a probe; the field names are
//! those of gRPC's open standard for it, ORCA. Policies use what they understand of it. Unset and 0 cannot be told apart on the
//! wire, so 0 means "not said".
//!
//! Source: gRFC A51, A64; xds.data.orca.v3.OrcaLoadReport.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// One report of one server. Numbers that are not finite or are negative count as not said; whoever decodes a report leaves them out.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct LoadReport {
    /// Share of the CPU in use, from 0; above 1 while the server does more than it was given.
    pub cpu_utilization: f64,
    /// Share of the memory in use, 0 to 1.
    pub mem_utilization: f64,
    /// The application's own measure of how busy it is, from 0; above 1 while overloaded.
    pub application_utilization: f64,
    /// Calls a second the server gets from everybody.
    pub qps: f64,
    /// Calls a second that end in errors.
    pub eps: f64,
    /// Calls in flight at the server, from everybody; not part of ORCA's fixed fields, carried as a named metric.
    pub in_flight: Option<u32>,
    /// How long calls take there lately at about that many in flight; carried as a named metric.
    pub latency: Option<Duration>,
    /// Utilisation of named resources, 0 to 1 each.
    pub utilization: BTreeMap<Arc<str>, f64>,
    /// Anything else the server names.
    pub named_metrics: BTreeMap<Arc<str>, f64>,
}

impl LoadReport {
    /// How busy the server is: the application's own measure if it gave one, else its CPU; `None` if it said neither.
    pub fn utilization(&self) -> Option<f64> {
        [self.application_utilization, self.cpu_utilization].into_iter().find(|share| *share > 0.0)
    }
}

/// Which load reports policies and stages want of the channel.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LoadReports {
    /// Read the reports that come with the trailers of calls.
    pub per_call: bool,
    /// Ask every connection for reports of their own, this often; the server may choose to report less often.
    pub out_of_band: Option<Duration>,
}

impl LoadReports {
    /// What satisfies both: the shorter of two periods.
    pub fn merge(&mut self, other: Self) {
        self.per_call |= other.per_call;
        self.out_of_band = match (self.out_of_band, other.out_of_band) {
            (Some(one), Some(two)) => Some(one.min(two)),
            (one, two) => one.or(two),
        };
    }
}
