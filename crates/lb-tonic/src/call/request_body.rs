//! The body of a request, in a form that can be sent again.
//!
//! A unary request is one piece of bytes, and sending it again is cloning a reference. A stream is recorded as it is sent, up to
//! a limit, until the call is committed by response headers; a later attempt replays the record and goes on with the rest.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use lb_transport::Payload;
use tonic::Status;
use tonic::body::Body;

use crate::error::CallError;

use super::message_size::MessageSize;
use super::replay::{Reader, Replay};
use super::trace::SentWatch;
use crate::repeats::{Allowance, Budget};

/// A unary request below this is kept without being counted: a thousand calls at once keep 4 MiB that way, and most calls are spared a
/// counter that all of them share.
const UNCOUNTED: usize = 4 * 1024;

/// A request before it is found out whether it is unary. Taking a second look at the body after the first piece is the only way:
/// tonic's request bodies do not say beforehand that they have ended.
#[derive(Debug)]
pub(crate) struct Beginning {
    source: Body,
    limit: Option<usize>,
}

/// What a call sends, in a form that can be sent again.
#[derive(Debug)]
pub(crate) enum Content {
    /// The whole body in one piece, and what it takes of the budget; no piece at all for a stream that ended without a message.
    Unary(Option<Bytes>, #[allow(dead_code, reason = "kept to be dropped")] Option<Box<Held>>),
    /// More to come, or more than may be kept.
    Stream(Arc<Replay>),
}

/// Bytes of the channel's budget that one call holds. Boxed, because few calls do.
#[derive(Debug)]
pub(crate) struct Held {
    size: usize,
    budget: Arc<Budget>,
}

/// The body of one attempt.
pub(crate) struct RequestBody {
    content: Outgoing,
    /// Who counts what is sent, if it is counted here.
    pub(super) watch: Option<Arc<SentWatch>>,
}

#[derive(Debug)]
enum Outgoing {
    Unary(Option<Bytes>),
    Stream(Reader),
    /// Sent once and not kept.
    Once(Body),
}

impl Beginning {
    #[inline]
    pub(crate) fn new(source: Body) -> Self {
        Self { source, limit: None }
    }

    /// Limits messages, before any was looked at.
    pub(crate) fn limit(&mut self, limit: usize) {
        self.limit = Some(limit);
    }

    /// What the call sends, by what is there of it now; never waits, because a stream's headers must go out before its first message.
    /// `limited` says whether a policy may send it again: then what is kept of it is limited, even if it is one piece; transparent retries
    /// alone keep that, which is cheap, for it is not copied.
    #[inline]
    pub(crate) fn content(&mut self, cx: &mut Context<'_>, allowance: &Allowance, limited: bool) -> Result<Content, Status> {
        let mut limit = self.limit.map(|limit| MessageSize::new("request", limit));
        let mut next = |source: &mut Body| {
            let polled = poll_data(source, cx)?;
            if let (Poll::Ready(Some(bytes)), Some(limit)) = (&polled, &mut limit) {
                limit.check(bytes)?;
            }
            Ok::<_, Status>(polled)
        };
        let (kept, whole) = match next(&mut self.source)? {
            Poll::Ready(None) => return Ok(Content::Unary(None, None)),
            Poll::Pending => (VecDeque::new(), false),
            Poll::Ready(Some(first)) => match next(&mut self.source)? {
                Poll::Ready(None) => match Content::unary(first, allowance, limited) {
                    Ok(content) => return Ok(content),
                    Err(first) => ([first].into(), true),
                },
                Poll::Ready(Some(second)) => ([first, second].into(), false),
                Poll::Pending => ([first].into(), false),
            },
        };
        let source = std::mem::take(&mut self.source);
        Ok(Content::Stream(Replay::new(source, limit, kept, whole, allowance.clone())))
    }
}

impl Held {
    fn new(size: usize, allowance: &Allowance) -> Option<Box<Self>> {
        let allowed = size <= allowance.per_call && allowance.budget.take(size);
        allowed.then(|| Box::new(Self { size, budget: Arc::clone(&allowance.budget) }))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.budget.give_back(self.size);
    }
}

impl Default for Content {
    fn default() -> Self {
        Self::Unary(None, None)
    }
}

impl Content {
    /// All of it in one piece; given back if that is more than may be kept.
    #[inline]
    fn unary(bytes: Bytes, allowance: &Allowance, limited: bool) -> Result<Self, Bytes> {
        if !limited || bytes.len() < UNCOUNTED.min(allowance.per_call + 1) {
            return Ok(Self::Unary(Some(bytes), None));
        }
        match Held::new(bytes.len(), allowance) {
            Some(held) => Ok(Self::Unary(Some(bytes), Some(held))),
            None => Err(bytes),
        }
    }

