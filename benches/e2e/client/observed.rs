//! Calls that are observed.

use std::sync::Arc;

use evenkeel::observe::{AttemptEnd, AttemptStart, AttemptTrace, CallEnd, CallObserver, CallStart, CallTrace};
use evenkeel::telemetry::{MetricsConfig, Prometheus};
use evenkeel::{LbChannel, LbChannelBuilder};

use super::{Failure, ready};

/// Listens, and does nothing.
#[derive(Debug, Clone)]
pub(super) struct Nobody(Arc<Nothing>);

#[derive(Debug)]
pub(super) struct Nothing(Option<Arc<Self>>);

impl Nobody {
    pub(super) fn new() -> Self {
        Self(Arc::new(Nothing(Some(Arc::new(Nothing(None))))))
    }
}

impl CallObserver for Nobody {
    fn call(&self, _: &CallStart<'_>) -> Option<Arc<dyn CallTrace>> {
        Some(Arc::clone(&self.0) as Arc<dyn CallTrace>)
    }
}

impl CallTrace for Nothing {
    fn attempt(&self, _: &AttemptStart) -> Option<Arc<dyn AttemptTrace>> {
        self.0.clone().map(|attempt| attempt as Arc<dyn AttemptTrace>)
    }

    fn end(&self, _: &CallEnd<'_>) {}
}

impl AttemptTrace for Nothing {
    fn wants_messages(&self) -> bool {
        false
    }

    fn end(&self, _: &AttemptEnd<'_>) {}
}

pub(super) async fn with_metrics(builder: LbChannelBuilder) -> Result<LbChannel, Failure> {
    let prometheus = Prometheus::new(MetricsConfig::new().per_endpoint(true).locality_label(true))?;
    let metrics = prometheus.metrics();
    let channel = ready(builder.observer(metrics.observer("bench")).call_observer(metrics.calls("bench"))).await?;
    metrics.watch(&channel);
    // Kept to the end of the process, as a program would.
    Box::leak(Box::new(prometheus));
    Ok(channel)
}
