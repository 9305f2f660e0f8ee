//! The connector over tonic's `Endpoint`, against real servers.
#![allow(clippy::unwrap_used, reason = "a failing helper fails the test")]

mod calls;
mod connecting;
mod loss;
mod support;
mod tls;
