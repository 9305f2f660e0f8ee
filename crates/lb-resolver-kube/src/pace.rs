//! When to try again.

use std::time::Duration;

use lb_core::{Backoff, BackoffConfig, ResolveErrorKind};
use tokio::time::Instant;

use crate::config::{KubernetesConfig, backoff};
use crate::failure::Failure;
use lb_core::Entropy;

/// A refusal does not go away by asking again soon.
const REFUSED_FACTOR: u32 = 10;

/// And it is not worth less than this, nor more.
const REFUSED: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(30)];

/// A server may ask for a pause, but not for ever.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Paces the attempts of one stream.
#[derive(Debug)]
pub(crate) struct Pace {
    unreachable: Backoff,
    refused: Backoff,
    pub(crate) entropy: Entropy,
}

impl Pace {
    pub(crate) fn new(config: &KubernetesConfig, entropy: Entropy) -> Self {
        Self { unreachable: Backoff::new(config.backoff), refused: Backoff::new(slower(config.backoff)), entropy }
    }

    /// Something proved to work.
    pub(crate) fn succeeded(&mut self) {
        self.unreachable.reset();
        self.refused.reset();
    }

    /// When to try again after a failure at `now`.
    pub(crate) fn after(&mut self, failure: &Failure, now: Instant) -> Instant {
        let patient = matches!(failure.kind, ResolveErrorKind::Refused | ResolveErrorKind::Malformed | ResolveErrorKind::NotFound);
        let backoff = if patient { &mut self.refused } else { &mut self.unreachable };
        let at: Instant = backoff.begin(now.into_std(), self.entropy.draw()).retry_at.into();
        at.max(now + failure.retry_after.unwrap_or_default().min(LONGEST_PAUSE))
    }

    /// A time up to a quarter shorter, in whole seconds: clients that began together drift apart.
    pub(crate) fn watch_seconds(&mut self, longest: Duration) -> u64 {
        (longest.mul_f64(1.0 - 0.25 * self.entropy.fraction()).as_secs()).max(1)
    }
}

fn slower(config: BackoffConfig) -> BackoffConfig {
    let times = |k| (config.nominal(k) * REFUSED_FACTOR).clamp(REFUSED[0], REFUSED[1]);
    backoff(times(0), times(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace() -> Pace {
        Pace::new(&KubernetesConfig::new(), Entropy::from_seed(1))
    }

    #[tokio::test(start_paused = true)]
    async fn delays_grow_to_their_bounds_and_start_over() {
        let (mut pace, now) = (pace(), Instant::now());
        let gone = Failure::unavailable("");
        let refused = Failure::new(ResolveErrorKind::Refused, "");
        assert_eq!(pace.after(&gone, now) - now, Duration::from_millis(100));
        assert_eq!(pace.after(&refused, now) - now, Duration::from_secs(1));
        for _ in 0..50 {
            assert!(pace.after(&gone, now) - now <= Duration::from_millis(1800));
            assert!(pace.after(&refused, now) - now <= Duration::from_secs(18));
        }
        assert!(pace.after(&gone, now) - now >= Duration::from_millis(1200));
        assert!(pace.after(&refused, now) - now >= Duration::from_secs(12));
        pace.succeeded();
        assert_eq!(pace.after(&gone, now) - now, Duration::from_millis(100));
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_asked_for_is_kept_within_reason() {
        let now = Instant::now();
        let asked = |seconds| Failure { retry_after: Some(Duration::from_secs(seconds)), ..Failure::unavailable("") };
        assert_eq!(pace().after(&asked(7), now) - now, Duration::from_secs(7));
        assert_eq!(pace().after(&asked(100_000), now) - now, LONGEST_PAUSE);
        assert_eq!(pace().after(&asked(0), now) - now, Duration::from_millis(100));
    }

    #[test]
    fn watches_last_a_little_less() {
        let mut pace = pace();
        let drawn: Vec<_> = (0..200).map(|_| pace.watch_seconds(Duration::from_secs(30))).collect();
        assert!(drawn.iter().all(|seconds| (22..=30).contains(seconds)));
        assert!(drawn.iter().min() < drawn.iter().max());
        assert_eq!(pace.watch_seconds(Duration::from_secs(1)), 1);
    }
}
