//! At most so many attempts at once at an endpoint.
//!
//! A server that is asked for more than it can do at once does everything more slowly, its queue included. A limit at the client leaves what
//! is too much where it can still go elsewhere, wait in order of importance ([`queue`](crate::queue)), or fail fast.
//!
//! [`ConcurrencyLimit`] is a [gatekeeper](crate::gate) with one number for all endpoints, the [capacity](crate::Attributes::capacity) the
//! resolver knows of each, or the lower of both. It counts attempts: hedges and retries each one, a stream until its trailers.
//!
//! **Bound.** Never more attempts in flight at an endpoint than the limit when they began; lowering it ends none, raising it wakes those who wait. One comparison and one
//! exchange on a counter of the endpoint per attempt. It counts this channel's attempts only: a hundred clients with a limit of 10 can
//! send 1 000.
//!
//! **When not.** Where nobody knows the right number, an adaptive limit finds it; where the *rate* is what hurts, a rate limit is
//! the right one.
//!
//! ```
//! use lb_core::ConcurrencyLimit;
//!
//! let limit = ConcurrencyLimit::new(64).within_capacity();
//! limit.set_max(32);
//! assert_eq!(limit.max(), 32);
//! ```
//!
//! Sources: gRFC A32 and Envoy's `max_requests`, there per cluster; per endpoint as HAProxy's `maxconn` of a server.

mod in_flight;
#[cfg(test)]
mod tests;

use std::sync::{Arc, OnceLock};

mod sync {
    pub(super) use std::sync::atomic::{AtomicU32, Ordering};
}

pub use in_flight::InFlight;

use crate::endpoint::Endpoint;
use crate::feedback::Done;
use crate::gate::{Entry, Gate, GateSignal, Gatekeeper, Refusal};

use sync::{AtomicU32, Ordering};

/// A limit of attempts in flight for each endpoint of a channel. Clones are the same limit. See the [module](self).
#[derive(Debug, Clone)]
pub struct ConcurrencyLimit {
    max: Arc<AtomicU32>,
    within_capacity: bool,
    channels: Arc<[OnceLock<GateSignal>; CHANNELS]>,
}

/// How many channels with a limit are told that it was raised. A limit is mostly one channel's; what is remembered of each stays with
/// the limit.
const CHANNELS: usize = 8;

impl ConcurrencyLimit {
    /// At most `max` at each endpoint; 0 lets nobody in.
    pub fn new(max: u32) -> Self {
        Self { max: Arc::new(AtomicU32::new(max)), within_capacity: false, channels: Arc::default() }
    }

    /// At most as many as the endpoint's [capacity](crate::Attributes::capacity) says; endpoints without one have no limit.
    pub fn of_capacity() -> Self {
        Self::new(u32::MAX).within_capacity()
    }

    /// Not more than the endpoint's capacity either, where it has one.
    #[must_use]
    pub fn within_capacity(mut self) -> Self {
        self.within_capacity = true;
        self
    }

    /// The limit for every endpoint.
    pub fn max(&self) -> u32 {
        self.max.load(Ordering::Relaxed)
    }

    /// Another limit from now on. It applies to what is picked next: lowering it ends nothing, and calls that wait look again at once when
    /// it is raised. Of more than eight channels that were given clones, the later ones' look within half a second.
    pub fn set_max(&self, max: u32) {
        if self.max.swap(max, Ordering::Relaxed) < max {
            for signal in self.channels.iter().filter_map(OnceLock::get) {
                // Those in the queue, and those that wait without one.
                signal.opened();
                signal.changed();
            }
        }
    }

    /// Remembers a channel, unless there are too many.
    fn join(&self, signal: &GateSignal) {
        if signal.is_same(&GateSignal::default()) {
            return;
        }
        for place in self.channels.iter() {
            if place.get_or_init(|| signal.clone()).is_same(signal) {
                return;
            }
        }
    }

    #[inline]
    fn limit(&self, endpoint: &Endpoint) -> u32 {
        let capacity = endpoint.attributes.capacity.filter(|_| self.within_capacity).unwrap_or(u32::MAX);
        self.max().min(capacity)
    }
}

impl From<u32> for ConcurrencyLimit {
    fn from(max: u32) -> Self {
        Self::new(max)
    }
}

impl Gatekeeper for ConcurrencyLimit {
    fn gate(&self, _endpoint: &Endpoint, signal: &GateSignal) -> Option<Arc<dyn Gate>> {
        self.join(signal);
        Some(Arc::new(LimitGate { limit: self.clone(), in_flight: InFlight::default() }))
    }
}

#[derive(Debug)]
struct LimitGate {
    limit: ConcurrencyLimit,
    in_flight: InFlight,
}

impl Gate for LimitGate {
    #[inline]
    fn enter(&self, entry: &Entry<'_>) -> Result<u64, Refusal> {
        if self.in_flight.begin(self.limit.limit(entry.endpoint)) { Ok(0) } else { Err(Refusal::at_limit()) }
    }

    #[inline]
    fn left(&self, _token: u64, _done: &Done<'_>) {
        self.in_flight.end();
    }

    fn unused(&self, _token: u64) {
        self.in_flight.end();
    }

    fn refusal(&self, entry: &Entry<'_>) -> Option<Refusal> {
        (self.in_flight.count() >= self.limit.limit(entry.endpoint)).then(Refusal::at_limit)
    }
}
