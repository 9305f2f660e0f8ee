//! When to try again.

use std::time::Duration;

use lb_core::Backoff;
use lb_core::BackoffConfig;
use tokio::time::Instant;

use crate::config::EtcdConfig;
use crate::failure::Cause;
use lb_core::Entropy;

/// A session that lasted this long was a good one, after which the delays start over. One that ends sooner, again and again, must not
/// make a hot loop.
const GOOD: Duration = Duration::from_secs(2);

/// What is mended at once (a token, a forgotten revision) is not mended twice within this time.
const MENDED: Duration = Duration::from_secs(1);

/// Refusals are followed by so many times the delays of failures: somebody must change something first, and a password costs etcd a
/// tenth of a second of computing.
const REFUSED: u32 = 20;

/// Paces the attempts of one stream or registration.
#[derive(Debug)]
pub(crate) struct Pace {
    failing: Backoff,
    refused: Backoff,
    entropy: Entropy,
    members: u32,
    /// Since the last delay.
    failures: u32,
    established: Option<Instant>,
    mended: Option<Instant>,
}

impl Pace {
    pub(crate) fn new(config: &EtcdConfig, members: usize, entropy: Entropy) -> Self {
        let refused = slower(config.backoff);
        let members = u32::try_from(members.max(1)).unwrap_or(u32::MAX);
        let (failing, refused) = (Backoff::new(config.backoff), Backoff::new(refused));
        Self { failing, refused, entropy, members, failures: 0, established: None, mended: None }
    }

    /// A session works from `now` on.
    pub(crate) fn established(&mut self, now: Instant) {
        self.established = Some(now);
    }

    /// When to try again after a failure at `now`; `None` is at once.
    pub(crate) fn after_failure(&mut self, now: Instant, cause: Cause) -> Option<Instant> {
        if self.established.take().is_some_and(|since| now - since >= GOOD) {
            self.failing.reset();
            self.refused.reset();
            self.failures = 0;
        }
        match cause {
            Cause::Token | Cause::Compacted if self.mended.is_none_or(|at| now - at >= MENDED) => {
                self.mended = Some(now);
                None
            }
            Cause::Token | Cause::Refused | Cause::Malformed | Cause::TooLarge => {
                Some(self.refused.begin(now.into_std(), self.entropy.draw()).retry_at.into())
            }
            Cause::Unavailable | Cause::Compacted => self.after_one_of_many(now),
        }
    }

    /// The next member at once; a delay once all have failed.
    fn after_one_of_many(&mut self, now: Instant) -> Option<Instant> {
        self.failures += 1;
        if self.failures < self.members {
            return None;
        }
        self.failures = 0;
        Some(self.failing.begin(now.into_std(), self.entropy.draw()).retry_at.into())
    }

    /// Between half and all of a time, by chance.
    pub(crate) fn spread(&mut self, time: Duration) -> Duration {
        time.mul_f64(0.5 + 0.5 * self.entropy.fraction())
    }
}

fn slower(config: BackoffConfig) -> BackoffConfig {
    let scaled = |k: u32| config.nominal(k).saturating_mul(REFUSED).min(Duration::from_secs(24 * 60 * 60));
    // The delay of a late attempt is the longest there is.
    let slower = config.with_initial(scaled(0)).and_then(|config| config.with_max(scaled(u32::MAX)));
    slower.unwrap_or(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace(members: usize) -> Pace {
        Pace::new(&EtcdConfig::new(), members, Entropy::from_seed(1))
    }

    fn waits(pace: &mut Pace, now: Instant, cause: Cause) -> Option<f64> {
        pace.after_failure(now, cause).map(|at| (at - now).as_secs_f64())
    }

    #[tokio::test(start_paused = true)]
    async fn every_member_gets_its_turn_before_a_delay() {
        let (mut pace, now) = (pace(3), Instant::now());
        for nominal in [0.1, 0.16, 0.256, 0.41, 0.655, 1.05, 1.25, 1.25] {
            assert_eq!(waits(&mut pace, now, Cause::Unavailable), None);
            assert_eq!(waits(&mut pace, now, Cause::Unavailable), None);
            let wait = waits(&mut pace, now, Cause::Unavailable).unwrap();
            assert!((nominal * 0.79..=nominal * 1.21).contains(&wait), "{wait} for {nominal}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn refusals_wait_longer() {
        let (mut pace, now) = (pace(3), Instant::now());
        assert_eq!(waits(&mut pace, now, Cause::Refused), Some(2.0));
        for _ in 0..20 {
            assert!(waits(&mut pace, now, Cause::Malformed).unwrap() <= 30.0);
        }
        assert!(waits(&mut pace, now, Cause::Refused).unwrap() >= 20.0);
    }

    #[tokio::test(start_paused = true)]
    async fn what_can_be_mended_is_mended_at_once_but_not_in_a_loop() {
        for cause in [Cause::Token, Cause::Compacted] {
            let mut pace = pace(1);
            assert_eq!(waits(&mut pace, Instant::now(), cause), None);
            assert!(waits(&mut pace, Instant::now(), cause).is_some());
            tokio::time::advance(MENDED).await;
            assert_eq!(waits(&mut pace, Instant::now(), cause), None);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn only_a_session_that_lasted_starts_over() {
        let mut pace = pace(1);
        for _ in 0..10 {
            pace.established(Instant::now());
            assert!(waits(&mut pace, Instant::now(), Cause::Unavailable).is_some());
        }
        assert!(waits(&mut pace, Instant::now(), Cause::Unavailable).unwrap() >= 1.0);
        pace.established(Instant::now());
        tokio::time::advance(GOOD).await;
        assert_eq!(waits(&mut pace, Instant::now(), Cause::Unavailable), Some(0.1));
    }
}
