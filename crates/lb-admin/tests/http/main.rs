//! The admin server over real sockets on loopback.
#![allow(clippy::unwrap_used, reason = "a failing helper fails the test")]

mod access;
mod client;
mod limits;
mod reads;
mod support;
