//! The limits of each endpoint, as a gate.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::bucket::Level;
use super::gradient::{Ending, Gradient, GradientConfig, Settings};
use super::rate::{Pace, RateLimit};
use crate::endpoint::{Endpoint, EndpointKey};
use crate::feedback::Done;
use crate::gate::{Entry, Gate, GateSignal, Refusal};
use crate::stats::{Outcome, ticks};

/// The codes of an endpoint that does not bear its calls: DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED, UNAVAILABLE.
const DROPPED: [i32; 3] = [4, 8, 14];

/// What the limits of a channel's endpoints have in common; may be changed while they are in use.
///
/// A [`Gatekeeper`](crate::gate::Gatekeeper) makes the gates with [`gate`](Self::gate). They cost two branches while both limits are off.
#[derive(Debug, Clone)]
pub struct EndpointLimits(Arc<Common>);

#[derive(Debug)]
struct Common {
    /// Of a [`Pace`]; an interval of 0 is no limit.
    interval: AtomicI64,
    tolerance: AtomicI64,
    adaptive: AtomicBool,
    settings: Arc<Settings>,
    admitted: AtomicU64,
    rate_refused: AtomicU64,
    limit_refused: AtomicU64,
}

impl Common {
    #[inline]
    fn pace(&self) -> Option<Pace> {
        let interval = self.interval.load(Ordering::Relaxed);
        (interval > 0).then(|| Pace { interval, tolerance: self.tolerance.load(Ordering::Relaxed) })
    }
}

impl EndpointLimits {
    /// A rate, a concurrency limit that finds itself, both or none.
    pub fn new(rate: Option<RateLimit>, concurrency: Option<GradientConfig>) -> Self {
        let limits = Self(Arc::new(Common {
            interval: AtomicI64::new(0),
            tolerance: AtomicI64::new(0),
            adaptive: AtomicBool::new(concurrency.is_some()),
            settings: Arc::new(Settings::new(&concurrency.unwrap_or_default())),
            admitted: AtomicU64::new(0),
            rate_refused: AtomicU64::new(0),
            limit_refused: AtomicU64::new(0),
        }));
        limits.set_rate(rate);
        limits
    }

    /// Another rate from now on, for each endpoint; `None` is no limit. A bucket that owes tokens goes on owing the time they took.
    pub fn set_rate(&self, rate: Option<RateLimit>) {
        let pace = rate.map_or(Pace { interval: 0, tolerance: 0 }, |rate| rate.pace());
        self.0.tolerance.store(pace.tolerance, Ordering::Relaxed);
        self.0.interval.store(pace.interval, Ordering::Relaxed);
    }

    /// Other bounds and another temper from now on; `None` is no limit. What was found so far stays, within the bounds.
    pub fn set_concurrency(&self, concurrency: Option<GradientConfig>) {
        if let Some(config) = &concurrency {
            self.0.settings.set(config);
        }
        self.0.adaptive.store(concurrency.is_some(), Ordering::Relaxed);
    }

    /// The limits of a fresh endpoint.
    pub fn gate(&self, endpoint: &Endpoint, signal: &GateSignal) -> Arc<EndpointLimit> {
        Arc::new(EndpointLimit {
            endpoint: endpoint.key().clone(),
            common: Arc::clone(&self.0),
            signal: signal.clone(),
            level: Level::default(),
            gradient: Gradient::with_settings(Arc::clone(&self.0.settings)),
            has_refused: AtomicBool::new(false),
        })
    }

    /// Attempts admitted, refused by the rate of an endpoint, and refused by its concurrency, over all endpoints. A refused attempt mostly
    /// goes elsewhere, so one call may be refused several times and succeed.
    pub fn counts(&self) -> EndpointLimitCounts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let common = &self.0;
        let (rate_limited, at_limit) = (read(&common.rate_refused), read(&common.limit_refused));
        EndpointLimitCounts { admitted: read(&common.admitted), rate_limited, at_limit }
    }
}

/// What the limits of endpoints did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct EndpointLimitCounts {
    /// Attempts let in.
    pub admitted: u64,
    /// Refusals because an endpoint had all the calls a second it may have.
    pub rate_limited: u64,
    /// Refusals because an endpoint had all the calls at once it may have.
    pub at_limit: u64,
}

/// What the limits of one endpoint are now.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct EndpointLimitInfo {
    /// Which endpoint.
    pub endpoint: EndpointKey,
    /// The adaptive limit of calls at once; `None` if it is off.
    pub concurrency: Option<u32>,
    /// Calls that count against it.
    pub in_flight: u32,
    /// How long it is believed to take when nothing waits there; `None` if the limit is off or it is not known.
    pub unloaded: Option<Duration>,
    /// Tokens left of its rate; `None` if that is off.
    pub tokens: Option<f64>,
}

