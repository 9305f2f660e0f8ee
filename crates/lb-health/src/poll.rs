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
    /// Results in a row that disagree with `status`.
    against: u32,
}

impl Poller {
    pub(crate) fn new(config: PollConfig, entropy: Spread) -> Self {
        Self { config, entropy, due: None, status: ServingStatus::Unknown, against: 0 }
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
        let needed = match (&self.status, &verdict) {
            (ServingStatus::Serving, Ok(())) | (ServingStatus::NotServing(_), Err(_)) => {
                self.against = 0;
                return None;
            }
            (ServingStatus::Serving, Err(_)) => self.config.unhealthy_threshold,
            (ServingStatus::NotServing(_), Ok(())) => self.config.healthy_threshold,
            _ => 1,
        };
        self.against += 1;
        if self.against < needed {
            return None;
        }
        self.against = 0;
        self.status = verdict.map_or_else(ServingStatus::NotServing, |()| ServingStatus::Serving);
        Some(self.status.clone())
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
