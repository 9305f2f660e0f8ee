//! The picker: the best score among a few endpoints, or among all.

use std::sync::Arc;

use crate::feedback::Feedback;
use crate::pick::{PickArgs, PickResult, Picker, Score};
use crate::policies::petiole::{self, HasSlot, NotReady};
use crate::scratch::Scratch;
use crate::slot::Slot;

use super::MOST_CHOICES;
use super::explain;
use super::measure::{Extremes, Seen, Wish, has_room, value};
use super::table::{Best, Row, Settings, relate};
use super::tier::{Classes, Tier, Tiers, Words};

/// How many tiers a pick looks into for an endpoint that has room and does not fail; then it takes the best of the first.
const MOST_TIERS: usize = 4;

/// One pick in this many goes anywhere in the first tier whatever the scores, because what is avoided for what it did is not seen to
/// have changed. One call in `64 n` is what a bad endpoint costs.
const ANYWHERE: u32 = 64;

/// Scores that differ by less are equal: speeds and failures that a thousandth of a score apart are chance.
const ALIKE: f64 = 0.001;

/// Never without rows.
#[derive(Debug)]
pub(super) struct Scorer {
    pub(super) settings: Arc<Settings>,
    pub(super) rows: Box<[Row]>,
    pub(super) words: Words,
    pub(super) best: Best,
    pub(super) classes: Classes,
    others: NotReady,
}

impl Scorer {
    /// A picker over `rows`; over the others if there are none.
    pub(super) fn over(settings: Arc<Settings>, mut rows: Vec<Row>, others: NotReady) -> Arc<dyn Picker> {
        let (words, best) = relate(&settings, &mut rows);
        let classes = Classes::of(settings.tiers, &mut rows);
        if rows.is_empty() {
            return Arc::new(others);
        }
        Arc::new(Self { settings, rows: rows.into(), words, best, classes, others })
    }

    #[inline]
    pub(super) fn seen(&self, index: usize, wish: &Wish<'_>) -> Seen {
        Seen::new(&self.rows[index], &self.settings, wish)
    }

    /// The score of a row beside others of these extremes.
    #[inline]
    fn total(&self, row: &Row, seen: &Seen, wish: &Wish<'_>, extremes: &Extremes) -> f64 {
        let measured = self.settings.measured.iter();
        let sum: f64 = measured.map(|(factor, weight)| weight * value(*factor, row, &self.settings, wish, seen, extremes)).sum();
        row.fixed + sum - self.settings.factors.error_penalty() * seen.failing
    }

    /// The best of these; of several, any, each as likely.
    #[inline]
    fn best_of(
        &self,
        candidates: impl Iterator<Item = (usize, Seen)> + Clone,
        wish: &Wish<'_>,
        scratch: &mut Scratch,
    ) -> Option<usize> {
        let extremes = Extremes::of(candidates.clone().map(|(_, seen)| seen));
        let (mut best, mut best_total, mut alike) = (None, f64::NEG_INFINITY, 1);
        for (index, seen) in candidates {
            let total = self.total(&self.rows[index], &seen, wish, &extremes);
            if total > best_total + ALIKE {
                (best, best_total, alike) = (Some(index), total, 1);
            } else if total >= best_total - ALIKE {
                alike += 1;
                if scratch.below(alike) == 0 {
                    best = Some(index);
                }
            }
        }
        best
    }

    /// The best of a tier.
    #[inline]
    fn best_of_tier(&self, tier: Tier, wish: &Wish<'_>, args: &mut PickArgs<'_>) -> usize {
        match self.settings.choices {
            0 => self.best_of_all(tier, wish, args),
            2 => petiole::draw_untried_at(&self.rows, args.tried, || self.best_of_drawn::<2>(tier, wish, args.scratch)),
            _ => petiole::draw_untried_at(&self.rows, args.tried, || {
                self.best_of_drawn::<{ MOST_CHOICES as usize }>(tier, wish, args.scratch)
            }),
        }
    }

