//! How often endpoints are picked, how often in vain and why, and how long that takes.
//!
//! Every clone of a channel counts its own picks in a field of its own, and adds them to the channel's when there are 64, or at its end: so
//! counting writes to no shared memory, and the channel's count is behind by less than 64 for each clone that is in use. The pick that makes
//! them 64 is timed, and no other: two readings of the clock in 64 picks. Clones begin at different places of that count, so that a clone made for
//! every call does not keep its picks from being timed. What is timed is the look at the newest snapshot by a call that finds an endpoint at
//! once; calls that wait are counted when they have one, and their waiting is no work.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::channel::LbChannel;
use crate::pick_failures::PickFailures;
use crate::stats::optional_seconds;

/// One pick in so many is timed. Two readings of the clock take some 50 ns, which is then below 1 ns a pick.
const SAMPLE: u32 = 64;

/// Times up to 2^31 ns, by doubling.
const BUCKETS: usize = 32;

/// Picks of one channel.
#[derive(Debug, Default)]
pub(crate) struct Selection {
    picks: AtomicU64,
    times: [AtomicU32; BUCKETS],
}

/// The picks of one clone of a channel since it last told.
#[derive(Debug)]
pub(crate) struct Picks {
    untold: u32,
    until_sample: u32,
}

/// What selection did so far. As data, names are in camel case and times are seconds with decimals.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct SelectionStats {
    /// Endpoints picked, for first and for further attempts; behind by less than 64 for each clone of the channel that is in use.
    pub picks: u64,
    /// Calls and attempts for which there was none.
    pub failures: u64,
    /// How many of those for which kind of reason, such as `nothing_fits`; only those that there were.
    pub failures_by_reason: BTreeMap<&'static str, u64>,
    /// How many picks have been timed, one in 64.
    pub timed: u64,
    /// Half of those took at most this, which is a power of two nanoseconds; `None` before the first.
    #[serde(serialize_with = "optional_seconds")]
    pub time_p50: Option<Duration>,
    /// And 99 in 100 this.
    #[serde(serialize_with = "optional_seconds")]
    pub time_p99: Option<Duration>,
}

impl Picks {
    /// For the clone of this number.
    pub(crate) fn new(clone: u64) -> Self {
        Self { untold: 0, until_sample: SAMPLE - (clone % u64::from(SAMPLE)) as u32 }
    }

    /// A pick begins; the time if it is to be timed.
    #[inline]
    pub(crate) fn begin(&self) -> Option<Instant> {
        (self.until_sample <= 1).then(Instant::now)
    }

    /// The pick has found an endpoint.
    #[inline]
    pub(crate) fn picked(&mut self, began: Option<Instant>, selection: &Selection) {
        self.untold += 1;
        self.until_sample = self.until_sample.saturating_sub(1);
        if let Some(began) = began {
            selection.timed(began.elapsed());
            self.until_sample = SAMPLE;
            self.tell(selection);
        }
    }

    /// Tells what has not been told.
    #[inline]
    pub(crate) fn tell(&mut self, selection: &Selection) {
        if self.untold > 0 {
            selection.picks.fetch_add(std::mem::take(&mut self.untold).into(), Ordering::Relaxed);
        }
    }
}

impl Drop for LbChannel {
    fn drop(&mut self) {
        let handle = Arc::clone(self.handle());
        self.picks.tell(&handle.shared().selection);
    }
}

impl Selection {
    /// A call that had to wait has found an endpoint.
    pub(crate) fn picked(&self) {
        self.picks.fetch_add(1, Ordering::Relaxed);
    }

    fn timed(&self, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX).max(1);
        let bucket = (u64::BITS - (nanos - 1).leading_zeros()) as usize;
        self.times[bucket.min(BUCKETS - 1)].fetch_add(1, Ordering::Relaxed);
    }

    /// With the failures, which are counted apart.
    pub(crate) fn stats(&self, failures: &PickFailures) -> SelectionStats {
        let failures_by_reason = failures.by_kind();
        let times = self.times.each_ref().map(|count| u64::from(count.load(Ordering::Relaxed)));
        let timed = times.iter().sum();
        SelectionStats {
            picks: self.picks.load(Ordering::Relaxed),
            failures: failures_by_reason.values().sum(),
            failures_by_reason,
            timed,
            time_p50: quantile(&times, timed.div_ceil(2)),
            time_p99: quantile(&times, (timed * 99).div_ceil(100)),
        }
    }
}

/// The upper bound of the bucket that holds the one of this rank, from 1.
fn quantile(times: &[u64], rank: u64) -> Option<Duration> {
    let mut seen = 0;
    let bucket = times.iter().position(|count| {
        seen += count;
        rank > 0 && seen >= rank
    })?;
    Some(Duration::from_nanos(1 << bucket))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pick_is_counted_once_and_one_in_64_is_timed() {
        let selection = Selection::default();
        let mut picks = Picks::new(0);
        for pick in 1..=200_u64 {
            let began = picks.begin();
            assert_eq!(began.is_some(), pick % 64 == 0, "{pick}");
            picks.picked(began, &selection);
            assert!(pick - selection.stats(&PickFailures::default()).picks < 64);
        }
        picks.tell(&selection);
        picks.tell(&selection);
        let stats = selection.stats(&PickFailures::default());
        assert_eq!((stats.picks, stats.timed), (200, 3));
        assert!(stats.time_p50 <= stats.time_p99 && stats.time_p50.is_some());
    }

    #[test]
    fn of_clones_made_for_one_call_one_in_64_is_timed() {
        let selection = Selection::default();
        for clone in 0..640 {
            let mut picks = Picks::new(clone);
            picks.picked(picks.begin(), &selection);
            picks.tell(&selection);
        }
        let stats = selection.stats(&PickFailures::default());
        assert_eq!((stats.picks, stats.timed), (640, 10));
    }

    #[test]
    fn times_are_read_as_the_next_power_of_two() {
        let selection = Selection::default();
        assert_eq!(selection.stats(&PickFailures::default()), SelectionStats::default());
        (0..99).for_each(|_| selection.timed(Duration::from_nanos(100)));
        selection.timed(Duration::from_micros(9));
        selection.timed(Duration::from_secs(100));
        let stats = selection.stats(&PickFailures::default());
        let nanos = |quantile: Option<Duration>| quantile.map(|time| time.as_nanos());
        assert_eq!((nanos(stats.time_p50), nanos(stats.time_p99), stats.timed), (Some(128), Some(16_384), 101));
    }
}
