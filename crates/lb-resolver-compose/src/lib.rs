//! Resolvers made of other resolvers.
//!
//! | to | use |
//! |---|---|
//! | use several registries as one, as while moving from one to another | [`MergedResolver`] |
//! | ask a second registry only while the first cannot answer | [`FallbackResolver`] |
//! | start while the registry is down | [`CachedResolver`] |
//! | use only some of the endpoints | [`FilteredResolver`] |
//!
//! Each wraps one or more [`Source`]s, a source being a resolver and the target it is asked for, and is given to a channel under a scheme
//! of the program's own choosing. They nest: [`Source::whole`] makes a source of any of them.
//!
//! ```
//! # use std::sync::Arc;
//! # use lb_core::{Endpoint, ResolveError, ResolveNow, Resolver, ResolverStream, Target};
//! # fn composed(consul: impl Resolver, kubernetes: impl Resolver) -> Result<(), ResolveError> {
//! use lb_resolver_compose::{CachedResolver, MergedResolver, Source};
//!
//! let both = MergedResolver::new(
//!     "orders-both",
//!     [Source::parse(consul, "consul:///orders")?, Source::parse(kubernetes, "kubernetes:///orders.shop:grpc")?],
//! );
//! let orders = CachedResolver::new("orders", Source::whole(both), "/var/cache/shop/orders.endpoints");
//! // LbChannel::builder("orders:///orders.internal").resolver(orders)
//! # Ok(())
//! # }
//! ```
//!
//! What they have in common:
//! - The path of the channel's own target does not choose endpoints; it is the `:authority` of calls. Where it is empty the authority is
//!   that of the first source.
//! - An error keeps its kind, and its message begins with the target of the source it came from.
//! - A request to look again goes to every source that is being asked.
//! - Dropping a stream drops the streams of its sources at once. A source whose stream ends keeps its last answer for good.
//! - Memory is bounded by what the sources hold: one last answer each, and nothing queues.
//!
//! Why a room of its own: these know no registry and no file format, and `lb-resolver-static`, the only room with as few needs,
//! is part of every channel, which most of the time needs none of this.
#![forbid(unsafe_code)]

mod cached;
mod fallback;
mod filtered;
#[cfg(fuzzing)]
pub mod fuzzing;
mod hash;
mod merge;
mod merged;
mod running;
mod source;
#[cfg(test)]
mod testing;

pub use cached::CachedResolver;
pub use fallback::FallbackResolver;
pub use filtered::FilteredResolver;
pub use merged::MergedResolver;
pub use source::Source;

/// One item of a resolver's stream.
type Answer = Result<lb_core::ResolverUpdate, lb_core::ResolveError>;
