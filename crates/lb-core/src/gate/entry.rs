//! What a gate is asked, and what it may answer.

use std::time::Instant;

use http::HeaderMap;

use crate::endpoint::Endpoint;
use crate::hints::PickHints;
use crate::pick::PickArgs;
use crate::wishes::Misfit;

/// An attempt that asks to be let in.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Entry<'a> {
    /// The time of the pick.
    pub now: Instant,
    /// The call's path, such as `/orders.v1.Orders/Place`.
    pub method: &'a str,
    /// The call's metadata.
    pub headers: &'a HeaderMap,
    /// The call's wishes.
    pub hints: &'a PickHints,
    /// The endpoint, as the resolver lists it now.
    pub endpoint: &'a Endpoint,
    /// 64 random bits, fresh for every entry; 0 where nobody is let in ([`refusal`](super::Gate::refusal)).
    pub entropy: u64,
    /// Nobody else can take the call: a gate that would refuse softly admits.
    pub must: bool,
}

impl<'a> Entry<'a> {
    /// An entry of a call at an endpoint, without entropy.
    pub fn new(args: &PickArgs<'a>, endpoint: &'a Endpoint) -> Self {
        let PickArgs { now, method, headers, hints, .. } = *args;
        Self { now, method, headers, hints, endpoint, entropy: 0, must: false }
    }

    /// The same with random bits.
    #[must_use]
    pub fn with_entropy(mut self, entropy: u64) -> Self {
        self.entropy = entropy;
        self
    }

    /// The same for a call that nobody else can take.
    #[must_use]
    pub fn with_must(mut self, must: bool) -> Self {
        self.must = must;
        self
    }
}

/// Why an endpoint takes no further attempt now.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Refusal {
    /// Counted in [`Unfit`](crate::Unfit), and what the caller reads.
    pub reason: Misfit,
    /// The earliest time it may end, where the gate knows. A gate that ends its refusal without one must say so by its
    /// [signal](super::GateSignal), or calls that wait do not look again.
    pub until: Option<Instant>,
    /// Whether this endpoint takes the call after all if nobody else can.
    pub soft: bool,
}

impl Refusal {
    /// A hard refusal.
    pub fn new(reason: Misfit) -> Self {
        Self { reason, until: None, soft: false }
    }

    /// It has as many calls as it may have; one that ends makes room.
    pub fn at_limit() -> Self {
        Self::new(Misfit::AtLimit)
    }

    /// Its circuit breaker is open.
    pub fn breaker_open(until: Option<Instant>) -> Self {
        Self { until, ..Self::new(Misfit::BreakerOpen) }
    }

    /// It gets no more calls a second than this.
    pub fn rate_limited(until: Instant) -> Self {
        Self { until: Some(until), ..Self::new(Misfit::RateLimited) }
    }

    /// It gets a part of its share for now, and this call is not of that part. Soft.
    pub fn ramping() -> Self {
        Self { soft: true, ..Self::new(Misfit::Ramping) }
    }

    /// The same with the earliest time it may end.
    #[must_use]
    pub fn until(mut self, until: Instant) -> Self {
        self.until = Some(until);
        self
    }
}
