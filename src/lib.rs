//! Client-side load balancing for gRPC.
#![forbid(unsafe_code)]

pub use lb_core::*;
pub use lb_tonic::*;

pub use lb_health as health;
pub use lb_transport as transport;
