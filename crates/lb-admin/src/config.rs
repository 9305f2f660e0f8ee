//! Where a program's configuration is kept, as far as the admin server is concerned.

use std::fmt;

use serde_json::Value;

/// The configuration of a program, for those who look at it and change it from outside.
///
/// Changes are all or nothing: what is refused leaves everything as it was. No two calls that change overlap; calls may block, since they
/// run where blocking is allowed.
pub trait ConfigSource: fmt::Debug + Send + Sync + 'static {
    /// The configuration in use, as data. Secrets are not shown.
    fn get(&self) -> Value;

    /// Takes over another configuration. Returns what has changed, as data.
    ///
    /// # Errors
    /// What is wrong with it; then nothing has changed.
    fn put(&self, config: &Value) -> Result<Value, ConfigRefusal>;

    /// Reads again what the configuration was read from. Returns what has changed, as data.
    ///
    /// # Errors
    /// What is wrong with it; then nothing has changed.
    fn reload(&self) -> Result<Value, ConfigRefusal>;

    /// Where each value came from, as data; `None` if that is not known. Secrets are not shown.
    fn explain(&self) -> Option<Value> {
        None
    }
}

/// Why a configuration was not taken over.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigRefusal {
    /// It is wrong: each item says which field, what it holds and what it may hold.
    #[error("{}", .0.join("; "))]
    Wrong(Vec<String>),
    /// It is right, and cannot be used now: a file cannot be read, or what it changes cannot be changed while the program runs.
    #[error("{0}")]
    Impossible(String),
}
