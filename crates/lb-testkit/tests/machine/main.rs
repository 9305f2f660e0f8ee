//! The real machine on simulated time: hours of backoff, failover and churn in milliseconds.
#![allow(clippy::unwrap_used, reason = "a failing helper fails the test")]

mod backoff;
mod connection;
mod diff;
mod drain;
mod health;
mod idle;
mod outliers;
mod panic;
mod priority;
mod quiet;
mod replica;
mod resolution;
mod stages;
mod support;
mod switch;
mod wake;
mod walk;
