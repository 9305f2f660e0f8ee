//! Calls on a connection of tonic's.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Request, Response};
use http_body::{Frame, SizeHint};
use lb_transport::{BoxError, CloseReason, TransportError, TransportErrorKind};
use tonic::Status;
use tonic::body::Body;
use tonic::transport::Channel;
use tower_service::Service;

use super::explain;
use super::link::Link;
use super::watched::Refused;

/// A connection of tonic's that takes calls; clones share it. It is always ready: once the connection is gone, calls fail as not
/// sent.
#[derive(Debug, Clone)]
pub struct TonicTransport {
    link: Arc<Link>,
}

impl TonicTransport {
    pub(super) fn new(link: Arc<Link>) -> Self {
        Self { link }
    }
}

impl Service<Request<Body>> for TonicTransport {
    type Response = Response<Body>;
    /// A [`TransportError`] or a [`Status`] where it is known what happened.
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Response<Body>, BoxError>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let link = Arc::clone(&self.link);
        Box::pin(async move {
            let Some(mut channel) = link.channel() else { return Err(not_sent(&link)) };
            let failure = Failure::default();
            let request = request.map(|body| Body::new(Noted { body, failure: failure.clone() }));
            match send(&link, &mut channel, request).await {
                Ok(response) => Ok(response.map(|body| Body::new(Explained { body, failure }))),
                Err(error) => Err(failure.status().map_or(error, Into::into)),
            }
        })
    }
}

/// How the caller's own request stream failed, of which tonic only says that the stream was reset.
#[derive(Clone, Default)]
struct Failure(Arc<OnceLock<Status>>);

impl Failure {
    fn note(&self, status: &Status) {
        self.0.get_or_init(|| Status::new(status.code(), status.message()));
    }

    fn status(&self) -> Option<Status> {
        self.0.get().map(|status| Status::new(status.code(), status.message()))
    }
}

/// A request body whose failure is noted.
struct Noted {
    body: Body,
    failure: Failure,
}

impl http_body::Body for Noted {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(Some(Err(status))) = &polled {
            self.failure.note(status);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

async fn send(link: &Link, channel: &mut Channel, request: Request<Body>) -> Result<Response<Body>, BoxError> {
    if std::future::poll_fn(|cx| channel.poll_ready(cx)).await.is_err() {
        return Err(not_sent(link));
    }
    let error = match channel.call(request).await {
        Ok(response) => return Ok(response),
        Err(error) => error,
    };
    match explain::before_headers(&error) {
        Some(known) if known.kind() == TransportErrorKind::NotSent => {
            gone(link);
            Err(known.into())
        }
        Some(known) => Err(known.into()),
        None => Err(explain::timeout(&error).map_or_else(|| error.into(), Into::into)),
    }
}

fn not_sent(link: &Link) -> BoxError {
    gone(link);
    TransportError::new(TransportErrorKind::NotSent, Refused.to_string()).into()
}

/// tonic has no use for the connection any more, though its socket may still be open for calls in progress.
fn gone(link: &Link) {
    link.retire(CloseReason::Lost("takes no more calls, as after a GOAWAY".to_owned()));
}

/// A response body whose errors say what became of the call.
struct Explained {
    body: Body,
    failure: Failure,
}

impl Explained {
    fn explain(&self, status: Status) -> BoxError {
        match self.failure.status() {
            Some(failure) => failure.into(),
            None => explain::after_headers(&status).map_or_else(|| status.into(), Into::into),
        }
    }
}

impl http_body::Body for Explained {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        polled.map_err(|status| self.explain(status))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
