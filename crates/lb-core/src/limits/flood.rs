//! The flood guard: the cheapest thing a call can meet.
//!
//! **What it is for.** A loop gone wild, a storm of retries, a client that lost its pacing: tens of thousands of calls a second that are
//! not worth looking at one by one. The guard stands before everything else (before a call's headers are read, before the pick) and
//! costs one atomic operation.
//!
//! **Algorithm.** Time is cut into short windows. In each the arrivals are counted, those that are shed included. The first
//! `threshold × window` pass; the rest are shed, and with the first of them a *flood* begins. While it lasts, only
//! `resume × threshold × window` pass per window: the servers get air, and a rate just above the threshold does not switch the guard
//! with every window (hysteresis). The flood is over after a window that saw no more arrivals than that.
//!
//! **Bound.** At most `threshold × (t + 2 × window)` calls pass in any time `t`. Never less than `resume` of the threshold passes while more
//! arrive: a guard that sheds everything would be the outage it is there to prevent.
//!
//! **When not to use it.** As a rate limit: it knows no fairness and no smoothing. Set it several times higher than any load you
//! expect, and a [`TokenBucket`](super::TokenBucket) for the rate itself.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::Value;

use crate::policies::config;
use crate::policy::ConfigError;
use crate::stats::ticks;

const NAME: &str = "flood";

/// Below this share of the threshold a flood is over. Wide enough that the noise of arrivals does not begin it again at once.
const RESUME: f64 = 0.8;

/// How long arrivals are counted. Shorter reacts sooner; at the threshold of 5000 it still sees 500 calls.
const WINDOW: Duration = Duration::from_millis(100);

/// How many calls a second are a flood, and what happens then.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FloodLimit {
    per_second: u32,
    resume: f64,
    window: Duration,
}

impl FloodLimit {
    /// More calls a second than this are a flood, 1 to 10 000 000; counted over 100 ms, and over once there are fewer than 80 % of it.
    ///
    /// # Errors
    /// A threshold out of range.
    pub fn above(per_second: u32) -> Result<Self, ConfigError> {
        if !(1..=10_000_000).contains(&per_second) {
            return Err(ConfigError::new("flood.perSecond", per_second, "a whole number from 1 to 10000000"));
        }
        Ok(Self { per_second, resume: RESUME, window: WINDOW })
    }

    /// 5000 calls a second, the default of gateways this is measured against.
    pub fn promised() -> Self {
        Self { per_second: 5000, resume: RESUME, window: WINDOW }
    }

    /// The share of the threshold, 0.1 to 1, below which a flood is over, and that passes while it lasts. 1 is no hysteresis.
    ///
    /// # Errors
    /// A share out of range.
    pub fn resume_below(self, share: f64) -> Result<Self, ConfigError> {
        if !(0.1..=1.0).contains(&share) {
            return Err(ConfigError::new("flood.resume", share, "a number from 0.1 to 1"));
        }
        Ok(Self { resume: share, ..self })
    }

    /// How long arrivals are counted, 10 ms to 10 s.
    ///
    /// # Errors
    /// A time out of range.
    pub fn over(self, window: Duration) -> Result<Self, ConfigError> {
        if !(Duration::from_millis(10)..=Duration::from_secs(10)).contains(&window) {
            return Err(ConfigError::new("flood.window", format!("{window:?}"), "a duration from 10 ms to 10 s"));
        }
        Ok(Self { window, ..self })
    }

    /// From `{"perSecond": 5000, "resume": 0.8, "window": "0.1s"}`; unknown fields are ignored, the last two may be left out.
    ///
    /// # Errors
    /// A wrong type, a missing threshold, a value out of range.
    pub fn from_json(value: &Value) -> Result<Self, ConfigError> {
        let limit = Self::above(config::unsigned(NAME, value, "perSecond", 0)?)?;
        let limit = limit.resume_below(config::not_negative(NAME, value, "resume", limit.resume)?)?;
        limit.over(config::duration(NAME, value, "window", limit.window)?)
    }

    /// The threshold, in calls a second.
    pub fn threshold(&self) -> u32 {
        self.per_second
    }

    /// Calls that may pass in one window: calm, and in a flood.
    fn quotas(&self) -> (u32, u32) {
        let calm = f64::from(self.per_second) * self.window.as_secs_f64();
        ((calm as u32).max(1), ((calm * self.resume) as u32).max(1))
    }
}

/// Counts arrivals and sheds those of a flood. Shared by many threads without a lock; deterministic in the times it is told.
#[derive(Debug)]
pub struct FloodGuard {
    limit: FloodLimit,
    window: i64,
    calm: u32,
    flood: u32,
    /// The number of the window above, its arrivals below.
    arrivals: AtomicU64,
    flooding: AtomicBool,
    floods: AtomicU64,
}

impl FloodGuard {
    /// A guard that has seen nothing.
    pub fn new(limit: FloodLimit) -> Self {
        let (calm, flood) = limit.quotas();
        let window = i64::try_from(limit.window.as_nanos()).unwrap_or(i64::MAX).max(1);
        let (arrivals, flooding, floods) = (AtomicU64::new(0), AtomicBool::new(false), AtomicU64::new(0));
        Self { limit, window, calm, flood, arrivals, flooding, floods }
    }

    /// Counts a call, and says whether it passes or when to come again.
    ///
    /// # Errors
    /// The call is one of a flood.
    #[inline]
    pub fn enter(&self, now: Instant) -> Result<(), Duration> {
        let now = ticks(now);
        let arrived = self.count(now.div_euclid(self.window) as u32);
        let flooding = self.flooding.load(Ordering::Relaxed);
        if arrived <= if flooding { self.flood } else { self.calm } {
            return Ok(());
        }
        if !flooding && !self.flooding.swap(true, Ordering::Relaxed) {
            self.floods.fetch_add(1, Ordering::Relaxed);
        }
        Err(Duration::from_nanos((self.window - now.rem_euclid(self.window)).unsigned_abs()))
    }

    /// The arrivals of this window, this one included.
    #[inline]
    fn count(&self, window: u32) -> u32 {
        let mut seen = self.arrivals.load(Ordering::Relaxed);
        loop {
            let (at, arrived) = ((seen >> 32) as u32, seen as u32);
            // The clocks of two threads may be a moment apart: a window never comes back.
            let later = window.wrapping_sub(at) as i32 > 0;
            let next =
                if later { (u64::from(window) << 32) | 1 } else { (seen & !0xffff_ffff) | u64::from(arrived.saturating_add(1)) };
            match self.arrivals.compare_exchange_weak(seen, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) if later => {
                    let was_next = window.wrapping_sub(at) == 1;
                    if !was_next || arrived <= self.flood {
                        self.flooding.store(false, Ordering::Relaxed);
                    }
                    return 1;
                }
                Ok(_) => return next as u32,
                Err(newer) => seen = newer,
            }
        }
    }

    /// Whether a flood is on, as of the last arrival.
    pub fn is_flooding(&self) -> bool {
        self.flooding.load(Ordering::Relaxed)
    }

    /// How many floods have begun.
    pub fn floods(&self) -> u64 {
        self.floods.load(Ordering::Relaxed)
    }

    /// What it was made with.
    pub fn limit(&self) -> FloodLimit {
        self.limit
    }
}
