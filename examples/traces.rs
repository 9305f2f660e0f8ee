//! A trace over client and servers by OpenTelemetry: a call below the caller's own span, two attempts that fail, one that does not, and a
//! span at a server for each. What a collector would get is printed as a tree.
//! Run it with `cargo run --example traces --features otel-trace`.

#[path = "support/mod.rs"]
mod support;

use std::net::SocketAddr;
use std::time::Duration;

use evenkeel::LbChannel;
use evenkeel::retry::RetryPolicy;
use evenkeel::telemetry::trace::{TraceLayer, Tracing};
use lb_testkit::pb::EchoRequest;
use lb_testkit::pb::echo_client::EchoClient;
use lb_testkit::{EchoControl, EchoServer};
use opentelemetry::trace::{SpanId, TracerProvider};
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider, SpanData};
use tonic::Code;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tracing::{Instrument, Level, info_span};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use support::Failure;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    // An exporter that sends somewhere stands here in a real program.
    let exporter = InMemorySpanExporter::default();
    let provider = SdkTracerProvider::builder().with_simple_exporter(exporter.clone()).build();
    let spans = tracing_opentelemetry::layer().with_tracer(provider.tracer("shop"));
    let wanted = Targets::new().with_target("evenkeel", Level::DEBUG).with_target("traces", Level::INFO);
    tracing_subscriber::registry().with(spans).with(wanted).init();

    let ((a, at_a), (b, at_b)) = (server("a")?, server("b")?);
    let retry = RetryPolicy::retries(2)?.with_initial_backoff(Duration::from_millis(5))?;
    let channel = LbChannel::builder(format!("static:///{a},{b}"))
        .retry(retry)
        .call_observer(Tracing::new())
        .connect(support::PATIENCE)
        .await?;
    at_a.fail_next(1, Code::Unavailable);
    at_b.fail_next(1, Code::Unavailable);

    let mut client = EchoClient::new(channel);
    let order = async { client.unary(EchoRequest::default()).await.map(drop) };
    order.instrument(info_span!("order")).await?;

    // The servers end their spans when their responses have been sent.
    let spans = tokio::time::timeout(support::PATIENCE, async {
        loop {
            let spans = exporter.get_finished_spans()?;
            if spans.iter().filter(|span| span.name.starts_with("Recv")).count() == 3
                && spans.iter().any(|span| span.name == "order")
            {
                return Ok::<_, Failure>(spans);
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await??;
    print(&spans, SpanId::INVALID, 0);
    assert!(spans.iter().all(|span| span.span_context.trace_id() == spans[0].span_context.trace_id()), "all of it is one trace");
    Ok(())
}

/// A server with the layer that takes up traces.
fn server(name: &str) -> Result<(SocketAddr, EchoControl), Failure> {
    let (control, echo) = EchoServer::builder().name(name).service();
    let incoming = TcpIncoming::bind("127.0.0.1:0".parse()?)?;
    let address = incoming.local_addr()?;
    let router = Server::builder().layer(TraceLayer::new()).add_service(echo);
    tokio::spawn(router.serve_with_incoming(incoming));
    Ok((address, control))
}

fn print(spans: &[SpanData], parent: SpanId, depth: usize) {
    for span in spans.iter().filter(|span| span.parent_span_id == parent) {
        println!("{:indent$}{}  {:?}", "", span.name, span.status, indent = 2 * depth);
        print(spans, span.span_context.span_id(), depth + 1);
    }
}
