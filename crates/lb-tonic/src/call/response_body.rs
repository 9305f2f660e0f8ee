//! The body of a response, which keeps the call counted until its end.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use tokio::time::Instant;
use tonic::{Code, Status};

use crate::error::{CallError, WaitingFor};
use crate::header;
use crate::transport::{AttemptError, AttemptErrorKind};

use super::exchange::Exchange;
use super::failure;
use super::guard::Guard;
use super::history::status_of;
use super::leased::Leased;

/// What a call's response carries. The call counts as in flight at its endpoint until the trailers are read or this is dropped.
pub struct ResponseBody(Leased);

impl Exchange {
    /// Ends the call in the books, once what there is to say about its end has been said.
    #[inline]
    fn finish(&mut self, code: Code, say: impl FnOnce(&mut Guard)) {
        self.deadline = None;
        if let Some(guard) = &mut self.guard {
            guard.ends(code);
            say(guard);
            self.guard = None;
        }
    }

    #[cold]
    fn fail(&mut self, error: &AttemptError) -> Status {
        let cancelled = error.kind == AttemptErrorKind::Failed(Code::Cancelled as i32);
        if cancelled && self.deadline.as_ref().is_some_and(|deadline| deadline.at <= Instant::now()) {
            // The server's clock was a moment ahead of ours: it is the deadline that ended the stream.
            return self.exceeded();
        }
        let mut status = None;
        self.finish(error.code(), |guard| {
            let failure = failure(&guard.connected, error);
            guard.explain(|| failure.to_string());
            status = Some(failure.into());
        });
        status.unwrap_or_else(|| Status::unavailable(&*error.reason))
    }

    fn poll_end_of_time(&mut self, cx: &mut Context<'_>) -> Poll<Status> {
        match &mut self.deadline {
            Some(deadline) => ready!(deadline.sleep.as_mut().poll(cx)),
            None => return Poll::Pending,
        }
        Poll::Ready(self.exceeded())
    }

    #[cold]
    fn exceeded(&mut self) -> Status {
        let endpoint = self.guard.as_ref().map(|guard| guard.connected.endpoint.key().clone());
        let waiting_for = endpoint.map_or(WaitingFor::Endpoint(None), WaitingFor::Body);
        let error = CallError::DeadlineExceeded { waiting_for };
        self.finish(Code::DeadlineExceeded, |guard| guard.explain(|| error.to_string()));
        error.into()
    }

    /// Reads what passes by.
    #[inline]
    fn look(&mut self, frame: &Frame<Bytes>) -> Result<(), Status> {
        if let Some(trailers) = frame.trailers_ref() {
            let code = code(trailers).unwrap_or(Code::Unknown);
            if let Some(guard) = &mut self.guard {
                guard.read_load(trailers);
                if code != Code::Ok {
                    guard.explain(|| status_of(trailers.clone()).message().to_owned());
                }
            }
            self.finish(code, |_| {});
        } else if let Some(data) = frame.data_ref() {
            if let Some(watch) = self.guard.as_mut().and_then(Guard::watch) {
                watch.received(data);
            }
            if let Some(Err(error)) = self.limit.as_mut().map(|limit| limit.check(data)) {
                self.finish(Code::ResourceExhausted, |guard| guard.explain(|| error.to_string()));
                return Err(error.into());
            }
        }
        Ok(())
    }

    /// The server's end of the stream, after which there is nothing: the status came with the headers, or never.
    fn ended(&mut self) {
        self.deadline = None;
        if let Some(guard) = &mut self.guard
            && !guard.has_ended()
        {
            guard.ends(Code::Unknown);
        }
        self.guard = None;
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let polled = self.state.poll_frame(cx);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => match self.look(frame) {
                Ok(()) => polled.map_err(|error| self.fail(&error)),
                Err(status) => Poll::Ready(Some(Err(status))),
            },
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(self.fail(error)))),
            Poll::Ready(None) => {
                self.ended();
                Poll::Ready(None)
            }
            Poll::Pending => self.poll_end_of_time(cx).map(|status| Some(Err(status))),
        }
    }
}

impl ResponseBody {
    #[inline]
    pub(super) fn new(answered: Leased) -> Self {
        Self(answered)
    }
}

impl Default for ResponseBody {
    /// A body without content that belongs to no call: what generated clients with an interceptor ask of every body type.
    fn default() -> Self {
        Self(Leased::default())
    }
}

/// The `grpc-status` in headers or trailers.
#[inline]
pub(super) fn code(headers: &HeaderMap) -> Option<Code> {
    Some(Code::from_bytes(header::get(headers, &header::STATUS)?.as_bytes()))
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        match self.get_mut().0.get() {
            Some(exchange) => exchange.poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.0.look().is_none_or(|exchange| exchange.state.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

impl std::fmt::Debug for ResponseBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let guard = self.0.look().and_then(|exchange| exchange.guard.as_ref());
        f.debug_struct("ResponseBody").field("guard", &guard).finish_non_exhaustive()
    }
}
