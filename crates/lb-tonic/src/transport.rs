//! The connections of a channel, whatever made them.
//!
//! The channel is not generic over its transport: a user's types should not be. The `h2` transport is called directly, so that a
//! call costs no box; transports of other connectors are behind one.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderMap, Method, Request, Response, Uri, Version, response};
use http_body::{Body as _, Frame};
use lb_transport::{
    ConnectAttempt, ConnectError, Connection, Connector, H2Body, H2Transport, ResponseFuture, TransportError, TransportErrorKind,
};
use tonic::body::Body;
use tonic::{Code, Status};
use tower_service::Service;

use crate::call::RequestBody;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A connection that takes calls.
#[derive(Clone)]
pub(crate) enum AnyTransport {
    H2(H2Transport),
    Other(Arc<dyn OtherTransport>),
}

/// A connection some other connector made.
pub(crate) trait OtherTransport: Send + Sync + 'static {
    fn send(&self, request: Request<Body>) -> BoxFuture<'static, Result<Response<Body>, BoxError>>;
}

/// An attempt on its way. The larger variant is the common one; a box would cost every call an allocation.
pub(crate) enum AttemptFuture {
    H2(ResponseFuture<RequestBody>),
    Other(BoxFuture<'static, Result<Response<Body>, BoxError>>),
    /// The body of a response of another transport whose head has been handed out.
    Answered(Body),
}

/// The body of a response.
pub(crate) enum AnyBody {
    H2(H2Body),
    Other(Body),
}

/// Why an attempt failed, as far as the call must know.
#[derive(Debug)]
pub(crate) struct AttemptError {
    pub(crate) kind: AttemptErrorKind,
    pub(crate) reason: Arc<str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AttemptErrorKind {
    /// Nothing left this client: try elsewhere, as often as it takes.
    NotSent,
    /// The server says it did nothing: try elsewhere, once.
    Refused,
    /// The connection was lost; nobody knows what the server did.
    Lost,
    /// The server reset the call, or the caller's own body failed; gRPC's code for it.
    Failed(i32),
}

impl AnyTransport {
    /// Sends a request when the attempt is first polled.
    pub(crate) fn send(&self, head: Request<()>, body: RequestBody) -> AttemptFuture {
        let request = head.map(|()| body);
        match self {
            Self::H2(transport) => AttemptFuture::H2(transport.send(request)),
            Self::Other(transport) => AttemptFuture::Other(transport.send(request.map(Body::new))),
        }
    }

    /// Sends a request at once, if it can be sent, and takes its headers; the attempt is to be polled next.
    #[inline]
    pub(crate) fn start(&self, cx: &mut Context<'_>, uri: &Uri, headers: &mut HeaderMap, body: RequestBody) -> AttemptFuture {
        match self {
            Self::H2(transport) => AttemptFuture::H2(transport.start(cx, uri, headers, body.into_payload())),
            Self::Other(_) => self.send(request(uri.clone(), std::mem::take(headers)), body),
        }
    }
}

/// What every gRPC request has, and these.
pub(crate) fn request(uri: Uri, headers: HeaderMap) -> Request<()> {
    let mut head = Request::new(());
    *head.method_mut() = Method::POST;
    *head.uri_mut() = uri;
    *head.version_mut() = Version::HTTP_2;
    *head.headers_mut() = headers;
    head
}

impl fmt::Debug for AnyTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::H2(_) => "H2",
            Self::Other(_) => "Other",
        })
    }
}

impl AttemptFuture {
    #[inline]
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Response<AnyBody>, AttemptError>> {
        let mut head = None;
        ready!(self.poll_head(cx, &mut head))?;
        Poll::Ready(match head {
            Some(head) => Ok(Response::from_parts(head, self.take_body())),
            None => Err(AttemptError::over()),
        })
    }

    /// Puts the response's head there, if it has come; the body can be [taken](Self::take_body) then.
    #[inline]
    pub(crate) fn poll_head(&mut self, cx: &mut Context<'_>, head: &mut Option<response::Parts>) -> Poll<Result<(), AttemptError>> {
        match self {
            Self::H2(future) => future.poll_head(cx, head).map_err(|error| AttemptError::from(&error)),
            Self::Other(future) => match ready!(future.as_mut().poll(cx)) {
                Ok(response) => {
                    let (parts, body) = response.into_parts();
                    *self = Self::Answered(body);
                    *head = Some(parts);
                    Poll::Ready(Ok(()))
                }
                Err(error) => Poll::Ready(Err(AttemptError::of_other(error))),
            },
            Self::Answered(_) => Poll::Ready(Err(AttemptError::over())),
        }
    }

    /// The next of the body of the response whose head there was, where it is.
    #[inline]
    pub(crate) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, AttemptError>>> {
        match self {
            Self::H2(future) => match future.body_mut() {
                Some(body) => Pin::new(body).poll_frame(cx).map_err(|error| AttemptError::from(&error)),
                None => Poll::Ready(None),
            },
            Self::Answered(body) => poll_other(body, cx),
            Self::Other(_) => Poll::Ready(None),
        }
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        match self {
            Self::H2(future) => future.body().is_none_or(H2Body::is_end_stream),
            Self::Answered(body) => body.is_end_stream(),
            Self::Other(_) => true,
        }
    }

    /// The body of the response whose head there was; once.
    #[inline]
    pub(crate) fn take_body(&mut self) -> AnyBody {
        match self {
            Self::H2(future) => future.take_body().map_or_else(AnyBody::empty, AnyBody::H2),
            Self::Answered(body) => AnyBody::Other(std::mem::take(body)),
            Self::Other(_) => AnyBody::empty(),
        }
    }
}

