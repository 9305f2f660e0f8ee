//! The messages, field by field as their definitions have them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use lb_core::LoadReport;
use prost::Message;

use crate::wire::{latency, said};
use crate::{IN_FLIGHT, LATENCY, MAX_ENTRIES, MAX_NAME};

/// `xds.data.orca.v3.OrcaLoadReport`.
#[derive(Clone, PartialEq, Message)]
pub struct OrcaLoadReport {
    /// Share of the CPU in use, from 0, above 1 while the server does more than it was given.
    #[prost(double, tag = "1")]
    pub cpu_utilization: f64,
    /// Share of the memory in use, 0 to 1.
    #[prost(double, tag = "2")]
    pub mem_utilization: f64,
    /// What this call cost, by name; only with calls, never out of band.
    #[prost(btree_map = "string, double", tag = "4")]
    pub request_cost: BTreeMap<String, f64>,
    /// Utilisation of named resources, 0 to 1 each.
    #[prost(btree_map = "string, double", tag = "5")]
    pub utilization: BTreeMap<String, f64>,
    /// Calls a second, from everybody.
    #[prost(double, tag = "6")]
    pub rps_fractional: f64,
    /// Calls a second that end in errors.
    #[prost(double, tag = "7")]
    pub eps: f64,
    /// Anything else.
    #[prost(btree_map = "string, double", tag = "8")]
    pub named_metrics: BTreeMap<String, f64>,
    /// The application's own measure of how busy it is, from 0, above 1 while overloaded.
    #[prost(double, tag = "9")]
    pub application_utilization: f64,
}

/// `xds.service.orca.v3.OrcaLoadReportRequest`.
#[derive(Clone, PartialEq, Message)]
pub struct OrcaLoadReportRequest {
    /// How often reports are wanted; a server may report less often.
    #[prost(message, optional, tag = "1")]
    pub report_interval: Option<ReportInterval>,
    /// Which costs are wanted; servers send none out of band.
    #[prost(string, repeated, tag = "2")]
    pub request_cost_names: Vec<String>,
}

/// `google.protobuf.Duration`.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct ReportInterval {
    /// Whole seconds.
    #[prost(int64, tag = "1")]
    pub seconds: i64,
    /// The rest, 0 to 999 999 999.
    #[prost(int32, tag = "2")]
    pub nanos: i32,
}

/// Asks a server how loaded it is right now.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct ProbeRequest {
    /// Comes back in the answer, which tells late answers from the one waited for.
    #[prost(uint64, tag = "1")]
    pub id: u64,
}

/// How loaded a server is.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct ProbeReply {
    /// Of the request it answers.
    #[prost(uint64, tag = "1")]
    pub id: u64,
    /// Calls in flight, from everybody.
    #[prost(uint32, tag = "2")]
    pub in_flight: u32,
    /// How long calls take lately at about that many in flight; 0 is not known.
    #[prost(uint64, tag = "3")]
    pub latency_nanos: u64,
}

impl OrcaLoadReportRequest {
    /// A request for reports this often.
    pub fn every(period: Duration) -> Self {
        Self { report_interval: Some(period.into()), request_cost_names: Vec::new() }
    }

    /// The interval asked for; 0 for none, for a negative one and for one that is malformed.
    pub fn interval(&self) -> Duration {
        let Some(ReportInterval { seconds, nanos }) = self.report_interval else { return Duration::ZERO };
        match (u64::try_from(seconds), u32::try_from(nanos)) {
            (Ok(seconds), Ok(nanos)) if nanos < 1_000_000_000 => Duration::new(seconds, nanos),
            _ => Duration::ZERO,
        }
    }
}

impl From<Duration> for ReportInterval {
    /// More seconds than fit become the most there are.
    fn from(duration: Duration) -> Self {
        let nanos = i32::try_from(duration.subsec_nanos()).expect("fewer than 10^9 nanoseconds");
        Self { seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX), nanos }
    }
}

