//! What the policy knows of its endpoints, and how it comes to know it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::Settings;
use super::pool::{Latency, Pool, Report};
use super::theta::Theta;
use crate::feedback::{Done, Feedback, Reported};
use crate::load::LoadReport;
use crate::policies::failures::punishment;
use crate::policy::SubchannelView;
use crate::scratch::Sequence;
use crate::slot::Slot;
use crate::stats::{EndpointStats, Outcome, ticks};

/// Token of a call that was placed without a report.
pub(super) const BLIND: u64 = 1;

/// Whoever fails so much that its load counts this many times is hot, however few calls it has: at half of all calls.
const SHUNNED: f32 = 4.0;

/// How many blind calls the share of silent endpoints is averaged over.
const BLIND_CALLS: u32 = 64;

/// At least so many calls of 2^32 are placed blindly, one in 64: enough to notice servers that begin or cease to report, and too few to show.
const LEAST_BLIND: u32 = u32::MAX / 64;

/// A reported latency that is so many times what is known is taken at once. Half a second of an endpoint that stalled is too much.
const JUMP: f32 = 2.5;

/// Milliseconds of the pool's clock.
#[inline]
pub(super) fn millis(now: Instant) -> u32 {
    (ticks(now) / 1_000_000) as u32
}

/// What all pickers of the policy share, and what outlives them.
#[derive(Debug)]
pub(super) struct Memory {
    pub(super) pool: Pool,
    pub(super) theta: Theta,
    /// Turns of probing.
    pub(super) turns: Arc<Sequence>,
    /// Of 2^32 blind calls so many went to endpoints that report nothing.
    silent: AtomicU32,
    /// Seconds.
    latency_memory: f32,
}

impl Memory {
    pub(super) fn new(settings: &Settings, turns: Arc<Sequence>) -> Self {
        let max_age = settings.max_age.as_millis() as u32;
        Self {
            pool: Pool::new(settings.pool_size as usize, max_age),
            theta: Theta::new(settings.hot_quantile as f32, max_age),
            turns,
            silent: AtomicU32::new(0),
            latency_memory: settings.latency_memory.as_secs_f32(),
        }
    }

    /// How many calls of 2^32 are to be placed without a look at the pool. It knows nothing of endpoints that report nothing; they get
    /// their share this way.
    #[inline]
    pub(super) fn blind(&self) -> u32 {
        self.silent.load(Ordering::Relaxed).max(LEAST_BLIND)
    }

    fn note_silence(&self, silent: bool) {
        let share = self.silent.load(Ordering::Relaxed);
        let add = if silent { u32::MAX / BLIND_CALLS } else { 0 };
        self.silent.store((share - share / BLIND_CALLS).saturating_add(add), Ordering::Relaxed);
    }
}

/// A latency that endpoints report, averaged over time: one report is the median of a few calls, and the best of sixteen such medians is
/// more often luck than speed. Kept as seconds in 32 bits and milliseconds in 32 bits.
#[derive(Debug, Default)]
struct Smoothed(AtomicU64);

impl Smoothed {
    fn mix(&self, at: u32, seconds: f32, memory: f32) -> f32 {
        let word = self.0.load(Ordering::Relaxed);
        let (old, since) = (f32::from_bits((word >> 32) as u32), at.wrapping_sub(word as u32));
        // A report that another thread overtook is as old as none.
        let elapsed = if since > u32::MAX / 2 { 0.0 } else { since as f32 / 1e3 };
        // So much slower at once is no chance: all of the calls behind it would have to be unlucky.
        let known = old > 0.0 && memory > 0.0 && seconds < JUMP * old;
        let mixed = if known { old + (seconds - old) * (elapsed / (elapsed + memory)) } else { seconds };
        self.0.store(u64::from(mixed.to_bits()) << 32 | u64::from(at), Ordering::Relaxed);
        mixed
    }
}

#[derive(Debug)]
struct Known {
    generation: u32,
    stats: Arc<EndpointStats>,
    latency: Arc<Smoothed>,
}

/// The READY endpoints of one view, by the index of their slots.
#[derive(Debug, Default)]
pub(super) struct Endpoints(Box<[Option<Known>]>);

impl Endpoints {
    /// Those of a view; what was averaged before goes on.
    pub(super) fn new(ready: &[&SubchannelView], before: &Self) -> Self {
        let len = ready.iter().map(|row| row.slot.index() + 1).max().unwrap_or(0);
        let mut known: Box<[Option<Known>]> = std::iter::repeat_with(|| None).take(len).collect();
        for row in ready {
            let latency = before.find(row.slot).map_or_else(Arc::default, |known| Arc::clone(&known.latency));
            let generation = row.slot.generation();
            known[row.slot.index()] = Some(Known { generation, stats: Arc::clone(&row.stats), latency });
        }
        Self(known)
    }

    fn find(&self, slot: Slot) -> Option<&Known> {
        self.0.get(slot.index())?.as_ref().filter(|known| known.generation == slot.generation())
    }
}

/// Hears of calls and reports.
#[derive(Debug)]
pub(super) struct Listener {
    pub(super) memory: Arc<Memory>,
    pub(super) endpoints: Arc<Endpoints>,
}

impl Listener {
    fn learn(&self, slot: Slot, now: Instant, load: &LoadReport, took: Option<Duration>, probed: bool) {
        let (Some(in_flight), Some(known)) = (load.in_flight, self.endpoints.find(slot)) else { return };
        let at = millis(now);
        self.memory.theta.note(at, in_flight, probed);
        let took = load.latency.or(took).or_else(|| known.stats.latency()).unwrap_or_default();
        let latency = known.latency.mix(at, took.as_secs_f32(), self.memory.latency_memory);
        let punishment = punishment(&known.stats, || ticks(now));
        let in_flight = if punishment >= SHUNNED { Report::HOTTEST } else { in_flight.min(Report::HOTTEST) };
        self.memory.pool.put(slot, Report { at, in_flight, latency: Latency::from_seconds(latency * punishment) });
    }
}

impl Feedback for Listener {
    fn finished(&self, done: &Done<'_>) {
        match done.outcome {
            // What is in the pool about it is too good to be true.
            Outcome::Failure => self.memory.pool.forget(done.slot),
            Outcome::Cancelled => {}
            Outcome::Success => {
                if done.token == BLIND {
                    self.memory.note_silence(done.load.is_none_or(|load| load.in_flight.is_none()));
                }
                if let Some(load) = done.load {
                    self.learn(done.slot, done.now, load, Some(done.latency), false);
                }
            }
        }
    }

    fn reported(&self, report: &Reported<'_>) {
        self.learn(report.slot, report.now, report.load, None, report.probed);
    }
}
