//! The future of a response.
//!
//! Written by hand so that a unary call costs no allocation beyond h2's own. A request that finds a stream is handed to h2 where it
//! stands, by [`H2Transport::start`](crate::H2Transport::start), and what is kept is small: a reference to the stream and its permit. Only
//! a request that has to wait is kept, in a box. Cancel safe at every stage: dropping the future gives up its place in the queue
//! or its permit, and resets the stream if there is one.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, Uri, response};
use http_body::Body;

use super::body::H2Body;
use super::claim::Claim;
use super::origin::bare;
use super::send::{Payload, send, send_whole};
use crate::BoxError;
use crate::conn::{Permit, Pool, Ticket};
use crate::error::TransportError;

/// The response to a request; made by [`H2Transport::send`](crate::H2Transport::send) and [`start`](crate::H2Transport::start).
///
/// Resolves with the response's headers. Dropping it cancels the call.
#[must_use = "futures do nothing unless polled"]
pub struct ResponseFuture<B> {
    stage: Stage<B>,
}

enum Stage<B> {
    /// Not sent yet.
    Unsent(Box<Unsent<B>>),
    /// Sent.
    Sent(h2::client::ResponseFuture, Claim),
    /// The response's head has been handed out.
    Answered(H2Body),
    /// Could not be sent.
    Failed(TransportError),
    Done,
}

/// A request that is kept until it has a stream.
struct Unsent<B> {
    head: Request<()>,
    body: Payload<B>,
    place: Place,
}

enum Place {
    /// Has a permit, unless that was taken.
    Ready(Option<Permit>),
    /// Has yet to ask the pool.
    New(Arc<Pool>),
    /// Waits for a stream.
    Queued(Ticket),
}

impl<B> ResponseFuture<B> {
    /// A request that is sent when it is first polled, with this permit or the first that the pool has.
    pub(super) fn later(request: Request<B>, permit: Option<Permit>, pool: &Arc<Pool>) -> Self {
        let (parts, body) = request.into_parts();
        let place = match permit {
            Some(permit) => Place::Ready(Some(permit)),
            None => Place::New(Arc::clone(pool)),
        };
        Self::unsent(Request::from_parts(parts, ()), Payload::Body(body), place)
    }

    fn unsent(head: Request<()>, body: Payload<B>, place: Place) -> Self {
        Self { stage: Stage::Unsent(Box::new(Unsent { head, body, place })) }
    }

    fn take(&mut self) -> Stage<B> {
        std::mem::replace(&mut self.stage, Stage::Done)
    }

    /// The body of the response whose head [`poll_head`](Self::poll_head) has given, where it is; `None` before, and once it has been taken.
    #[inline]
    pub fn body(&self) -> Option<&H2Body> {
        match &self.stage {
            Stage::Answered(body) => Some(body),
            _ => None,
        }
    }

    /// The same, to be read.
    #[inline]
    pub fn body_mut(&mut self) -> Option<&mut H2Body> {
        match &mut self.stage {
            Stage::Answered(body) => Some(body),
            _ => None,
        }
    }

    /// The same, taken.
    #[inline]
    pub fn take_body(&mut self) -> Option<H2Body> {
        match &self.stage {
            Stage::Answered(_) => match self.take() {
                Stage::Answered(body) => Some(body),
                _ => None,
            },
            _ => None,
        }
    }

    #[inline]
    fn answered(&mut self, result: Result<Response<h2::RecvStream>, h2::Error>) -> Result<response::Parts, TransportError> {
        let Stage::Sent(response, claim) = self.take() else { unreachable!("only a sent request has a result") };
        // The stream's reference goes first: a claim given up tells others that the stream is over.
        drop(response);
        match result {
            Ok(response) => {
                let (head, stream) = response.into_parts();
                self.stage = Stage::Answered(H2Body::new(stream, claim));
                Ok(head)
            }
            Err(error) => Err(claim.explain_before_headers(&error)),
        }
    }
}

