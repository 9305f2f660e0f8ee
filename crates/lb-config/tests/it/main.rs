//! A configuration from its sources to its meaning, and channels that follow one.
#![allow(clippy::unwrap_used, reason = "a failing helper fails the test")]

mod defaults;
mod environment;
mod every_key;
mod hooks;
mod hooks_tls;
mod hostile;
mod layers;
mod registries;
mod reload;
mod shipped;
mod traces;

use lb_config::{Config, Problems};
use serde_json::Value;

/// A configuration from one tree.
fn config(tree: Value) -> Config {
    Config::from_json(&tree).unwrap_or_else(|problems| panic!("{problems}"))
}

/// What is wrong with one.
fn problems(tree: Value) -> Problems {
    Config::from_json(&tree).expect_err("it is wrong")
}
