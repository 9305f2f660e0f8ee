//! Counts the calls of a channel, for who asks for it.
//!
//! A channel that was not asked to count pays one load and one branch per call. One that counts pays a reading of the clock and four
//! additions, on one of [`STRIPES`] pairs of cache lines, so that threads do not wait for each other. Nothing is allocated by calls.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::SystemTime;

use tokio::time::Instant;

/// As many as cores that share a channel often; a few threads on one of them do no harm.
const STRIPES: usize = 8;

/// How many calls a channel had, and what became of them. Made by [`LbChannel::count_calls`](crate::LbChannel::count_calls).
///
/// Calls, not attempts: a call that was sent three times is one, and so is one that never found an endpoint or was shed. Calls that were
/// in progress when counting began are not among them.
#[derive(Debug)]
pub struct CallCounts {
    since: Instant,
    stripes: [Stripe; STRIPES],
}

#[derive(Debug, Default)]
#[repr(align(128))]
struct Stripe {
    started: AtomicU64,
    succeeded: AtomicU64,
    failed: AtomicU64,
    /// Microseconds after `since`, and one more; 0 is never.
    last: AtomicU64,
}

impl Default for CallCounts {
    /// Begins now.
    fn default() -> Self {
        Self { since: Instant::now(), stripes: Default::default() }
    }
}

impl CallCounts {
    /// Calls begun.
    pub fn started(&self) -> u64 {
        self.sum(|stripe| &stripe.started)
    }

    /// Calls that ended with status OK.
    pub fn succeeded(&self) -> u64 {
        self.sum(|stripe| &stripe.succeeded)
    }

    /// Calls that ended in any other way, those that their callers gave up included.
    pub fn failed(&self) -> u64 {
        self.sum(|stripe| &stripe.failed)
    }

    /// When the latest call began; `None` before the first. Reckoned back from the present time of day.
    pub fn last_started_at(&self) -> Option<SystemTime> {
        let last = self.stripes.iter().map(|stripe| stripe.last.load(Ordering::Relaxed)).max()?.checked_sub(1)?;
        let at = self.since.checked_add(std::time::Duration::from_micros(last))?;
        SystemTime::now().checked_sub(Instant::now().saturating_duration_since(at))
    }

    fn sum(&self, counter: impl Fn(&Stripe) -> &AtomicU64) -> u64 {
        self.stripes.iter().map(|stripe| counter(stripe).load(Ordering::Relaxed)).sum()
    }
}

/// One call that counts; failed, if it is dropped without a word.
#[derive(Debug)]
pub(crate) struct Tally {
    counts: Arc<CallCounts>,
    stripe: usize,
    succeeded: bool,
}

impl Tally {
    /// A call begins.
    pub(crate) fn begin(counts: &Arc<CallCounts>) -> Self {
        let stripe = stripe();
        let counted = &counts.stripes[stripe];
        counted.started.fetch_add(1, Ordering::Relaxed);
        let passed = Instant::now().saturating_duration_since(counts.since).as_micros();
        counted.last.store(u64::try_from(passed).unwrap_or(u64::MAX - 1) + 1, Ordering::Relaxed);
        Self { counts: Arc::clone(counts), stripe, succeeded: false }
    }

    /// It ends.
    pub(crate) fn end(mut self, succeeded: bool) {
        self.succeeded = succeeded;
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        let counted = &self.counts.stripes[self.stripe];
        let counter = if self.succeeded { &counted.succeeded } else { &counted.failed };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// This thread's; the first if the thread is about to end.
fn stripe() -> usize {
    static THREADS: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static STRIPE: usize = THREADS.fetch_add(1, Ordering::Relaxed) % STRIPES;
    }
    STRIPE.try_with(|stripe| *stripe).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_add_up() {
        let counts = Arc::new(CallCounts::default());
        assert_eq!(counts.last_started_at(), None);
        std::thread::scope(|scope| {
            for _ in 0..20 {
                scope.spawn(|| {
                    Tally::begin(&counts).end(true);
                    Tally::begin(&counts).end(false);
                    drop(Tally::begin(&counts));
                });
            }
        });
        assert_eq!((counts.started(), counts.succeeded(), counts.failed()), (60, 20, 40));
        assert!(counts.last_started_at().is_some());
    }
}
