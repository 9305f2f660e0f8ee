//! A real server with the layer and the services, and a plain client.
#![allow(clippy::unwrap_used, reason = "a failing helper fails the test")]

mod drain;
mod services;
mod support;
mod trailers;
