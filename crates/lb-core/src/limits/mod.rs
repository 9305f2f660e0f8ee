//! Limits on how many calls there are: a second, at once, and in a flood. All off unless they are asked for.
//!
//! | limit | counts | where | meets it |
//! |---|---|---|---|
//! | [`FloodGuard`] | all calls of the channel, in windows of 100 ms | before anything else | is shed |
//! | [`TokenBucket`] of a key, of a method or service, of the channel | calls a second | before the pick, once per call | is shed |
//! | [`TokenBucket`] of an endpoint | attempts a second there | at the pick, a [gate](crate::gate) | goes to another endpoint |
//! | [`Gradient`] of an endpoint | attempts at once there, as many as it has shown to bear | at the pick, a gate | goes to another endpoint |
//!
//! What is shed ends with RESOURCE_EXHAUSTED, [which limit](ShedBy) it was and when to come again. A call that no endpoint may take is shed, too,
//! unless the channel has a [queue](crate::queue) for it.
//!
//! **Which when.** *To pay for what was bought* (a quota of a third party, so many calls a second): the channel's rate. *So that one does not
//! starve the others*: by key. *So that what is expensive stays rare*: by method. *So that servers are not overloaded*: the adaptive limit, or
//! a fixed one ([`concurrency`](crate::concurrency)), not a rate, because a rate that suits a healthy server kills a sick one. *So that a
//! program gone wild does no harm*: the flood guard. A limit of one channel knows nothing of other channels: what holds for a whole
//! fleet of clients has to be limited at the server.
//!
//! **Order.** The guard first, because it is the cheapest; then key, method, channel, from the narrowest to the widest. A call that one of
//! them sheds gives back what it took from those before, so nobody pays for a call that was not made.
//!
//! **Cost.** The guard, each bucket and the adaptive limit are one compare-and-swap each on memory that all callers share: 20 ns alone, 40 ns
//! where two cores call at once, on the machine this was measured on. A call looks at the clock once for all of them together. Nothing is
//! locked, and nothing allocated but for the error of a call that is shed.
//!
//! ```
//! use std::time::Instant;
//! use lb_core::PickHints;
//! use lb_core::limits::{Caller, Door, RateLimit, RateLimits, ShedBy};
//!
//! let limits = RateLimits::new().method("orders.v1.Orders/Export", RateLimit::per_second(2)?.with_burst(1)?);
//! let (now, headers, secret) = (Instant::now(), http::HeaderMap::new(), std::hash::RandomState::new());
//! let door = Door::new(limits, now);
//! let caller = Caller { now, method: "/orders.v1.Orders/Export", headers: &headers, hints: None };
//! assert!(door.admit(&caller, &secret).is_ok());
//! let shed = door.admit(&caller, &secret).unwrap_err();
//! assert!(matches!(&shed.by, ShedBy::Method { name, .. } if &**name == "/orders.v1.Orders/Export"));
//! assert_eq!(shed.retry_after.as_millis(), 500);
//! # Ok::<(), lb_core::ConfigError>(())
//! ```

mod bucket;
mod config;
mod counts;
mod door;
#[cfg(test)]
mod door_tests;
mod flood;
mod gate;
#[cfg(test)]
mod gate_tests;
mod gradient;
mod keyed;
mod rate;
mod shed;
#[cfg(test)]
mod tests;

pub use bucket::TokenBucket;
pub use config::{KeyLimit, RateLimits};
pub use counts::{DoorCounts, KeyCounts, MeterCounts};
pub use door::{Caller, Door};
pub use flood::{FloodGuard, FloodLimit};
pub use gate::{EndpointLimit, EndpointLimitCounts, EndpointLimitInfo, EndpointLimits};
pub use gradient::{Ending, Gradient, GradientConfig};
pub use keyed::KeyedBuckets;
pub use rate::RateLimit;
pub use shed::{Shed, ShedBy};
