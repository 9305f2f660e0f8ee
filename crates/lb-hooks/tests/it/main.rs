//! Hooks against HTTP servers on loopback.

mod breaker;
mod receiver;
mod reporter;
#[cfg(feature = "tls-ring")]
mod tls;
mod webhook;
