//! The picker of the composite policies: draws a group by weight, and lets its policy pick.
//!
//! Only groups in the state of the whole are drawn: while one is READY, the READY ones. A later attempt that would go where an
//! earlier one went draws on. Restrictions go to each group's picker; groups of which nothing is left are not drawn.

use std::sync::Arc;

use crate::connectivity::ConnectivityState::{self, Connecting, Idle, Ready, TransientFailure};
use crate::feedback::{Done, Feedback, Reported};
use crate::pick::{Always, PickArgs, PickResult, Picker, Score};
use crate::policy::{LbState, SubchannelView};
use crate::slot::Slot;

/// One group.
#[derive(Debug, Clone)]
pub(super) struct Branch {
    /// For people.
    name: Arc<str>,
    weight: u32,
    state: ConnectivityState,
    picker: Arc<dyn Picker>,
    /// Its endpoints, and whether each is READY.
    rows: Box<[(Slot, bool)]>,
}

impl Branch {
    pub(super) fn new(name: Arc<str>, weight: u32, rows: &[SubchannelView], lb: LbState) -> Self {
        let rows = rows.iter().map(|row| (row.slot, row.state == Ready)).collect();
        Self { name, weight, state: lb.state, picker: lb.picker, rows }
    }
}

/// The state of the whole: READY, CONNECTING, IDLE or TRANSIENT_FAILURE, the first that a group is in; and its picker.
pub(super) fn join(branches: Vec<Branch>) -> LbState {
    let is_in = |state| branches.iter().any(|branch| branch.state == state);
    let state = [Ready, Connecting, Idle].into_iter().find(|state| is_in(*state)).unwrap_or(TransientFailure);
    if branches.is_empty() {
        return LbState::new(state, Always::fail("there are no endpoints"));
    }
    let feedback = Dispatch::of(&branches);
    LbState::new(state, Arc::new(Branches::new(branches, feedback, |branch| branch.state == state)))
}

/// Never empty.
#[derive(Debug)]
struct Branches {
    list: Box<[Branch]>,
    /// Parallel to `list`: the weights so far, of those that are drawn. The last one is positive.
    until: Box<[u64]>,
    feedback: Option<Arc<dyn Feedback>>,
}

impl Branches {
    /// Draws among those that `drawn` accepts, at least one, by their weights; if all of these are 0, evenly.
    fn new(list: Vec<Branch>, feedback: Option<Arc<dyn Feedback>>, drawn: impl Fn(&Branch) -> bool) -> Self {
        let all_zero = !list.iter().any(|branch| drawn(branch) && branch.weight > 0);
        let weight = |branch: &Branch| if drawn(branch) { u64::from(branch.weight.max(u32::from(all_zero))) } else { 0 };
        let sums = list.iter().scan(0, |sum, branch| {
            *sum += weight(branch);
            Some(*sum)
        });
        let until = sums.collect();
        Self { list: list.into(), until, feedback }
    }

    fn total(&self) -> u64 {
        self.until.last().copied().unwrap_or_default()
    }

    fn weight(&self, index: usize) -> u64 {
        self.until[index] - index.checked_sub(1).map_or(0, |before| self.until[before])
    }

    #[cold]
    fn pick_untried(&self, drawn: usize, args: &mut PickArgs<'_>) -> PickResult {
        let first = self.list[drawn].picker.pick(args);
        let tried = args.tried;
        let is_new = |result: &PickResult| matches!(result, PickResult::Pick(slot) if !tried.contains(slot));
        if is_new(&first) {
            return first;
        }
        let token = args.token;
        for index in (drawn + 1..self.list.len()).chain(0..drawn).filter(|index| self.weight(*index) > 0) {
            let next = self.list[index].picker.pick(args);
            if is_new(&next) {
                return next;
            }
        }
        args.token = token;
        first
    }
}

impl Picker for Branches {
    #[inline]
    fn pick(&self, args: &mut PickArgs<'_>) -> PickResult {
        let draw = ((u128::from(args.scratch.random()) * u128::from(self.total())) >> 64) as u64;
        let drawn = self.until.partition_point(|until| *until <= draw);
        if args.tried.is_empty() { self.list[drawn].picker.pick(args) } else { self.pick_untried(drawn, args) }
    }

    fn restrict(&self, keep: &dyn Fn(Slot) -> bool) -> Arc<dyn Picker> {
        let restricted = |branch: &Branch| Branch {
            picker: branch.picker.restrict(keep),
            rows: branch.rows.iter().copied().filter(|(slot, _)| keep(*slot)).collect(),
            ..branch.clone()
        };
        let left: Vec<Branch> = self.list.iter().map(restricted).filter(|branch| !branch.rows.is_empty()).collect();
        let serves = |branch: &Branch| branch.state == Ready && branch.rows.iter().any(|(_, ready)| *ready);
        if left.is_empty() {
            return Always::fail("no endpoint passes the call's restrictions");
        }
        let any = left.iter().any(serves);
        Arc::new(Self::new(left, self.feedback.clone(), |branch| !any || serves(branch)))
    }

    fn explain(&self, args: &mut PickArgs<'_>) -> Vec<Score> {
        let total = self.total() as f64;
        let mut scores = Vec::new();
        for (index, branch) in self.list.iter().enumerate() {
            let share = self.weight(index) as f64 / total;
            for mut score in branch.picker.explain(args) {
                score.total *= share;
                score.parts.push(("group_share", share));
                score.reason = format!("{}, {:.1} % of calls: {}", branch.name, share * 100.0, score.reason);
                scores.push(score);
            }
        }
        scores
    }

    fn feedback(&self) -> Option<&Arc<dyn Feedback>> {
        self.feedback.as_ref()
    }
}

/// Tells each group's policy of its own endpoints.
#[derive(Debug)]
struct Dispatch {
    /// Sorted by slot.
    groups: Box<[(Slot, usize)]>,
    feedbacks: Box<[Option<Arc<dyn Feedback>>]>,
}

impl Dispatch {
    /// `None` if no group listens.
    fn of(branches: &[Branch]) -> Option<Arc<dyn Feedback>> {
        let feedbacks: Box<[_]> = branches.iter().map(|branch| branch.picker.feedback().cloned()).collect();
        if feedbacks.iter().all(Option::is_none) {
            return None;
        }
        let slots = |(index, branch): (usize, &Branch)| branch.rows.iter().map(move |(slot, _)| (*slot, index)).collect::<Vec<_>>();
        let mut groups: Vec<(Slot, usize)> = branches.iter().enumerate().flat_map(slots).collect();
        groups.sort_unstable();
        Some(Arc::new(Self { groups: groups.into(), feedbacks }))
    }

    fn of_slot(&self, slot: Slot) -> Option<&Arc<dyn Feedback>> {
        let found = self.groups.binary_search_by_key(&slot, |(slot, _)| *slot).ok()?;
        self.feedbacks[self.groups[found].1].as_ref()
    }
}

impl Feedback for Dispatch {
    fn finished(&self, done: &Done<'_>) {
        if let Some(feedback) = self.of_slot(done.slot) {
            feedback.finished(done);
        }
    }

    fn reported(&self, report: &Reported<'_>) {
        if let Some(feedback) = self.of_slot(report.slot) {
            feedback.reported(report);
        }
    }
}
