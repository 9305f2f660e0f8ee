//! All that a channel tells of itself at once, as a program in production has it: metrics with series per endpoint and locality, events that
//! somebody reads, an admin server with the dashboard's history, and one call in a hundred traced with OpenTelemetry.

use std::sync::{Arc, Once};

use evenkeel::telemetry::trace::{Sampling, Tracing};
use evenkeel::telemetry::{MetricsConfig, Prometheus};
use evenkeel::{LbChannel, LbChannelBuilder};
use lb_admin::Admin;
use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData, SpanExporter};
use tracing::Level;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use super::{Failure, ready};

/// The share of calls that are traced: what production systems usually take.
const SAMPLED: f64 = 0.01;

pub(super) async fn connect(builder: LbChannelBuilder) -> Result<LbChannel, Failure> {
    collect_spans();
    let prometheus = Arc::new(Prometheus::new(MetricsConfig::new().per_endpoint(true).locality_label(true))?);
    let (metrics, tracing) = (prometheus.metrics(), Tracing::new().sampling(Sampling::ratio(SAMPLED)?));
    let builder = builder.observer(metrics.observer("bench")).call_observer(metrics.calls("bench")).call_observer(tracing);
    let channel = ready(builder).await?;
    metrics.watch(&channel);
    let exposed = Arc::clone(&prometheus);
    let admin = Admin::builder().service("bench", &channel).metrics(move || exposed.text()).serve().await?;
    let mut events = channel.subscribe();
    tokio::spawn(async move { while events.next().await.is_some() {} });
    // Kept to the end of the process, as a program would.
    Box::leak(Box::new((prometheus, admin)));
    Ok(channel)
}

/// Takes spans of evenkeel's and nobody else's, for the whole process: the other clients are without any, and what their libraries would trace
/// is switched off by its level, as without a subscriber.
fn collect_spans() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let provider = SdkTracerProvider::builder().with_batch_exporter(Discard).build();
        let spans = tracing_opentelemetry::layer().with_tracer(provider.tracer("bench"));
        let ours = Targets::new().with_target("evenkeel", Level::INFO);
        tracing_subscriber::registry().with(spans).with(ours).init();
        // Its end would be its exporter's.
        Box::leak(Box::new(provider));
    });
}

/// Where spans go whose collector takes no time.
#[derive(Debug)]
struct Discard;

impl SpanExporter for Discard {
    async fn export(&self, _: Vec<SpanData>) -> OTelSdkResult {
        Ok(())
    }
}
