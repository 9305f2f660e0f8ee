//! What happens in a channel, counted.

use std::sync::Arc;

use lb_core::{LbEvent, Observer};
use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Meter, UpDownCounter};

/// The attribute that names a channel.
pub(crate) const TARGET: &str = "grpc.target";

/// The attribute that names a kind of event.
const EVENT: &str = "evenkeel.event";

/// The instruments that events add to.
#[derive(Debug)]
pub(crate) struct Counters {
    succeeded: Counter<u64>,
    failed: Counter<u64>,
    disconnections: Counter<u64>,
    open: UpDownCounter<i64>,
    events: Counter<u64>,
}

impl Counters {
    pub(crate) fn new(meter: &Meter) -> Self {
        let counter = |name: &'static str, unit: &'static str, what: &'static str| {
            meter.u64_counter(name).with_unit(unit).with_description(what).build()
        };
        Self {
            succeeded: counter(
                "grpc.subchannel.connection_attempts_succeeded",
                "{attempt}",
                "Number of successful connection attempts.",
            ),
            failed: counter("grpc.subchannel.connection_attempts_failed", "{attempt}", "Number of failed connection attempts."),
            disconnections: counter("grpc.subchannel.disconnections", "{disconnection}", "Number of connections that ended."),
            open: meter
                .i64_up_down_counter("grpc.subchannel.open_connections")
                .with_unit("{connection}")
                .with_description("Number of open connections.")
                .build(),
            events: counter("evenkeel.events", "{event}", "Events of the channel, by kind."),
        }
    }
}

/// Counts the events of one channel. Made by [`Metrics::observer`](crate::Metrics::observer).
#[derive(Debug)]
pub struct ChannelCounts {
    counters: Arc<Counters>,
    channel: [KeyValue; 1],
}

impl ChannelCounts {
    pub(crate) fn new(counters: Arc<Counters>, target: &Arc<str>) -> Self {
        Self { counters, channel: [KeyValue::new(TARGET, Arc::clone(target))] }
    }
}

impl Observer for ChannelCounts {
    fn on_event(&self, event: &LbEvent) {
        let (counters, channel) = (&self.counters, &self.channel);
        match event {
            LbEvent::Connected { .. } => {
                counters.succeeded.add(1, channel);
                counters.open.add(1, channel);
            }
            LbEvent::ConnectFailed { .. } => counters.failed.add(1, channel),
            LbEvent::Disconnected { .. } => {
                counters.disconnections.add(1, channel);
                counters.open.add(-1, channel);
            }
            _ => {}
        }
        counters.events.add(1, &[channel[0].clone(), KeyValue::new(EVENT, event.kind())]);
    }
}
