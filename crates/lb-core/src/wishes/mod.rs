//! Choosing for a call that wishes something.
//!
//! A picker knows nothing of wishes: it chooses among the endpoints it was built from. So each distinct *constraint* (what is
//! required, excluded, pinned, preferred, and which policy) gets a *derived* picker over the endpoints that meet it, by
//! [`Picker::restrict`](crate::Picker::restrict), built when a call first brings it and remembered for the generation. Within the
//! endpoints that a wish leaves, it is always the policy that chooses.
//!
//! Groups of endpoints are tried in this order, and in each the policy chooses among those that meet every condition:
//!
//! 1. those the call [prefers](crate::PickHints::prefer) by name, wherever they are;
//! 2. those in its [locality](crate::PickHints::locality);
//! 3. those of the other localities (regions, if the call names a region; zones, if it names a zone), the one with the lowest mean
//!    [latency](crate::EndpointStats::latency) first; a locality without a measurement comes after those with one, but first in one of 32
//!    calls, so that it gets one. The first eight are tried.
//! 4. all.
//!
//! A preference never makes a call wait or fail: groups 1 to 3 count only their READY endpoints, and of those only what this call
//! has not tried before (a policy that connects on demand may ask for a connection there). Conditions on load change with every call and are looked at
//! when an endpoint has been drawn: if it is too busy the policy draws again, four times, and then every READY endpoint of the
//! group is looked at, so that one that can take the call is found if there is one.
//!
//! **Bound.** A pick for a constraint that is known costs a comparison of addresses more than without, if the call's wishes are a clone of
//! those of an earlier call (what an interceptor or a channel's defaults make), and a hash of its words beside it if they were made anew;
//! a condition on load, two lines of memory of the endpoint that was drawn. Neither depends on the number of endpoints. A constraint's first
//! pick in a generation is linear in them. 128 constraints are remembered; a call that brings a further one is served by drawing and
//! looking, which is linear only where few endpoints fit.
//!
//! **When not.** A wish that differs in every call, such as a random exclusion, makes every call bring a constraint of its own. What is
//! meant to spread calls belongs in a policy or a weight.
//!
//! Sources: evenkeel's own; the bound on draws follows finagle's "panic mode".

mod condition;
mod derived;
mod explain;
mod gauge;
mod names;
mod nearest;
mod recall;
mod search;
#[cfg(test)]
mod tests;
mod unfit;

pub(crate) use condition::load_of;
pub(crate) use derived::Derived;
pub use explain::Explained;
pub use search::Choice;
pub use unfit::{Misfit, Unfit};

use crate::endpoint::EndpointKey;
use crate::snapshot::{Row, Snapshot};

impl Snapshot {
    /// The endpoints of this name, which is a key or an id: none, one, or several that share an id. Takes log n steps, after the first
    /// look-up in a generation.
    pub fn find(&self, name: &EndpointKey) -> impl Iterator<Item = &Row> {
        self.derived.names(&self.rows).find(&self.rows, name)
    }
}
