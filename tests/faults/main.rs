//! Endpoints that die, hang, leave and come back, under load.
#![allow(clippy::unwrap_used, reason = "a failing helper fails the test")]

mod backoff;
mod blackhole;
mod goaway;
mod kill;
mod retry;
mod rolling_restart;
mod stream_limit;
#[path = "../support/mod.rs"]
#[allow(dead_code, reason = "shared by several test binaries")]
mod support;
mod unreachable;
