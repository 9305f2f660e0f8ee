//! The admin server over real sockets on loopback.
#![allow(clippy::unwrap_used, reason = "a failing helper fails the test")]

mod access;
mod algorithms;
mod audit;
mod client;
#[cfg(feature = "config")]
mod configured;
mod document;
mod levers;
mod limits;
mod openapi;
mod operations;
mod reads;
mod schemathesis;
mod support;
