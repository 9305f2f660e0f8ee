//! Opening a stream for a request.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::Request;
use http_body::{Body, Frame};

use super::claim::Claim;
use super::opening::Opening;
use super::pump::{PumpGuard, Tally};
use crate::BoxError;
use crate::conn::{Messages, Permit};
use crate::error::TransportError;

/// A first message of up to this many bytes is sent along with the headers of a streamed request, without asking for window: the
/// smallest initial window a server may be expected to have is four times as large.
const FIRST_MESSAGE: usize = 16 * 1024;

/// What a request carries.
#[derive(Debug)]
pub enum Payload<B> {
    /// This, and that is all. The usual unary request.
    Whole(Bytes),
    /// What the body gives.
    Body(B),
}

/// The stream, and what it holds.
pub(super) type Sent = Result<(h2::client::ResponseFuture, Claim), TransportError>;

/// Opens a stream and sends this, which is all.
#[inline]
pub(super) fn send_whole(cx: &mut Context<'_>, head: Request<()>, data: Bytes, permit: Permit) -> Sent {
    let link = &permit.link;
    let mut opened = link.open(cx, head, false)?;
    link.traffic.sent(Messages::default().feed(&data));
    // A failure to send is a failure of the stream, which the response tells better.
    let _ = opened.request.send_data(data, true);
    Ok((opened.response, Claim { pump: None, permit, writes: opened.writes, whole: false }))
}

/// Opens a stream and sends as much of the body as there is.
pub(super) fn send<B>(cx: &mut Context<'_>, head: Request<()>, mut body: B, permit: Permit) -> Sent
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    let opening = match Opening::read(&mut body, cx)? {
        Opening::Whole(data) => return send_whole(cx, head, data, permit),
        opening => opening,
    };
    let link = &permit.link;
    let mut opened = link.open(cx, head, matches!(opening, Opening::Empty))?;
    // A failure to send is a failure of the stream, which the response tells better.
    let pump = match opening {
        Opening::Empty | Opening::Whole(_) => None,
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

/// A body whose first data was taken already.
struct Chained<B> {
    second: Option<Bytes>,
    rest: B,
}

impl<B: Body<Data = Bytes> + Unpin> Body for Chained<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match self.second.take() {
            Some(data) => Poll::Ready(Some(Ok(Frame::data(data)))),
            None => Pin::new(&mut self.rest).poll_frame(cx),
        }
    }
}
