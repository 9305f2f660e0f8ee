//! The channel end to end, against real servers.
#![allow(clippy::unwrap_used, reason = "a failing helper fails the test")]

mod balance;
mod breakers;
mod deadlines;
mod drops;
mod event_kinds;
mod events;
mod failover;
mod health;
mod hedging;
mod limits;
mod load;
mod observed;
mod odd_servers;
mod options;
mod outliers;
mod policy_switch;
mod queueing;
mod recovery;
mod repeats;
mod request_limit;
mod retries;
mod scripted;
mod service_config;
mod session_tokens;
mod session_waits;
mod sessions;
mod sets;
mod stats;
mod streams;
#[path = "../support/mod.rs"]
#[allow(dead_code, reason = "shared by several test binaries")]
mod support;
mod updates;
mod waiting;
mod wishes;
