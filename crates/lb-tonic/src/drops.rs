//! What users of a channel set and see of what it drops. See [`lb_core::drops`].

use std::collections::BTreeMap;
use std::sync::Arc;

use lb_core::drops::{DropOverloads, Dropper};
use serde::Serialize;

use crate::builder::LbChannelBuilder;
use crate::shared::Handle;

impl LbChannelBuilder {
    /// Drops these shares of the calls; default none. A call that is dropped fails at once with UNAVAILABLE and
    /// [`CallError::DroppedByCategory`](crate::CallError::DroppedByCategory), even if it waits for ready, and is not retried. See
    /// [`lb_core::drops`] for when to use it, and when not.
    ///
    /// A service config may have others (`evenkeel.dropOverloads`): so a resolver hands over what a control plane says, and so they change while the
    /// channel runs. What was dropped is counted in [`ChannelStats::drops`](crate::ChannelStats::drops).
    ///
    /// ```
    /// # fn example() -> Result<(), lb_tonic::BuildError> {
    /// use lb_core::drops::{Denominator, DropOverload, DropOverloads};
    /// use lb_tonic::LbChannel;
    ///
    /// let drops = DropOverloads::new([DropOverload::new("maintenance", 20, Denominator::Hundred)?])?;
    /// let channel = LbChannel::builder("dns:///orders.internal:50051").drop_overloads(drops).build()?;
    /// println!("{:?}", channel.stats().drops.by_category);
    /// # Ok(())
    /// # }
    /// ```
    pub fn drop_overloads(mut self, drops: DropOverloads) -> Self {
        self.limits.drops = drops;
        self
    }
}

/// Calls that this side turned away though there may have been an endpoint: what a load report tells a control plane. Attempts count, not
/// calls: a call whose second attempt is dropped is one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct DropStats {
    /// All of them: those of the categories, and what a policy dropped, the limit of attempts at once, rate and concurrency limits, and the
    /// queue in front of them. Calls without an endpoint are none of them.
    pub total: u64,
    /// Those of the categories by name, since the channel was made, of earlier lists too; at most 64 names and `other`. Empty if there never was one.
    pub by_category: BTreeMap<Arc<str>, u64>,
}

/// The kinds of failed picks that are drops; what was shed is counted elsewhere, because not all of it gets as far as a pick.
const DROPPED: [&str; 4] = ["dropped", "too_many_requests", "queue_full", "queue_timeout"];

impl DropStats {
    pub(crate) fn of(handle: &Handle, dropper: Option<&Arc<Dropper>>) -> Self {
        let by_category = dropper.map(|dropper| dropper.counts()).unwrap_or_default();
        let shared = handle.shared();
        let failed = shared.pick_failures.by_kind();
        let others: u64 = DROPPED.iter().filter_map(|kind| failed.get(kind)).sum();
        Self { total: by_category.values().sum::<u64>() + others + shared.limits.shed(), by_category }
    }
}
