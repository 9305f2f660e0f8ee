//! The body of a response, which keeps the call counted until its end.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep};
use tonic::{Code, Status};

use crate::error::{CallError, WaitingFor};
use crate::header;
use crate::transport::{AnyBody, AttemptError, AttemptErrorKind};

use super::failure;
use super::guard::Guard;
use super::history::status_of;
use super::leased::Leased;
use super::message_size::MessageSize;

/// What a call's response carries. The call counts as in flight at its endpoint until the trailers are read or this is dropped.
pub struct ResponseBody(Leased);

/// A call that is answered, until its trailers.
pub(super) struct Answering {
    body: AnyBody,
    guard: Option<Guard>,
    deadline: Option<Pin<Box<Sleep>>>,
    limit: Option<Box<MessageSize>>,
}

impl Answering {
    pub(super) fn new(body: AnyBody, guard: Option<Guard>, deadline: Option<Pin<Box<Sleep>>>, limit: Option<usize>) -> Self {
        let limit = limit.map(|limit| Box::new(MessageSize::new("response", limit)));
        Self { body, guard, deadline, limit }
    }

    /// Ends the call in the books.
    fn finish(&mut self, code: Code) -> Option<Guard> {
        self.deadline = None;
        let mut guard = self.guard.take()?;
        guard.ends(code);
        Some(guard)
    }

    fn fail(&mut self, error: &AttemptError) -> Status {
        let cancelled = error.kind == AttemptErrorKind::Failed(Code::Cancelled as i32);
        if cancelled && self.deadline.as_ref().is_some_and(|deadline| deadline.deadline() <= Instant::now()) {
            // The server's clock was a moment ahead of ours: it is the deadline that ended the stream.
            return self.exceeded();
        }
        match self.finish(error.code()) {
            Some(mut guard) => {
                let failure = failure(&guard.connected, error);
                guard.explain(|| failure.to_string());
                failure.into()
            }
            None => Status::unavailable(&*error.reason),
        }
    }

    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<Status> {
        match &mut self.deadline {
            Some(deadline) => ready!(deadline.as_mut().poll(cx)),
            None => return Poll::Pending,
        }
        Poll::Ready(self.exceeded())
    }

    fn exceeded(&mut self) -> Status {
        let mut guard = self.finish(Code::DeadlineExceeded);
        let endpoint = guard.as_ref().map(|guard| guard.connected.endpoint.key().clone());
        let waiting_for = endpoint.map_or(WaitingFor::Endpoint(None), WaitingFor::Body);
        let error = CallError::DeadlineExceeded { waiting_for };
        if let Some(guard) = &mut guard {
            guard.explain(|| error.to_string());
        }
        error.into()
    }

    fn take(&mut self, frame: Frame<Bytes>) -> Result<Frame<Bytes>, Status> {
        if let Some(trailers) = frame.trailers_ref() {
            let code = code(trailers).unwrap_or(Code::Unknown);
            if let Some(guard) = &mut self.guard {
                guard.read_load(trailers);
                if code != Code::Ok {
                    guard.explain(|| status_of(trailers.clone()).message().to_owned());
                }
            }
            self.finish(code);
        } else if let Some(data) = frame.data_ref() {
            if let Some(watch) = self.guard.as_mut().and_then(Guard::watch) {
                watch.received(data);
            }
            if let Some(Err(error)) = self.limit.as_mut().map(|limit| limit.check(data)) {
                if let Some(mut guard) = self.finish(Code::ResourceExhausted) {
                    guard.explain(|| error.to_string());
                }
                return Err(error.into());
            }
        }
        Ok(frame)
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        match self.body.poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => Poll::Ready(Some(self.take(frame))),
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(self.fail(&error)))),
            Poll::Ready(None) => {
                // The status came with the headers, or never.
                self.deadline = None;
                if let Some(mut guard) = self.guard.take()
                    && !guard.has_ended()
                {
                    guard.ends(Code::Unknown);
                }
                Poll::Ready(None)
            }
            Poll::Pending => self.poll_deadline(cx).map(|status| Some(Err(status))),
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
        match self.get_mut().0.answering() {
            Some(answering) => answering.poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.0.look().1.is_none_or(|answering| answering.body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

impl std::fmt::Debug for ResponseBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let guard = self.0.look().1.and_then(|answering| answering.guard.as_ref());
        f.debug_struct("ResponseBody").field("guard", &guard).finish_non_exhaustive()
    }
}
