//! When a stream that has ended is opened again.
//!
//! One that brought a message is opened again at once and its failures are forgotten; one that brought none after a growing delay. A
//! server that answers every stream with one message and closes it would make "at once" a busy loop, so an immediate retry that
//! follows another within the first delay waits that delay instead. This is the one difference to gRFC A51.

use std::time::Duration;

use lb_core::{Backoff, BackoffConfig, Entropy};
use tokio::time::{Instant, sleep_until};

/// The retries of one stream.
#[derive(Debug)]
pub(super) struct Pace {
    first: Duration,
    backoff: Backoff,
    entropy: Entropy,
    at_once: Option<Instant>,
}

impl Pace {
    pub(super) fn new(config: BackoffConfig, seed: u64) -> Self {
        let entropy = Entropy::from_seed(Entropy::mix(seed));
        Self { first: config.nominal(0), backoff: Backoff::new(config), entropy, at_once: None }
    }

    /// Waits until the stream may be opened again. `heard` says whether the last one brought a message.
    pub(super) async fn wait(&mut self, heard: bool) {
        let until = self.next(Instant::now(), heard);
        sleep_until(until).await;
    }

    fn next(&mut self, now: Instant, heard: bool) -> Instant {
        if heard {
            self.backoff.reset();
            if self.at_once.is_none_or(|last| now >= last + self.first) {
                self.at_once = Some(now);
                return now;
            }
        }
        self.backoff.begin(now.into_std(), self.entropy.draw()).retry_at.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace() -> Pace {
        Pace::new(BackoffConfig::default().with_jitter(0.0).unwrap(), 1)
    }

    #[test]
    fn without_a_message_delays_grow() {
        let (mut pace, now) = (pace(), Instant::now());
        let delays: Vec<Duration> = (0..4).map(|_| pace.next(now, false) - now).collect();
        assert_eq!(delays, [1.0, 1.6, 2.56, 4.096].map(Duration::from_secs_f64));
    }

    #[test]
    fn a_message_means_at_once_but_not_in_a_loop() {
        let (mut pace, now) = (pace(), Instant::now());
        pace.next(now, false);
        assert_eq!(pace.next(now, true), now);
        assert_eq!(pace.next(now, true) - now, Duration::from_secs(1), "twice within the first delay");
        let later = now + Duration::from_secs(1);
        assert_eq!(pace.next(later, true), later);
    }
}
