//! Test doubles for evenkeel: real servers, real faults, counted resources.
//!
//! Used by the tests, examples and benchmarks of the workspace, and never by its libraries. Wherever the real thing can run
//! in a test it runs: servers are tonic's on loopback sockets, faults are made by a proxy between real sockets, and a killed server is a
//! process that got SIGKILL.
//!
//! | to test | use |
//! |---|---|
//! | calls against well-behaved and misbehaving servers | [`EchoServer`] |
//! | a network that delays, cuts, freezes | [`FaultProxy`] |
//! | a channel's view of discovery | [`FakeResolver`] |
//! | an address that refuses or hangs | [`ReservedPort`], [`HangingPort`] |
#![forbid(clippy::print_stdout)]

mod cut;
mod echo;
pub mod pb;
mod port;
mod proxy;
mod random;
mod resolver;

pub use echo::{EchoControl, EchoServer, EchoServerBuilder, HealthControl, HealthFault, Latency, RequestHead, ServingStatus};
pub use port::{HangingPort, ReservedPort};
pub use proxy::{Cut, Direction, Fault, FaultProxy};
pub use resolver::{FakeResolver, FakeResolverHandle};
