//! One connection as a service, for whoever must talk to exactly one endpoint: health checks, load reports.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::{Request, Response};
use http_body::Frame;
use tonic::Status;
use tonic::body::Body;
use tower_service::Service;

use crate::call::RequestBody;
use crate::transport::{AnyBody, AnyTransport, AttemptError, AttemptErrorKind};

/// Carries calls to one connection: not picked, not retried, not counted. Fails with UNAVAILABLE once the connection is gone.
#[derive(Debug, Clone)]
pub struct ConnectionService {
    transport: AnyTransport,
}

/// The body of a response of one connection.
struct PlainBody(AnyBody);

impl ConnectionService {
    pub(crate) fn new(transport: AnyTransport) -> Self {
        Self { transport }
    }
}

impl Service<Request<Body>> for ConnectionService {
    type Response = Response<Body>;
    type Error = Status;
    type Future = BoxFuture<'static, Result<Response<Body>, Status>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (parts, body) = request.into_parts();
        let mut attempt = self.transport.send(Request::from_parts(parts, ()), RequestBody::once(body));
        async move {
            let response = std::future::poll_fn(|cx| attempt.poll(cx)).await.map_err(status)?;
            Ok(response.map(|body| Body::new(PlainBody(body))))
        }
        .boxed()
    }
}

fn status(error: AttemptError) -> Status {
    match error.kind {
        AttemptErrorKind::Failed(code) => Status::new(code.into(), &*error.reason),
        AttemptErrorKind::NotSent | AttemptErrorKind::Refused | AttemptErrorKind::Lost => Status::unavailable(&*error.reason),
    }
}

impl http_body::Body for PlainBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        self.get_mut().0.poll_frame(cx).map_err(status)
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }
}
