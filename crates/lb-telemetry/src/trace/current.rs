//! The context that work on this thread is done in now.
//!
//! A server's layer sets it while the handler runs, and calls that the handler makes find it, without OpenTelemetry and without a
//! `tracing` subscriber.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use super::context::TraceContext;

thread_local! {
    static CURRENT: RefCell<Option<TraceContext>> = const { RefCell::new(None) };
    /// Whether there is one: for calls that only ask that, which are most, and need no borrowing and no look at whether the thread ends.
    static IS_SET: Cell<bool> = const { Cell::new(false) };
}

impl TraceContext {
    /// What the calls of this task belong to, where a [`TraceLayer`](super::TraceLayer) or a [`scope`](Self::scope) has said so.
    pub fn current() -> Option<Self> {
        CURRENT.with_borrow(Option::clone)
    }

    /// Whether there is a [current](Self::current) one.
    #[inline]
    pub(super) fn is_set() -> bool {
        IS_SET.get()
    }

    /// Does the work of `future` in this context: calls that it makes, and whatever asks for the [current](Self::current) one, are in it.
    /// Tasks that it spawns are not. Cancel safe if `future` is.
    ///
    /// ```
    /// # use lb_telemetry::trace::TraceContext;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// // What came with a message from a queue, say.
    /// let context = TraceContext::root();
    /// let id = context.trace_id();
    /// context.scope(async move { assert_eq!(TraceContext::current().map(|now| now.trace_id()), Some(id)) }).await;
    /// # }
    /// ```
    pub fn scope<F: Future>(self, future: F) -> Scope<F> {
        Scope { future, context: self }
    }
}

pin_project! {
    /// A future that works in a context. From [`TraceContext::scope`].
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct Scope<F> {
        #[pin]
        future: F,
        context: TraceContext,
    }
}

impl<F: Future> Future for Scope<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let _entered = Entered::new(this.context);
        this.future.poll(cx)
    }
}

/// Gives back the context that was there before, whatever happens meanwhile.
pub(super) struct Entered(Option<TraceContext>);

impl Entered {
    pub(super) fn new(context: &TraceContext) -> Self {
        IS_SET.set(true);
        Self(CURRENT.replace(Some(context.clone())))
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        IS_SET.set(self.0.is_some());
        CURRENT.set(self.0.take());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_scope_ends_at_every_await_and_begins_again() {
        let (outer, inner) = (TraceContext::root(), TraceContext::root());
        let work = async {
            for _ in 0..3 {
                assert_eq!(TraceContext::current().as_ref(), Some(&inner));
                tokio::task::yield_now().await;
            }
        };
        let between = async {
            for _ in 0..3 {
                assert_eq!(TraceContext::current(), Some(outer.clone()));
                tokio::task::yield_now().await;
            }
        };
        outer.clone().scope(async { tokio::join!(inner.clone().scope(work), between) }).await;
        assert_eq!(TraceContext::current(), None);
    }

    #[tokio::test]
    async fn a_panic_leaves_nothing_behind() {
        let panics = TraceContext::root().scope(async { panic!("on purpose") });
        let caught = futures_util::FutureExt::catch_unwind(std::panic::AssertUnwindSafe(panics)).await;
        assert!(caught.is_err());
        assert_eq!(TraceContext::current(), None);
    }
}
