//! What went over one connection, counted.
//!
//! Always on: a unary call costs four additions to a cache line that its permit has just written anyway, and the prefixes of its
//! messages are looked at. The clock is read by the connection's task, once per turn in which something was sent or arrived, not by
//! calls. Relaxed atomics: each is exact, several read together may be a moment apart.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::time::Instant;

/// Counters and times of one connection.
#[derive(Debug)]
pub(crate) struct Traffic {
    begun: Instant,
    started: AtomicU64,
    succeeded: AtomicU64,
    failed: AtomicU64,
    sent: AtomicU64,
    received: AtomicU64,
    pings: AtomicU64,
    stream_at: Moment,
    sent_at: Moment,
    received_at: Moment,
}

/// Microseconds after the connection began, and one more; 0 is never.
#[derive(Debug, Default)]
struct Moment(AtomicU64);

/// What the connection's task has seen of the counters.
#[derive(Debug, Default)]
pub(super) struct Noted {
    started: u64,
    sent: u64,
}

/// The counters at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) begun: Instant,
    pub(crate) started: u64,
    pub(crate) succeeded: u64,
    pub(crate) failed: u64,
    pub(crate) sent: u64,
    pub(crate) received: u64,
    pub(crate) pings: u64,
    pub(crate) stream_at: Option<Instant>,
    pub(crate) sent_at: Option<Instant>,
    pub(crate) received_at: Option<Instant>,
}

impl Traffic {
    pub(super) fn new(now: Instant) -> Self {
        let zero = || AtomicU64::new(0);
        let moment = Moment::default;
        Self {
            begun: now,
            started: zero(),
            succeeded: zero(),
            failed: zero(),
            sent: zero(),
            received: zero(),
            pings: zero(),
            stream_at: moment(),
            sent_at: moment(),
            received_at: moment(),
        }
    }

    /// A stream is open. Only ever called under the lock of the connection's sender, which spares a locked instruction.
    #[inline]
    pub(super) fn opened(&self) {
        self.started.store(self.started.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// A stream has ended, `whole` if the server's end of it was seen.
    #[inline]
    pub(crate) fn ended(&self, whole: bool) {
        let counter = if whole { &self.succeeded } else { &self.failed };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// So many messages were handed to h2.
    #[inline]
    pub(crate) fn sent(&self, messages: u64) {
        if messages > 0 {
            self.sent.fetch_add(messages, Ordering::Relaxed);
        }
    }

    /// So many messages were read.
    #[inline]
    pub(crate) fn received(&self, messages: u64) {
        if messages > 0 {
            self.received.fetch_add(messages, Ordering::Relaxed);
        }
    }

    pub(super) fn pinged(&self) {
        self.pings.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes when things happened; for the connection's task, after each turn. `data` says that some has arrived.
    #[inline]
    pub(super) fn note(&self, noted: &mut Noted, data: bool, now: impl FnOnce() -> Instant) {
        let (started, sent) = (self.started.load(Ordering::Relaxed), self.sent.load(Ordering::Relaxed));
        let (stream, message) = (started != noted.started, sent != noted.sent);
        if stream || message || data {
            *noted = Noted { started, sent };
            let passed = now().saturating_duration_since(self.begun).as_micros();
            let moment = u64::try_from(passed).unwrap_or(u64::MAX - 1) + 1;
            for (at, happened) in [(&self.stream_at, stream), (&self.sent_at, message), (&self.received_at, data)] {
                if happened {
                    at.0.store(moment, Ordering::Relaxed);
                }
            }
        }
    }

    pub(super) fn totals(&self) -> Totals {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        // Ended streams before begun ones: never more of the former.
        let (succeeded, failed) = (read(&self.succeeded), read(&self.failed));
        Totals {
            begun: self.begun,
            started: read(&self.started),
            succeeded,
            failed,
            sent: read(&self.sent),
            received: read(&self.received),
            pings: read(&self.pings),
            stream_at: self.stream_at.after(self.begun),
            sent_at: self.sent_at.after(self.begun),
            received_at: self.received_at.after(self.begun),
        }
    }
}

impl Moment {
    fn after(&self, begun: Instant) -> Option<Instant> {
        let micros = self.0.load(Ordering::Relaxed).checked_sub(1)?;
        begun.checked_add(std::time::Duration::from_micros(micros))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_clock_is_read_only_when_something_happened() {
        let begun = Instant::now();
        let (traffic, mut noted) = (Traffic::new(begun), Noted::default());
        traffic.note(&mut noted, false, || unreachable!("nothing happened"));
        assert_eq!(traffic.totals().stream_at, None);
        traffic.opened();
        traffic.note(&mut noted, false, || begun);
        assert_eq!(traffic.totals().stream_at, Some(begun));
        traffic.sent(0);
        traffic.note(&mut noted, false, || unreachable!("nothing happened since"));
        let later = begun + Duration::from_millis(7);
        traffic.sent(2);
        traffic.note(&mut noted, true, || later);
        let totals = traffic.totals();
        assert_eq!((totals.stream_at, totals.sent_at, totals.received_at), (Some(begun), Some(later), Some(later)));
        assert_eq!((totals.started, totals.sent, totals.received), (1, 2, 0));
    }
}
