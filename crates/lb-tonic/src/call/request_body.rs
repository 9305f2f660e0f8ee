//! The body of a request, in a form that can be sent again.
//!
//! A unary request is one piece of bytes, and sending it again is cloning a reference. A stream is recorded as it is sent, up to
//! a limit, until the call is committed by response headers; a later attempt replays the record and goes on with the rest.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tonic::Status;
use tonic::body::Body;

use crate::error::CallError;

use super::message_size::MessageSize;

/// How many bytes of a stream are kept for another attempt; gRPC's default per call.
const REPLAY_LIMIT: usize = 256 * 1024;

/// A request while it is found out whether it is unary. Taking a second look at the body after the first piece is the only way:
/// tonic's request bodies do not say beforehand that they have ended.
#[derive(Debug)]
pub(crate) struct Beginning {
    source: Body,
    taken: [Option<Bytes>; 2],
    whole: bool,
    limit: Option<MessageSize>,
}

/// What a call sends, in a form that can be sent again.
#[derive(Debug)]
pub(crate) enum Content {
    /// The whole body in one piece; none at all for a stream that ended without a message.
    Unary(Option<Bytes>),
    /// More to come.
    Stream(Arc<Replay>),
}

/// The body of one attempt.
#[derive(Debug)]
pub(crate) enum RequestBody {
    Unary(Option<Bytes>),
    Stream(Reader),
    /// Sent once and not kept.
    Once(Body),
}

/// A stream and the record of what was taken from it.
#[derive(Debug)]
pub(crate) struct Replay(Mutex<Record>);

#[derive(Debug)]
struct Record {
    source: Body,
    limit: Option<MessageSize>,
    ended: bool,
    /// What was taken, from position `start` on.
    kept: VecDeque<Bytes>,
    start: usize,
    bytes: usize,
    /// Whether what is taken is kept; once off never on again.
    keeping: bool,
    /// Which attempt may read; earlier ones are over.
    epoch: u32,
}

/// One attempt's place in a stream.
#[derive(Debug)]
pub(crate) struct Reader {
    replay: Arc<Replay>,
    position: usize,
    epoch: u32,
}

impl Beginning {
    pub(crate) fn new(source: Body, limit: Option<usize>) -> Self {
        Self { source, taken: [None, None], whole: false, limit: limit.map(|limit| MessageSize::new("request", limit)) }
    }

    /// Looks at what is there now; never waits, because a stream's headers must go out before its first message.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Result<(), Status> {
        for place in 0..self.taken.len() {
            match poll_data(&mut self.source, cx)? {
                Poll::Ready(Some(bytes)) => {
                    if let Some(limit) = &mut self.limit {
                        limit.check(&bytes)?;
                    }
                    self.taken[place] = Some(bytes);
                }
                Poll::Ready(None) => {
                    self.whole = true;
                    break;
                }
                Poll::Pending => break,
            }
        }
        Ok(())
    }
}

impl From<Beginning> for Content {
    fn from(beginning: Beginning) -> Self {
        let [first, second] = beginning.taken;
        if beginning.whole && second.is_none() {
            return Self::Unary(first);
        }
        let kept: VecDeque<Bytes> = first.into_iter().chain(second).collect();
        let bytes = kept.iter().map(Bytes::len).sum();
        Self::Stream(Arc::new(Replay(Mutex::new(Record {
            source: beginning.source,
            limit: beginning.limit,
            ended: beginning.whole,
            kept,
            start: 0,
            bytes,
            keeping: true,
            epoch: 0,
        }))))
    }
}

impl Content {
    /// A body for the next attempt; `None` if what was sent is no longer there to be sent again.
    pub(crate) fn attempt(&self) -> Option<RequestBody> {
        match self {
            Self::Unary(bytes) => Some(RequestBody::Unary(bytes.clone())),
            Self::Stream(replay) => replay.reader().map(RequestBody::Stream),
        }
    }

    /// Limits messages after the request was looked at, and before it was sent for the first time.
    pub(crate) fn limit(&self, limit: usize) -> Result<(), CallError> {
        let mut sizes = MessageSize::new("request", limit);
        match self {
            Self::Unary(bytes) => bytes.iter().try_for_each(|bytes| sizes.check(bytes)),
            Self::Stream(replay) => replay.locked(|record| {
                record.kept.iter().try_for_each(|bytes| sizes.check(bytes))?;
                record.limit = Some(sizes);
                Ok(())
            }),
        }
    }

    /// The call will not be sent again.
    pub(crate) fn commit(&self) {
        if let Self::Stream(replay) = self {
            replay.locked(|record| record.keeping = false);
        }
    }
}

