//! What a channel is at the moment somebody looks.

use std::sync::Arc;
use std::time::Duration;

use lb_tonic::{ChannelStats, EndpointInfo};
use opentelemetry::metrics::{AsyncInstrument, Meter};
use opentelemetry::{KeyValue, StringValue};

use crate::counts::TARGET;
use crate::watched::Watched;

const STATE: &str = "evenkeel.state";
const ENDPOINT: &str = "evenkeel.endpoint";
const OUTCOME: &str = "evenkeel.outcome";
const QUANTILE: &str = "evenkeel.quantile";

/// Calls `observe` for every channel whenever the instrument is read.
pub(crate) fn each<T: 'static>(
    watched: &Arc<Watched>,
    observe: impl Fn(&ChannelStats, KeyValue, &dyn AsyncInstrument<T>) + Send + Sync + 'static,
) -> impl Fn(&dyn AsyncInstrument<T>) + Send + Sync + 'static {
    let watched = Arc::clone(watched);
    move |instrument| {
        for stats in &*watched.stats() {
            observe(stats, KeyValue::new(TARGET, Arc::clone(&stats.target)), instrument);
        }
    }
}

/// The same for every endpoint that has series of its own.
pub(crate) fn each_endpoint<T: 'static>(
    watched: &Arc<Watched>,
    most: usize,
    observe: impl Fn(&EndpointInfo, [KeyValue; 2], &dyn AsyncInstrument<T>) + Send + Sync + 'static,
) -> impl Fn(&dyn AsyncInstrument<T>) + Send + Sync + 'static {
    each(watched, move |stats, target, instrument| {
        for endpoint in stats.endpoints.iter().take(most) {
            let key = StringValue::from(endpoint.key.to_string());
            observe(endpoint, [target.clone(), KeyValue::new(ENDPOINT, key)], instrument);
        }
    })
}

/// The instruments of channels.
pub(crate) fn of_channels(meter: &Meter, watched: &Arc<Watched>) {
    let gauge = |name: &'static str, unit: &'static str, what: &'static str| {
        meter.u64_observable_gauge(name).with_unit(unit).with_description(what)
    };
    let by_state = each(watched, |stats, target, gauge| {
        let totals = &stats.totals;
        let states = [
            ("ready", totals.ready),
            ("connecting", totals.connecting),
            ("idle", totals.idle),
            ("transient_failure", totals.transient_failure),
        ];
        states.iter().for_each(|(state, count)| gauge.observe(*count as u64, &[target.clone(), KeyValue::new(STATE, *state)]));
    });
    gauge("evenkeel.channel.endpoints", "{endpoint}", "Endpoints by the state of their connection.")
        .with_callback(by_state)
        .build();
    gauge("evenkeel.channel.endpoints_taking_calls", "{endpoint}", "Endpoints that are READY and hidden by no stage.")
        .with_callback(each(watched, |stats, target, gauge| gauge.observe(stats.totals.taking_calls as u64, &[target])))
        .build();
    gauge("evenkeel.channel.waiting_calls", "{call}", "Calls that wait for an endpoint.")
        .with_callback(each(watched, |stats, target, gauge| gauge.observe(stats.waiting as u64, &[target])))
        .build();
    of_resolvers(meter, watched);
}

fn of_resolvers(meter: &Meter, watched: &Arc<Watched>) {
    let stale = each(watched, |stats, target, gauge| {
        gauge.observe(stats.resolver.stale_for.unwrap_or(Duration::ZERO).as_secs_f64(), &[target]);
    });
    meter
        .f64_observable_gauge("evenkeel.resolver.stale_time")
        .with_unit("s")
        .with_description("How long the resolver has not been able to answer; 0 while it can.")
        .with_callback(stale)
        .build();
    let counter = |name: &'static str, unit: &'static str, what: &'static str| {
        meter.u64_observable_counter(name).with_unit(unit).with_description(what)
    };
    counter("evenkeel.resolver.updates", "{update}", "Sets of endpoints the resolver has delivered.")
        .with_callback(each(watched, |stats, target, counter| counter.observe(stats.resolver.updates, &[target])))
        .build();
    counter("evenkeel.resolver.failures", "{failure}", "Failures the resolver has told.")
        .with_callback(each(watched, |stats, target, counter| counter.observe(stats.resolver.failures, &[target])))
        .build();
}

/// The instruments of endpoints, for the first `most` of each channel.
pub(crate) fn of_endpoints(meter: &Meter, watched: &Arc<Watched>, most: usize) {
    meter
        .u64_observable_gauge("evenkeel.endpoint.in_flight")
        .with_unit("{call}")
        .with_description("Calls in progress, streams until their trailers.")
        .with_callback(each_endpoint(watched, most, |endpoint, of, gauge| gauge.observe(endpoint.in_flight.into(), &of)))
        .build();
    let attempts = each_endpoint(watched, most, |endpoint, [target, key], counter| {
        for (outcome, count) in [("ok", endpoint.succeeded), ("failed", endpoint.failed), ("cancelled", endpoint.cancelled)] {
            counter.observe(count, &[target.clone(), key.clone(), KeyValue::new(OUTCOME, outcome)]);
        }
    });
    meter
        .u64_observable_counter("evenkeel.endpoint.attempts")
        .with_unit("{attempt}")
        .with_description("Attempts that have ended, by how they did.")
        .with_callback(attempts)
        .build();
    let float = |name: &'static str, unit: &'static str, what: &'static str| {
        meter.f64_observable_gauge(name).with_unit(unit).with_description(what)
    };
    let latency = each_endpoint(watched, most, |endpoint, [target, key], gauge| {
        let Some(times) = endpoint.latency_quantiles else { return };
        for (quantile, time) in [("0.5", times.p50), ("0.9", times.p90), ("0.99", times.p99)] {
            gauge.observe(time.as_secs_f64(), &[target.clone(), key.clone(), KeyValue::new(QUANTILE, quantile)]);
        }
    });
    float("evenkeel.endpoint.latency", "s", "Quantiles of how long successful calls took in the last one to two minutes.")
        .with_callback(latency)
        .build();
    let load = each_endpoint(watched, most, |endpoint, of, gauge| {
        endpoint.load.iter().for_each(|load| gauge.observe(*load, &of));
    });
    float("evenkeel.endpoint.load", "1", "How busy it is, as a share of its capacity, where that is known.")
        .with_callback(load)
        .build();
    float("evenkeel.endpoint.weight", "1", "Its share relative to the others, after stages.")
        .with_callback(each_endpoint(watched, most, |endpoint, of, gauge| gauge.observe(endpoint.weight.into(), &of)))
        .build();
}
