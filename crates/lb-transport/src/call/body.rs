//! The body of a response.
//!
//! Flow-control window is given back as data is handed out. For small replies the giving back is left to the end of the stream,
//! where h2 does it for free: up to [`LAZY_WINDOW`] bytes per stream, only as long as the reader is not waiting, and only while so few
//! streams are open that all of them together cannot hold half of the connection's window.
//!
//! When trailers are there, everything the call holds is given up before they are handed out: the stream, its permit and
//! the pump of its request. So whoever sees the trailers sees exact counts.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::RecvStream;
use http_body::{Body, Frame};

use super::claim::Claim;
use crate::conn::Messages;
use crate::error::TransportError;

/// The most window one stream keeps back. Well below the smallest window, 64 KiB; enough for most unary replies.
pub(crate) const LAZY_WINDOW: usize = 4 * 1024;

/// The body of a response: data, then trailers. Dropping it early resets the stream with CANCEL.
#[must_use = "dropping the body cancels the call"]
pub struct H2Body {
    /// `None` once the stream is over. Dropped before the claim.
    stream: Option<RecvStream>,
    claim: Option<Claim>,
    /// Bytes handed out whose window is not given back.
    held: usize,
    messages: Messages,
}

impl H2Body {
    pub(super) fn new(stream: RecvStream, claim: Claim) -> Self {
        Self { stream: Some(stream), claim: Some(claim), held: 0, messages: Messages::default() }
    }

    #[inline]
    fn finish(&mut self) {
        self.stream = None;
        self.claim = None;
    }

    /// The server's end of the stream is here.
    fn complete(&mut self) {
        self.claim.iter_mut().for_each(Claim::is_whole);
        self.finish();
    }

    /// Ends the stream with an error.
    #[cold]
    fn fail(&mut self, error: &h2::Error) -> TransportError {
        let error = self.claim.as_ref().map(|claim| claim.explain_after_headers(error));
        self.finish();
        error.unwrap_or_else(|| TransportError::new(crate::TransportErrorKind::Lost, "stream is over"))
    }

    #[inline]
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, TransportError>>> {
        let Some(stream) = &mut self.stream else { return Poll::Ready(None) };
        match ready!(stream.poll_trailers(cx)) {
            Ok(trailers) => {
                self.complete();
                Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))))
            }
            Err(error) => Poll::Ready(Some(Err(self.fail(&error)))),
        }
    }

    #[inline]
    fn handed_out(&mut self, data: &[u8]) {
        let messages = self.messages.feed(data);
        self.claim.iter().for_each(|claim| claim.received(messages));
        self.held += data.len();
        if self.held > LAZY_WINDOW || !self.claim.as_ref().is_some_and(Claim::is_lazy) {
            self.give_back();
        }
    }

    fn give_back(&mut self) {
        if let Some(stream) = &mut self.stream
            && self.held > 0
        {
            // Cannot fail: we give back what we got.
            let _ = stream.flow_control().release_capacity(self.held);
            self.held = 0;
        }
    }
}

impl Drop for H2Body {
    /// A response of headers alone is often dropped unread. To ask h2 takes its lock, so it is asked only then.
    fn drop(&mut self) {
        if self.stream.as_ref().is_some_and(RecvStream::is_end_stream) {
            self.complete();
        }
    }
}

impl Body for H2Body {
    type Data = Bytes;
    type Error = TransportError;

    #[inline]
    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, TransportError>>> {
        let me = self.get_mut();
        let Some(stream) = &mut me.stream else { return Poll::Ready(None) };
        match stream.poll_data(cx) {
            Poll::Pending => {
                me.give_back();
                Poll::Pending
            }
            Poll::Ready(Some(Ok(data))) => {
                me.handed_out(&data);
                Poll::Ready(Some(Ok(Frame::data(data))))
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(me.fail(&error)))),
            Poll::Ready(None) => me.poll_end(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.stream.is_none()
    }
}

impl std::fmt::Debug for H2Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("H2Body").field("ended", &self.stream.is_none()).finish_non_exhaustive()
    }
}