    /// A body for the next attempt; `None` if what was sent is no longer there to be sent again.
    pub(crate) fn attempt(&self) -> Option<RequestBody> {
        match self {
            Self::Unary(bytes, _) => Some(Outgoing::Unary(bytes.clone()).into()),
            Self::Stream(replay) => replay.reader().map(|reader| Outgoing::Stream(reader).into()),
        }
    }

    /// Limits messages after the request was looked at, and before it was sent for the first time.
    pub(crate) fn limit(&self, limit: usize) -> Result<(), CallError> {
        let mut sizes = MessageSize::new("request", limit);
        match self {
            Self::Unary(bytes, _) => bytes.iter().try_for_each(|bytes| sizes.check(bytes)),
            Self::Stream(replay) => replay.limit(sizes),
        }
    }

    /// A body for a further attempt beside others, and the mark it is known by; `None` as above, or if too much was sent.
    pub(crate) fn hedge(&self) -> Option<(RequestBody, u32)> {
        match self {
            Self::Unary(bytes, _) => Some((Outgoing::Unary(bytes.clone()).into(), 0)),
            Self::Stream(replay) => replay.further_reader().map(|reader| {
                let epoch = reader.epoch();
                (Outgoing::Stream(reader).into(), epoch)
            }),
        }
    }

    /// Whether another attempt could send everything.
    pub(crate) fn is_repeatable(&self) -> bool {
        match self {
            Self::Unary(..) => true,
            Self::Stream(replay) => replay.is_whole(),
        }
    }

    /// Whether the call stays with other attempts than the one of this mark.
    pub(crate) fn is_superseded(&self, epoch: u32) -> bool {
        match self {
            Self::Unary(..) => false,
            Self::Stream(replay) => replay.is_superseded(epoch),
        }
    }

    /// The call will not be sent again: it stays with the attempt of this mark, or with the one it has.
    pub(crate) fn commit(&self, epoch: Option<u32>) {
        if let Self::Stream(replay) = self {
            replay.commit(epoch);
        }
    }
}

impl RequestBody {
    /// All that is sent, if that is one piece.
    pub(super) fn whole(&self) -> Option<&[u8]> {
        match &self.content {
            Outgoing::Unary(bytes) => Some(bytes.as_deref().unwrap_or_default()),
            Outgoing::Stream(_) | Outgoing::Once(_) => None,
        }
    }

    /// What the transport is given: a piece that nobody counts needs no body around it.
    #[inline]
    pub(crate) fn into_payload(self) -> Payload<Self> {
        match self {
            Self { content: Outgoing::Unary(Some(bytes)), watch: None } => Payload::Whole(bytes),
            body => Payload::Body(body),
        }
    }

    /// A body that is not kept for another attempt.
    pub(crate) fn once(body: Body) -> Self {
        Outgoing::Once(body).into()
    }
}

impl From<Outgoing> for RequestBody {
    fn from(content: Outgoing) -> Self {
        Self { content, watch: None }
    }
}

impl std::fmt::Debug for RequestBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.content.fmt(f)
    }
}

impl Outgoing {
    #[inline]
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Status>>> {
        match self {
            Self::Unary(bytes) => Poll::Ready(bytes.take().map(Ok)),
            Self::Stream(reader) => reader.poll(cx),
            Self::Once(body) => poll_data(body, cx),
        }
    }
}

/// The next data of a body; trailers of requests mean nothing in gRPC and are passed over.
pub(super) fn poll_data(body: &mut Body, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Status>>> {
    loop {
        match ready!(http_body::Body::poll_frame(Pin::new(&mut *body), cx)) {
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    return Poll::Ready(Some(Ok(data)));
                }
            }
            Some(Err(status)) => return Poll::Ready(Some(Err(status))),
            None => return Poll::Ready(None),
        }
    }
}

impl http_body::Body for RequestBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        let next = this.content.poll(cx);
        if let (Some(watch), Poll::Ready(Some(Ok(bytes)))) = (&this.watch, &next) {
            watch.sent(bytes);
        }
        next.map_ok(Frame::data)
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.content, Outgoing::Unary(None))
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Outgoing::Unary(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            Outgoing::Stream(_) | Outgoing::Once(_) => SizeHint::default(),
        }
    }
}

#[cfg(test)]
mod tests;
