//! A `dns:` resolver for gRPC load balancing.
//!
//! `dns:///orders.internal:50051` becomes one endpoint per A and AAAA record, kept fresh. What sets it apart from a plain lookup:
//!
//! - **Growth is seen.** gRPC's own resolvers look again only when a connection breaks, so new servers behind a name stay
//!   unused. This one looks again when the records' time to live ends, not before 5 s and not after 5 min, a little later by chance
//!   so that many clients do not ask at once. [`DnsConfig::without_refresh`] gives gRPC's behaviour.
//! - **Failure never shrinks a working set.** No such name, no records, timeouts and refusals are errors, after which the channel
//!   keeps what it has. If only one family fails, its last known addresses stay.
//! - **Every record counts.** Long answers are fetched over TCP. The order of an answer does not matter: rotating it is no
//!   change, and pick_first clients are spread by an order each stream draws for itself.
//!
//! | target | meaning |
//! |---|---|
//! | `dns:///orders:50051`, `dns:orders:50051`, `orders:50051` | A and AAAA of `orders`; default port 443 |
//! | `dns://10.0.0.53/orders`, `dns://127.0.0.1:8600/orders`, `dns://[::1]:53/orders` | asks that name server; default port 53 |
//! | `dns:///10.0.0.1:50051`, `dns:///[::1]:50051`, `dns:///localhost:50051` | no lookup |
//! | `dns:///_grpc._tcp.orders`, `dns:///orders.service.consul?srv` | SRV: ports, weights and priorities from DNS |
//!
//! A name with a final dot is taken as it is. Any other is looked up along the system's search list too, unless the target or the
//! configuration names the name server; Kubernetes' search list multiplies queries by five, so there the dot pays.
//!
//! # When it looks
//! After a success: when the time to live ends (see above), or 30 s after the success if the channel asked for a fresh look
//! meanwhile, whichever is first. Asking later than that is answered at once; asking often is asking once. After a failure: 1 s
//! later, then 1.6 times longer each time up to 120 s, ±20 %; asking does not shorten this. A whole look may take 10 s.
//!
//! # What it yields
//! Full sets, and only if something changed or an error ended; an error after every look that failed.
//!
//! Source: gRPC naming, A2 (service config in TXT records), A10 and A21; RFC 2782 (SRV), RFC 6724 (order). Lookups are made by
//! hickory, of which no type shows.

mod client;
mod clients;
mod config;
mod dns;
mod entropy;
#[cfg(fuzzing)]
pub mod fuzzing;
mod known;
mod lookup;
mod order;
mod pace;
mod question;
mod resolver;
mod service_config;
mod srv;
mod stream;
#[cfg(test)]
mod testing;

pub use config::DnsConfig;
pub use resolver::DnsResolver;
