//! Drops by category: a share of the calls is turned away by chance, whatever endpoint they would have gone to.
//!
//! Somebody who sees more than this client does, the operator of a service or its control plane, says that of the calls to it 5 % shall not be
//! made for the reason `lb`, and of the others 20 % for the reason `throttle`. Every client then turns that share away on its own, at once and
//! without asking anybody: the servers of an overloaded service see that much less, and from all clients alike. It is what Envoy and gRPC
//! call `drop_overloads`, and names, units and rules are theirs.
//!
//! **How.** The categories of the list are tried one after the other, each with a draw of its own; the first that hits drops the call and counts
//! it. So of two categories of 50 % the second gets a quarter of all calls, and a quarter passes. A share is in parts of a million; 0 drops none
//! and a million drops all. What is dropped is UNAVAILABLE and is never retried, even if the call waits for ready. Each attempt is tried once,
//! however long it then waits for an endpoint, and only while the channel is READY: before that it waits or fails as it would without.
//!
//! **Order.** Rate limits and the flood guard come before, because they are about this client; then the categories, then the limit of attempts at
//! once, then the pick.
//!
//! **Bound.** One draw for each category and call, [`MAX_CATEGORIES`] at most; no lock, nothing allocated but for the error of a call that is
//! dropped. Counts outlive changes of the list. [`MAX_COUNTED`] names are counted apart in the life of a channel, in the order they came; later
//! ones together, as [`OTHER`].
//!
//! **When not to use it.** *To keep this program to a rate*: a share of twice the calls is twice as many; use a [rate limit](crate::limits). *To
//! protect one endpoint of many*: calls are dropped that another one would have served; use
//! [`max_requests_per_endpoint`](crate::concurrency) or the adaptive limit, and the [queue](crate::queue). *As the usual state*: it is meant for an
//! overload that is known and being mended; a share that is forgotten fails that many calls for good.
//!
//! ```
//! use lb_core::Scratch;
//! use lb_core::drops::{Denominator, DropOverload, DropOverloads, Dropper};
//!
//! let drops = DropOverloads::new([DropOverload::new("lb", 5, Denominator::Hundred)?])?;
//! let (dropper, mut scratch) = (Dropper::new(drops), Scratch::new(1));
//! let dropped = (0..10_000).filter(|_| dropper.decide(&mut scratch).is_some()).count();
//! assert!((400..600).contains(&dropped));
//! assert_eq!(dropper.counts().get("lb"), Some(&(dropped as u64)));
//! # Ok::<(), lb_core::ConfigError>(())
//! ```
//!
//! Sources: Envoy's `endpoint.proto` (`ClusterLoadAssignment.Policy.DropOverload`) and `percent.proto`; gRFC A27 and A32.

mod config;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::scratch::Scratch;

pub use config::{Denominator, DropOverload, DropOverloads, MAX_CATEGORIES, MAX_NAME};

/// The names that are counted apart. Twice what a list may hold: lists change, and every name is a series of its own where counts are exported.
pub const MAX_COUNTED: usize = 2 * MAX_CATEGORIES;

/// How drops are counted whose name came too late to be counted apart.
pub const OTHER: &str = "other";

/// All is this many parts.
pub(crate) const MILLION: u32 = 1_000_000;

/// Calls dropped for one name.
type Count = Arc<AtomicU64>;

/// Decides for one call after the other, and counts. See the [module](self) for how.
///
/// It is immutable but for its counts; another list makes [another one](Self::after), which counts on where this one does.
#[derive(Debug)]
pub struct Dropper {
    config: DropOverloads,
    /// Of each category of the list.
    counts: Box<[Count]>,
    /// Every name there ever was, in the order they came, up to [`MAX_COUNTED`]; then [`OTHER`] if there were more.
    ledger: Vec<(Arc<str>, Count)>,
}

impl Dropper {
    /// Nothing dropped yet.
    pub fn new(config: DropOverloads) -> Self {
        Self::over(config, Vec::new())
    }

    /// By another list from now on; every count goes on, also of names that it does not have.
    #[must_use]
    pub fn after(&self, config: DropOverloads) -> Self {
        Self::over(config, self.ledger.clone())
    }

    fn over(config: DropOverloads, mut ledger: Vec<(Arc<str>, Count)>) -> Self {
        let counts = config.list().iter().map(|drop| count_of(&mut ledger, drop.category())).collect();
        Self { config, counts, ledger }
    }

    /// The list it goes by.
    pub fn config(&self) -> &DropOverloads {
        &self.config
    }

    /// The category that drops this call, which is counted; `None` if it passes. Draws from `scratch` once for each category that is tried.
    #[inline]
    pub fn decide(&self, scratch: &mut Scratch) -> Option<&DropOverload> {
        let hit = self.config.list().iter().position(|drop| scratch.below(MILLION) < drop.per_million())?;
        self.counts[hit].fetch_add(1, Ordering::Relaxed);
        self.config.list().get(hit)
    }

    /// Calls dropped so far by name, those of earlier lists included.
    pub fn counts(&self) -> BTreeMap<Arc<str>, u64> {
        self.ledger.iter().map(|(name, count)| (Arc::clone(name), count.load(Ordering::Relaxed))).collect()
    }
}

/// Where this name is counted, from now on if not before.
fn count_of(ledger: &mut Vec<(Arc<str>, Count)>, name: &Arc<str>) -> Count {
    let known = |ledger: &[(Arc<str>, Count)], name: &str| {
        ledger.iter().find(|(known, _)| **known == *name).map(|(_, count)| Arc::clone(count))
    };
    // The place beyond the last is kept for what has none.
    let name = if ledger.len() < MAX_COUNTED || known(ledger, name).is_some() { Arc::clone(name) } else { OTHER.into() };
    known(ledger, &name).unwrap_or_else(|| {
        let count = Count::default();
        ledger.push((name, Arc::clone(&count)));
        count
    })
}
