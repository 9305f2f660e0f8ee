//! A concurrency limit that finds itself.
//!
//! **What it is for.** How many calls at once an endpoint bears depends on its machine, its neighbours and the day. A number in a
//! configuration is wrong a week later: too high, and an overloaded server answers everybody too late; too low, and it idles. This
//! limit is measured from latency instead. Calls beyond it go to other endpoints, wait in the queue, or are shed.
//!
//! **Algorithm.** A gradient, after *Gradient2* of Netflix' concurrency-limits (2018) and Envoy's adaptive concurrency filter: over windows
//! of calls, `gradient = tolerance × unloaded latency / latency`, at most 1, at least ½; `limit × gradient`, plus up to `√limit` where little
//! waits, smoothed. Four things differ, each because of what its ancestors' users report:
//!
//! - *What is compared with.* Gradient2 compares with a long-term average of all windows. Under an overload that lasts, the average becomes the
//!   overload, and the limit climbs to its maximum. Here the unloaded latency is learned only where nothing can have waited: in windows in
//!   which less than half the limit was in use, and in *probes*: an endpoint that is always busy is measured at half its limit for a moment,
//!   every 10 s, and when its limit has halved (BBR drains its queue for the same reason). Envoy goes down to 3 calls for that, and sheds the
//!   rest; half loses about 2 % of an endpoint's time. Because a probe sees half of the queue the limit makes, a tolerance below 2 makes the
//!   error shrink from probe to probe.
//! - *When it grows.* Gradient2 adds its queue allowance in every window, so a gradient of 0.9 still lets the limit creep up. Here it grows only
//!   while the gradient is 1, the less the nearer it is to less than that, and only if nine tenths of it were in use.
//! - *Why not a minimum.* TCP Vegas, and Envoy, compare with the fastest calls. A mixture of methods has cheap ones among them, and the limit
//!   collapses (Netflix moved from minimum to average for that). Means of windows are compared with means of windows; a window needs 50 calls,
//!   and a probe is believed the more the less it can be chance.
//! - *What it does not look at.* Of calls that begin together the short ones end first. The window after every jump of the limit is thrown away, or
//!   the unloaded latency would sink from probe to probe, and the limit with it.
//!
//! Plain AIMD on errors, the other choice, needs a server that fails when it has too much; most only become slow.
//!
//! **Drops.** A call that ends with UNAVAILABLE, RESOURCE_EXHAUSTED or DEADLINE_EXCEEDED, or without a code, says that the endpoint did not
//! bear it. If more than one in a hundred do, the limit shrinks by their share. Other failures say nothing of its load, and are often
//! faster than success: they are not measured. Nor are calls that their caller gives up.
//!
//! **Bound.** For one channel, Poisson arrivals at three times capacity and a server with `c` workers, the mean limit lies within 20 % of `c`: in
//! 148 of 150 simulated runs, with `c` from 8 to 200, latencies from 2 to 100 ms, constant, exponential or with outliers; the other two had 0.73
//! and 1.22. Within 5 s after `c` halves or doubles it is there again. It grows by less than `√limit / 5` a window, so from 20 to 200 takes it
//! 10 s at best: set `initial` where that is long. Entering is a compare-and-swap, leaving three relaxed additions.
//!
//! **When not to use it.** For streams: their latency is their life. For methods of very different weight whose mixture changes faster than a
//! probe comes. And where many clients overload one server together, each of them sees a queue that is not its own, and who comes late
//! takes it for normal: there the server has to limit itself, and [`RateLimit`](super::RateLimit) or a fixed limit does more here.
//!
//! ```
//! use std::time::{Duration, Instant};
//! use lb_core::limits::{Ending, Gradient, GradientConfig};
//!
//! let gradient = Gradient::new(&GradientConfig::new().initial(2)?.between(1, 100)?);
//! assert!(gradient.enter() && gradient.enter());
//! assert!(!gradient.enter(), "two at once");
//! gradient.leave(Instant::now(), Duration::from_millis(5), Ending::Answered);
//! assert!(gradient.enter());
//! # Ok::<(), lb_core::ConfigError>(())
//! ```

mod config;
mod estimate;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

pub use config::GradientConfig;
pub(crate) use config::Settings;
use estimate::{Estimate, Phase, Window};

use crate::stats::ticks;

/// A window waits for so many calls, whose mean is off by a seventh or less two times in three;
const ENOUGH_CALLS: u32 = 50;

/// but not for longer than so many times its length, if there are
const LONGEST: i64 = 10;

/// at least so many. Fewer make no mean.
const FEWEST_CALLS: u32 = 10;

/// While one call works out a new limit, no other does.
const CLOSING: i64 = i64::MAX;

/// How a call ended, as far as the limit of its endpoint is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ending {
    /// With an answer whose latency counts.
    Answered,
    /// The endpoint did not bear it.
    Dropped,
    /// In a way that says nothing.
    Ignored,
}

/// The adaptive concurrency limit of one endpoint. Shared by many threads without a lock; deterministic in the calls and times it is told.
#[derive(Debug)]
pub struct Gradient {
    limit: AtomicU32,
    in_flight: AtomicU32,
    window: Counts,
    /// When the window may be closed, in ticks; [`CLOSING`] while it is.
    closes_at: AtomicI64,
    opened_at: AtomicI64,
    estimate: Shelf,
    settings: Arc<Settings>,
}

/// What happens in the window.
#[derive(Debug, Default)]
struct Counts {
    answered: AtomicU32,
    nanos: AtomicU64,
    dropped: AtomicU32,
    peak: AtomicU32,
}

/// Where the estimate lies between windows: only who closes a window reads and writes it.
#[derive(Debug, Default)]
struct Shelf {
    numbers: [AtomicU64; 4],
    phase: AtomicU32,
}

