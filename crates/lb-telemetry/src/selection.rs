//! Selection itself, watched: picks, failures by reason, and how long a pick takes.

use std::sync::Arc;

use opentelemetry::KeyValue;
use opentelemetry::metrics::Meter;

use crate::gauges::each;
use crate::watched::Watched;

const REASON: &str = "evenkeel.reason";
const QUANTILE: &str = "evenkeel.quantile";

/// The instruments of selection.
pub(crate) fn of_selection(meter: &Meter, watched: &Arc<Watched>) {
    meter
        .u64_observable_counter("evenkeel.pick.count")
        .with_unit("{pick}")
        .with_description("Endpoints picked for attempts; behind by less than 64 for each clone of the channel in use.")
        .with_callback(each(watched, |stats, target, counter| counter.observe(stats.selection.picks, &[target])))
        .build();
    let failures = each(watched, |stats, target, counter| {
        for (reason, count) in &stats.selection.failures_by_reason {
            counter.observe(*count, &[target.clone(), KeyValue::new(REASON, *reason)]);
        }
    });
    meter
        .u64_observable_counter("evenkeel.pick.failures")
        .with_unit("{failure}")
        .with_description("Calls and attempts for which no endpoint was found, by reason.")
        .with_callback(failures)
        .build();
    let times = each(watched, |stats, target, gauge| {
        for (quantile, time) in [("0.5", stats.selection.time_p50), ("0.99", stats.selection.time_p99)] {
            time.iter().for_each(|time| gauge.observe(time.as_secs_f64(), &[target.clone(), KeyValue::new(QUANTILE, quantile)]));
        }
    });
    meter
        .f64_observable_gauge("evenkeel.pick.time")
        .with_unit("s")
        .with_description("How long picks take, of one in 64, to the next power of two nanoseconds.")
        .with_callback(times)
        .build();
}
