//! The task that sends a streamed request body, as fast as the peer's windows allow.
//!
//! It ends when the body ends, when the peer resets the stream, and when the response is dropped or complete: it is linked to the
//! response, since only the response's owner can cancel a call and h2 tells a sender of nothing but the peer's resets.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{Reason, SendStream};
use http_body::Body;
use tokio::task::AbortHandle;

use super::opening::poll_data;
use crate::BoxError;
use crate::conn::{Link, Messages, Traffic, lock};
use crate::error::TransportError;

/// The response's end of the link; dropping it stops the pump.
#[derive(Debug)]
pub(super) struct PumpGuard {
    task: AbortHandle,
    failure: Arc<Mutex<Option<TransportError>>>,
}

impl PumpGuard {
    /// Starts a pump where the connection runs that sends `first`, then the rest of `body`.
    pub(super) fn start<B>(link: &Link, stream: SendStream<Bytes>, tally: Tally, first: Option<Bytes>, body: B) -> Self
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<BoxError>,
    {
        let failure = Arc::default();
        let pump = Pump { stream, body, chunk: first.unwrap_or_default(), tally, failure: Arc::clone(&failure) };
        Self { task: link.runtime.spawn(pump).abort_handle(), failure }
    }

    /// The request body's failure, if that is why the stream was reset.
    pub(super) fn failure(&self) -> Option<TransportError> {
        lock(&self.failure).take()
    }
}

impl Drop for PumpGuard {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Counts the messages of one request at its connection.
#[derive(Debug)]
pub(super) struct Tally {
    messages: Messages,
    traffic: Arc<Traffic>,
}

impl Tally {
    pub(super) fn new(link: &Link) -> Self {
        Self { messages: Messages::default(), traffic: Arc::clone(&link.traffic) }
    }

    pub(super) fn count(&mut self, data: &[u8]) {
        self.traffic.sent(self.messages.feed(data));
    }
}

struct Pump<B> {
    stream: SendStream<Bytes>,
    body: B,
    /// Data that waits for room.
    chunk: Bytes,
    tally: Tally,
    failure: Arc<Mutex<Option<TransportError>>>,
}

impl<B> Pump<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    /// Sends the waiting data. `Err` when the stream takes no more.
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Gone>> {
        while !self.chunk.is_empty() {
            self.stream.reserve_capacity(self.chunk.len());
            let mut room = self.stream.capacity();
            if room == 0 {
                room = match ready!(self.stream.poll_capacity(cx)) {
                    Some(Ok(room)) => room,
                    Some(Err(_)) | None => return Poll::Ready(Err(Gone)),
                };
            }
            let now = self.chunk.split_to(room.min(self.chunk.len()));
            self.tally.count(&now);
            self.stream.send_data(now, false).map_err(|_| Gone)?;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Gone>> {
        loop {
            ready!(self.poll_chunk(cx))?;
            match poll_data(&mut self.body, cx) {
                Ok(Poll::Pending) => return Poll::Pending,
                Ok(Poll::Ready(Some(data))) => self.chunk = data,
                Ok(Poll::Ready(None)) => return Poll::Ready(self.stream.send_data(Bytes::new(), true).map_err(|_| Gone)),
                Err(error) => {
                    *lock(&self.failure) = Some(error);
                    self.stream.send_reset(Reason::CANCEL);
                    return Poll::Ready(Err(Gone));
                }
            }
        }
    }
}

/// The stream takes no more; the response knows why.
struct Gone;

impl<B> Future for Pump<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let me = self.get_mut();
        match me.poll_body(cx) {
            Poll::Ready(_) => Poll::Ready(()),
            // Neither a full window nor a quiet body notices that the peer has ended the stream.
            Poll::Pending => me.stream.poll_reset(cx).map(|_| ()),
        }
    }
}
