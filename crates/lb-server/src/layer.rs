//! Measures calls and puts reports into their responses.

use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use tonic::server::NamedService;
use tower_layer::Layer;
use tower_service::Service;

use crate::body::{Call, LoadReportBody, LoadReportFuture};
use crate::call_recorder::CallRecorder;
use crate::recorder::LoadRecorder;
use crate::trailers::Trailers;

/// Streams that last as long as their connection and are no load: counted, every client would look like three calls in flight.
const NOT_LOAD: [&str; 4] = ["/grpc.health.v1.", "/xds.service.orca.v3.", "/evenkeel.probe.v1.", "/grpc.reflection."];

/// Measures every call of a server and puts a load report into the trailers of its responses. A layer for tonic's
/// [`Server::layer`](https://docs.rs/tonic/latest/tonic/transport/struct.Server.html), or around a single service.
///
/// A call counts as in flight from its headers to the end of its response. How long it took is the time to the headers of the response,
/// which for a handler that answers with one message is all of it, and for a stream does not depend on how long the client listens. Health
/// checks, reflection and what this crate serves itself do not count.
#[derive(Debug, Clone)]
pub struct LoadReportLayer {
    shared: Arc<Shared>,
}

#[derive(Debug, Clone)]
pub(crate) struct Shared {
    pub(crate) load: LoadRecorder,
    pub(crate) trailers: Trailers,
    call_recorders: bool,
    ignored: Vec<Box<str>>,
}

impl LoadReportLayer {
    /// A layer that measures into `load` and reports what it knows.
    pub fn new(load: LoadRecorder) -> Self {
        let shared = Shared { load, trailers: Trailers::default(), call_recorders: true, ignored: Vec::new() };
        Self { shared: Arc::new(shared) }
    }

    /// Sets which responses carry a report.
    #[must_use]
    pub fn trailers(self, trailers: Trailers) -> Self {
        self.changed(|shared| shared.trailers = trailers)
    }

    /// Gives requests no [`CallRecorder`], which saves an allocation per call.
    #[must_use]
    pub fn without_call_recorders(self) -> Self {
        self.changed(|shared| shared.call_recorders = false)
    }

    /// Neither counts nor reports on calls whose path begins with this, such as `/orders.v1.Orders/Watch`: streams that wait rather than work.
    #[must_use]
    pub fn ignore(self, path: impl Into<Box<str>>) -> Self {
        let path = path.into();
        self.changed(|shared| shared.ignored.push(path))
    }

    fn changed(mut self, change: impl FnOnce(&mut Shared)) -> Self {
        change(Arc::make_mut(&mut self.shared));
        self
    }
}

impl<S> Layer<S> for LoadReportLayer {
    type Service = LoadReportService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        LoadReportService { inner, shared: Arc::clone(&self.shared) }
    }
}

/// A service whose calls are measured, and whose responses report load.
#[derive(Debug, Clone)]
pub struct LoadReportService<S> {
    inner: S,
    shared: Arc<Shared>,
}

impl<S: NamedService> NamedService for LoadReportService<S> {
    const NAME: &'static str = S::NAME;
}

impl<S, B, R> Service<Request<B>> for LoadReportService<S>
where
    S: Service<Request<B>, Response = Response<R>>,
{
    type Response = Response<LoadReportBody<R>>;
    type Error = S::Error;
    type Future = LoadReportFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let call = self.shared.counts(request.uri().path()).then(|| self.shared.begin(&mut request));
        LoadReportFuture::new(self.inner.call(request), call)
    }
}

impl Shared {
    fn counts(&self, path: &str) -> bool {
        !NOT_LOAD.iter().any(|prefix| path.starts_with(prefix)) && !self.ignored.iter().any(|prefix| path.starts_with(&**prefix))
    }

    fn begin<B>(self: &Arc<Self>, request: &mut Request<B>) -> Call {
        let recorder = self.call_recorders.then(CallRecorder::default);
        if let Some(recorder) = &recorder {
            request.extensions_mut().insert(recorder.clone());
        }
        Call::begin(Arc::clone(self), recorder)
    }
}
