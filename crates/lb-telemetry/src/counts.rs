//! What happens in a channel, counted.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use lb_core::policies::PickFirst;
use lb_core::{ChannelFacts, LbEvent, Measurement, Observer, SecurityLevel};
use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Histogram, Meter, UpDownCounter};

use crate::calls::{BACKEND_SERVICE, LOCALITY};
use crate::config::ChannelLabels;
use crate::disconnect;

/// The attribute that names a channel.
pub(crate) const TARGET: &str = "grpc.target";

/// The attribute that names a kind of event.
const EVENT: &str = "evenkeel.event";

/// Why a connection ended.
const DISCONNECT_ERROR: &str = "grpc.disconnect_error";

/// How a connection is protected.
const SECURITY_LEVEL: &str = "grpc.security_level";

/// Weights are calls a second for each unit of utilisation; the buckets are those of gRPC's counts.
const WEIGHTS: [f64; 18] =
    [0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0, 8192.0, 16_384.0, 32_768.0, 65_536.0];

/// The instruments that events and measurements add to.
#[derive(Debug)]
pub(crate) struct Counters {
    subchannel: Connections,
    /// The names from before A94, for channels with `pick_first`.
    pick_first: Connections,
    open: UpDownCounter<i64>,
    events: Counter<u64>,
    fallback: Counter<u64>,
    not_yet_usable: Counter<u64>,
    stale: Counter<u64>,
    weights: Histogram<f64>,
}

/// Connections that came, went, and did not come.
#[derive(Debug)]
struct Connections {
    succeeded: Counter<u64>,
    failed: Counter<u64>,
    disconnections: Counter<u64>,
}

impl Connections {
    fn new(count: &dyn Fn(String, &'static str, &'static str) -> Counter<u64>, prefix: &str) -> Self {
        let name = |name: &str| format!("{prefix}.{name}");
        let (succeeded, failed) = ("Number of successful connection attempts.", "Number of failed connection attempts.");
        Self {
            succeeded: count(name("connection_attempts_succeeded"), "{attempt}", succeeded),
            failed: count(name("connection_attempts_failed"), "{attempt}", failed),
            disconnections: count(name("disconnections"), "{disconnection}", "Number of connections that ended."),
        }
    }
}

impl Counters {
    pub(crate) fn new(meter: &Meter) -> Self {
        let count = |name: String, unit: &'static str, what: &'static str| {
            meter.u64_counter(name).with_unit(unit).with_description(what).build()
        };
        let of_wrr = |name: &str, unit, what| count(format!("grpc.lb.wrr.{name}"), unit, what);
        let weights = meter.f64_histogram("grpc.lb.wrr.endpoint_weights").with_unit("{weight}").with_boundaries(WEIGHTS.to_vec());
        Self {
            subchannel: Connections::new(&count, "grpc.subchannel"),
            pick_first: Connections::new(&count, "grpc.lb.pick_first"),
            open: meter
                .i64_up_down_counter("grpc.subchannel.open_connections")
                .with_unit("{connection}")
                .with_description("Number of open connections.")
                .build(),
            events: count("evenkeel.events".to_owned(), "{event}", "Events of the channel, by kind."),
            fallback: of_wrr("rr_fallback", "{update}", "Number of schedules made without weights by load."),
            not_yet_usable: of_wrr(
                "endpoint_weight_not_yet_usable",
                "{endpoint}",
                "Number of endpoints in schedules whose weight could not be used yet.",
            ),
            stale: of_wrr(
                "endpoint_weight_stale",
                "{endpoint}",
                "Number of endpoints in schedules whose latest weight was too old.",
            ),
            weights: weights.with_description("Weight of each endpoint, each time a schedule was made.").build(),
        }
    }
}

