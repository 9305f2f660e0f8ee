//! An `etcd:` resolver for gRPC load balancing, and the registration that servers need with it.
//!
//! `etcd:///svc/greeter` is every key below `svc/greeter/`, one endpoint each, followed by a watch. What sets it apart from a bare client:
//!
//! - **It goes on.** A watch that breaks is resumed, on this member or another, from the revision behind the last one seen: nothing is
//!   missed and nothing is listed again. Only if etcd has forgotten that revision, everything is listed anew and swapped in at once.
//! - **It notices.** A dead connection shows by keepalive within 9 s, a member cut off from the others says so itself, and a list every
//!   few minutes checks what the watch told.
//! - **Failure never shrinks a working set.** While etcd cannot be asked, the last good set stands, and the error says for how long. If
//!   etcd comes back with less than it had (a lost disk, a restored backup), servers are given 30 s to register again.
//! - **One bad value costs one endpoint**, and is named in the log and in the update's note.
//!
//! | target | meaning |
//! |---|---|
//! | `etcd:///svc/greeter` | keys below `svc/greeter/`, of the configured etcd, else `ETCDCTL_ENDPOINTS`, else `127.0.0.1:2379` |
//! | `etcd:////svc/greeter` | keys below `/svc/greeter/`, which begin with a slash |
//! | `etcd://a:2379,b:2379/svc/greeter` | of the etcd with these members |
//!
//! The `:authority` of calls, and the name expected in the servers' certificates, is the last part of the name (`greeter`); set the
//! channel's, or `hostname` per endpoint.
//!
//! # Values
//! The key is a name, nothing more; the value is one of these, and unknown members are ignored:
//!
//! ```json
//! {"address":"10.0.0.1:50051","weight":3,"locality":{"region":"eu","zone":"a","subZone":"r1"},"priority":0,
//!  "capabilities":["gpu"],"capacity":100,"cost":0.5,"id":"greeter-1","replicaOf":"greeter-0","hostname":"greeter.internal",
//!  "health":"healthy","metadata":{"version":"2"}}
//! ```
//! ```json
//! {"Op":0,"Addr":"10.0.0.1:50051","Metadata":{"weight":3,"version":"2"}}
//! ```
//! ```text
//! 10.0.0.1:50051
//! ```
//! The first is ours: `address`, or `addresses` with several of one server; everything else may be left out and means what it means in
//! [`Attributes`](lb_core::Attributes). The second is what etcd's gRPC naming for Go writes; members of `Metadata` that are named and typed
//! like the attributes above are those, and the rest goes into the endpoint's metadata. Of two keys with the same addresses the one
//! written last counts.
//!
//! # Servers
//! [`EtcdRegistrar`] writes such a key under a lease and keeps it alive; when the server ends, or is no longer heard of, the key goes.
//!
//! # When it tries again
//! The next member at once; when all have failed, after 100 ms, then 1.6 times longer each time up to 1.25 s, ±20 %. Refusals (wrong
//! password, missing right) wait twenty times that. An expired token is replaced at once.
//!
//! # Why not a client library
//! The one there is needs `protoc` to build, and leaves to its user what this crate is about: a watch that outlives its connection, bounds,
//! tokens that are renewed. What remains are nine small messages of a protocol that has not changed in years, over tonic's own transport.
//! So this builds with nothing but Rust.

mod book;
mod cluster;
mod config;
mod entropy;
mod failure;
#[cfg(fuzzing)]
pub mod fuzzing;
mod key;
mod member;
mod pace;
mod registration;
mod resolver;
mod rpc;
mod set;
mod stream;
mod target;
mod tls;
mod value;
mod voice;
mod watch;
mod wire;

pub use config::EtcdConfig;
pub use registration::EtcdRegisterError;
pub use registration::EtcdRegistrar;
pub use registration::EtcdRegistration;
pub use registration::RegistrationState;
pub use resolver::EtcdResolver;
pub use tls::EtcdTls;
pub use value::EtcdFormat;
