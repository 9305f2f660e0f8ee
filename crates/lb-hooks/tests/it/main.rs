//! Hooks against HTTP servers on loopback.

mod receiver;
#[cfg(feature = "tls-ring")]
mod tls;
mod webhook;