/// Counts the events of one channel. Made by [`Metrics::observer`](crate::Metrics::observer).
#[derive(Debug)]
pub struct ChannelCounts {
    counters: Arc<Counters>,
    /// What all series of the channel have.
    channel: [KeyValue; 1],
    /// And those of connections and schedules.
    labels: Vec<KeyValue>,
    wanted: ChannelLabels,
    /// Whether the channel's policy is `pick_first`.
    pick_first: AtomicBool,
    /// Whether TLS; told before anything is counted. What is not known is not claimed.
    security: OnceLock<SecurityLevel>,
}

impl ChannelCounts {
    pub(crate) fn new(counters: Arc<Counters>, target: &Arc<str>, wanted: ChannelLabels) -> Self {
        let channel = [KeyValue::new(TARGET, Arc::clone(target))];
        // Only xDS has either.
        let empty = [(wanted.locality, LOCALITY), (wanted.backend_service, BACKEND_SERVICE)];
        let empty = empty.into_iter().filter(|(wanted, _)| *wanted).map(|(_, label)| KeyValue::new(label, ""));
        let labels = channel.iter().cloned().chain(empty).collect();
        let security = OnceLock::new();
        Self { counters, channel, labels, wanted, pick_first: AtomicBool::new(false), security }
    }

    fn follow(&self, policy: &str) {
        // What a service config names has its configuration behind the name.
        let name = policy.split(' ').next().unwrap_or_default();
        self.pick_first.store(name == PickFirst::NAME, Ordering::Relaxed);
    }

    /// The instruments of before A94, if they are for this channel.
    fn pick_first(&self) -> Option<&Connections> {
        self.pick_first.load(Ordering::Relaxed).then_some(&self.counters.pick_first)
    }

    fn with(&self, wanted: bool, label: &'static str, value: &'static str) -> Vec<KeyValue> {
        let more = wanted.then(|| KeyValue::new(label, value));
        self.labels.iter().cloned().chain(more).collect()
    }

    fn opened(&self, change: i64) {
        let level = self.security.get().map_or("", |level| level.as_str());
        self.counters.open.add(change, &self.with(self.wanted.security_level, SECURITY_LEVEL, level));
    }

    fn ended(&self, reason: Option<&str>) {
        let labels = self.with(self.wanted.disconnect_error, DISCONNECT_ERROR, disconnect::error(reason));
        self.counters.subchannel.disconnections.add(1, &labels);
        self.pick_first().into_iter().for_each(|counters| counters.disconnections.add(1, &self.channel));
    }
}

impl Observer for ChannelCounts {
    fn on_event(&self, event: &LbEvent) {
        match event {
            LbEvent::Connected { .. } => {
                self.counters.subchannel.succeeded.add(1, &self.labels);
                self.pick_first().into_iter().for_each(|counters| counters.succeeded.add(1, &self.channel));
                self.opened(1);
            }
            LbEvent::ConnectFailed { .. } => {
                self.counters.subchannel.failed.add(1, &self.labels);
                self.pick_first().into_iter().for_each(|counters| counters.failed.add(1, &self.channel));
            }
            LbEvent::Disconnected { reason, .. } => {
                self.ended(reason.as_deref());
                self.opened(-1);
            }
            LbEvent::PolicyChanged { policy } => self.follow(policy),
            _ => {}
        }
        self.counters.events.add(1, &[self.channel[0].clone(), KeyValue::new(EVENT, event.kind())]);
    }

    fn on_measurement(&self, measurement: &Measurement) {
        if let Measurement::Schedule(schedule) = measurement {
            let (counters, labels) = (&self.counters, &self.labels);
            counters.fallback.add(u64::from(schedule.fallback), labels);
            counters.not_yet_usable.add(schedule.not_yet_usable.into(), labels);
            counters.stale.add(schedule.stale.into(), labels);
            schedule.weights.iter().for_each(|weight| counters.weights.record(*weight, labels));
        }
    }

    fn on_channel(&self, channel: &ChannelFacts<'_>) {
        self.follow(channel.policy);
        if let Some(level) = channel.security {
            // An observer is of one channel.
            let _ = self.security.set(level);
        }
    }
}