impl Gradient {
    /// A limit that starts where its configuration says.
    pub fn new(config: &GradientConfig) -> Self {
        Self::with_settings(Arc::new(Settings::new(config)))
    }

    /// One that follows changes of its configuration.
    pub(crate) fn with_settings(settings: Arc<Settings>) -> Self {
        let config = settings.get();
        let (estimate, shelf) = (Estimate::new(&config), Shelf::default());
        shelf.put(&estimate);
        Self {
            limit: AtomicU32::new(estimate.current(&config)),
            in_flight: AtomicU32::new(0),
            window: Counts::default(),
            closes_at: AtomicI64::new(i64::MIN),
            opened_at: AtomicI64::new(0),
            estimate: shelf,
            settings,
        }
    }

    /// Begins a call if the limit allows one more. Every one that begins must [`leave`](Self::leave) or be taken [`back`](Self::back).
    #[inline]
    pub fn enter(&self) -> bool {
        let limit = self.limit.load(Ordering::Relaxed);
        let more = |calls: u32| (calls < limit).then_some(calls + 1);
        let Ok(before) = self.in_flight.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more) else { return false };
        if before >= self.window.peak.load(Ordering::Relaxed) {
            self.window.peak.fetch_max(before + 1, Ordering::Relaxed);
        }
        true
    }

    /// A call that began has not been made: as if it had not begun.
    #[inline]
    pub fn back(&self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    /// A call has ended after `latency`. Answers whether that raised the limit.
    #[inline]
    pub fn leave(&self, now: Instant, latency: Duration, ending: Ending) -> bool {
        self.back();
        match ending {
            Ending::Answered => {
                let nanos = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX >> 20);
                self.window.nanos.fetch_add(nanos, Ordering::Relaxed);
                self.window.answered.fetch_add(1, Ordering::Relaxed);
            }
            Ending::Dropped => {
                self.window.dropped.fetch_add(1, Ordering::Relaxed);
            }
            Ending::Ignored => return false,
        }
        let (now, closes_at) = (ticks(now), self.closes_at.load(Ordering::Relaxed));
        now >= closes_at && self.close(now, closes_at)
    }

    /// Ends the window, if it has enough calls and nobody else does, and works out the limit for the next. Answers whether it is higher.
    #[cold]
    fn close(&self, now: i64, closes_at: i64) -> bool {
        let first = closes_at == i64::MIN;
        if !(first || self.is_enough(now, closes_at))
            || self.closes_at.compare_exchange(closes_at, CLOSING, Ordering::Acquire, Ordering::Relaxed).is_err()
        {
            return false;
        }
        let (config, mut estimate) = (self.settings.get(), self.estimate.get());
        let before = self.limit();
        let mut mean = None;
        if !first {
            let seen = self.window.take(self.in_flight(), now.saturating_sub(self.opened_at.load(Ordering::Relaxed)));
            estimate.step(now as f64 * 1e-9, &seen, &config);
            self.estimate.put(&estimate);
            self.limit.store(estimate.current(&config), Ordering::Relaxed);
            mean = seen.mean;
        }
        self.opened_at.store(now, Ordering::Relaxed);
        let length = estimate.length(mean, &config) * 1e9;
        self.closes_at.store(now.saturating_add(length as i64), Ordering::Release);
        self.limit() > before
    }

    fn is_enough(&self, now: i64, closes_at: i64) -> bool {
        let calls = self.window.answered.load(Ordering::Relaxed) + self.window.dropped.load(Ordering::Relaxed);
        let length = closes_at.saturating_sub(self.opened_at.load(Ordering::Relaxed));
        calls >= ENOUGH_CALLS || (calls >= FEWEST_CALLS && now.saturating_sub(closes_at) >= length.saturating_mul(LONGEST))
    }

    /// The limit now.
    #[inline]
    pub fn limit(&self) -> u32 {
        self.limit.load(Ordering::Relaxed)
    }

    /// Calls that have begun and not ended.
    #[inline]
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// How long it believes the endpoint takes when nothing waits there; `None` before it knows.
    pub fn unloaded(&self) -> Option<Duration> {
        let seconds = self.estimate.get().unloaded;
        Duration::try_from_secs_f64(seconds).ok().filter(|latency| !latency.is_zero())
    }
}

impl Counts {
    /// What has happened, and starts anew with so many calls in flight.
    fn take(&self, in_flight: u32, length: i64) -> Window {
        let (answered, nanos) = (self.answered.swap(0, Ordering::Relaxed), self.nanos.swap(0, Ordering::Relaxed));
        let (dropped, peak) = (self.dropped.swap(0, Ordering::Relaxed), self.peak.swap(in_flight, Ordering::Relaxed));
        Window {
            mean: (answered > 0).then(|| nanos.max(1) as f64 * 1e-9 / f64::from(answered)),
            answered,
            length: length.max(1) as f64 * 1e-9,
            dropped: f64::from(dropped) / f64::from((answered + dropped).max(1)),
            peak,
        }
    }
}

impl Shelf {
    fn put(&self, estimate: &Estimate) {
        let numbers = [estimate.limit, estimate.unloaded, estimate.probe_at, estimate.measured_at];
        self.numbers.iter().zip(numbers).for_each(|(place, number)| place.store(number.to_bits(), Ordering::Relaxed));
        self.phase.store(estimate.phase as u32, Ordering::Relaxed);
    }

    fn get(&self) -> Estimate {
        let number = |at: usize| f64::from_bits(self.numbers[at].load(Ordering::Relaxed));
        let phase = Phase::ALL[self.phase.load(Ordering::Relaxed) as usize % Phase::ALL.len()];
        Estimate { limit: number(0), unloaded: number(1), probe_at: number(2), measured_at: number(3), phase }
    }
}
