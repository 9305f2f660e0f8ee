//! The picker: turns by the static stride scheduler.

use std::sync::Arc;

use crate::feedback::Feedback;
use crate::observer::ScheduleWeights;
use crate::pick::{PickArgs, PickResult, Picker, Score};
use crate::policies::petiole::{self, NotReady};
use crate::policies::stride::Stride;
use crate::scratch::Sequence;
use crate::slot::Slot;

/// A READY endpoint.
#[derive(Debug, Clone, Copy)]
pub(super) struct Weighted {
    pub(super) slot: Slot,
    /// The view's.
    pub(super) weight: u32,
    /// By its load reports, as far as they can be used.
    pub(super) measured: Option<f64>,
    /// Whether they cannot because they are too old.
    pub(super) stale: bool,
}

/// `slots` is never empty and parallel to the stride's weights.
#[derive(Debug)]
pub(super) struct Scheduler {
    slots: Box<[Slot]>,
    /// `None`: plain turns.
    stride: Option<Stride>,
    sequence: Arc<Sequence>,
    /// All READY endpoints, those of weight 0 included, for restrictions and explanations.
    rows: Box<[Weighted]>,
    /// Whether the weights are those of load reports.
    by_load: bool,
    others: NotReady,
    feedback: Arc<dyn Feedback>,
}

impl Scheduler {
    pub(super) fn new(rows: Box<[Weighted]>, sequence: Arc<Sequence>, others: NotReady, feedback: Arc<dyn Feedback>) -> Self {
        let all_zero = rows.iter().all(|row| row.weight == 0);
        let scheduled = || rows.iter().filter(|row| all_zero || row.weight > 0);
        let by_load = scheduled().filter(|row| row.measured.is_some()).take(2).count() == 2;
        // What is not known is 0, which the stride takes as the mean.
        let weight = |row: &Weighted| if by_load { row.measured.unwrap_or(0.0) } else { f64::from(row.weight) };
        let weights: Vec<f64> = scheduled().map(weight).collect();
        let slots = scheduled().map(|row| row.slot).collect();
        Self { slots, stride: Stride::new(&weights), sequence, rows, by_load, others, feedback }
    }

    /// What there is to tell of it.
    pub(super) fn weights(&self) -> ScheduleWeights {
        let unusable = |stale: bool| self.rows.iter().filter(|row| row.measured.is_none() && row.stale == stale).count();
        let count = |stale| u32::try_from(unusable(stale)).unwrap_or(u32::MAX);
        let weights = self.rows.iter().map(|row| row.measured.unwrap_or(0.0)).collect();
        ScheduleWeights::new(!self.by_load, count(false), count(true), weights)
    }

    fn share(&self, index: usize) -> f64 {
        self.stride.as_ref().map_or_else(|| 1.0 / self.slots.len() as f64, |stride| stride.share(index))
    }

    fn reason(&self, row: &Weighted) -> String {
        match row.measured {
            _ if !self.by_load => format!("weight {}", row.weight),
            Some(measured) => format!("weight {measured:.1} by its load"),
            None => "no usable load reports, counts as the mean".into(),
        }
    }
}

impl Picker for Scheduler {
    #[inline]
    fn pick(&self, args: &mut PickArgs<'_>) -> PickResult {
        let len = self.slots.len() as u64;
        let mut turns = args.scratch.turns(&self.sequence);
        PickResult::Pick(petiole::draw_untried(&self.slots, args.tried, || match &self.stride {
            Some(stride) => stride.next(|| turns.next_turn()),
            None => (turns.next_turn() % len) as usize,
        }))
    }

    fn restrict(&self, keep: &dyn Fn(Slot) -> bool) -> Arc<dyn Picker> {
        let rows: Box<[Weighted]> = self.rows.iter().copied().filter(|row| keep(row.slot)).collect();
        let others = self.others.restricted(keep);
        if rows.is_empty() {
            return Arc::new(others);
        }
        // A sequence of its own: turns taken elsewhere would skip endpoints here.
        Arc::new(Self::new(rows, Sequence::new(0), others, Arc::clone(&self.feedback)))
    }

    fn explain(&self, _args: &mut PickArgs<'_>) -> Vec<Score> {
        // Scheduled rows come in the same order in `slots`.
        let mut scheduled = 0;
        let score = |row: &Weighted| {
            let mut score = Score::new(row.slot, 0.0, self.reason(row));
            score.parts.push(("weight", f64::from(row.weight)));
            score.parts.extend(row.measured.map(|measured| ("measured_weight", measured)));
            if self.slots.get(scheduled) == Some(&row.slot) {
                score.total = self.share(scheduled);
                scheduled += 1;
            } else {
                score.reason.push_str(", and others have more");
            }
            score
        };
        self.rows.iter().map(score).collect()
    }

    fn feedback(&self) -> Option<&Arc<dyn Feedback>> {
        Some(&self.feedback)
    }
}
