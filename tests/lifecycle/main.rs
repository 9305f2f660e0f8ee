//! Beginning and end of channels and calls: nothing is left behind, whatever is dropped and whenever.
#![allow(clippy::unwrap_used, reason = "a failing helper fails the test")]

mod cancel;
mod idle;
mod runtimes;
#[path = "../support/mod.rs"]
#[allow(dead_code, reason = "shared by several test binaries")]
mod support;
