//! The transport against real servers on loopback: h2's own, and one that is scripted frame by frame.
#![allow(clippy::unwrap_used, reason = "tests, their helpers included")]

mod calls;
mod closing;
mod connecting;
mod keepalive;
mod limits;
mod sockets;
mod support;
mod teardown;
#[cfg(feature = "tls-ring")]
mod tls;
