//! Endpoints that come back, under load and on simulated time: which share of the calls they get, and what becomes of those.
#![allow(clippy::unwrap_used, reason = "a failing helper fails the test")]

mod fleet;
mod levers;
mod ramps;
mod shares;
