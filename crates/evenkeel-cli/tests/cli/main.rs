//! The command as people run it: the real binary against real servers.
#![allow(clippy::unwrap_used, reason = "a failing helper fails the test")]

mod check;
mod support;
mod usage;
mod watch;
