//! Client-side load balancing for gRPC.
#![forbid(unsafe_code)]

pub use lb_core::*;
pub use lb_tonic::*;

pub use lb_health as health;
pub use lb_transport as transport;

/// The resolvers that come with the channel, to configure them or to feed one from the program.
pub mod resolver {
    #[cfg(feature = "dns")]
    pub use lb_resolver_dns::{DnsConfig, DnsResolver};
    pub use lb_resolver_static::{FileResolver, ManualHandle, ManualResolver, StaticResolver};
}
