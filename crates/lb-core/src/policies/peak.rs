//! Latency times calls in flight, as this client sees them: the measure of `peak_ewma`, and of those that fall back to it.

use std::time::Instant;

use super::failures::punishment;
use super::sampler::{Cost, Measure};
use crate::stats::{EndpointStats, ticks};

#[derive(Debug, Clone, Copy)]
pub(super) struct Peak;

impl Measure for Peak {
    type Now = i64;

    #[inline]
    fn at(self, now: Instant) -> i64 {
        ticks(now)
    }

    #[inline]
    fn cost(self, stats: &EndpointStats, now: i64) -> Cost {
        let load = (stats.in_flight() as f32 + 1.0) * punishment(stats, || now);
        Cost { latency: stats.peak_seconds(now).unwrap_or(0.0), load }
    }

    fn explain(self, stats: &EndpointStats, now: Instant) -> (Vec<(&'static str, f64)>, String) {
        let in_flight = stats.in_flight();
        let mut parts = vec![("in_flight", f64::from(in_flight)), ("punishment", f64::from(punishment(stats, || ticks(now))))];
        let Some(peak) = stats.peak_latency(now) else { return (parts, format!("latency not known, {in_flight} calls in flight")) };
        parts.push(("peak_seconds", peak.as_secs_f64()));
        (parts, format!("peak latency {peak:.1?}, {in_flight} calls in flight"))
    }
}
