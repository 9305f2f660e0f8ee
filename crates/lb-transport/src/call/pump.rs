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
use tokio::runtime::Handle;
use tokio::task::AbortHandle;

use super::opening::poll_data;
use crate::BoxError;
use crate::conn::lock;
use crate::error::TransportError;

/// The response's end of the link; dropping it stops the pump.
#[derive(Debug)]
pub(super) struct PumpGuard {
    task: AbortHandle,
    failure: Arc<Mutex<Option<TransportError>>>,
}

impl PumpGuard {
    /// Starts a pump on `runtime` that sends `first`, then the rest of `body`.
    pub(super) fn start<B>(runtime: &Handle, stream: SendStream<Bytes>, first: Option<Bytes>, body: B) -> Self
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<BoxError>,
    {
        let failure = Arc::default();
        let pump = Pump { stream, body, chunk: first.unwrap_or_default(), failure: Arc::clone(&failure) };
        Self { task: runtime.spawn(pump).abort_handle(), failure }
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

struct Pump<B> {
    stream: SendStream<Bytes>,
    body: B,
    /// Data that waits for room.
    chunk: Bytes,
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
