//! Between tower's `Discover` and ours, both ways.
//!
//! tower's balancers learn their endpoints from a stream of single changes ([`Change`](tower::discover::Change)), ours from a
//! stream of full sets. [`DiscoverResolver`] makes a resolver of the one, [`Changes`] makes a stream of changes of the other.
//!
//! When not: a channel of ours needs neither. A stream of changes cannot say that an endpoint's weight changed without having it
//! reconnect, and a change that is lost is lost for good; prefer a [`Resolver`](lb_core::Resolver) where you have the choice.

mod changes;
mod resolver;

pub use changes::Changes;
pub use resolver::DiscoverResolver;
