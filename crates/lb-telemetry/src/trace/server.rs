//! The server's side: takes up the context that an attempt brings.

use std::task::{Context, Poll};

use http::{Request, Response};
use tonic::body::Body;
use tonic::server::NamedService;
use tower_layer::Layer;
use tower_service::Service;
use tracing::Span;
use tracing::field::Empty;

use super::bridge;
use super::context::TraceContext;
use super::headers::Propagation;
use super::sampling::{Decision, Sampling};
use super::server_body::{Recv, TraceBody, TraceFuture, counted};
use super::span::{self, Name};

/// Makes a span of each call that a server gets, the child of the client's attempt. A layer for tonic's
/// [`Server::layer`](https://docs.rs/tonic/latest/tonic/transport/struct.Server.html), or around a single service.
///
/// The span is called `Recv.<service>.<method>` (gRFC A72), is there while the handler runs and until the response has ended, and has the
/// target `evenkeel::server` and the level INFO. Calls that the handler makes are in it, and so are its log lines. Messages are events of the
/// target `evenkeel::message`, at DEBUG.
///
/// With the feature `otel-trace` and a layer of `tracing-opentelemetry` the span is a span of OpenTelemetry's. Without, it has ids of
/// its own in the fields `trace_id`, `span_id` and `parent_span_id`. Where nobody wants the span at all, the context that came is handed on as it is to the calls
/// that the handler makes. In each case [`TraceContext::current`] is the context of the call.
///
/// A context that is not well formed is none: the span begins a trace of its own.
///
/// ```no_run
/// # async fn example(address: std::net::SocketAddr) -> Result<(), tonic::transport::Error> {
/// let router = tonic::transport::Server::builder().layer(lb_telemetry::trace::TraceLayer::new());
/// // router.add_service(OrdersServer::new(orders)).serve(address).await
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default)]
pub struct TraceLayer {
    propagation: Propagation,
    sampling: Option<Sampling>,
}

impl TraceLayer {
    /// Takes up W3C contexts.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets in which headers contexts come.
    #[must_use]
    pub fn propagation(mut self, propagation: Propagation) -> Self {
        self.propagation = propagation;
        self
    }

    /// Makes spans only of calls that this takes, and follows the decision of who calls. What a call that is not taken makes the handler call
    /// is not taken either, where the channel has a [`Sampling`] too. Without, every call has a span if the subscriber wants it.
    #[must_use]
    pub fn sampling(mut self, sampling: Sampling) -> Self {
        self.sampling = Some(sampling);
        self
    }
}

impl<S> Layer<S> for TraceLayer {
    type Service = TraceService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        TraceService { inner, propagation: self.propagation, sampling: self.sampling }
    }
}

/// A service whose calls are traced. From [`TraceLayer`].
#[derive(Debug, Clone)]
pub struct TraceService<S> {
    inner: S,
    propagation: Propagation,
    sampling: Option<Sampling>,
}

impl<S: NamedService> NamedService for TraceService<S> {
    const NAME: &'static str = S::NAME;
}

impl<S, R> Service<Request<Body>> for TraceService<S>
where
    S: Service<Request<Body>, Response = Response<R>>,
{
    type Response = Response<TraceBody<R>>;
    type Error = S::Error;
    type Future = TraceFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let remote = self.propagation.extract(request.headers());
        let (span, context) = begin(request.uri().path(), remote, self.sampling);
        let recv = Recv::new(span, context);
        let request = if recv.counts_messages() { request.map(|body| counted(body, recv.span())) } else { request };
        // The handler may do all its work before it returns a future.
        let inner = recv.within(|| self.inner.call(request));
        TraceFuture::new(inner, recv)
    }
}

/// The span of a call and the context it works in, each if there is one.
fn begin(path: &str, remote: Option<TraceContext>, sampling: Option<Sampling>) -> (Span, Option<TraceContext>) {
    let decision = sampling.map(|sampling| sampling.decide(remote.as_ref()));
    if let Some(decision) = decision.filter(|decision| !decision.sampled) {
        // What the handler calls is to follow.
        return (Span::none(), remote.or_else(|| decision.root()));
    }
    let span = tracing::info_span!(
        target: "evenkeel::server",
        "server",
        otel.name = %Name("Recv", path),
        otel.kind = "server",
        otel.status_code = Empty,
        otel.status_description = Empty,
        trace_id = Empty,
        span_id = Empty,
        parent_span_id = Empty,
    );
    if span.is_disabled() {
        return (span, remote);
    }
    if let Some(remote) = &remote {
        bridge::set_parent(&span, remote);
    }
    let root = || decision.and_then(Decision::root).unwrap_or_else(TraceContext::root);
    let context = span::context(&span, remote, root);
    (span, Some(context))
}