    /// The best of so many choices as there are, at most `MOST`; each is looked at once.
    #[inline]
    fn best_of_drawn<const MOST: usize>(&self, tier: Tier, wish: &Wish<'_>, scratch: &mut Scratch) -> usize {
        let first = scratch.below(tier.len);
        let at_first = self.nth(tier, wish, first);
        let mut drawn = [(at_first, self.seen(at_first, wish)); MOST];
        let drawn = &mut drawn[..MOST.min(self.settings.choices as usize)];
        for (index, seen) in &mut drawn[1..] {
            // Any other than the first: those from the first on are one further.
            let other = scratch.below((tier.len - 1).max(1));
            *index = self.nth(tier, wish, if other >= first && tier.len > 1 { other + 1 } else { other });
            *seen = self.seen(*index, wish);
        }
        self.best_of(drawn.iter().copied(), wish, scratch).unwrap_or(at_first)
    }

    #[inline]
    fn nth(&self, tier: Tier, wish: &Wish<'_>, number: u32) -> usize {
        if self.classes.is_one() { number as usize } else { self.classes.nth(wish, tier, number) }
    }

    fn best_of_all(&self, tier: Tier, wish: &Wish<'_>, args: &mut PickArgs<'_>) -> usize {
        let rows = self.classes.rows(wish, tier).map(|index| (index, self.seen(index, wish)));
        if !args.tried.is_empty() {
            let untried = rows.clone().filter(|(index, _)| !args.tried.contains(&self.rows[*index].slot));
            if let Some(index) = self.best_of(untried, wish, args.scratch) {
                return index;
            }
        }
        // A tier is never empty.
        self.best_of(rows, wish, args.scratch).unwrap_or(0)
    }

    /// The best of the first tier whose best can take the call.
    fn best(&self, wish: &Wish<'_>, args: &mut PickArgs<'_>) -> usize {
        let (mut first, mut after) = (None, None);
        for _ in 0..MOST_TIERS {
            let Some(tier) = self.classes.next(wish, after) else { break };
            if first.is_none() && args.scratch.below(ANYWHERE) == 0 {
                let draw = || self.nth(tier, wish, args.scratch.below(tier.len));
                return petiole::draw_untried_at(&self.rows, args.tried, draw);
            }
            let index = self.best_of_tier(tier, wish, args);
            if self.settings.tiers == Tiers::None || self.takes(index, wish, args) {
                return index;
            }
            first.get_or_insert(index);
            after = Some(tier.rank);
        }
        first.unwrap_or(0)
    }

    /// Whether the better tier's endpoint should take the call: it has room, is not failing, and was not tried.
    fn takes(&self, index: usize, wish: &Wish<'_>, args: &PickArgs<'_>) -> bool {
        let seen = self.seen(index, wish);
        seen.failing < 0.5 && has_room(&self.rows[index], wish, &seen) && !args.was_tried(self.rows[index].slot)
    }

    pub(super) fn wish<'a>(&self, args: &PickArgs<'a>) -> Wish<'a> {
        Wish::new(&self.settings, &self.words, args.hints, args.now)
    }
}

impl Picker for Scorer {
    fn pick(&self, args: &mut PickArgs<'_>) -> PickResult {
        let wish = self.wish(args);
        args.token = wish.token;
        PickResult::Pick(self.rows[self.best(&wish, args)].slot())
    }

    fn restrict(&self, keep: &dyn Fn(Slot) -> bool) -> Arc<dyn Picker> {
        let rows = self.rows.iter().filter(|row| keep(row.slot)).cloned().collect();
        Self::over(Arc::clone(&self.settings), rows, self.others.restricted(keep))
    }

    fn explain(&self, args: &mut PickArgs<'_>) -> Vec<Score> {
        explain::scores(self, &self.wish(args))
    }

    fn feedback(&self) -> Option<&Arc<dyn Feedback>> {
        self.settings.feedback.as_ref()
    }
}
