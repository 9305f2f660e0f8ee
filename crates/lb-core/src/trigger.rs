//! A doorbell between tasks: rung any number of times, heard once.
//!
//! Used to ask a resolver to look again and a health check to check now. Ringing never blocks; rings that arrive before the
//! listener hears are one ring.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;

#[derive(Debug, Default)]
struct Shared {
    rung: AtomicBool,
    waker: AtomicWaker,
}

/// The side that rings.
#[derive(Debug, Clone, Default)]
pub struct Trigger(Arc<Shared>);

/// The side that listens; there is one listener per trigger.
#[derive(Debug, Default)]
pub struct Triggered(Arc<Shared>);

impl Trigger {
    /// A connected pair.
    pub fn pair() -> (Self, Triggered) {
        let shared = Arc::new(Shared::default());
        (Self(Arc::clone(&shared)), Triggered(shared))
    }

    /// Rings; never blocks.
    pub fn fire(&self) {
        self.0.rung.store(true, Ordering::Release);
        self.0.waker.wake();
    }
}

impl Triggered {
    /// Waits for a ring. Cancel safe: a ring is consumed only when this returns.
    pub async fn fired(&mut self) {
        poll_fn(|cx| self.poll_fired(cx)).await;
    }

    /// Polls for a ring and consumes it.
    pub fn poll_fired(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.0.waker.register(cx.waker());
        if self.0.rung.swap(false, Ordering::AcqRel) { Poll::Ready(()) } else { Poll::Pending }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    #[test]
    fn rings_before_listening_are_one_ring() {
        let (trigger, mut triggered) = Trigger::pair();
        let mut cx = Context::from_waker(Waker::noop());
        assert!(triggered.poll_fired(&mut cx).is_pending());
        trigger.fire();
        trigger.fire();
        assert!(triggered.poll_fired(&mut cx).is_ready());
        assert!(triggered.poll_fired(&mut cx).is_pending());
    }
}
