//! A token bucket in one atomic.
//!
//! **Algorithm.** The generic cell rate algorithm (ITU-T I.371; Brouwer's and Heyman's "theoretical arrival time"). Instead of tokens
//! and the time they were counted it keeps one number: when the bucket will be full again. A call that passes moves it on by the
//! interval between two calls; a call passes if that does not put the bucket in debt. Nothing needs to be refilled, and a bucket
//! that nobody asks is full by itself.
//!
//! **Bound.** Over any time `t` at most `rate × t + burst` calls pass, exactly, whatever the threads and the order they come in:
//! the number changes by compare-and-swap only.
//!
//! **Why not the `governor` crate**, which has the same algorithm: it asks a clock of its own for the time, where here time is an
//! argument; it cannot give a token back, which a call needs that passed one limit and not the next; it cannot go over to another
//! rate without filling the bucket; and it keeps each key it ever saw until somebody sweeps. It serves as the measure instead: a
//! property in the tests says that both decide the same for any arrivals.
//!
//! **When not to use it.** A rate says nothing of how long calls take. To protect a server whose calls differ in weight limit
//! their concurrency instead ([`Gradient`](super::Gradient)).

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use super::rate::{Pace, RateLimit};
use crate::stats::ticks;

/// When a bucket will be full: the whole state of one.
#[derive(Debug)]
pub(crate) struct Level(AtomicI64);

impl Default for Level {
    /// Full since ever.
    fn default() -> Self {
        Self(AtomicI64::new(i64::MIN))
    }
}

impl Level {
    /// Takes a token, or says how long until there is one, in nanoseconds.
    #[inline]
    pub(crate) fn take(&self, now: i64, pace: Pace) -> Result<(), i64> {
        let mut seen = self.0.load(Ordering::Relaxed);
        loop {
            if let Some(early) = early(seen, now, pace) {
                return Err(early);
            }
            let full_at = seen.max(now);
            match self.0.compare_exchange_weak(seen, full_at.saturating_add(pace.interval), Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Ok(()),
                Err(newer) => seen = newer,
            }
        }
    }

    /// How long until there is a token, in nanoseconds; `None` if there is one.
    pub(crate) fn wait(&self, now: i64, pace: Pace) -> Option<i64> {
        early(self.full_at(), now, pace)
    }

    /// Takes back that a token was taken: never more than was.
    #[inline]
    pub(crate) fn give_back(&self, pace: Pace) {
        self.0.fetch_sub(pace.interval, Ordering::Relaxed);
    }

    /// How many tokens there are, in part ones.
    pub(crate) fn tokens(&self, now: i64, pace: Pace) -> f64 {
        let missing = self.full_at().saturating_sub(now).max(0) as f64;
        ((pace.filling() as f64 - missing) / pace.interval as f64).max(0.0)
    }

    /// Makes it hold so many tokens at another pace.
    pub(crate) fn hold(&self, now: i64, tokens: f64, pace: Pace) {
        let missing = (pace.filling() as f64 - tokens * pace.interval as f64).clamp(0.0, pace.filling() as f64);
        self.0.store(now.saturating_add(missing as i64), Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn full_at(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// By how much a call comes too early for a bucket that will be full at `full_at`.
#[inline]
fn early(full_at: i64, now: i64, pace: Pace) -> Option<i64> {
    let early = full_at.max(now).saturating_sub(now).saturating_sub(pace.tolerance);
    (early > 0).then_some(early)
}

/// Lets calls pass at a rate, with bursts. Shared by many threads without a lock; deterministic in the times it is told.
///
/// ```
/// use std::time::{Duration, Instant};
/// use lb_core::limits::{RateLimit, TokenBucket};
///
/// let (start, ms) = (Instant::now(), Duration::from_millis(1));
/// let bucket = TokenBucket::new(RateLimit::per_second(10)?.with_burst(2)?);
/// assert!(bucket.take(start).is_ok());
/// assert!(bucket.take(start).is_ok());
/// assert_eq!(bucket.take(start), Err(100 * ms), "the next one passes after a tenth of a second");
/// assert!(bucket.take(start + 100 * ms).is_ok());
/// # Ok::<(), lb_core::ConfigError>(())
/// ```
#[derive(Debug)]
pub struct TokenBucket {
    level: Level,
    pace: Pace,
    limit: RateLimit,
}

impl TokenBucket {
    /// A full bucket.
    pub fn new(limit: RateLimit) -> Self {
        Self { level: Level::default(), pace: limit.pace(), limit }
    }

    /// A bucket that goes on from another: with its tokens, as far as they fit. Calls that pass the old one from now on are not seen.
    pub fn after(&self, now: Instant, limit: RateLimit) -> Self {
        let next = Self::new(limit);
        next.level.hold(ticks(now), self.tokens(now), next.pace);
        next
    }

    /// Takes a token, or says how long until there will be one if nobody else takes it.
    ///
    /// # Errors
    /// The bucket is empty.
    #[inline]
    pub fn take(&self, now: Instant) -> Result<(), Duration> {
        self.level.take(ticks(now), self.pace).map_err(Pace::wait)
    }

    /// Puts a token back that a call took which then did not go on. Once for one taken.
    #[inline]
    pub fn give_back(&self) {
        self.level.give_back(self.pace);
    }

    /// Tokens there are now, 0 to the burst.
    pub fn tokens(&self, now: Instant) -> f64 {
        self.level.tokens(ticks(now), self.pace)
    }

    /// Its rate and burst.
    pub fn limit(&self) -> RateLimit {
        self.limit
    }
}
