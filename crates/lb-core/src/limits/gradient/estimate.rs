//! One step of the adaptive limit: what a window of calls makes of it. Plain values; the [essay](super) says why.

use super::config::GradientConfig;

/// The limit is cut by no more than half at a time, whatever one window says.
const STEEPEST: f64 = 0.5;

/// Fewer drops than this are bad luck and not congestion.
const BAD_LUCK: f64 = 0.01;

/// The limit grows only if so much of it was used, so that it stays what the endpoint has shown to bear.
const USED: f64 = 0.9;

/// The least tolerance growth is measured by.
const FINEST: f64 = 0.01;

/// With less than this in use latency is the endpoint's own, whatever the limit.
const UNLOADED: f64 = 0.5;

/// How fast the unloaded latency follows such windows: over some seconds.
const LEARN: f64 = 0.05;

/// A probe that differs from what is believed by more than so many of its standard deviations does not by chance: it replaces the belief.
/// Of one that differs by less only so much is believed.
const CHANCE: f64 = 3.0;
const PROBED: f64 = 0.5;

/// After so many windows there is a probe if there is reason to doubt the unloaded latency.
const DOUBT: f64 = 10.0;

/// What happened in a window.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Window {
    /// Mean latency of the calls that were answered, in seconds; `None` without any.
    pub(super) mean: Option<f64>,
    /// How many those are.
    pub(super) answered: u32,
    /// How long it was, in seconds.
    pub(super) length: f64,
    /// The share of calls that were dropped.
    pub(super) dropped: f64,
    /// The most calls at once.
    pub(super) peak: u32,
}

impl Window {
    /// The factor by which means differ by chance, if latencies scatter as exponential ones do: their deviation is their mean.
    fn noise(&self) -> f64 {
        1.0 + CHANCE / f64::from(self.answered.max(1)).sqrt()
    }

    /// The share of calls that were not dropped; all but bad luck.
    fn survival(&self) -> f64 {
        if self.dropped > BAD_LUCK { 1.0 - self.dropped } else { 1.0 }
    }

    /// Calls at once, on average (Little's law).
    fn busy(&self) -> f64 {
        self.mean.unwrap_or(0.0) * f64::from(self.answered) / self.length
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) enum Phase {
    #[default]
    Steady,
    /// Half the limit, until the calls that began before are gone.
    Settling,
    /// Half the limit: what is measured now is the unloaded latency.
    Measuring,
    /// The limit again, or for the first time. Of calls that begin together the short ones end first: no window to learn from.
    Returning,
}

impl Phase {
    /// In the order of their numbers.
    pub(super) const ALL: [Self; 4] = [Self::Steady, Self::Settling, Self::Measuring, Self::Returning];
}

/// What is believed of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Estimate {
    pub(super) limit: f64,
    /// In seconds; 0 before the first answer.
    pub(super) unloaded: f64,
    /// The time of the next probe, in seconds.
    pub(super) probe_at: f64,
    /// The limit at the last measure of the unloaded latency.
    pub(super) measured_at: f64,
    pub(super) phase: Phase,
}

impl Estimate {
    pub(super) fn new(config: &GradientConfig) -> Self {
        let limit = config.bounded(f64::from(config.initial));
        Self { limit, unloaded: 0.0, probe_at: 0.0, measured_at: limit, phase: Phase::Returning }
    }

    /// The limit in force.
    pub(super) fn current(&self, config: &GradientConfig) -> u32 {
        let limit = match self.phase {
            Phase::Steady | Phase::Returning => self.limit,
            Phase::Settling | Phase::Measuring => self.limit / 2.0,
        };
        config.bounded(limit) as u32
    }

    /// How long the next window is at least, after one of this mean latency. In seconds.
    pub(super) fn length(&self, mean: Option<f64>, config: &GradientConfig) -> f64 {
        let length = config.window.as_secs_f64().max(2.0 * mean.unwrap_or(0.0));
        if self.phase == Phase::Measuring { 2.0 * length } else { length }
    }

    /// A window has ended. `now` in seconds.
    pub(super) fn step(&mut self, now: f64, seen: &Window, config: &GradientConfig) {
        match self.phase {
            Phase::Steady => self.steady(now, seen, config),
            Phase::Settling => self.phase = Phase::Measuring,
            Phase::Measuring => self.measured(now, seen, config),
            Phase::Returning => self.phase = Phase::Steady,
        }
    }

    fn measured(&mut self, now: f64, seen: &Window, config: &GradientConfig) {
        self.phase = Phase::Returning;
        let Some(mean) = seen.mean else { return self.is_measured(now, DOUBT * config.window.as_secs_f64()) };
        let ratio = mean / self.unloaded;
        // Half a limit that was much too high still leaves a queue, and one measure is no two: look again soon.
        let doubt = ratio > config.tolerance || ratio < 1.0 / config.tolerance;
        let is_noise = (1.0 / seen.noise()..seen.noise()).contains(&ratio);
        self.unloaded += if is_noise { PROBED } else { 1.0 } * (mean - self.unloaded);
        self.is_measured(now, if doubt { DOUBT * config.window.as_secs_f64() } else { config.probe_every.as_secs_f64() });
    }

    fn is_measured(&mut self, now: f64, next: f64) {
        (self.probe_at, self.measured_at) = (now + next, self.limit);
    }

    fn steady(&mut self, now: f64, seen: &Window, config: &GradientConfig) {
        if self.unloaded == 0.0 {
            self.unloaded = seen.mean.unwrap_or(0.0);
            self.is_measured(now, DOUBT * config.window.as_secs_f64());
        }
        let limit = f64::from(self.current(config));
        let used = f64::from(seen.peak) / limit;
        self.learn(now, seen, used, config);
        let slack = seen.mean.filter(|_| used >= UNLOADED).map_or(1.0, |mean| config.tolerance * self.unloaded / mean);
        let gradient = slack.min(seen.survival()).clamp(STEEPEST, 1.0);
        let target = if gradient < 1.0 {
            self.limit * gradient
        } else if used >= USED {
            // All of it where nothing waits at all, nothing where as much waits as may: it comes to rest instead of swinging.
            self.limit + self.limit.sqrt() * ((slack - 1.0) / (config.tolerance - 1.0).max(FINEST)).min(1.0)
        } else {
            self.limit
        };
        self.limit = config.bounded(self.limit + config.smoothing * (target - self.limit));
        let has_halved = used >= UNLOADED && self.limit <= self.measured_at / 2.0;
        if has_halved || (seen.busy() >= USED * limit && now >= self.probe_at) {
            self.phase = Phase::Settling;
        }
    }

    /// Follows the unloaded latency where a window shows it.
    fn learn(&mut self, now: f64, seen: &Window, used: f64, config: &GradientConfig) {
        let Some(mean) = seen.mean else { return };
        if used < UNLOADED {
            self.unloaded += LEARN * (mean - self.unloaded);
            self.is_measured(now, config.probe_every.as_secs_f64());
        }
    }
}