impl From<&LoadReport> for OrcaLoadReport {
    fn from(report: &LoadReport) -> Self {
        let owned = |map: &BTreeMap<Arc<str>, f64>| map.iter().map(|(name, value)| (name.to_string(), *value)).collect();
        let mut named_metrics: BTreeMap<String, f64> = owned(&report.named_metrics);
        named_metrics.extend(report.in_flight.map(|count| (IN_FLIGHT.to_owned(), f64::from(count))));
        named_metrics.extend(report.latency.map(|latency| (LATENCY.to_owned(), latency.as_secs_f64())));
        Self {
            cpu_utilization: report.cpu_utilization,
            mem_utilization: report.mem_utilization,
            request_cost: BTreeMap::new(),
            utilization: owned(&report.utilization),
            rps_fractional: report.qps,
            eps: report.eps,
            named_metrics,
            application_utilization: report.application_utilization,
        }
    }
}

impl From<&OrcaLoadReport> for LoadReport {
    /// Leaves out what is not a number from 0 on, and what is more or longer than is kept.
    fn from(message: &OrcaLoadReport) -> Self {
        let mut report = Self::default();
        report.cpu_utilization = said(message.cpu_utilization).unwrap_or(0.0);
        report.mem_utilization = said(message.mem_utilization).unwrap_or(0.0);
        report.application_utilization = said(message.application_utilization).unwrap_or(0.0);
        report.qps = said(message.rps_fractional).unwrap_or(0.0);
        report.eps = said(message.eps).unwrap_or(0.0);
        report.in_flight = message.named_metrics.get(IN_FLIGHT).and_then(|count| said(*count)).map(|count| count as u32);
        report.latency = message.named_metrics.get(LATENCY).and_then(|seconds| latency(*seconds));
        report.utilization = kept(&message.utilization);
        report.named_metrics = kept(&message.named_metrics);
        report
    }
}

impl From<&ProbeReply> for LoadReport {
    fn from(reply: &ProbeReply) -> Self {
        let mut report = Self::default();
        report.in_flight = Some(reply.in_flight);
        report.latency = latency(Duration::from_nanos(reply.latency_nanos).as_secs_f64());
        report
    }
}

impl ProbeReply {
    /// The answer to a probe.
    pub fn new(id: u64, in_flight: u32, latency: Option<Duration>) -> Self {
        let nanos = latency.map_or(0, |latency| u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX));
        Self { id, in_flight, latency_nanos: nanos }
    }
}

fn kept(map: &BTreeMap<String, f64>) -> BTreeMap<Arc<str>, f64> {
    let fits = |name: &str| name.len() <= MAX_NAME && name != IN_FLIGHT && name != LATENCY;
    let entries = map.iter().filter(|(name, value)| fits(name) && said(**value).is_some());
    entries.take(MAX_ENTRIES).map(|(name, value)| (name.as_str().into(), *value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_survive_and_malformed_ones_are_zero() {
        for period in [Duration::ZERO, Duration::from_nanos(1), Duration::from_millis(1500), Duration::from_secs(1 << 40)] {
            assert_eq!(OrcaLoadReportRequest::every(period).interval(), period);
        }
        assert_eq!(OrcaLoadReportRequest::default().interval(), Duration::ZERO);
        for (seconds, nanos) in [(-1, 0), (0, -1), (1, 1_000_000_000), (i64::MIN, i32::MIN)] {
            let report_interval = Some(ReportInterval { seconds, nanos });
            assert_eq!(OrcaLoadReportRequest { report_interval, ..Default::default() }.interval(), Duration::ZERO);
        }
        assert_eq!(ReportInterval::from(Duration::MAX).seconds, i64::MAX);
    }

    #[test]
    fn a_probe_reply_is_a_report() {
        let report = LoadReport::from(&ProbeReply::new(1, 7, Some(Duration::from_millis(2))));
        assert_eq!((report.in_flight, report.latency), (Some(7), Some(Duration::from_millis(2))));
        assert_eq!(LoadReport::from(&ProbeReply::new(1, 0, None)).latency, None);
        let absurd = ProbeReply { id: 0, in_flight: u32::MAX, latency_nanos: u64::MAX };
        assert_eq!(LoadReport::from(&absurd).latency, None, "no call takes centuries");
    }
}
