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
//! | decisions over simulated hours | [`SimNet`] |
//! | a channel's view of discovery | [`FakeResolver`] |
//! | an address that refuses or hangs | [`ReservedPort`], [`HangingPort`] |
//! | a peer that breaks HTTP/2 | [`RawServer`] |
//! | a server that is killed or frozen by a signal | [`EchoProcess`] |
//! | that nothing is executed twice | [`Ledger`] |
//! | a cable that is pulled | [`netns`] |
//! | how fast a client is | [`LightServer`], [`LightProcess`] |
//! | that nothing is left behind, or allocated | [`count`] |
//! | what calls allocate, in a benchmark | [`metered`] |
//! | what a channel shows to standard tools | [`channelz`] |
//! | a registry | the real server, from [`services`] |

pub mod channelz;
pub mod count;
mod cut;
mod echo;
mod ledger;
mod light;
pub mod live;
pub mod metered;
pub mod netns;
pub mod pb;
mod port;
mod process;
mod proxy;
mod random;
pub mod raw;
mod resolver;
pub mod services;
pub mod sim;

pub use echo::{EchoControl, EchoServer, EchoServerBuilder, HealthControl, HealthFault, Latency, RequestHead, ServingStatus};
pub use ledger::{CALL_ID, Ledger};
pub use light::LightServer;
pub use port::{HangingPort, ReservedPort};
pub use process::{EchoProcess, LightProcess};
pub use proxy::{Cut, Direction, Fault, FaultProxy};
pub use raw::{Heard, RawConn, RawServer};
pub use resolver::{FakeResolver, FakeResolverHandle};
pub use sim::{SimClock, SimNet};
