//! Which calls are traced.

use crate::problem::Gathered;
use crate::view::View;

/// How calls are traced: [`Channels`](crate::Channels) does it with the feature `otel`.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct TracingSettings {
    /// The share of the calls that begin a trace, 0 to 1. Those within one follow it.
    pub ratio: f64,
    /// Whether servers hear of what begins unsampled.
    pub tell_unsampled: bool,
    /// How contexts travel.
    pub propagation: TraceHeaders,
}

/// In which headers contexts travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TraceHeaders {
    /// `traceparent`, `tracestate` and `baggage`.
    W3c,
    /// `grpc-trace-bin`.
    GrpcTraceBin,
    /// None.
    Off,
}

/// `Some(None)` without traces, and `None` if something is wrong with them, which is then among the problems.
pub(super) fn read(view: View<'_>, problems: &mut Gathered) -> Option<Option<TracingSettings>> {
    if !view.is_on("tracing") {
        return Some(None);
    }
    if cfg!(not(feature = "otel")) {
        problems.add(view.wrong("tracing", "on", "off: it needs the feature otel"));
        return None;
    }
    Some(Some(TracingSettings {
        ratio: view.number("tracing.ratio")?,
        tell_unsampled: view.flag("tracing.tellUnsampled"),
        propagation: match view.text("tracing.propagation").as_deref() {
            Some("grpcTraceBin") => TraceHeaders::GrpcTraceBin,
            Some("off") => TraceHeaders::Off,
            _ => TraceHeaders::W3c,
        },
    }))
}
