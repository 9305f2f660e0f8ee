//! What a channel's policy thinks of its endpoints, kept for a while.
//!
//! Asking the policy is linear in the endpoints, and those who want to know want it of every call. So it is asked once in [`FRESH`], by one
//! of them, and the others see what it said before. Nobody asks, nothing is kept.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use lb_core::{PickArgs, PickHints, Scratch, Slot};
use tokio::time::Instant;

use crate::snapshot::ChannelSnapshot;

/// How old an answer may be: scores move with latencies and loads that are averages over longer than that.
const FRESH: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub(super) struct Scores {
    kept: ArcSwapOption<Kept>,
    /// Held by who asks.
    asking: Mutex<()>,
}

#[derive(Debug)]
struct Kept {
    at: Instant,
    /// In the order of slots.
    totals: Box<[(Slot, f64)]>,
}

impl Scores {
    /// The score of an endpoint; `None` if it has none, or is newer than what is kept.
    pub(super) fn of(&self, slot: Slot, now: Instant, snapshot: impl FnOnce() -> Arc<ChannelSnapshot>) -> Option<f64> {
        let mut kept = self.kept.load_full();
        let is_fresh = kept.as_ref().is_some_and(|kept| now.saturating_duration_since(kept.at) < FRESH);
        if !is_fresh && let Ok(_asking) = self.asking.try_lock() {
            kept = Some(Arc::new(Kept::new(&snapshot(), now)));
            self.kept.store(kept.clone());
        }
        let totals = &kept.as_ref()?.totals;
        totals.binary_search_by_key(&slot, |(slot, _)| *slot).ok().map(|found| totals[found].1)
    }
}

impl Kept {
    fn new(snapshot: &ChannelSnapshot, now: Instant) -> Self {
        // Explaining leaves nothing to chance.
        let (headers, hints, mut scratch) = (http::HeaderMap::new(), PickHints::default(), Scratch::new(0));
        let mut args = PickArgs::new(now.into_std(), "", &headers, &hints, &mut scratch);
        let scores = snapshot.core.picker(None).map(|picker| picker.explain(&mut args)).unwrap_or_default();
        let mut totals: Box<[_]> = scores.into_iter().map(|score| (score.slot, score.total)).collect();
        totals.sort_unstable_by_key(|(slot, _)| *slot);
        Self { at: now, totals }
    }
}
