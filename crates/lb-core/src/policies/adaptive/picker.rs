//! Asks one child per call, and tells all of them what came of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::learner::{KINDS, Learner};
use crate::feedback::{Done, Feedback, Reported};
use crate::pick::{PickArgs, PickResult, Picker, Score};
use crate::policies::hash;
use crate::slot::Slot;
use crate::stats::Outcome;

/// Bits of a token that are ours: 4 for the child, 6 for the kind. The child's token has the others.
const OURS: u32 = 10;

/// The kind of a call: that of its work or else its method, and whether it has a key: those that have are odd.
#[inline]
pub(super) fn kind(call: &str, has_key: bool) -> usize {
    ((hash::hash(call.as_bytes()) << 1) as usize + usize::from(has_key)) % KINDS
}

#[inline]
fn kind_of(args: &PickArgs<'_>) -> usize {
    let hints = args.hints;
    kind(hints.kind.as_deref().unwrap_or(args.method), hints.hash_key.is_some() || hints.session.is_some())
}

/// Which child placed a call of which kind, and the child's own token. One with its upper 10 bits in use does not fit; the child gets 0
/// back instead.
fn pack(child: usize, kind: usize, token: u64) -> u64 {
    let fitting = if token >> (64 - OURS) == 0 { token } else { 0 };
    fitting << OURS | (kind as u64) << 4 | child as u64
}

fn unpack(token: u64) -> (usize, usize, u64) {
    ((token & 15) as usize, (token >> 4) as usize % KINDS, token >> OURS)
}

/// Children and the learner's names are parallel.
#[derive(Debug)]
pub(super) struct Experts {
    children: Box<[Arc<dyn Picker>]>,
    learner: Arc<Learner>,
    feedback: Arc<dyn Feedback>,
}

impl Experts {
    pub(super) fn new(children: Box<[Arc<dyn Picker>]>, learner: Arc<Learner>) -> Self {
        let listening = children.iter().map(|child| child.feedback().cloned()).collect();
        let feedback = Arc::new(Listener { children: listening, learner: Arc::clone(&learner) });
        Self { children, learner, feedback }
    }

    #[inline]
    fn ask(&self, child: usize, kind: usize, args: &mut PickArgs<'_>) -> PickResult {
        (args.token, args.probe) = (0, None);
        let result = self.children[child].pick(args);
        args.token = pack(child, kind, args.token);
        result
    }

    /// The chosen one has no endpoint to pick, for instance because it connects only when it must: the first one that has.
    #[cold]
    fn ask_others(&self, refused: PickResult, kind: usize, args: &mut PickArgs<'_>) -> PickResult {
        for child in 0..self.children.len() {
            let result = self.ask(child, kind, args);
            if matches!(result, PickResult::Pick(_)) {
                return result;
            }
        }
        refused
    }
}

impl Picker for Experts {
    #[inline]
    fn pick(&self, args: &mut PickArgs<'_>) -> PickResult {
        let kind = kind_of(args);
        let child = self.learner.draw(kind, args.scratch.random());
        let result = self.ask(child, kind, args);
        if matches!(result, PickResult::Pick(_)) { result } else { self.ask_others(result, kind, args) }
    }

    fn restrict(&self, keep: &dyn Fn(Slot) -> bool) -> Arc<dyn Picker> {
        let children = self.children.iter().map(|child| child.restrict(keep)).collect();
        Arc::new(Self { children, learner: Arc::clone(&self.learner), feedback: Arc::clone(&self.feedback) })
    }

    /// Each child's totals, as shares of their sum, times the share of calls it places.
    fn explain(&self, args: &mut PickArgs<'_>) -> Vec<Score> {
        let shares: Vec<f32> = self.learner.shares(kind_of(args)).collect();
        let (mut scores, mut places) = (Vec::<Score>::new(), BTreeMap::new());
        for ((child, share), name) in self.children.iter().zip(shares).zip(&self.learner.names) {
            let explained = child.explain(args);
            let sum: f64 = explained.iter().map(|score| score.total.max(0.0)).sum();
            for score in explained {
                let total = if sum > 0.0 { f64::from(share) * score.total.max(0.0) / sum } else { 0.0 };
                let reason = format!("{name} places {:.1} % of calls: {}", share * 100.0, score.reason);
                let place = *places.entry(score.slot).or_insert(scores.len());
                match scores.get_mut(place) {
                    Some(other) => {
                        other.total += total;
                        other.reason = format!("{}; {reason}", other.reason);
                    }
                    None => scores.push(Score::new(score.slot, total, reason)),
                }
            }
        }
        scores
    }

    fn feedback(&self) -> Option<&Arc<dyn Feedback>> {
        Some(&self.feedback)
    }
}

#[derive(Debug)]
struct Listener {
    children: Box<[Option<Arc<dyn Feedback>>]>,
    learner: Arc<Learner>,
}

impl Listener {
    fn others(&self, than: usize) -> impl Iterator<Item = &Arc<dyn Feedback>> {
        self.children.iter().enumerate().filter(move |(index, _)| *index != than).filter_map(|(_, child)| child.as_ref())
    }
}

impl Feedback for Listener {
    fn finished(&self, done: &Done<'_>) {
        let (child, kind, token) = unpack(done.token);
        let Some(feedback) = self.children.get(child) else { return };
        if done.outcome != Outcome::Cancelled {
            self.learner.learn(kind, child, done.latency, done.outcome == Outcome::Failure);
        }
        if let Some(feedback) = feedback {
            feedback.finished(&Done { token, ..*done });
        }
        // Whoever placed the call: what the server said of itself is news to all.
        if let (Some(load), Outcome::Success) = (done.load, done.outcome) {
            let report = Reported::out_of_band(done.slot, done.now, load);
            self.others(child).for_each(|other| other.reported(&report));
        }
    }

    fn reported(&self, report: &Reported<'_>) {
        self.others(usize::MAX).for_each(|child| child.reported(report));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_keep_child_kind_and_the_childs_token() {
        for (child, kind, token) in [(0, 0, 0), (7, 63, 1), (3, 17, (1 << 54) - 1)] {
            assert_eq!(unpack(pack(child, kind, token)), (child, kind, token));
        }
        assert_eq!(unpack(pack(7, 63, 1 << 54)), (7, 63, 0), "too large");
    }
}
