//! A source that is being resolved.

use std::future::poll_fn;
use std::task::Context;
use std::task::Poll;

use futures_util::StreamExt;
use futures_util::stream;
use lb_core::ResolveError;
use lb_core::ResolveErrorKind;
use lb_core::ResolverStream;
use lb_core::Trigger;
use tokio::time::Instant;
use tokio::time::sleep_until;

use crate::Answer;
use crate::source::Source;

/// The stream of a source, dropped with this. It never ends: when the source has nothing more to say it is silent.
pub(crate) struct Running {
    source: Source,
    stream: Option<ResolverStream>,
    again: Trigger,
    spoken: bool,
}

impl Running {
    pub(crate) fn start(source: Source) -> Self {
        let (again, heard) = Trigger::pair();
        let stream = Some(source.resolve(heard));
        Self { source, stream, again, spoken: false }
    }

    pub(crate) fn source(&self) -> &Source {
        &self.source
    }

    pub(crate) fn look_again(&self) {
        self.again.fire();
    }

    /// The next answer; errors name the source. Cancel safe.
    pub(crate) async fn next(&mut self) -> Answer {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Answer> {
        let Some(stream) = &mut self.stream else { return Poll::Pending };
        match stream.as_mut().poll_next(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Some(answer)) => {
                self.spoken = true;
                Poll::Ready(answer.map_err(|error| self.source.named(&error)))
            }
            Poll::Ready(None) => {
                self.stream = None;
                if self.spoken {
                    return Poll::Pending;
                }
                let message = format!("{}: the resolver ended without an answer", self.source);
                Poll::Ready(Err(ResolveError::new(ResolveErrorKind::Unavailable, message)))
            }
        }
    }
}

/// A state that yields answers, as a stream that ends never.
pub(crate) trait Flow: Send + 'static {
    /// The next answer.
    fn next(&mut self) -> impl Future<Output = Answer> + Send;
}

pub(crate) fn stream_of(flow: impl Flow) -> ResolverStream {
    stream::unfold(flow, |mut flow| async move {
        let answer = flow.next().await;
        Some((answer, flow))
    })
    .boxed()
}

/// Waits until then; for ever without a then. Cancel safe.
pub(crate) async fn until(then: Option<Instant>) {
    match then {
        Some(then) => sleep_until(then).await,
        None => std::future::pending().await,
    }
}
