//! Calls on a connection of tonic's.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Request, Response};
use http_body::{Frame, SizeHint};
use lb_transport::{BoxError, CloseReason, TransportError, TransportErrorKind};
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
    /// A [`TransportError`] or a [`Status`](tonic::Status) where it is known what happened.
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Response<Body>, BoxError>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let link = Arc::clone(&self.link);
        Box::pin(async move {
            let Some(mut channel) = link.channel() else { return Err(not_sent(&link)) };
            match send(&link, &mut channel, request).await {
                Ok(response) => Ok(response.map(|body| Body::new(Explained(body)))),
                Err(error) => Err(error),
            }
        })
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
struct Explained(Body);

impl http_body::Body for Explained {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Pin::new(&mut self.0)
            .poll_frame(cx)
            .map_err(|status| explain::after_headers(&status).map_or_else(|| status.into(), Into::into))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}
