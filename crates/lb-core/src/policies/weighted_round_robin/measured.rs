//! From load reports to weights: gRFC A58 and A114.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::feedback::{Done, Feedback, Reported};
use crate::load::LoadReport;
use crate::slot::Slot;
use crate::stats::ticks;

/// How reports become weights.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Rule {
    /// Reports are asked for out of band this often; `None`: they come with calls.
    pub(super) out_of_band: Option<Duration>,
    /// For so long after an endpoint became READY or began to report its weight is not used: its caches are cold. 0 is no time.
    pub(super) blackout: Duration,
    /// So long after the last report a weight is not used any more.
    pub(super) expiration: Duration,
    /// How much more an endpoint counts as used for each call that fails there.
    pub(super) penalty: f64,
    /// What counts as utilisation, if the server says any of it: the largest.
    pub(super) metrics: Vec<Metric>,
}

/// A part of a load report, by the name gRFC A114 gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Metric {
    Application,
    Cpu,
    Memory,
    Named(Box<str>),
    Utilization(Box<str>),
}

impl Metric {
    /// `None` for names nobody knows; they are ignored.
    pub(super) fn parse(name: &str) -> Option<Self> {
        match (name, name.split_once('.')) {
            ("application_utilization", _) => Some(Self::Application),
            ("cpu_utilization", _) => Some(Self::Cpu),
            ("mem_utilization", _) => Some(Self::Memory),
            (_, Some(("named_metrics", key))) => Some(Self::Named(key.into())),
            (_, Some(("utilization", key))) => Some(Self::Utilization(key.into())),
            _ => None,
        }
    }

    fn of(&self, load: &LoadReport) -> Option<f64> {
        match self {
            Self::Application => Some(load.application_utilization),
            Self::Cpu => Some(load.cpu_utilization),
            Self::Memory => Some(load.mem_utilization),
            Self::Named(key) => load.named_metrics.get(&**key).copied(),
            Self::Utilization(key) => load.utilization.get(&**key).copied(),
        }
    }
}

impl Rule {
    /// What a report says an endpoint can take: calls a second for each unit of utilisation. `None` if it says too little.
    pub(super) fn weight(&self, load: &LoadReport) -> Option<f64> {
        let said = |value: &f64| value.is_finite() && *value > 0.0;
        let configured = self.metrics.iter().filter_map(|metric| metric.of(load)).filter(said).reduce(f64::max);
        let utilization = configured.or_else(|| load.utilization()).filter(said)?;
        let qps = Some(load.qps).filter(said)?;
        let errors = Some(load.eps).filter(said).unwrap_or(0.0) / qps;
        Some(qps / (utilization + errors * self.penalty)).filter(said)
    }
}

/// Whether a weight can be used.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Usable {
    Weight(f64),
    /// There is none, or the blackout is not over.
    NotYet,
    /// The last report is too old.
    Stale,
}

/// What the reports of one endpoint say. Written where calls end and read where the schedule is made, without a lock: a report that
/// comes between two reads counts a period later.
#[derive(Debug, Default)]
pub(super) struct Measured {
    /// An `f64` as bits.
    weight: AtomicU64,
    /// In ticks; 0 is never.
    updated: AtomicI64,
    /// Since when there have been reports, in ticks; 0 is not yet, or not any more.
    since: AtomicI64,
}

impl Measured {
    fn report(&self, rule: &Rule, now: Instant, load: &LoadReport) {
        let Some(weight) = rule.weight(load) else { return };
        let now = ticks(now);
        self.weight.store(weight.to_bits(), Ordering::Relaxed);
        self.updated.store(now, Ordering::Relaxed);
        // Whoever is first; for the others it is set.
        let _ = self.since.compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// The endpoint has become READY: the blackout begins with its next report.
    pub(super) fn restart(&self) {
        self.since.store(0, Ordering::Relaxed);
    }

    /// The weight, if it can be used now.
    pub(super) fn usable(&self, rule: &Rule, now: Instant) -> Usable {
        let now = ticks(now);
        let (updated, since) = (self.updated.load(Ordering::Relaxed), self.since.load(Ordering::Relaxed));
        if updated == 0 {
            return Usable::NotYet;
        }
        if age(updated, now) >= rule.expiration {
            self.restart();
            return Usable::Stale;
        }
        if rule.blackout > Duration::ZERO && (since == 0 || age(since, now) < rule.blackout) {
            return Usable::NotYet;
        }
        Usable::Weight(f64::from_bits(self.weight.load(Ordering::Relaxed)))
    }
}

fn age(since: i64, now: i64) -> Duration {
    Duration::from_nanos(now.saturating_sub(since).max(0) as u64)
}

/// An endpoint the policy has seen.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub(super) slot: Slot,
    pub(super) measured: Arc<Measured>,
    /// The number of the last rebuild that saw it READY.
    pub(super) last_ready: u64,
}

/// Takes reports to the endpoints they are about. One for each set of endpoints.
#[derive(Debug)]
pub(super) struct Learner {
    pub(super) rule: Arc<Rule>,
    /// By index of the slot.
    pub(super) endpoints: Box<[Option<Known>]>,
}

impl Learner {
    fn report(&self, slot: Slot, now: Instant, load: &LoadReport) {
        if let Some(Some(known)) = self.endpoints.get(slot.index())
            && known.slot == slot
        {
            known.measured.report(&self.rule, now, load);
        }
    }
}

impl Feedback for Learner {
    fn finished(&self, done: &Done<'_>) {
        if let (None, Some(load)) = (self.rule.out_of_band, done.load) {
            self.report(done.slot, done.now, load);
        }
    }

    fn reported(&self, report: &Reported<'_>) {
        if self.rule.out_of_band.is_some() {
            self.report(report.slot, report.now, report.load);
        }
    }
}
