//! A collector in this process, and its spans as a tree.

use opentelemetry::trace::{SpanId, Status, TracerProvider};
use opentelemetry_sdk::trace::{InMemorySpanExporter, Sampler, SdkTracerProvider, SpanData};
use tracing::Level;
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::Registry;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;

use crate::support::until;

pub(crate) struct Collector {
    exporter: InMemorySpanExporter,
    _provider: SdkTracerProvider,
    _subscriber: DefaultGuard,
}

impl Collector {
    /// Collects what this thread does.
    pub(crate) fn start() -> Self {
        Self::sampling(Sampler::AlwaysOn)
    }

    pub(crate) fn sampling(sampler: Sampler) -> Self {
        let exporter = InMemorySpanExporter::default();
        let provider = SdkTracerProvider::builder().with_simple_exporter(exporter.clone()).with_sampler(sampler).build();
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
        // The transports of client and server have spans of their own.
        let ours = Targets::new().with_target("evenkeel", Level::DEBUG).with_target("test", Level::DEBUG);
        let subscriber = tracing::subscriber::set_default(Registry::default().with(layer).with(ours));
        Self { exporter, _provider: provider, _subscriber: subscriber }
    }

    /// The spans that have ended, once there are so many, in the order they began.
    pub(crate) async fn spans(&self, count: usize) -> Vec<SpanData> {
        let ended = || self.exporter.get_finished_spans().unwrap();
        until(&format!("{count} spans have ended"), || ended().len() >= count).await;
        let mut spans = ended();
        spans.sort_by_key(|span| span.start_time);
        assert_eq!(spans.len(), count, "{:#?}", tree(&spans));
        spans
    }
}

/// One line per span: how deep it is, its name, and how it ended.
pub(crate) fn tree(spans: &[SpanData]) -> Vec<String> {
    let mut lines = Vec::new();
    grow(spans, SpanId::INVALID, 0, &mut lines);
    lines
}

fn grow(spans: &[SpanData], parent: SpanId, depth: usize, lines: &mut Vec<String>) {
    for span in spans.iter().filter(|span| span.parent_span_id == parent) {
        let status = match &span.status {
            Status::Unset => String::new(),
            Status::Ok => " ok".into(),
            Status::Error { description } => format!(" {description}"),
        };
        lines.push(format!("{}{}{status}", "  ".repeat(depth), span.name));
        grow(spans, span.span_context.span_id(), depth + 1, lines);
    }
}

/// The span of this name.
pub(crate) fn named<'a>(spans: &'a [SpanData], name: &str) -> &'a SpanData {
    spans.iter().find(|span| span.name == name).unwrap_or_else(|| panic!("no {name} in {:#?}", tree(spans)))
}

/// What an attribute says.
pub(crate) fn attribute(span: &SpanData, name: &str) -> Option<String> {
    span.attributes.iter().find(|attribute| attribute.key.as_str() == name).map(|attribute| attribute.value.to_string())
}

/// The events of a span with those of their attributes that gRPC speaks of.
pub(crate) fn events(span: &SpanData) -> Vec<String> {
    let told = |event: &opentelemetry::trace::Event| {
        let names = ["sequence-number", "message-size", "message-size-compressed"];
        let found = event.attributes.iter().filter(|attribute| names.contains(&attribute.key.as_str()));
        let attributes: String = found.map(|attribute| format!(" {}={}", attribute.key, attribute.value)).collect();
        format!("{}{attributes}", event.name)
    };
    span.events.iter().map(told).collect()
}
