//! ORCA load reports on the wire: what a server says of its own load, and how it gets to clients.
//!
//! Three ways, one content, [`lb_core::LoadReport`]:
//!
//! | way | what travels | here |
//! |---|---|---|
//! | with a call | trailer `endpoint-load-metrics-bin` | [`trailer`] |
//! | out of band | a stream of [`OrcaLoadReport`] | [`OrcaLoadReportRequest`], [`OUT_OF_BAND`] |
//! | asked for | one [`ProbeReply`] per [`ProbeRequest`], on one stream per connection | [`PROBES`] |
//!
//! The trailer is read for every call that brings one, so its bytes become a report without a message in between, and what a server
//! may make us keep is bounded: [`MAX_ENTRIES`] per map, [`MAX_NAME`] bytes per name, [`MAX_TRAILER`] bytes in all. Unset and 0
//! cannot be told apart on the wire; negative numbers, infinities and NaN count as not said.
//!
//! Two things ORCA has no field for travel as named metrics, so that any ORCA client passes them on and any ORCA server can
//! send them: [`IN_FLIGHT`] and [`LATENCY`].
//!
//! ```
//! use lb_core::LoadReport;
//!
//! let mut report = LoadReport::default();
//! report.application_utilization = 0.5;
//! report.in_flight = Some(7);
//! let mut trailers = http::HeaderMap::new();
//! trailers.insert(lb_orca::trailer::NAME, lb_orca::trailer::encode(&report));
//! assert_eq!(lb_orca::trailer::read(&trailers), Some(report));
//! ```
//!
//! Source: gRFC A51; xds.data.orca.v3 and xds.service.orca.v3. The messages are written by hand, as field numbers of a released
//! version never change, so that no build needs a compiler for protocol files.
#![forbid(unsafe_code)]

mod message;
pub mod trailer;
mod wire;

pub use message::{OrcaLoadReport, OrcaLoadReportRequest, ProbeReply, ProbeRequest, ReportInterval};
pub use wire::{MalformedReport, decode, encode, encode_request_cost};

/// The named metric that carries [`LoadReport::in_flight`](lb_core::LoadReport::in_flight): a count.
pub const IN_FLIGHT: &str = "ek.rif";

/// The named metric that carries [`LoadReport::latency`](lb_core::LoadReport::latency): seconds.
pub const LATENCY: &str = "ek.lat";

/// The most entries kept of each map of a report; servers name a handful.
pub const MAX_ENTRIES: usize = 64;

/// The longest name of an entry that is kept, in bytes.
pub const MAX_NAME: usize = 128;

/// The longest trailer that is read, in bytes as it travels: more than [`MAX_ENTRIES`] of usual names take.
pub const MAX_TRAILER: usize = 8 * 1024;

/// The method that streams reports: `OrcaLoadReportRequest` to a stream of `OrcaLoadReport`.
pub const OUT_OF_BAND: &str = "/xds.service.orca.v3.OpenRcaService/StreamCoreMetrics";

/// The method that answers probes: a stream of `ProbeRequest` to a stream of `ProbeReply`.
pub const PROBES: &str = "/evenkeel.probe.v1.Probe/Stream";