impl<B> ResponseFuture<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    /// A request that is sent now, if it has a permit or the pool has one.
    #[inline]
    pub(super) fn now(
        cx: &mut Context<'_>,
        uri: &Uri,
        headers: &mut HeaderMap,
        body: Payload<B>,
        permit: Option<Permit>,
        pool: &Arc<Pool>,
    ) -> Self {
        let permit = match permit {
            Some(permit) => permit,
            None => match pool.acquire(cx) {
                Ok(Ok(permit)) => permit,
                Ok(Err(ticket)) => {
                    let mut head = bare(headers);
                    *head.uri_mut() = uri.clone();
                    return Self::unsent(head, body, Place::Queued(ticket));
                }
                Err(error) => return Self { stage: Stage::Failed(error) },
            },
        };
        let head = permit.link.pool.config.origin.head(uri, headers);
        Self { stage: Self::sent(cx, head, body, permit) }
    }

    #[inline]
    fn sent(cx: &mut Context<'_>, head: Request<()>, body: Payload<B>, permit: Permit) -> Stage<B> {
        let sent = match body {
            Payload::Whole(data) => send_whole(cx, head, data, permit),
            Payload::Body(body) => send(cx, head, body, permit),
        };
        match sent {
            Ok((response, claim)) => Stage::Sent(response, claim),
            Err(error) => Stage::Failed(error),
        }
    }

    /// Puts the response's head there, if it has come; the body can be [taken](Self::take_body) then. Otherwise as the future itself.
    ///
    /// # Panics
    /// If polled again after it is ready.
    #[inline]
    pub fn poll_head(&mut self, cx: &mut Context<'_>, head: &mut Option<response::Parts>) -> Poll<Result<(), TransportError>> {
        if !matches!(self.stage, Stage::Sent(..)) {
            ready!(self.poll_unsent(cx))?;
        }
        let Stage::Sent(response, _) = &mut self.stage else { unreachable!("it has just been sent") };
        let result = ready!(Pin::new(response).poll(cx));
        *head = Some(self.answered(result)?);
        Poll::Ready(Ok(()))
    }

    /// Sends it when it has a permit.
    #[cold]
    fn poll_unsent(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        let permit = match &mut self.stage {
            Stage::Unsent(unsent) => ready!(unsent.poll(cx)),
            Stage::Sent(..) => return Poll::Ready(Ok(())),
            Stage::Failed(_) | Stage::Answered(_) | Stage::Done => match self.take() {
                Stage::Failed(error) => return Poll::Ready(Err(error)),
                _ => panic!("ResponseFuture polled after it was ready"),
            },
        };
        let Stage::Unsent(unsent) = self.take() else { unreachable!("only an unsent request waits for a permit") };
        let (permit, Unsent { mut head, body, .. }) = (permit?, *unsent);
        permit.link.pool.config.origin.complete(&mut head);
        match Self::sent(cx, head, body, permit) {
            Stage::Failed(error) => Poll::Ready(Err(error)),
            sent => {
                self.stage = sent;
                Poll::Ready(Ok(()))
            }
        }
    }
}

impl<B> Unsent<B> {
    /// Waits for the permit.
    #[allow(clippy::needless_pass_by_ref_mut, reason = "the lint overlooks that a place is taken and replaced")]
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Permit, TransportError>> {
        let asked = match &mut self.place {
            Place::Queued(ticket) => return ticket.poll(cx),
            Place::Ready(permit) => permit.take().map_or_else(|| unreachable!("a permit is taken once"), Ok),
            Place::New(pool) => pool.acquire(cx)?,
        };
        match asked {
            Ok(permit) => Poll::Ready(Ok(permit)),
            Err(ticket) => {
                self.place = Place::Queued(ticket);
                Poll::Pending
            }
        }
    }
}

impl<B> Future for ResponseFuture<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    type Output = Result<Response<H2Body>, TransportError>;

    /// # Panics
    /// If polled again after it is ready.
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let me = self.get_mut();
        let mut head = None;
        ready!(me.poll_head(cx, &mut head))?;
        let (Some(head), Some(body)) = (head, me.take_body()) else { unreachable!("a response has a head and a body") };
        Poll::Ready(Ok(Response::from_parts(head, body)))
    }
}

impl<B> std::fmt::Debug for ResponseFuture<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let stage = match &self.stage {
            Stage::Unsent(unsent) if matches!(unsent.place, Place::Queued(_)) => "waiting for a stream",
            Stage::Unsent(_) => "new",
            Stage::Sent(..) => "sent",
            Stage::Answered(_) => "answered",
            Stage::Failed(_) => "failed",
            Stage::Done => "done",
        };
        f.debug_struct("ResponseFuture").field("stage", &stage).finish()
    }
}
