//! The door: instruments of a meter, and the channels that feed them.

use std::sync::Arc;

use lb_tonic::LbChannel;
use opentelemetry::metrics::Meter;

use crate::calls::{CallMetrics, Instruments, Labels};
use crate::config::{ChannelLabels, MetricsConfig};
use crate::counts::{ChannelCounts, Counters};
use crate::gauges;
use crate::selection::of_selection;
use crate::states;
use crate::watched::Watched;

/// The instruments of one meter. Cloning is cheap, and clones are the same.
///
/// There is no global meter here: a program passes the one it wants, and may make several of these.
#[derive(Debug, Clone)]
pub struct Metrics {
    counters: Arc<Counters>,
    calls: Arc<Instruments>,
    labels: Labels,
    channel_labels: ChannelLabels,
    watched: Arc<Watched>,
}

impl Metrics {
    /// Makes the instruments. The name of the meter is the program's choice; gRPC's convention is that of the library.
    pub fn new(meter: &Meter, config: &MetricsConfig) -> Self {
        let watched = Arc::new(Watched::default());
        gauges::of_channels(meter, &watched);
        of_selection(meter, &watched);
        states::of_channels(meter, &watched);
        if config.per_endpoint {
            states::of_endpoints(meter, &watched, config.max_endpoints);
            gauges::of_endpoints(meter, &watched, config.max_endpoints);
        }
        let (counters, calls) = (Arc::new(Counters::new(meter)), Arc::new(Instruments::new(meter)));
        Self { counters, calls, labels: config.labels.clone(), channel_labels: config.channel_labels(), watched }
    }

    /// Counts what happens in a channel: to be passed to [`LbChannelBuilder::observer`](lb_tonic::LbChannelBuilder::observer). `target`
    /// is what `grpc.target` says.
    pub fn observer(&self, target: impl Into<Arc<str>>) -> ChannelCounts {
        ChannelCounts::new(Arc::clone(&self.counters), &target.into(), self.channel_labels)
    }

    /// Counts and times the calls of a channel and their attempts: to be passed to
    /// [`LbChannelBuilder::call_observer`](lb_tonic::LbChannelBuilder::call_observer). `target` is what `grpc.target` says.
    pub fn calls(&self, target: impl Into<Arc<str>>) -> CallMetrics {
        CallMetrics::new(&self.calls, &self.labels, target.into())
    }

    /// Exports the state of a channel as long as it lives, which this does not prolong. Each channel is to be watched once, not each of
    /// its clones.
    pub fn watch(&self, channel: &LbChannel) {
        self.watched.add(channel);
    }
}
