//! The beginning of a request body: is it unary?
//!
//! Most calls send one message. If the body gives one piece of data and then says at once that it is over, the call needs one DATA
//! frame with END_STREAM and no task. `is_end_stream` does not tell (tonic's bodies always say no), so the body is polled a second time.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::Body;

use crate::BoxError;
use crate::error::TransportError;

/// What a body gave in two polls.
pub(super) enum Opening {
    /// Nothing, and that is all.
    Empty,
    /// One piece of data, and that is all.
    Whole(Bytes),
    /// There is more to come.
    Stream(Option<Bytes>, Option<Bytes>),
}

impl Opening {
    pub(super) fn read<B>(body: &mut B, cx: &mut Context<'_>) -> Result<Self, TransportError>
    where
        B: Body<Data = Bytes> + Unpin,
        B::Error: Into<BoxError>,
    {
        if body.is_end_stream() {
            return Ok(Self::Empty);
        }
        let first = match poll_data(body, cx)? {
            Poll::Pending => return Ok(Self::Stream(None, None)),
            Poll::Ready(None) => return Ok(Self::Empty),
            Poll::Ready(Some(data)) => data,
        };
        if body.is_end_stream() {
            return Ok(Self::Whole(first));
        }
        Ok(match poll_data(body, cx)? {
            Poll::Pending => Self::Stream(Some(first), None),
            Poll::Ready(None) => Self::Whole(first),
            Poll::Ready(Some(second)) => Self::Stream(Some(first), Some(second)),
        })
    }
}

/// The next data; trailers of a request are skipped, since gRPC has none.
pub(super) fn poll_data<B>(body: &mut B, cx: &mut Context<'_>) -> Result<Poll<Option<Bytes>>, TransportError>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    loop {
        match Pin::new(&mut *body).poll_frame(cx) {
            Poll::Pending => return Ok(Poll::Pending),
            Poll::Ready(None) => return Ok(Poll::Ready(None)),
            Poll::Ready(Some(Err(error))) => return Err(TransportError::body(error.into())),
            Poll::Ready(Some(Ok(frame))) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Poll::Ready(Some(data)));
                }
            }
        }
    }
}
