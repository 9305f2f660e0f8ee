//! The policies that come with the channel.
//!
//! | name | picks | use it when |
//! |---|---|---|
//! | `pick_first` | the first endpoint that answers, and stays there | the order means preference, or one connection is enough |
//! | `round_robin` | each in turn | endpoints and calls are alike |
//! | `random` | any | many clients, each with few calls |
//! | `weighted_round_robin` | each in proportion to its weight | endpoints differ, and report their load or somebody knows by how much |
//! | `least_request` | the less busy of a few at random | calls or endpoints differ, and nobody knows by how much |
//! | `peak_ewma` | the better of two at random by latency × calls in flight | the same, and some endpoint may stall |
//! | `prequal` | by what servers report of their load: the fastest of those with few calls | servers report their load, best with evenkeel's server layer |
//! | `least_latency` | the faster of two at random, or the fastest | latency does not depend on load |
//! | `ring_hash` | by the hash of a key, on a ring | endpoints cache by key; other gRPC clients agree on places |
//! | `maglev` | by the hash of a key, evenly | endpoints cache by key and shares must be even |
//! | `rendezvous` | by the hash of a key, moving as few as possible | endpoints cache by key and come and go often |
//! | `ip_hash` | by the address of the client | as `rendezvous`, with nothing better than an address |
//! | `score` | the best of a few at random by a weighted sum of [factors](Factor) | several things matter, and you know how much each does |
//! | `weighted` | so, by free capacity, weight, health and connections | endpoints differ in size, and their registry knows |
//! | `performance` | so, by success rate, speed, reliability and capacity | endpoints differ in how well they do |
//! | `task` | so, by capacity, performance, affinity and reliability | tasks differ in kind and cost |
//! | `health_aware` | so, by health, success rate and capacity | degraded endpoints should get less |
//! | `capability_aware` | those that match what the call requires most exactly, by capacity | few endpoints can do what few calls need |
//! | `workload_aware` | those capable of the kind of work, then by priority, weight, load and speed | kinds of work need kinds of endpoints |
//! | `cost_aware` | so, by cost, capacity and success rate | some endpoints cost more than others |
//! | `adaptive` | by the one of several policies that does best for that kind of call | nobody knows which policy fits, or it changes |
//! | `outlier_detection` | as the policy within, but for endpoints whose calls go wrong | a service config asks for it; else the channel's own |
//! | `random_subsetting` | as the policy within, over a few | very many clients of very many endpoints |
//! | `wrr_locality` | a locality by weight, then as the policy within | shares of zones are given |
//! | `priority_spillover` | the first groups as far as they are healthy | a group's calls should move little by little |
//!
//! All but `pick_first` and those that hash keep a connection to every endpoint and choose among the READY ones. An attempt that
//! follows another one of the same call avoids the endpoints tried before while there are others.
//!
//! Every policy is also a plain value (`RoundRobin::default()`), made from JSON by its `from_config`, and known by its `NAME` to
//! [`PolicyRegistry`](crate::PolicyRegistry). A policy of your own needs nothing from here: implement [`Policy`](crate::Policy).

mod adaptive;
mod alias;
mod bounded;
mod branches;
mod children;
pub(crate) mod config;
mod failures;
mod hash;
mod ip_hash;
mod least_latency;
mod least_request;
mod locality;
mod lookup;
mod maglev;
mod members;
mod outlier_detection;
mod peak;
mod peak_ewma;
mod petiole;
mod pick_first;
mod prequal;
mod priority_spillover;
mod random;
mod random_subsetting;
mod rendezvous;
mod ring_hash;
mod round_robin;
mod sampler;
mod score;
mod stride;
mod walk;
mod weighted_round_robin;

#[cfg(test)]
pub(crate) mod testing;

pub use adaptive::{Adaptive, AdaptiveWeights, SavedWeights};
pub(crate) use hash::endpoint_hash;
pub use ip_hash::IpHash;
pub use least_latency::LeastLatency;
pub use least_request::LeastRequest;
pub use locality::WrrLocality;
pub use maglev::Maglev;
pub use outlier_detection::OutlierDetection;
pub use peak_ewma::PeakEwma;
pub use pick_first::PickFirst;
pub use prequal::Prequal;
pub use priority_spillover::PrioritySpillover;
pub use random::Random;
pub use random_subsetting::RandomSubsetting;
pub use rendezvous::Rendezvous;
pub use ring_hash::RingHash;
pub use round_robin::RoundRobin;
pub use score::{Factor, Factors, Preset, Scored};
pub use weighted_round_robin::WeightedRoundRobin;
#[cfg(test)]
mod fast_failing;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod with_machine;
