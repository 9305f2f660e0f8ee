//! Calls and errors a second.
//!
//! Counted over whole windows of a second: whoever first looks after a window has ended computes the rate of it and begins the next. A
//! server that was idle for longer gets the rate over all that time. Before the first window has ended nothing is said, because a rate
//! over a moment would be anything.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Short enough to follow a burst, long enough for a server with few calls; gRPC's weights are renewed once a second.
const WINDOW_MS: u64 = 1000;

#[derive(Debug, Default)]
pub(crate) struct Rates {
    calls: AtomicU64,
    errors: AtomicU64,
    /// When the present window began, in milliseconds, and what had been counted by then.
    since: AtomicU64,
    calls_before: AtomicU64,
    errors_before: AtomicU64,
    /// Of the last full window, `f64` as bits.
    qps: AtomicU64,
    eps: AtomicU64,
}

impl Rates {
    /// Counts a call that has ended at `now` since the start; answers which it is.
    pub(crate) fn count(&self, failed: bool, now: Duration) -> u64 {
        self.turn(now);
        if failed {
            self.errors.fetch_add(1, Ordering::Relaxed);
        }
        self.calls.fetch_add(1, Ordering::Relaxed)
    }

    /// Calls and errors a second over the last full window; 0 before there was one.
    pub(crate) fn per_second(&self, now: Duration) -> (f64, f64) {
        self.turn(now);
        let rate = |bits: &AtomicU64| f64::from_bits(bits.load(Ordering::Relaxed));
        (rate(&self.qps), rate(&self.eps))
    }

    #[inline]
    fn turn(&self, now: Duration) {
        let now = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        let since = self.since.load(Ordering::Relaxed);
        if now.saturating_sub(since) >= WINDOW_MS {
            self.begin_window(since, now);
        }
    }

    #[cold]
    fn begin_window(&self, since: u64, now: u64) {
        if self.since.compare_exchange(since, now, Ordering::Relaxed, Ordering::Relaxed).is_err() {
            return;
        }
        let seconds = (now - since) as f64 / 1000.0;
        let rate = |count: &AtomicU64, before: &AtomicU64| {
            let count = count.load(Ordering::Relaxed);
            let new = count.saturating_sub(before.swap(count, Ordering::Relaxed));
            (new as f64 / seconds).to_bits()
        };
        self.qps.store(rate(&self.calls, &self.calls_before), Ordering::Relaxed);
        self.eps.store(rate(&self.errors, &self.errors_before), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn rates_are_those_of_the_last_full_second() {
        let rates = Rates::default();
        for call in 0..200 {
            rates.count(call % 4 == 0, ms(call * 5));
        }
        assert_eq!(rates.per_second(ms(999)), (0.0, 0.0), "nothing is said before a window has ended");
        assert_eq!(rates.per_second(ms(1000)), (200.0, 50.0));
        rates.count(false, ms(1001));
        assert_eq!(rates.per_second(ms(1500)), (200.0, 50.0));
        assert_eq!(rates.per_second(ms(3000)), (0.5, 0.0), "one call in two seconds");
        assert_eq!(rates.per_second(ms(9000)), (0.0, 0.0));
    }

    #[test]
    fn time_that_goes_back_or_far_ahead_is_harmless() {
        let rates = Rates::default();
        rates.count(true, Duration::MAX);
        rates.count(true, ms(0));
        let (qps, eps) = rates.per_second(Duration::MAX);
        assert!(qps.is_finite() && eps.is_finite());
    }
}
