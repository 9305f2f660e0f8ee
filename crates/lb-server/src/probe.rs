//! Answers to probes.

use std::convert::Infallible;
use std::error::Error;
use std::task::{Context, Poll};

use futures_util::{StreamExt, TryStreamExt};
use http::{Request, Response};
use lb_orca::{PROBES, ProbeReply, ProbeRequest};
use tonic::Streaming;
use tonic::body::Body;
use tonic::server::{Grpc, NamedService, StreamingService};
use tonic_prost::ProstCodec;
use tower_service::Service;

use crate::grpc::{Answer, Begun, Messages, begin, unimplemented};
use crate::recorder::LoadRecorder;

/// Serves `evenkeel.probe.v1.Probe`: one stream per connection, on which each question is answered at once with the calls in flight and
/// how long calls take lately at that many.
///
/// The policy `prequal` asks. An answer costs two small messages and looks at some fifty numbers; a client has at most one question
/// under way.
#[derive(Debug, Clone)]
pub struct ProbeService {
    load: LoadRecorder,
}

impl ProbeService {
    /// Answers from what `load` knows, which a [`LoadReportLayer`](crate::LoadReportLayer) must measure.
    pub fn new(load: LoadRecorder) -> Self {
        Self { load }
    }

    fn answer(&self, probe: ProbeRequest) -> ProbeReply {
        ProbeReply::new(probe.id, self.load.in_flight(), self.load.latency())
    }
}

impl NamedService for ProbeService {
    const NAME: &'static str = "evenkeel.probe.v1.Probe";
}

impl<B> Service<Request<B>> for ProbeService
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
        if request.uri().path() != PROBES {
            return unimplemented();
        }
        let method = self.clone();
        Box::pin(async move { Ok(Grpc::new(ProstCodec::default()).streaming(method, request).await) })
    }
}

impl StreamingService<ProbeRequest> for ProbeService {
    type Response = ProbeReply;
    type ResponseStream = Messages<ProbeReply>;
    type Future = Begun<ProbeReply>;

    fn call(&mut self, request: tonic::Request<Streaming<ProbeRequest>>) -> Self::Future {
        let (service, closing) = (self.clone(), self.load.closing());
        let answers = request.into_inner().map_ok(move |probe| service.answer(probe));
        begin(answers.take_until(closing))
    }
}
