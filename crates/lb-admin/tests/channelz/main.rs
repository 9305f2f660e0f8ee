//! Channelz over real sockets, read with a generated client.
#![allow(clippy::unwrap_used, reason = "a failing helper fails the test")]

mod lists;
mod peer;
mod sockets;
mod support;
mod traces;
