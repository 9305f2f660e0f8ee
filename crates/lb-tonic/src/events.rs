//! Following what happens in a channel.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use lb_core::LbEvent;
use tokio::sync::broadcast::{Receiver, error::RecvError};

/// The events of a channel as they happen; ends with the channel. [`LbEvent::Lagged`] says how many were lost by being too slow.
pub struct Events(BoxStream<'static, LbEvent>);

impl Events {
    pub(crate) fn new(receiver: Receiver<LbEvent>) -> Self {
        let events = stream::unfold(receiver, |mut receiver| async move {
            match receiver.recv().await {
                Ok(event) => Some((event, receiver)),
                Err(RecvError::Lagged(lost)) => Some((LbEvent::Lagged(lost), receiver)),
                Err(RecvError::Closed) => None,
            }
        });
        Self(events.boxed())
    }

    /// The next event; `None` when the channel has ended. Cancel safe.
    pub async fn next(&mut self) -> Option<LbEvent> {
        self.0.next().await
    }
}

impl Stream for Events {
    type Item = LbEvent;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<LbEvent>> {
        self.0.as_mut().poll_next(cx)
    }
}

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Events")
    }
}
