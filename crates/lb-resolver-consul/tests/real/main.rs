//! The resolver against the real Consul.
#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod access;
mod attributes;
mod change;
mod loss;
mod registration;
mod service_config;
mod support;
