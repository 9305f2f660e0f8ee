//! One call, from the caller's request to the response's trailers.
//!
//! ```text
//! Opening ── body looked at ──> has a pick? ── yes ──> Sending ── headers ──> response
//!                                  │ no                   │ not sent, refused for the first time,
//!                                  └──────> Seeking <─────┘ or retried: after a backoff
//! ```
//!
//! The pick is made in [`LbChannel::call`](crate::LbChannel), on the caller's task, with the channel clone's own scratch. A call
//! that finds no endpoint at once *seeks*: it waits for the next generation and picks again, until it finds one, its policy says
//! no, or its deadline passes. A call with a hedging policy is in one more state, `Hedging`, with an attempt or several at once, from its
//! first attempt on. A seek is boxed; everything before and after it is in memory that calls hand on to each other ([`leased`]), so a call that
//! finds its endpoint at once allocates nothing here but the [`PickedEndpoint`](crate::PickedEndpoint) of its response, and is copied nowhere: it is
//! made, sent and read where it stands.
//!
//! Cancel safe: dropping the future at any point takes the call off its endpoint's books and resets its stream.

mod again;
mod configured;
mod drops;
mod exchange;
mod failure;
mod guard;
mod head;
mod hedging;
mod history;
mod judged;
mod leased;
mod message_size;
mod progress;
mod question;
mod replay;
mod request_body;
mod response_body;
mod retained;
mod search;
mod seek;
mod trace;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::Response;
use tonic::Status;

use crate::error::CallError;
use crate::shared::Handle;

pub(crate) use configured::Configured;
pub(crate) use exchange::Exchange;
pub(crate) use failure::{failure, http_failure};
pub(crate) use guard::{Guard, Placement};
pub(crate) use head::{Head, Read};
pub(crate) use message_size::{Messages, Passage};
pub(crate) use request_body::RequestBody;
pub use response_body::ResponseBody;
pub(crate) use search::find_endpoint;
pub(crate) use seek::{LastFailure, Picked, ask, is_plain, pick_by_policy, pick_first};
pub(crate) use trace::{Observers, Watched};

use leased::Leased;

/// The future of one call. Resolves with the response's headers; the rest comes with its body.
#[must_use = "futures do nothing unless polled"]
pub struct Call(Leased);

impl Call {
    /// An empty room for one.
    #[inline]
    pub(crate) fn new() -> Self {
        Self(Leased::new())
    }

    /// A call that is over before it begins.
    #[cold]
    pub(crate) fn refused(handle: Arc<Handle>, error: CallError, begun: Option<Watched>) -> Self {
        let mut call = Self::new();
        if let Some(seat) = call.seat() {
            *seat = Some(Exchange::refused(handle, error, begun));
        }
        call
    }

    /// Where the call is to be.
    #[inline]
    pub(crate) fn seat(&mut self) -> Option<&mut Option<Exchange>> {
        self.0.seat()
    }
}

impl Future for Call {
    type Output = Result<Response<ResponseBody>, Status>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let place = &mut self.get_mut().0;
        let Some(exchange) = place.get() else { return Poll::Ready(Err(exchange::over())) };
        let head = ready!(exchange.poll(cx))?;
        Poll::Ready(Ok(Response::from_parts(head, ResponseBody::new(std::mem::take(place)))))
    }
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.look() {
            Some(exchange) => exchange.fmt(f),
            None => f.write_str("Call (done)"),
        }
    }
}

/// What tonic moves from place to place is one pointer.
const _: () = assert!(size_of::<Call>() == size_of::<usize>() && size_of::<ResponseBody>() == size_of::<usize>());
