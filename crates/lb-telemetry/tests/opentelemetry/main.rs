//! Traces as a collector gets them: linked across clients and servers, over real sockets.
#![allow(clippy::unwrap_used, reason = "a failing helper fails the test")]

mod collector;
mod details;
mod linked;
mod sampled;
#[path = "../support/mod.rs"]
mod support;
