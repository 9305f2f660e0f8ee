//! What stages, breakers, health checks, limits, queues and sessions of a channel do, read when somebody collects.

use std::sync::Arc;

use lb_core::stages::EjectionMeasure;
use lb_tonic::{ChannelStats, EndpointInfo};
use opentelemetry::KeyValue;
use opentelemetry::metrics::Meter;

use crate::gauges::{each, each_endpoint};
use crate::watched::Watched;

const HEALTH: &str = "evenkeel.health";
const BREAKER: &str = "evenkeel.breaker_state";
const OUTCOME: &str = "evenkeel.outcome";
const REASON: &str = "evenkeel.reason";
const CATEGORY: &str = "evenkeel.category";

/// gRPC's names for how an ejection came about, or did not (gRFC A91).
const METHOD: &str = "grpc.lb.outlier_detection.detection_method";
const UNENFORCED: &str = "grpc.lb.outlier_detection.unenforced_reason";

/// Numbers of a channel under one attribute: its value, and the number.
type Split = Vec<(&'static str, u64)>;

/// How many there are now.
fn gauge(
    meter: &Meter,
    watched: &Arc<Watched>,
    (name, unit, what): (&'static str, &'static str, &'static str),
    split: (&'static str, fn(&ChannelStats) -> Split),
) {
    let (attribute, read) = split;
    let observe = each(watched, move |stats, target, gauge| {
        for (value, number) in read(stats) {
            gauge.observe(number, &[target.clone(), KeyValue::new(attribute, value)]);
        }
    });
    meter.u64_observable_gauge(name).with_unit(unit).with_description(what).with_callback(observe).build();
}

/// How many there have been.
fn counter(
    meter: &Meter,
    watched: &Arc<Watched>,
    (name, unit, what): (&'static str, &'static str, &'static str),
    split: (&'static str, fn(&ChannelStats) -> Split),
) {
    let (attribute, read) = split;
    let observe = each(watched, move |stats, target, counter| {
        for (value, number) in read(stats) {
            counter.observe(number, &[target.clone(), KeyValue::new(attribute, value)]);
        }
    });
    meter.u64_observable_counter(name).with_unit(unit).with_description(what).with_callback(observe).build();
}

/// The instruments of channels.
pub(crate) fn of_channels(meter: &Meter, watched: &Arc<Watched>) {
    let by_health = ("evenkeel.channel.endpoints_by_health", "{endpoint}", "Endpoints by what is known of their health.");
    gauge(
        meter,
        watched,
        by_health,
        (HEALTH, |stats| {
            let totals = &stats.totals;
            count([("healthy", totals.healthy), ("unhealthy", totals.unhealthy), ("unknown", totals.unknown)])
        }),
    );
    let breakers = ("evenkeel.channel.breakers", "{breaker}", "Circuit breakers by what they do with calls.");
    gauge(
        meter,
        watched,
        breakers,
        (BREAKER, |stats| {
            let totals = &stats.totals.breakers;
            count([
                ("closed", totals.closed),
                ("open", totals.open),
                ("half_open", totals.half_open),
                ("forced_open", totals.forced_open),
                ("forced_closed", totals.forced_closed),
            ])
        }),
    );
    let checks = ("evenkeel.health.checks", "{check}", "Health checks of the endpoints that are listed, by how they ended.");
    gauge(
        meter,
        watched,
        checks,
        (OUTCOME, |stats| match &stats.health_checks {
            Some(checks) => vec![("passed", checks.checks.saturating_sub(checks.failures)), ("failed", checks.failures)],
            None => Vec::new(),
        }),
    );
    of_ejections(meter, watched);
    of_calls(meter, watched);
    of_sessions(meter, watched);
    of_scaling(meter, watched);
}

/// gRFC A91.
fn of_ejections(meter: &Meter, watched: &Arc<Watched>) {
    let enforced =
        ("grpc.lb.outlier_detection.ejections_enforced", "{ejection}", "Number of outlier ejections that were enforced.");
    counter(
        meter,
        watched,
        enforced,
        (METHOD, |stats| {
            let by = |measure: EjectionMeasure| (measure.as_str(), stats.ejections.by(measure).enforced);
            EjectionMeasure::ALL.into_iter().map(by).collect()
        }),
    );
    let unenforced = each(watched, |stats, target, counter| {
        for measure in EjectionMeasure::ALL {
            let counts = stats.ejections.by(measure);
            let reasons =
                [("enforcement_percentage", counts.spared_by_chance), ("max_ejection_overflow", counts.spared_by_overflow)];
            for (reason, number) in reasons {
                let method = KeyValue::new(METHOD, measure.as_str());
                counter.observe(number, &[target.clone(), method, KeyValue::new(UNENFORCED, reason)]);
            }
        }
    });
    meter
        .u64_observable_counter("grpc.lb.outlier_detection.ejections_unenforced")
        .with_unit("{ejection}")
        .with_description("Number of outlier ejections that were not enforced.")
        .with_callback(unenforced)
        .build();
    meter
        .u64_observable_gauge("evenkeel.channel.ejected")
        .with_unit("{endpoint}")
        .with_description("Endpoints that are ejected now.")
        .with_callback(each(watched, |stats, target, gauge| gauge.observe(stats.totals.ejected as u64, &[target])))
        .build();
}

fn of_calls(meter: &Meter, watched: &Arc<Watched>) {
    let turned_away = ("evenkeel.limits.turned_away", "{call}", "Calls that limits turned away.");
    counter(
        meter,
        watched,
        turned_away,
        (REASON, |stats| vec![("shed", stats.client.shed), ("max_requests", stats.client.dropped)]),
    );
    of_drops(meter, watched);
    let queued = ("evenkeel.queue.calls", "{call}", "Calls that have left the queue, by how.");
    counter(
        meter,
        watched,
        queued,
        (OUTCOME, |stats| match &stats.client.queue {
            Some(queue) => vec![
                ("served", queue.served),
                ("refused", queue.refused),
                ("displaced", queue.displaced),
                ("timed_out", queue.timed_out),
                ("gave_up", queue.gave_up),
            ],
            None => Vec::new(),
        }),
    );
    let waiting = each(watched, |stats, target, gauge| {
        stats.client.queue.iter().for_each(|queue| gauge.observe(queue.waiting as u64, std::slice::from_ref(&target)));
    });
    meter
        .u64_observable_gauge("evenkeel.queue.waiting")
        .with_unit("{call}")
        .with_description("Calls that wait for a place.")
        .with_callback(waiting)
        .build();
    let tokens = each(watched, |stats, target, gauge| {
        stats.client.retry_tokens.iter().for_each(|tokens| gauge.observe(*tokens, std::slice::from_ref(&target)));
    });
    meter
        .f64_observable_gauge("evenkeel.retry.tokens")
        .with_unit("{token}")
        .with_description("Tokens left for retries, where they are throttled; retries stop at half of the most there may be.")
        .with_callback(tokens)
        .build();
}

/// What load reports to a control plane have.
fn of_drops(meter: &Meter, watched: &Arc<Watched>) {
    let counter =
        |name: &'static str, what: &'static str| meter.u64_observable_counter(name).with_unit("{call}").with_description(what);
    let by_category = each(watched, |stats, target, counter| {
        for (category, number) in &stats.drops.by_category {
            counter.observe(*number, &[target.clone(), KeyValue::new(CATEGORY, Arc::clone(category))]);
        }
    });
    counter("evenkeel.drops.by_category", "Calls that a category dropped.").with_callback(by_category).build();
    let total = each(watched, |stats, target, counter| counter.observe(stats.drops.total, std::slice::from_ref(&target)));
    counter("evenkeel.drops.calls", "Calls that were turned away on this side: by a category, a limit, the queue or a policy.")
        .with_callback(total)
        .build();
}

fn of_sessions(meter: &Meter, watched: &Arc<Watched>) {
    let count = each(watched, |stats, target, gauge| {
        stats.sessions.iter().for_each(|sessions| gauge.observe(sessions.count as u64, std::slice::from_ref(&target)));
    });
    meter
        .u64_observable_gauge("evenkeel.sessions.count")
        .with_unit("{session}")
        .with_description("Sessions in the table.")
        .with_callback(count)
        .build();
    let fates = ("evenkeel.sessions.events", "{event}", "What became of calls of sessions, and of sessions.");
    counter(
        meter,
        watched,
        fates,
        (OUTCOME, |stats| match &stats.sessions {
            Some(sessions) => {
                let fates = &sessions.stats;
                vec![
                    ("hit", fates.hits),
                    ("miss", fates.misses),
                    ("moved", fates.moved),
                    ("lent", fates.lent),
                    ("expired", fates.expired),
                    ("evicted", fates.evicted),
                    ("cleared", fates.cleared),
                ]
            }
            None => Vec::new(),
        }),
    );
}

/// What an autoscaler reads.
fn of_scaling(meter: &Meter, watched: &Arc<Watched>) {
    let load = each(watched, |stats, target, gauge| {
        stats.totals.average_load.iter().for_each(|load| gauge.observe(*load, std::slice::from_ref(&target)));
    });
    meter
        .f64_observable_gauge("evenkeel.channel.average_load")
        .with_unit("1")
        .with_description("The mean load of the endpoints whose load is known, as a share of their capacity.")
        .with_callback(load)
        .build();
    let wanted = each(watched, |stats, target, gauge| {
        stats.scaling.iter().for_each(|scaling| gauge.observe(scaling.desired.into(), std::slice::from_ref(&target)));
    });
    meter
        .u64_observable_gauge("evenkeel.scaling.desired_endpoints")
        .with_unit("{endpoint}")
        .with_description("How many endpoints there should be, as the channel's scaling signal has it.")
        .with_callback(wanted)
        .build();
}

/// The instruments of endpoints, for the first `most` of each channel.
pub(crate) fn of_endpoints(meter: &Meter, watched: &Arc<Watched>, most: usize) {
    let health = each_endpoint(watched, most, |endpoint: &EndpointInfo, [target, key], gauge| {
        gauge.observe(1, &[target, key, KeyValue::new(HEALTH, endpoint.health.as_str())]);
    });
    meter
        .u64_observable_gauge("evenkeel.endpoint.health")
        .with_unit("{endpoint}")
        .with_description("1 for what is known of its health.")
        .with_callback(health)
        .build();
}

fn count<const N: usize>(numbers: [(&'static str, usize); N]) -> Split {
    numbers.into_iter().map(|(value, number)| (value, number as u64)).collect()
}
