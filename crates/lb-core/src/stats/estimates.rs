//! What can be guessed of an endpoint from the calls it answered: how slow it is, and how often it fails.
//!
//! **Latency** is a mean weighted by time: what happened [`MEMORY`] ago counts `1/e` of what happens now, however many calls there
//! were. **Peak latency** rises at once to any slower call and sinks as the mean does (the peak-sensitive average of Finagle, also
//! in Linkerd and tower). **Failing** is the share of failures among the latest answers, faster to react.
//!
//! **Silence.** What nobody refreshes is believed less and less: after a silence of `t` an estimate counts `1 / (1 + (t/MEMORY)²)`
//! of itself. Under traffic that is nothing, after [`MEMORY`] half, after 70 s a fiftieth; so a policy that avoids an endpoint
//! comes back to try it, without an exponential in the pick.
//!
//! **What is no answer.** A call that fails, or that its caller gives up, took *at least* as long as it did: it can raise what is
//! known of the latency and never lowers it. So an endpoint that fails fast does not look fast, and one that hangs does look slow.
//! Failures do not count as silence either. While no call was answered nothing is known, and a bound alone makes no estimate.
//!
//! The steps are plain functions of plain values; [`EndpointStats`](super::EndpointStats) holds them in atomics.

use super::ticks::seconds_between;

/// How long an answer is remembered, in seconds. Shorter follows every burst, longer is slow to forgive; Finagle and Linkerd take
/// the same.
const MEMORY: f32 = 10.0;

/// Over how many seconds failures are averaged: a few dozen calls at rates that matter. An endpoint that fails everything shows
/// half of it in 0.7 s.
const REACTION: f32 = 1.0;

/// The most one answer moves the share of failures. With more, one failure on a quiet endpoint would rule it out.
const MOST: f32 = 0.25;

/// The least one answer moves it: beyond 256 answers a second it is a mean of the last 256, which is as exact as it needs to be.
const LEAST: f32 = 1.0 / 256.0;

/// At most so many answers are averaged for the latency: less weight for one would vanish in the rounding of an `f32`.
const MOST_ANSWERS: u64 = 1 << 16;

/// The shortest latency there is, in seconds, so that 0 can mean "not known".
const SHORTEST: f32 = 1e-9;

/// Latencies in seconds, 0 while not known.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Estimates {
    pub(super) latency: f32,
    pub(super) peak: f32,
    /// 0 to 1.
    pub(super) failing: f32,
    /// The [ticks](super::ticks::ticks) of the last change; 0 is never.
    pub(super) at: i64,
}

impl Estimates {
    /// After an answer; `answers` counts it.
    #[inline]
    pub(super) fn succeeded(self, at: i64, took: f32, answers: u64) -> Self {
        let took = took.max(SHORTEST);
        let x = self.age(at) / MEMORY;
        let weight = x / (1.0 + x);
        // The first answers count alike: else the very first would rule for as long as the memory lasts.
        let latency = self.latency + (took - self.latency) * weight.max(1.0 / answers.clamp(1, MOST_ANSWERS) as f32);
        let peak = fade(self.peak, x);
        let peak = took.max(peak + (took - peak) * weight);
        let failing = fade(self.failing, x);
        Self { latency, peak, failing: failing - failing * self.reaction(at), at: at.max(self.at) }
    }

    /// After a failure.
    #[inline]
    pub(super) fn failed(self, at: i64, took: f32) -> Self {
        let x = self.age(at) / MEMORY;
        let failing = fade(self.failing, x);
        let failing = failing + (1.0 - failing) * self.reaction(at);
        Self { failing, at: at.max(self.at), ..self.at_least(took, x) }
    }

    /// After a call was given up.
    #[inline]
    pub(super) fn cancelled(self, at: i64, took: f32) -> Self {
        let x = self.age(at) / MEMORY;
        if self.peak == 0.0 || took <= fade(self.peak, x) {
            return self;
        }
        Self { failing: fade(self.failing, x), at: at.max(self.at), ..self.at_least(took, x) }
    }

    /// Raises what is known of the latency to a bound.
    #[inline]
    fn at_least(self, took: f32, x: f32) -> Self {
        if self.peak == 0.0 {
            return self;
        }
        let latency = self.latency + (took - self.latency).max(0.0) * (x / (1.0 + x));
        Self { latency, peak: self.peak.max(took), ..self }
    }

    #[inline]
    fn age(self, at: i64) -> f32 {
        if self.at == 0 { 0.0 } else { seconds_between(self.at, at) }
    }

    /// How far one answer moves the share of failures.
    #[inline]
    fn reaction(self, at: i64) -> f32 {
        (self.age(at) / REACTION).clamp(LEAST, MOST)
    }
}

/// What is left of an estimate that nobody refreshed since.
#[inline]
pub(super) fn faded(estimate: f32, since: i64, now: i64) -> f32 {
    fade(estimate, seconds_between(since, now) / MEMORY)
}

#[inline]
fn fade(estimate: f32, x: f32) -> f32 {
    estimate / (1.0 + x * x)
}
