//! Results at intervals, and what so many of them in a row mean.

use std::sync::Arc;

use lb_core::{ServingStatus, Triggered};
use tokio::time::{Instant, sleep_until};

use crate::config::PollConfig;
use crate::entropy::Spread;

/// One check: passed, or why not.
pub(crate) type Verdict = Result<(), Arc<str>>;

/// Says when to check, and what the results add up to.
#[derive(Debug)]
pub(crate) struct Poller {
    config: PollConfig,
    entropy: Spread,
    /// When the next check is due; `None` is now.
    due: Option<Instant>,
    status: ServingStatus,
    /// Whether the last check passed.
    passed: bool,
    /// How many results in a row were as the last one.
    alike: u32,
}

impl Poller {
    pub(crate) fn new(config: PollConfig, entropy: Spread) -> Self {
        Self { config, entropy, due: None, status: ServingStatus::Unknown, passed: true, alike: 0 }
    }

    pub(crate) fn config(&self) -> &PollConfig {
        &self.config
    }

    /// Waits until the next check is due or asked for.
    pub(crate) async fn turn(&self, check_now: &mut Triggered) {
        if let Some(due) = self.due {
            tokio::select! {
                () = sleep_until(due) => {}
                () = check_now.fired() => {}
            }
        }
    }

    /// Takes a result that just came in; yields the status if it changed.
    pub(crate) fn take(&mut self, verdict: Verdict) -> Option<ServingStatus> {
        self.due = Some(Instant::now() + self.entropy.spread(self.config.interval, self.config.jitter));
        let passed = verdict.is_ok();
        // An endpoint that is degraded may turn either way: every result disagrees with it, but only those alike add up.
        self.alike = if passed == self.passed { self.alike.saturating_add(1) } else { 1 };
        self.passed = passed;
        let needed = match (&self.status, passed) {
            (ServingStatus::Serving, true) | (ServingStatus::NotServing(_), false) => return None,
            (ServingStatus::Serving | ServingStatus::Degraded(_), false) => self.config.unhealthy_threshold,
            (ServingStatus::NotServing(_) | ServingStatus::Degraded(_), true) => self.config.healthy_threshold,
            _ => 1,
        };
        self.status = if self.alike >= needed {
            verdict.map_or_else(ServingStatus::NotServing, |()| ServingStatus::Serving)
        } else {
            self.between(verdict)?
        };
        Some(self.status.clone())
    }

    /// The state between two, if it is told and new.
    fn between(&self, verdict: Verdict) -> Option<ServingStatus> {
        let reason = match (&self.status, verdict) {
            _ if !self.config.degraded => return None,
            (ServingStatus::Serving, Err(reason)) => reason,
            (ServingStatus::NotServing(reason), Ok(())) => format!("passes again after: {reason}").into(),
            _ => return None,
        };
        Some(ServingStatus::Degraded(reason))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use lb_core::Trigger;

    use super::*;
    use crate::entropy::Seeds;

    fn poller(healthy: u32, unhealthy: u32) -> Poller {
        let config = PollConfig::default().with_healthy_threshold(healthy).unwrap().with_unhealthy_threshold(unhealthy).unwrap();
        Poller::new(config, Seeds::from(7).entropy())
    }

    /// `+` is a passed check, `-` a failed one; answers with what each changed.
    fn run(poller: &mut Poller, results: &str) -> String {
        let mut changes = String::new();
        for result in results.chars() {
            let verdict = if result == '+' { Ok(()) } else { Err("why".into()) };
            changes.push(match poller.take(verdict) {
                None => '.',
                Some(ServingStatus::Serving) => 'S',
                Some(ServingStatus::Degraded(_)) => 'D',
                Some(_) => 'N',
            });
        }
        changes
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_result_counts_and_then_so_many_in_a_row() {
        assert_eq!(run(&mut poller(2, 3), "+--+---+-++"), "S.....N...S");
        assert_eq!(run(&mut poller(2, 3), "-+-++"), "N...S");
        assert_eq!(run(&mut poller(1, 1), "+-+--+"), "SNSN.S");
    }

    #[tokio::test(start_paused = true)]
    async fn degraded_is_between_the_two_both_ways() {
        let degraded = |healthy, unhealthy| {
            let poller = poller(healthy, unhealthy);
            Poller { config: poller.config.with_degraded(), ..poller }
        };
        assert_eq!(run(&mut degraded(2, 3), "+---+-++---"), "SD.ND..SD.N");
        assert_eq!(run(&mut degraded(2, 3), "+-+-+-++"), "SD.....S", "neither twice well nor three times ill");
        assert_eq!(run(&mut degraded(2, 3), "---++"), "N..DS", "the first result counts at once");
        assert_eq!(run(&mut degraded(1, 1), "+-+"), "SNS", "there is nothing between");
        assert_eq!(run(&mut degraded(3, 3), "+-++-++---"), "SD.......N");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_degraded_says_why() {
        let mut poller = poller(2, 2);
        poller.config = poller.config.with_degraded();
        poller.take(Ok(()));
        assert_eq!(poller.take(Err("slow".into())), Some(ServingStatus::Degraded("slow".into())));
        assert_eq!(poller.take(Err("gone".into())), Some(ServingStatus::NotServing("gone".into())));
        assert_eq!(poller.take(Ok(())), Some(ServingStatus::Degraded("passes again after: gone".into())));
    }

    #[tokio::test(start_paused = true)]
    async fn checks_are_due_an_interval_after_the_last_one_spread_but_within_bounds() {
        let (_trigger, mut check_now) = Trigger::pair();
        let mut poller = poller(1, 1);
        let begin = Instant::now();
        poller.turn(&mut check_now).await;
        assert_eq!(begin.elapsed(), Duration::ZERO);
        let mut waits = Vec::new();
        for _ in 0..50 {
            poller.take(Ok(()));
            let begin = Instant::now();
            poller.turn(&mut check_now).await;
            waits.push(begin.elapsed());
        }
        let (least, most) = (Duration::from_millis(4500), Duration::from_millis(5502));
        assert!(waits.iter().all(|wait| (least..most).contains(wait)), "{waits:?}");
        assert!(waits.iter().any(|wait| wait != &waits[0]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_check_asked_for_is_due_at_once() {
        let (trigger, mut check_now) = Trigger::pair();
        let mut poller = poller(1, 1);
        poller.take(Ok(()));
        trigger.fire();
        let begin = Instant::now();
        poller.turn(&mut check_now).await;
        assert_eq!(begin.elapsed(), Duration::ZERO);
    }
}