impl Replay {
    fn locked<R>(&self, work: impl FnOnce(&mut Record) -> R) -> R {
        // A panic in the caller's stream poisons the lock; the record itself is whole between any two statements that touch it.
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn reader(self: &Arc<Self>) -> Option<Reader> {
        let epoch = self.locked(|record| {
            record.epoch += 1;
            (record.start == 0 && (record.keeping || record.epoch == 1)).then_some(record.epoch)
        })?;
        Some(Reader { replay: Arc::clone(self), position: 0, epoch })
    }
}

impl Record {
    fn poll(&mut self, position: usize, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Status>>> {
        if let Some(bytes) = self.kept.get(position - self.start) {
            let bytes = bytes.clone();
            if !self.keeping {
                self.start += 1;
                self.kept.pop_front();
            }
            return Poll::Ready(Some(Ok(bytes)));
        }
        if self.ended {
            return Poll::Ready(None);
        }
        match ready!(poll_data(&mut self.source, cx)) {
            Some(Ok(bytes)) => {
                if let Some(limit) = &mut self.limit {
                    limit.check(&bytes)?;
                }
                self.keep(&bytes);
                Poll::Ready(Some(Ok(bytes)))
            }
            last => {
                self.ended = true;
                Poll::Ready(last)
            }
        }
    }

    fn keep(&mut self, bytes: &Bytes) {
        self.bytes += bytes.len();
        if self.keeping && self.bytes <= REPLAY_LIMIT {
            self.kept.push_back(bytes.clone());
        } else {
            // Everything kept was read by the only reader there is, which stands at the end.
            self.keeping = false;
            self.start += self.kept.len() + 1;
            self.kept.clear();
        }
    }
}

impl RequestBody {
    /// A body that is not kept for another attempt.
    pub(crate) fn once(body: Body) -> Self {
        Self::Once(body)
    }
}

/// The next data of a body; trailers of requests mean nothing in gRPC and are passed over.
fn poll_data(body: &mut Body, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Status>>> {
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
        match self.get_mut() {
            Self::Unary(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Stream(reader) => reader.poll(cx).map_ok(Frame::data),
            Self::Once(body) => poll_data(body, cx).map_ok(Frame::data),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Unary(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Unary(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            Self::Stream(_) | Self::Once(_) => SizeHint::default(),
        }
    }
}

impl Reader {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Status>>> {
        let (position, epoch) = (self.position, self.epoch);
        let next = ready!(self.replay.locked(|record| {
            if record.epoch != epoch {
                return Poll::Ready(Some(Err(Status::cancelled("superseded by another attempt"))));
            }
            record.poll(position, cx)
        }));
        self.position += 1;
        Poll::Ready(next)
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use http_body_util::BodyExt;
    use http_body_util::StreamBody;

    use super::*;

    fn source(sizes: &[usize]) -> Body {
        let frames: Vec<Result<Frame<Bytes>, Status>> =
            sizes.iter().map(|size| Ok(Frame::data(Bytes::from(vec![7; *size])))).collect();
        Body::new(StreamBody::new(futures_util::stream::iter(frames)))
    }

    fn read(body: &mut RequestBody, count: usize) -> Vec<usize> {
        let mut cx = Context::from_waker(Waker::noop());
        let mut sizes = Vec::new();
        while sizes.len() < count {
            match Pin::new(&mut *body).frame().poll_unpin_now(&mut cx) {
                Some(frame) => sizes.push(frame),
                None => break,
            }
        }
        sizes
    }

    trait PollNow {
        fn poll_unpin_now(self, cx: &mut Context<'_>) -> Option<usize>;
    }

    impl<F: Future<Output = Option<Result<Frame<Bytes>, Status>>>> PollNow for F {
        fn poll_unpin_now(self, cx: &mut Context<'_>) -> Option<usize> {
            match std::pin::pin!(self).poll(cx) {
                Poll::Ready(Some(frame)) => Some(frame.unwrap().into_data().unwrap().len()),
                _ => None,
            }
        }
    }

    fn stream(sizes: &[usize]) -> Content {
        let mut beginning = Beginning::new(source(sizes), None);
        beginning.poll(&mut Context::from_waker(Waker::noop())).unwrap();
        beginning.into()
    }

    #[test]
    fn one_piece_is_unary_and_two_are_a_stream() {
        assert!(matches!(stream(&[]), Content::Unary(None)));
        assert!(matches!(stream(&[3]), Content::Unary(Some(bytes)) if bytes.len() == 3));
        assert!(matches!(stream(&[3, 4]), Content::Stream(_)));
    }

    #[test]
    fn a_second_attempt_sends_the_same_again_and_then_the_rest() {
        let content = stream(&[5, 1, 2, 3]);
        let mut first = content.attempt().unwrap();
        assert_eq!(read(&mut first, 3), [5, 1, 2]);
        let mut second = content.attempt().unwrap();
        assert_eq!(read(&mut second, 9), [5, 1, 2, 3]);
    }

    #[test]
    fn over_the_limit_there_is_no_second_attempt_and_nothing_is_lost() {
        let content = stream(&[1, 2, REPLAY_LIMIT, 10, 20]);
        let mut first = content.attempt().unwrap();
        assert_eq!(read(&mut first, 9), [1, 2, REPLAY_LIMIT, 10, 20]);
        assert!(content.attempt().is_none());
    }

    #[test]
    fn a_committed_stream_keeps_nothing_and_cannot_be_sent_again() {
        let content = stream(&[5, 1, 2, 3]);
        let mut first = content.attempt().unwrap();
        assert_eq!(read(&mut first, 1), [5]);
        content.commit();
        assert_eq!(read(&mut first, 9), [1, 2, 3]);
        assert!(content.attempt().is_none());
    }

    #[test]
    fn a_message_over_the_size_limit_fails_the_request() {
        let message = Bytes::from_static(&[0, 0, 0, 0, 9, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
        let body = Body::new(http_body_util::Full::new(message).map_err(|never| match never {}));
        let mut beginning = Beginning::new(body, Some(8));
        let status = beginning.poll(&mut Context::from_waker(Waker::noop())).unwrap_err();
        assert_eq!(status.code(), tonic::Code::ResourceExhausted);
    }
}
