//! Gates: whether an endpoint may get one more attempt, asked at the pick.
//!
//! A policy chooses where an attempt would best go; a *gate* says whether it may go there now. Concurrency limits, circuit breakers,
//! rate limits and share ramps are gates. A [`Gatekeeper`] makes one for every endpoint; it belongs to the endpoint and outlives
//! snapshots, as [`EndpointStats`](crate::EndpointStats) does, and goes when the resolver lists the endpoint no more.
//!
//! ```text
//! policy draws a slot ─> every gate of that endpoint, in order: enter ─> Permit ─> attempt ─> left(token, how it ended)
//!        ^                                   │ one refuses: those before it are told `unused`
//!        └───── draw again, a few times <────┘ then every READY endpoint is asked; nobody: the call hears why, and until when
//! ```
//!
//! A refusal is *hard* (nobody may send a call there now) or *soft* (a ramp: others shall take it, but if nobody else can, this one
//! does). Soft gates are asked again with [`Entry::must`] before a call fails.
//!
//! **Bound.** An endpoint costs one look at its gates per draw. A channel without gatekeepers pays one branch per pick; one with them
//! allocates nothing for up to four gates per endpoint. Only if four draws were refused all READY endpoints of the group are asked.
//!
//! **When not.** What every call to an endpoint should see, whatever the call, is a [`Stage`](crate::Stage): it hides the endpoint once per
//! generation instead of refusing it at every pick.
//!
//! A gatekeeper that lets each endpoint have one call at a time:
//!
//! ```
//! use std::sync::Arc;
//! use std::sync::atomic::{AtomicBool, Ordering};
//!
//! use lb_core::gate::{Entry, Gate, GateSignal, Gatekeeper, Refusal};
//! use lb_core::{Done, Endpoint};
//!
//! #[derive(Debug, Default)]
//! struct OneAtATime(AtomicBool);
//!
//! impl Gate for OneAtATime {
//!     fn enter(&self, _entry: &Entry<'_>) -> Result<u64, Refusal> {
//!         if self.0.swap(true, Ordering::AcqRel) { Err(Refusal::at_limit()) } else { Ok(0) }
//!     }
//!     fn left(&self, _token: u64, _done: &Done<'_>) {
//!         self.0.store(false, Ordering::Release);
//!     }
//!     fn unused(&self, _token: u64) {
//!         self.0.store(false, Ordering::Release);
//!     }
//!     fn refusal(&self, _entry: &Entry<'_>) -> Option<Refusal> {
//!         self.0.load(Ordering::Acquire).then(Refusal::at_limit)
//!     }
//! }
//!
//! #[derive(Debug)]
//! struct Keeper;
//!
//! impl Gatekeeper for Keeper {
//!     fn gate(&self, _endpoint: &Endpoint, _signal: &GateSignal) -> Option<Arc<dyn Gate>> {
//!         Some(Arc::new(OneAtATime::default()))
//!     }
//! }
//! ```

mod entry;
mod permit;
mod signal;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

pub use entry::{Entry, Refusal};
pub use permit::{Gates, Permit};
pub(crate) use permit::{Post, posts};
pub use signal::{GateListener, GateSignal};

use std::time::Instant;

use http::HeaderMap;

use crate::endpoint::Endpoint;
use crate::feedback::Done;
use crate::hints::PickHints;
use crate::policy::SubchannelView;
use crate::wishes::Misfit;

/// Admits attempts to one endpoint. Called from many tasks at once; must not block, lock or allocate.
///
/// Every [`enter`](Self::enter) that admits is followed by exactly one [`left`](Self::left) or [`unused`](Self::unused) with its token.
pub trait Gate: fmt::Debug + Send + Sync + 'static {
    /// Admits an attempt, or says why not. The token comes back when the attempt is over.
    ///
    /// # Errors
    /// The attempt may not go there now. With [`Entry::must`] a gate that refuses softly must admit.
    fn enter(&self, entry: &Entry<'_>) -> Result<u64, Refusal>;

    /// The attempt is over, in whatever way: also when its call was cancelled. Runs where calls end.
    fn left(&self, token: u64, done: &Done<'_>);

    /// The attempt was never made: a later gate refused, or the call ended between its pick and its attempt. Says nothing of the
    /// endpoint.
    fn unused(&self, token: u64);

    /// Whether it would refuse now, without admitting: for errors and explanations.
    fn refusal(&self, entry: &Entry<'_>) -> Option<Refusal>;
}

/// Makes the gates of a channel's endpoints.
pub trait Gatekeeper: fmt::Debug + Send + Sync + 'static {
    /// The gate of a fresh endpoint; `None` if this one needs none. Called once while the resolver lists the endpoint, on the channel's
    /// own task. Attributes may change later; [`Entry::endpoint`] has the newest. `signal` is the same for all gates of a channel.
    fn gate(&self, endpoint: &Endpoint, signal: &GateSignal) -> Option<Arc<dyn Gate>>;
}

/// The gates of an endpoint, in the order of their keepers; `None` if it has none.
pub(crate) fn gates(keepers: &[Arc<dyn Gatekeeper>], endpoint: &Endpoint, signal: &GateSignal) -> Option<Arc<Gates>> {
    let gates: Box<[Arc<dyn Gate>]> = keepers.iter().filter_map(|keeper| keeper.gate(endpoint, signal)).collect();
    (!gates.is_empty()).then(|| Arc::new(Gates::new(gates)))
}

/// The refusal of an endpoint's circuit breaker, if that lets no call in: for stages and policies that go elsewhere then. Where methods
/// have breakers of their own, that of the others counts.
pub(crate) fn breaker_open(now: Instant, row: &SubchannelView) -> Option<Refusal> {
    let gates = row.gates.as_ref()?;
    let (headers, hints) = (HeaderMap::new(), PickHints::default());
    let entry = Entry { now, method: "", headers: &headers, hints: &hints, endpoint: &row.endpoint, entropy: 0, must: false };
    gates.refusal(&entry).filter(|refusal| refusal.reason == Misfit::BreakerOpen && !refusal.soft)
}
