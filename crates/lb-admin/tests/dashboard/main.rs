//! The dashboard, over real sockets and in a real browser.
#![allow(clippy::unwrap_used, reason = "a failing helper fails the test")]
#![allow(dead_code, reason = "the helpers are those of the tests of the API")]

mod browser;
#[path = "../http/client.rs"]
mod client;
mod page;
mod stream;
#[path = "../http/support.rs"]
mod support;
