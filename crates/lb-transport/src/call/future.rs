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
use h2::Reason;
use http::{Request, Response};
use http_body::Body;

use super::body::H2Body;
use super::opening::Opening;
use super::pump::{PumpGuard, Tally};
use crate::BoxError;
use crate::conn::{Messages, Permit, Pool, Ticket};
use crate::error::{TransportError, TransportErrorKind, code_name};

/// A first message of up to this many bytes is sent along with the headers of a streamed request, without asking for window: the
/// smallest initial window a server may be expected to have is four times as large.
const FIRST_MESSAGE: usize = 16 * 1024;

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
    /// Could not be sent.
    Failed(TransportError),
    Done,
}

/// A request that is kept until it has a stream.
struct Unsent<B> {
    head: Request<()>,
    body: B,
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

/// What a stream holds: its permit, and the pump of its request. Moves from the future into the body.
#[derive(Debug)]
pub(super) struct Claim {
    pump: Option<PumpGuard>,
    permit: Permit,
    /// h2's count of writes when the request was handed to it.
    writes: u64,
    /// Whether the server's end of the stream was seen.
    whole: bool,
}

impl<B> ResponseFuture<B> {
    /// A request that is sent when it is first polled, with this permit or the first that the pool has.
    pub(super) fn later(request: Request<B>, permit: Option<Permit>, pool: &Arc<Pool>) -> Self {
        let (parts, body) = request.into_parts();
        let place = match permit {
            Some(permit) => Place::Ready(Some(permit)),
            None => Place::New(Arc::clone(pool)),
        };
        Self { stage: Stage::Unsent(Box::new(Unsent { head: Request::from_parts(parts, ()), body, place })) }
    }

    fn take(&mut self) -> Stage<B> {
        std::mem::replace(&mut self.stage, Stage::Done)
    }

