//! Reports at intervals, on a stream the client opens.

use std::convert::Infallible;
use std::error::Error;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::{StreamExt, stream};
use http::{Request, Response};
use lb_core::ConfigError;
use lb_orca::{OUT_OF_BAND, OrcaLoadReport, OrcaLoadReportRequest};
use tokio::time::{Instant, sleep_until};
use tonic::body::Body;
use tonic::server::{Grpc, NamedService, ServerStreamingService};
use tonic_prost::ProstCodec;
use tower_service::Service;

use crate::grpc::{Answer, Begun, begin, unimplemented};
use crate::recorder::LoadRecorder;

/// What gRPC's own servers allow at least.
const LEAST: Duration = Duration::from_secs(30);

/// Shorter would be a busy loop.
const SHORTEST: Duration = Duration::from_millis(1);

/// Nobody waits longer; it also keeps every sum of instants far from overflow.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// Serves `xds.service.orca.v3.OpenRcaService`: each client that asks gets the whole report at once and then again at the interval it
/// asked for, changed or not, until it goes away or the server [drains](crate::Drain).
///
/// An interval shorter than the least one is raised to it: 30 s unless set otherwise. Every client costs a stream and a timer, and each
/// report a message.
#[derive(Debug, Clone)]
pub struct OpenRcaService {
    load: LoadRecorder,
    least: Duration,
}

impl OpenRcaService {
    /// Reports what `load` knows.
    pub fn new(load: LoadRecorder) -> Self {
        Self { load, least: LEAST }
    }

    /// Sets the shortest interval a client gets, 1 ms to 24 h; default 30 s.
    pub fn with_min_interval(self, least: Duration) -> Result<Self, ConfigError> {
        match (SHORTEST..=LONGEST).contains(&least) {
            true => Ok(Self { least, ..self }),
            false => Err(ConfigError::new("min_interval", format!("{least:?}"), format!("{SHORTEST:?} to {LONGEST:?}"))),
        }
    }
}

impl NamedService for OpenRcaService {
    const NAME: &'static str = "xds.service.orca.v3.OpenRcaService";
}

impl<B> Service<Request<B>> for OpenRcaService
where
    B: http_body::Body + Send + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>> + Send,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Answer {
        if request.uri().path() != OUT_OF_BAND {
            return unimplemented();
        }
        let method = self.clone();
        Box::pin(async move { Ok(Grpc::new(ProstCodec::default()).server_streaming(method, request).await) })
    }
}

impl ServerStreamingService<OrcaLoadReportRequest> for OpenRcaService {
    type Response = OrcaLoadReport;
    type ResponseStream = crate::grpc::Messages<OrcaLoadReport>;
    type Future = Begun<OrcaLoadReport>;

    fn call(&mut self, request: tonic::Request<OrcaLoadReportRequest>) -> Self::Future {
        let interval = request.into_inner().interval().clamp(self.least, LONGEST);
        let (load, next) = (self.load.clone(), Instant::now());
        let closing = load.closing();
        let reports = stream::unfold((load, next), move |(load, next)| async move {
            sleep_until(next).await;
            let report = OrcaLoadReport::from(&load.report());
            // Counted from now: a client that reads slowly is not sent what it missed.
            Some((Ok(report), (load, Instant::now() + interval)))
        });
        begin(reports.take_until(closing))
    }
}
