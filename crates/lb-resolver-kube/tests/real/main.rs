//! Against a real API server and its etcd.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test that cannot begin has failed")]

mod breaks;
mod calls;
mod changes;
mod refusals;
mod service_config;
mod world;
