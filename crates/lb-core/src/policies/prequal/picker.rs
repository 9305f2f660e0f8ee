//! Choosing by the pool, or blindly.

use std::sync::Arc;

use super::memory::{BLIND, Memory, millis};
use super::pool::Report;
use crate::feedback::Feedback;
use crate::pick::{PickArgs, PickResult, Picker, Score};
use crate::policies::peak::Peak;
use crate::policies::petiole::NotReady;
use crate::policies::sampler::{Row, Sampler, Selection};
use crate::slot::Slot;

/// How many probes go with a call: 2^32 is one.
#[derive(Debug, Clone, Copy)]
pub(super) struct ProbeRate(u64);

impl ProbeRate {
    /// From 0 to 1 per call.
    pub(super) fn per_call(rate: f64) -> Self {
        Self((rate.clamp(0.0, 1.0) * 4_294_967_296.0) as u64)
    }

    /// Whether the sum over all turns passes a whole number with this one; so `n` turns in a row have `n · rate` probes, rounded up or down.
    #[inline]
    pub(super) fn is_due(self, turn: u64) -> bool {
        (turn.wrapping_mul(self.0) & 0xffff_ffff) + self.0 >= 1 << 32
    }
}

/// Which slots are among the picker's endpoints: the generation of each index, if it is.
#[derive(Debug)]
struct Among(Box<[Option<u32>]>);

impl Among {
    fn new(rows: &[Row]) -> Self {
        let len = rows.iter().map(|row| row.slot.index() + 1).max().unwrap_or(0);
        let mut generations = vec![None; len].into_boxed_slice();
        rows.iter().for_each(|row| generations[row.slot.index()] = Some(row.slot.generation()));
        Self(generations)
    }

    #[inline]
    fn contains(&self, slot: Slot) -> bool {
        self.0.get(slot.index()).is_some_and(|generation| *generation == Some(slot.generation()))
    }
}

#[derive(Debug)]
pub(super) struct HotCold {
    among: Among,
    /// Its rows are never empty.
    blind: Sampler<Peak>,
    memory: Arc<Memory>,
    probes: ProbeRate,
    feedback: Arc<dyn Feedback>,
}

impl HotCold {
    pub(super) fn new(
        rows: Box<[Row]>,
        others: NotReady,
        memory: Arc<Memory>,
        probes: ProbeRate,
        feedback: Arc<dyn Feedback>,
    ) -> Self {
        let among = Among::new(&rows);
        Self { among, blind: Sampler { rows, selection: Selection::Pair, measure: Peak, others }, memory, probes, feedback }
    }

    /// An endpoint to probe, if it is time.
    #[inline]
    fn probe(&self, args: &mut PickArgs<'_>) -> Option<Slot> {
        let rows = &self.blind.rows;
        let due = rows.len() > 1 && self.probes.is_due(args.scratch.turn(&self.memory.turns));
        due.then(|| rows[args.scratch.below(rows.len() as u32) as usize].slot)
    }

    #[inline]
    fn by_report(&self, args: &mut PickArgs<'_>) -> Option<Slot> {
        if ((args.scratch.random() >> 32) as u32) < self.memory.blind() {
            return None;
        }
        let usable = |slot| self.among.contains(slot) && !args.was_tried(slot);
        self.memory.pool.take(millis(args.now), self.memory.theta.get(), usable)
    }

    /// How good a report is, from 0 to 1: any cold one is better than any hot one.
    fn goodness(&self, report: Report) -> f64 {
        if report.in_flight > self.memory.theta.get() {
            0.5 / (1.0 + f64::from(report.in_flight))
        } else {
            0.5 + 0.5 / (1.0 + f64::from(report.latency.seconds()))
        }
    }

    fn score(&self, slot: Slot, now: u32) -> Score {
        let Some(report) = self.memory.pool.find(slot, now) else {
            return Score::new(slot, 0.0, "no fresh report in the pool");
        };
        let theta = self.memory.theta.get();
        let heat = if report.in_flight > theta { "hot" } else { "cold" };
        let (latency, age) = (report.latency.seconds(), report.age(now));
        let reason = format!("{heat}: {} in flight of {theta}, {:.1} ms, {age} ms ago", report.in_flight, latency * 1e3);
        let mut score = Score::new(slot, self.goodness(report), reason);
        score.parts = vec![("in_flight", report.in_flight.into()), ("latency_seconds", latency.into()), ("age_ms", age.into())];
        score
    }
}

impl Picker for HotCold {
    #[inline]
    fn pick(&self, args: &mut PickArgs<'_>) -> PickResult {
        args.probe = self.probe(args);
        if let Some(slot) = self.by_report(args) {
            return PickResult::Pick(slot);
        }
        args.token = BLIND;
        self.blind.pick(args)
    }

    fn restrict(&self, keep: &dyn Fn(Slot) -> bool) -> Arc<dyn Picker> {
        let rows: Box<[Row]> = self.blind.rows.iter().filter(|row| keep(row.slot)).cloned().collect();
        let others = self.blind.others.restricted(keep);
        if rows.is_empty() {
            return Arc::new(others);
        }
        Arc::new(Self::new(rows, others, Arc::clone(&self.memory), self.probes, Arc::clone(&self.feedback)))
    }

    /// Shares of goodness; without any report, those of a blind choice.
    fn explain(&self, args: &mut PickArgs<'_>) -> Vec<Score> {
        let now = millis(args.now);
        let mut scores: Vec<Score> = self.blind.rows.iter().map(|row| self.score(row.slot, now)).collect();
        let sum: f64 = scores.iter().map(|score| score.total).sum();
        if sum == 0.0 {
            return self.blind.explain(args);
        }
        scores.iter_mut().for_each(|score| score.total /= sum);
        scores
    }

    fn feedback(&self) -> Option<&Arc<dyn Feedback>> {
        Some(&self.feedback)
    }
}
