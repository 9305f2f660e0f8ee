//! A call that a server has got, from its headers to the end of its response.

use std::borrow::Cow;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderMap, Response};
use http_body::{Body, Frame, SizeHint};
use lb_tonic::observe::{Direction, MessageReader};
use percent_encoding::percent_decode;
use pin_project_lite::pin_project;
use tonic::Code;
use tracing::Span;

use super::context::TraceContext;
use super::current::Entered;
use super::span;

/// A call, whose span ends with it.
#[derive(Debug)]
pub(super) struct Recv {
    span: Span,
    context: Option<TraceContext>,
    messages: Option<MessageReader>,
    ended: bool,
}

impl Recv {
    pub(super) fn new(span: Span, context: Option<TraceContext>) -> Self {
        let messages = (!span.is_disabled() && span::reads_messages()).then(|| MessageReader::new(Direction::Sent));
        Self { span, context, messages, ended: false }
    }

    pub(super) fn span(&self) -> &Span {
        &self.span
    }

    pub(super) fn counts_messages(&self) -> bool {
        self.messages.is_some()
    }

    /// Does work that belongs to the call.
    pub(super) fn within<T>(&self, work: impl FnOnce() -> T) -> T {
        let _current = self.context.as_ref().map(Entered::new);
        self.span.in_scope(work)
    }

    /// Notes the messages in these bytes of the response.
    fn send(&mut self, data: &Bytes) {
        let Self { span, messages, .. } = self;
        if let Some(messages) = messages {
            messages.read(data, |message| span::message(span, message));
        }
    }

    /// The call has ended with these trailers, or headers that are trailers.
    fn end(&mut self, trailers: &HeaderMap) {
        let code = trailers.get("grpc-status").map_or(Code::Unknown, |status| Code::from_bytes(status.as_bytes()));
        let said =
            trailers.get("grpc-message").map_or_else(Cow::default, |text| percent_decode(text.as_bytes()).decode_utf8_lossy());
        self.end_with(code, &said);
    }

    fn end_with(&mut self, code: Code, message: &str) {
        if !std::mem::replace(&mut self.ended, true) {
            span::end(&self.span, code, message);
        }
    }
}

impl Drop for Recv {
    fn drop(&mut self) {
        self.end_with(Code::Cancelled, "given up before its end");
    }
}

pin_project! {
    /// The future of a call that is traced.
    #[derive(Debug)]
    pub struct TraceFuture<F> {
        #[pin]
        inner: F,
        recv: Option<Recv>,
    }
}

impl<F> TraceFuture<F> {
    pub(super) fn new(inner: F, recv: Recv) -> Self {
        Self { inner, recv: Some(recv) }
    }
}

impl<F, R, E> Future for TraceFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
{
    type Output = Result<Response<TraceBody<R>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let polled = match this.recv {
            Some(recv) => recv.within(|| this.inner.poll(cx)),
            None => this.inner.poll(cx),
        };
        let response = ready!(polled)?;
        let mut recv = this.recv.take();
        // A response without messages has its status in the headers.
        if response.headers().contains_key("grpc-status")
            && let Some(recv) = &mut recv
        {
            recv.end(response.headers());
        }
        Poll::Ready(Ok(response.map(|inner| TraceBody { inner, recv })))
    }
}

pin_project! {
    /// The body of a response whose call is traced.
    #[derive(Debug)]
    pub struct TraceBody<R> {
        #[pin]
        inner: R,
        recv: Option<Recv>,
    }
}

impl<R: Default> Default for TraceBody<R> {
    /// An empty body of no call.
    fn default() -> Self {
        Self { inner: R::default(), recv: None }
    }
}

impl<R: Body<Data = Bytes>> Body for TraceBody<R> {
    type Data = Bytes;
    type Error = R::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, R::Error>>> {
        let this = self.project();
        let Some(recv) = this.recv else { return this.inner.poll_frame(cx) };
        // A handler that answers with a stream works here.
        let polled = ready!(recv.within(|| this.inner.poll_frame(cx)));
        match &polled {
            Some(Ok(frame)) => match (frame.data_ref(), frame.trailers_ref()) {
                (Some(data), _) => recv.send(data),
                (None, Some(trailers)) => recv.end(trailers),
                (None, None) => {}
            },
            Some(Err(_)) => recv.end_with(Code::Unknown, "the response failed"),
            None => recv.end_with(Code::Unknown, "the response has no status"),
        }
        if recv.ended {
            // The span ends with the call, not with whoever still holds the body.
            *this.recv = None;
        }
        Poll::Ready(polled)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

pin_project! {
    /// The body of a request whose messages are noted on a span.
    struct Counted {
        #[pin]
        inner: tonic::body::Body,
        messages: MessageReader,
        span: Span,
    }
}

/// A request whose messages are noted. Boxed, as tonic's bodies are; only done where somebody reads of single messages.
pub(super) fn counted(inner: tonic::body::Body, span: &Span) -> tonic::body::Body {
    tonic::body::Body::new(Counted { inner, messages: MessageReader::new(Direction::Received), span: span.clone() })
}

impl Body for Counted {
    type Data = Bytes;
    type Error = tonic::Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, tonic::Status>>> {
        let this = self.project();
        let polled = ready!(this.inner.poll_frame(cx));
        if let Some(Ok(frame)) = &polled
            && let Some(data) = frame.data_ref()
        {
            let span = &*this.span;
            this.messages.read(data, |message| span::message(span, message));
        }
        Poll::Ready(polled)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
