//! Who is compared at all: endpoints in tiers, the better tier first.
//!
//! Endpoints that differ in nothing a tier looks at form a class, a range of the table; a tier is the classes of one rank for a call.
//! Ranking costs a few instructions per class: capabilities are bits of a mask, for the first [`Words::MOST`] words that endpoints offer.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use super::measure::Wish;
use super::table::Row;

/// What makes one endpoint come before another whatever their scores.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Tiers {
    /// Nothing.
    #[default]
    None,
    /// Fewer capabilities beside those required.
    Exact,
    /// Being capable of the kind of work, then a lower priority number.
    Kind,
}

/// The words for capabilities, sorted.
#[derive(Debug, Default)]
pub(super) struct Words(Box<[Arc<str>]>);

/// A set of words.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Mask {
    bits: u128,
    /// Whether it also has words without a bit, which nobody is known to offer.
    beyond: bool,
}

/// Endpoints alike for every call.
#[derive(Debug)]
struct Class {
    offers: Mask,
    /// How many capabilities, those without a bit included.
    offered: u32,
    priority: u32,
    rows: Range<u32>,
}

/// The classes of a table, which together are all of it.
#[derive(Debug)]
pub(super) struct Classes {
    tiers: Tiers,
    classes: Box<[Class]>,
}

/// The classes of one rank for one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tier {
    /// Less is better.
    pub(super) rank: u64,
    /// How many endpoints it has; never 0.
    pub(super) len: u32,
}

impl Words {
    /// The most words that can be told apart. Words that come later in the alphabet count as offered by nobody.
    pub(super) const MOST: usize = 128;

    pub(super) fn of(rows: &[Row]) -> Self {
        let words: BTreeSet<&Arc<str>> = rows.iter().flat_map(|row| &row.endpoint.attributes.capabilities).collect();
        Self(words.into_iter().take(Self::MOST).cloned().collect())
    }

    /// The set of these words.
    #[inline]
    pub(super) fn mask<'a>(&self, words: impl IntoIterator<Item = &'a str>) -> Mask {
        let mut mask = Mask::default();
        for word in words {
            match self.0.binary_search_by(|known| (**known).cmp(word)) {
                Ok(bit) => mask.bits |= 1 << bit,
                Err(_) => mask.beyond = true,
            }
        }
        mask
    }
}

impl Mask {
    /// Whether every word of `other` is among these.
    #[inline]
    pub(super) fn covers(self, other: Self) -> bool {
        !other.beyond && self.bits & other.bits == other.bits
    }

    pub(super) fn is_empty(self) -> bool {
        !self.beyond && self.bits == 0
    }

    pub(super) fn len(self) -> u32 {
        self.bits.count_ones() + u32::from(self.beyond)
    }
}

impl Classes {
    /// Puts rows of one class side by side.
    pub(super) fn of(tiers: Tiers, rows: &mut [Row]) -> Self {
        let key = |row: &Row| match tiers {
            Tiers::None => (Mask::default(), 0, 0),
            Tiers::Exact => (row.offers, row.offered, 0),
            Tiers::Kind => (row.offers, 0, row.endpoint.attributes.priority),
        };
        if tiers != Tiers::None {
            rows.sort_by_key(key);
        }
        let mut classes = Vec::new();
        let mut start = 0;
        for alike in rows.chunk_by(|one, other| key(one) == key(other)) {
            let (offers, offered, priority) = key(&alike[0]);
            let end = start + alike.len() as u32;
            classes.push(Class { offers, offered, priority, rows: start..end });
            start = end;
        }
        Self { tiers, classes: classes.into() }
    }

    /// The best tier whose rank is worse than `after`.
    #[inline]
    pub(super) fn next(&self, wish: &Wish<'_>, after: Option<u64>) -> Option<Tier> {
        let mut best: Option<Tier> = None;
        for class in &self.classes {
            let (rank, len) = (self.rank(class, wish), class.rows.len() as u32);
            if after.is_some_and(|after| rank <= after) {
                continue;
            }
            match &mut best {
                Some(best) if best.rank == rank => best.len += len,
                Some(best) if best.rank < rank => {}
                _ => best = Some(Tier { rank, len }),
            }
        }
        best
    }

    /// The rows of a tier.
    #[inline]
    pub(super) fn rows(&self, wish: &Wish<'_>, tier: Tier) -> impl Iterator<Item = usize> + Clone {
        let classes = self.classes.iter().filter(move |class| self.rank(class, wish) == tier.rank);
        classes.flat_map(|class| class.rows.start as usize..class.rows.end as usize)
    }

    /// One of them by number, below the tier's length.
    #[inline]
    pub(super) fn nth(&self, wish: &Wish<'_>, tier: Tier, mut number: u32) -> usize {
        for class in self.classes.iter().filter(|class| self.rank(class, wish) == tier.rank) {
            let len = class.rows.len() as u32;
            if number < len {
                return (class.rows.start + number) as usize;
            }
            number -= len;
        }
        0
    }

    #[inline]
    fn rank(&self, class: &Class, wish: &Wish<'_>) -> u64 {
        match self.tiers {
            Tiers::None => 0,
            Tiers::Exact if wish.require.is_empty() => 0,
            Tiers::Exact if class.offers.covers(wish.require) => u64::from(class.offered),
            Tiers::Exact => u64::from(u32::MAX),
            Tiers::Kind => u64::from(!class.offers.covers(wish.suits_kind)) << 32 | u64::from(class.priority),
        }
    }

    pub(super) fn is_one(&self) -> bool {
        self.classes.len() <= 1
    }
}
