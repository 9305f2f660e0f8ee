//! Backends over HTTP/1.1: where they are, how they are asked, and what goes wrong.

mod backend;
mod client;
mod error;
mod retry_after;
mod tls;
mod url;

pub use backend::HttpBackend;
pub(crate) use client::{Ask, Client};
pub use error::HookError;
