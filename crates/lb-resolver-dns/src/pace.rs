//! When to look next.

use std::future::pending;
use std::ops::RangeInclusive;
use std::time::Duration;

use lb_core::Backoff;
use lb_core::ResolveNow;
use tokio::time::Instant;
use tokio::time::sleep_until;

use crate::config::DnsConfig;
use lb_core::Entropy;

/// Added to a time to live by chance, as a share of it: clients that began together drift apart, and a caching name server has
/// surely dropped the old answer.
const LATENESS: f64 = 0.1;

/// Paces the looks of one stream.
#[derive(Debug)]
pub(crate) struct Pace {
    min_interval: Duration,
    refresh: Option<RangeInclusive<Duration>>,
    backoff: Backoff,
    entropy: Entropy,
}

/// When to look next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Without being asked.
    unasked: Option<Instant>,
    /// If asked before then; if asked later, at once.
    asked: Instant,
}

impl Pace {
    pub(crate) fn new(config: &DnsConfig, entropy: Entropy) -> Self {
        let backoff = Backoff::new(config.backoff);
        Self { min_interval: config.min_interval, refresh: config.refresh.clone(), backoff, entropy }
    }

    /// After a success at `now` whose records hold for `ttl`.
    pub(crate) fn after_success(&mut self, now: Instant, ttl: Duration) -> Plan {
        self.backoff.reset();
        let share = 1.0 + LATENESS * self.entropy.fraction();
        let unasked = self.refresh.as_ref().map(|bounds| now + ttl.clamp(*bounds.start(), *bounds.end()).mul_f64(share));
        Plan { unasked, asked: now + self.min_interval }
    }

    /// After a failure at `now`. Asking does not bring the next look forward.
    pub(crate) fn after_failure(&mut self, now: Instant) -> Plan {
        let next = self.backoff.begin(now.into_std(), self.entropy.draw()).retry_at.into();
        Plan { unasked: Some(next), asked: next }
    }
}

impl Plan {
    /// Waits until it is time. Being asked any number of times is being asked once.
    pub(crate) async fn wait(self, again: &mut ResolveNow) {
        let mut asked = false;
        loop {
            let at = match self.unasked {
                Some(unasked) if asked => Some(unasked.min(self.asked)),
                None if asked => Some(self.asked),
                unasked => unasked,
            };
            tokio::select! {
                biased;
                () = until(at) => return,
                () = again.fired(), if !asked => asked = true,
            }
        }
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => pending().await,
    }
}

#[cfg(test)]
mod tests {
    use lb_core::Trigger;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn pace(config: &DnsConfig) -> Pace {
        Pace::new(config, Entropy::from_seed(1))
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_to_live_is_bounded_and_a_little_late() {
        let mut pace = pace(&DnsConfig::new());
        let now = Instant::now();
        for (ttl, least) in [(0, 5), (5, 5), (60, 60), (300, 300), (86_400, 300), (u32::MAX, 300)] {
            let waits: Vec<_> = (0..100).map(|_| pace.after_success(now, ttl * SECOND).unasked.unwrap() - now).collect();
            assert!(waits.iter().all(|wait| (least * SECOND..(least * SECOND).mul_f64(1.1001)).contains(wait)), "{ttl}");
            assert!(waits.iter().max() > waits.iter().min());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn failures_back_off_and_a_success_starts_over() {
        let mut pace = pace(&DnsConfig::new());
        let now = Instant::now();
        let mut wait = || (pace.after_failure(now).unasked.unwrap() - now).as_secs_f64();
        assert_eq!(wait(), 1.0);
        assert!((1.28..=1.92).contains(&wait()));
        for _ in 0..20 {
            assert!(wait() <= 144.0);
        }
        assert!(wait() >= 96.0);
        pace.after_success(now, SECOND);
        assert_eq!(pace.after_failure(now).unasked, Some(now + SECOND));
    }

    async fn waited(plan: Plan, again: &mut ResolveNow) -> Duration {
        let start = Instant::now();
        tokio::time::timeout(1000 * SECOND, plan.wait(again)).await.map_or(Duration::MAX, |()| start.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn asking_waits_for_the_interval_and_then_is_answered_at_once() {
        let (trigger, mut again) = Trigger::pair();
        let mut pace = pace(&DnsConfig::new().without_refresh());
        let plan = pace.after_success(Instant::now(), SECOND);
        assert_eq!(waited(plan, &mut again).await, Duration::MAX);

        let plan = pace.after_success(Instant::now(), SECOND);
        for _ in 0..50 {
            trigger.fire();
        }
        assert_eq!(waited(plan, &mut again).await, 30 * SECOND);

        let plan = pace.after_success(Instant::now(), SECOND);
        tokio::time::advance(31 * SECOND).await;
        trigger.fire();
        assert_eq!(waited(plan, &mut again).await, Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn whichever_is_first_and_never_sooner_after_a_failure() {
        let (trigger, mut again) = Trigger::pair();
        let now = Instant::now();
        let plan = Plan { unasked: Some(now + 5 * SECOND), asked: now + 30 * SECOND };
        trigger.fire();
        assert_eq!(waited(plan, &mut again).await, 5 * SECOND);

        let plan = pace(&DnsConfig::new()).after_failure(Instant::now());
        trigger.fire();
        assert_eq!(waited(plan, &mut again).await, SECOND);
    }
}