impl AnyBody {
    /// Without content.
    #[cold]
    pub(crate) fn empty() -> Self {
        Self::Other(Body::empty())
    }

    #[inline]
    pub(crate) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, AttemptError>>> {
        match self {
            Self::H2(body) => Pin::new(body).poll_frame(cx).map_err(|error| AttemptError::from(&error)),
            Self::Other(body) => poll_other(body, cx),
        }
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        match self {
            Self::H2(body) => body.is_end_stream(),
            Self::Other(body) => body.is_end_stream(),
        }
    }
}

fn poll_other(body: &mut Body, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, AttemptError>>> {
    Pin::new(body).poll_frame(cx).map_err(|status| AttemptError::of_other(status.into()))
}

impl From<&TransportError> for AttemptError {
    #[cold]
    fn from(error: &TransportError) -> Self {
        // The caller's own stream failed: it says how, and gRPC's table does not know better.
        if let Some(status) = std::error::Error::source(error).and_then(|source| source.downcast_ref::<Status>()) {
            return Self { kind: AttemptErrorKind::Failed(status.code() as i32), reason: status.message().into() };
        }
        let kind = match error.kind() {
            TransportErrorKind::NotSent => AttemptErrorKind::NotSent,
            TransportErrorKind::Refused => AttemptErrorKind::Refused,
            TransportErrorKind::Lost => AttemptErrorKind::Lost,
            _ => AttemptErrorKind::Failed(error.grpc_code()),
        };
        Self { kind, reason: error.to_string().into() }
    }
}

impl AttemptError {
    /// It was polled once more than futures may be.
    #[cold]
    fn over() -> Self {
        Self { kind: AttemptErrorKind::Lost, reason: "the attempt was polled after it had ended".into() }
    }

    /// gRPC's code for it.
    pub(crate) fn code(&self) -> Code {
        match self.kind {
            AttemptErrorKind::Failed(code) => Code::from_i32(code),
            AttemptErrorKind::NotSent | AttemptErrorKind::Refused | AttemptErrorKind::Lost => Code::Unavailable,
        }
    }

    /// A foreign transport that fails with our own error is believed. Of any other error it must be assumed that the server may
    /// have seen the call.
    fn of_other(error: BoxError) -> Self {
        // tonic's bodies make a status of every error, and keep the error itself as its source.
        let said = match error.downcast_ref::<Status>() {
            Some(status) => std::error::Error::source(status),
            None => Some(&*error as &(dyn std::error::Error + 'static)),
        };
        if let Some(error) = said.and_then(|error| error.downcast_ref::<TransportError>()) {
            return Self::from(error);
        }
        let reason = causes(&*error).into();
        match Status::try_from_error(error) {
            Ok(status) => Self { kind: AttemptErrorKind::Failed(status.code() as i32), reason },
            Err(_) => Self { kind: AttemptErrorKind::Lost, reason },
        }
    }
}

/// An error with all its causes, because the outermost often says only "transport error".
pub(crate) fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

/// A connector whose transport type is forgotten.
pub(crate) trait AnyConnector: fmt::Debug + Send + Sync + 'static {
    fn connect(&self, attempt: ConnectAttempt) -> BoxFuture<'static, Result<Connection<AnyTransport>, ConnectError>>;
}

/// Forgets the transport type of the `h2` connector, keeping its calls unboxed.
#[derive(Debug)]
pub(crate) struct Direct<C>(pub(crate) C);

impl<C: Connector<Transport = H2Transport>> AnyConnector for Direct<C> {
    fn connect(&self, attempt: ConnectAttempt) -> BoxFuture<'static, Result<Connection<AnyTransport>, ConnectError>> {
        let connecting = self.0.connect(attempt);
        Box::pin(async move { Ok(erase(connecting.await?, AnyTransport::H2)) })
    }
}

/// Forgets the transport type of any other connector.
#[derive(Debug)]
pub(crate) struct Boxed<C>(pub(crate) C);

impl<C> AnyConnector for Boxed<C>
where
    C: Connector,
    C::Transport: Service<Request<Body>, Response = Response<Body>> + Sync,
    <C::Transport as Service<Request<Body>>>::Future: Send + 'static,
    <C::Transport as Service<Request<Body>>>::Error: Into<BoxError>,
{
    fn connect(&self, attempt: ConnectAttempt) -> BoxFuture<'static, Result<Connection<AnyTransport>, ConnectError>> {
        let connecting = self.0.connect(attempt);
        Box::pin(async move { Ok(erase(connecting.await?, |service| AnyTransport::Other(Arc::new(Foreign(service))))) })
    }
}

fn erase<T>(connection: Connection<T>, into: impl FnOnce(T) -> AnyTransport) -> Connection<AnyTransport> {
    let Connection { transport, address, closed, handle, .. } = connection;
    Connection::new(into(transport), address, closed, handle)
}

struct Foreign<S>(S);

impl<S> OtherTransport for Foreign<S>
where
    S: Service<Request<Body>, Response = Response<Body>> + Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
{
    fn send(&self, request: Request<Body>) -> BoxFuture<'static, Result<Response<Body>, BoxError>> {
        let mut service = self.0.clone();
        Box::pin(async move {
            std::future::poll_fn(|cx| service.poll_ready(cx)).await.map_err(Into::into)?;
            service.call(request).await.map_err(Into::into)
        })
    }
}