    fn finish(&mut self, result: Result<Response<h2::RecvStream>, h2::Error>) -> Result<Response<H2Body>, TransportError> {
        let Stage::Sent(response, claim) = self.take() else { unreachable!("only a sent request has a result") };
        // The stream's reference goes first: a claim given up tells others that the stream is over.
        drop(response);
        match result {
            Ok(response) => Ok(response.map(|stream| H2Body::new(stream, claim))),
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
    pub(super) fn now(cx: &mut Context<'_>, head: Request<()>, body: B, permit: Option<Permit>, pool: &Arc<Pool>) -> Self {
        let place = match permit {
            Some(permit) => Ok(Ok(permit)),
            None => pool.acquire(cx),
        };
        let stage = match place {
            Ok(Ok(permit)) => Self::sent(cx, head, body, permit),
            Ok(Err(ticket)) => Stage::Unsent(Box::new(Unsent { head, body, place: Place::Queued(ticket) })),
            Err(error) => Stage::Failed(error),
        };
        Self { stage }
    }

    fn sent(cx: &mut Context<'_>, head: Request<()>, body: B, permit: Permit) -> Stage<B> {
        match send(cx, head, body, permit) {
            Ok((response, claim)) => Stage::Sent(response, claim),
            Err(error) => Stage::Failed(error),
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
        loop {
            let permit = match &mut me.stage {
                Stage::Sent(response, _) => {
                    let result = ready!(Pin::new(response).poll(cx));
                    return Poll::Ready(me.finish(result));
                }
                Stage::Unsent(unsent) => ready!(unsent.poll(cx)),
                Stage::Failed(_) | Stage::Done => match me.take() {
                    Stage::Failed(error) => return Poll::Ready(Err(error)),
                    _ => panic!("ResponseFuture polled after it was ready"),
                },
            };
            let Stage::Unsent(unsent) = me.take() else { unreachable!("only an unsent request waits for a permit") };
            let Unsent { head, body, .. } = *unsent;
            me.stage = Self::sent(cx, head, body, permit?);
        }
    }
}

/// Opens a stream and sends as much of the body as there is.
fn send<B>(
    cx: &mut Context<'_>,
    mut head: Request<()>,
    mut body: B,
    permit: Permit,
) -> Result<(h2::client::ResponseFuture, Claim), TransportError>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    let opening = Opening::read(&mut body, cx)?;
    let link = &permit.link;
    link.pool.config.origin.complete(&mut head);
    let mut opened = link.open(cx, head, matches!(opening, Opening::Empty))?;
    // A failure to send is a failure of the stream, which the response tells better.
    let pump = match opening {
        Opening::Empty => None,
        Opening::Whole(data) => {
            link.traffic.sent(Messages::default().feed(&data));
            let _ = opened.request.send_data(data, true);
            None
        }
        Opening::Stream(Some(first), second) if first.len() <= FIRST_MESSAGE => {
            let mut tally = Tally::new(link);
            tally.count(&first);
            let _ = opened.request.send_data(first, false);
            Some(PumpGuard::start(link, opened.request, tally, second, body))
        }
        Opening::Stream(first, None) => Some(PumpGuard::start(link, opened.request, Tally::new(link), first, body)),
        Opening::Stream(first, Some(second)) => {
            let body = Chained { second: Some(second), rest: body };
            Some(PumpGuard::start(link, opened.request, Tally::new(link), first, body))
        }
    };
    Ok((opened.response, Claim { pump, permit, writes: opened.writes, whole: false }))
}

impl Claim {
    pub(super) fn is_lazy(&self) -> bool {
        self.permit.link.is_lazy()
    }

    /// The server's end of the stream was seen.
    pub(super) fn is_whole(&mut self) {
        self.whole = true;
    }

    /// So many messages were read.
    pub(super) fn received(&self, messages: u64) {
        self.permit.link.traffic.received(messages);
    }

    /// Before response headers: the server may have said that it did not process the call.
    fn explain_before_headers(&self, error: &h2::Error) -> TransportError {
        let link = &self.permit.link;
        if error.is_go_away() && error.is_remote() {
            // h2 fails a stream with the peer's GOAWAY only if its identifier is above GOAWAY's last stream. One that was still with
            // h2 when the connection began to drain counts as never sent: h2 answers the server's closing PING first.
            let unsent = link.was_unwritten_at_go_away(self.writes);
            let kind = if unsent { TransportErrorKind::NotSent } else { TransportErrorKind::Refused };
            return TransportError::new(kind, link.close_reason().map_or_else(|| error.to_string(), ToString::to_string));
        }
        if !error.is_reset() && link.is_unwritten(self.writes) {
            return TransportError::new(TransportErrorKind::NotSent, self.connection_text(error));
        }
        if error.is_remote() && error.reason() == Some(Reason::REFUSED_STREAM) {
            return TransportError::new(TransportErrorKind::Refused, code_name(Reason::REFUSED_STREAM.into()));
        }
        self.explain_after_headers(error)
    }

    /// After response headers the server has seen the call, whatever it says.
    pub(super) fn explain_after_headers(&self, error: &h2::Error) -> TransportError {
        if let Some(failure) = self.pump.as_ref().and_then(PumpGuard::failure) {
            return failure;
        }
        match error.reason() {
            Some(reason) if error.is_reset() => {
                let by = if error.is_remote() { "by the server" } else { "by this client" };
                let text = format!("{} {by}", code_name(reason.into()));
                TransportError::new(TransportErrorKind::Reset(reason.into()), text)
            }
            _ => TransportError::new(TransportErrorKind::Lost, self.connection_text(error)),
        }
    }

    /// Why the connection ended, if it is known; it says more than the error of one stream.
    fn connection_text(&self, error: &h2::Error) -> String {
        self.permit.link.end_reason().map_or_else(|| error.to_string(), ToString::to_string)
    }
}

impl Drop for Claim {
    /// Before the permit is given back: who sees that the stream is over finds it counted.
    fn drop(&mut self) {
        self.permit.link.traffic.ended(self.whole);
    }
}

/// A body whose first data was taken already.
struct Chained<B> {
    second: Option<Bytes>,
    rest: B,
}

impl<B: Body<Data = Bytes> + Unpin> Body for Chained<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
        match self.second.take() {
            Some(data) => Poll::Ready(Some(Ok(http_body::Frame::data(data)))),
            None => Pin::new(&mut self.rest).poll_frame(cx),
        }
    }
}

impl<B> std::fmt::Debug for ResponseFuture<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let stage = match &self.stage {
            Stage::Unsent(unsent) if matches!(unsent.place, Place::Queued(_)) => "waiting for a stream",
            Stage::Unsent(_) => "new",
            Stage::Sent(..) => "sent",
            Stage::Failed(_) => "failed",
            Stage::Done => "done",
        };
        f.debug_struct("ResponseFuture").field("stage", &stage).finish()
    }
}
