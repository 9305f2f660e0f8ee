//! Whether an endpoint serves, asked over its own connection.
//!
//! A connection that stands says little of the service behind it: a server that warms up, drains or lost its database still
//! accepts. Two checks look further:
//!
//! - [`GrpcHealthCheck`] speaks grpc.health.v1. It watches, so that the server tells of a change at once and an endpoint costs
//!   one stream and no traffic; where Watch cannot be had it polls Check.
//! - [`TcpProbe`] connects to the same address at intervals and sends nothing. It finds a process that is gone
//!   behind something that keeps the first connection open, and no more; prefer the other.
//!
//! Both yield a [`HealthStream`](lb_core::HealthStream): one item per change, nothing before the first answer, and everything they have
//! under way is cancelled when it is dropped. Failures are paced, answers are bounded, nothing panics on what a server says.
//!
//! When not: `pick_first` at the top of a channel never checks health (gRFC A17), and a Watch takes one stream of each connection, which
//! matters to a server that allows one.
//!
//! Source: gRFC A17 and the health checking protocol.
#![forbid(unsafe_code)]

mod ask;
mod config;
mod entropy;
mod grpc;
mod poll;
mod tcp;
mod watcher;

pub use config::{HealthConfig, HealthMode, PollConfig};
pub use grpc::GrpcHealthCheck;
pub use tcp::TcpProbe;
