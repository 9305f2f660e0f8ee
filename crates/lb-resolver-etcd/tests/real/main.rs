//! Against the real etcd: what must hold whatever happens to it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod auth;
mod changes;
mod outages;
mod registration;
mod service_config;
mod tls;
mod watched;