/// The limits of one endpoint.
#[derive(Debug)]
pub struct EndpointLimit {
    endpoint: EndpointKey,
    common: Arc<Common>,
    signal: GateSignal,
    level: Level,
    gradient: Gradient,
    /// Whether somebody may wait for its concurrency limit to rise.
    has_refused: AtomicBool,
}

/// The token of an attempt that counts for the concurrency limit, and the interval of the rate it took a token at.
#[derive(Debug, Clone, Copy)]
struct Took {
    counts: bool,
    interval: i64,
}

impl Took {
    /// Intervals need 41 bits.
    fn pack(self) -> u64 {
        (self.interval.unsigned_abs() << 1) | u64::from(self.counts)
    }

    fn unpack(token: u64) -> Self {
        Self { counts: token & 1 == 1, interval: (token >> 1) as i64 }
    }
}

impl EndpointLimit {
    /// What they are now.
    pub fn info(&self, now: Instant) -> EndpointLimitInfo {
        let adaptive = self.common.adaptive.load(Ordering::Relaxed);
        EndpointLimitInfo {
            endpoint: self.endpoint.clone(),
            concurrency: adaptive.then(|| self.gradient.limit()),
            in_flight: self.gradient.in_flight(),
            unloaded: self.gradient.unloaded().filter(|_| adaptive),
            tokens: self.common.pace().map(|pace| self.level.tokens(ticks(now), pace)),
        }
    }

    #[cold]
    fn at_limit(&self) -> Refusal {
        self.common.limit_refused.fetch_add(1, Ordering::Relaxed);
        self.has_refused.store(true, Ordering::Relaxed);
        Refusal::at_limit()
    }

    #[cold]
    fn rate_limited(&self, now: Instant, wait: i64) -> Refusal {
        self.common.rate_refused.fetch_add(1, Ordering::Relaxed);
        rate_limited(now, wait)
    }
}

fn rate_limited(now: Instant, wait: i64) -> Refusal {
    Refusal::rate_limited(now.checked_add(Pace::wait(wait)).unwrap_or(now))
}

fn ending(done: &Done<'_>) -> Ending {
    match (done.outcome, done.code) {
        (Outcome::Success, _) => Ending::Answered,
        (Outcome::Failure, None) => Ending::Dropped,
        (Outcome::Failure, Some(code)) if DROPPED.contains(&code) => Ending::Dropped,
        (Outcome::Failure | Outcome::Cancelled, _) => Ending::Ignored,
    }
}

impl Gate for EndpointLimit {
    #[inline]
    fn enter(&self, entry: &Entry<'_>) -> Result<u64, Refusal> {
        let counts = self.common.adaptive.load(Ordering::Relaxed);
        if counts && !self.gradient.enter() {
            return Err(self.at_limit());
        }
        let Some(pace) = self.common.pace() else {
            self.common.admitted.fetch_add(u64::from(counts), Ordering::Relaxed);
            return Ok(Took { counts, interval: 0 }.pack());
        };
        if let Err(wait) = self.level.take(ticks(entry.now), pace) {
            if counts {
                self.gradient.back();
            }
            return Err(self.rate_limited(entry.now, wait));
        }
        self.common.admitted.fetch_add(1, Ordering::Relaxed);
        Ok(Took { counts, interval: pace.interval }.pack())
    }

    #[inline]
    fn left(&self, token: u64, done: &Done<'_>) {
        if !Took::unpack(token).counts {
            return;
        }
        let raised = self.gradient.leave(done.now, done.latency, ending(done));
        if raised && self.has_refused.swap(false, Ordering::Relaxed) {
            self.signal.opened();
        }
    }

    fn unused(&self, token: u64) {
        let took = Took::unpack(token);
        if took.counts {
            self.gradient.back();
        }
        if took.interval > 0 {
            self.level.give_back(Pace { interval: took.interval, tolerance: 0 });
        }
        if took.counts || took.interval > 0 {
            self.common.admitted.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn refusal(&self, entry: &Entry<'_>) -> Option<Refusal> {
        if self.common.adaptive.load(Ordering::Relaxed) && self.gradient.in_flight() >= self.gradient.limit() {
            return Some(Refusal::at_limit());
        }
        let pace = self.common.pace()?;
        self.level.wait(ticks(entry.now), pace).map(|wait| rate_limited(entry.now, wait))
    }
}
