//! Why a selector refuses something.

use std::sync::Arc;

use crate::policy::ConfigError;
use crate::wishes::Unfit;

/// Why a selector did not do what it was asked.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SelectorError {
    /// An endpoint of this key or id is there already.
    #[error("there is an endpoint {0} already")]
    Exists(String),
    /// There is no endpoint of this key or id.
    #[error("there is no endpoint {0}")]
    UnknownEndpoint(String),
    /// The selection was reported already, or is so old that it was given up.
    #[error("there is no open selection {0}")]
    UnknownTicket(u64),
    /// As many endpoints as a selector can hold.
    #[error("there are {0} endpoints already, which is the most")]
    Full(usize),
    /// A value that makes no sense.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// No endpoint can take a call now, and this is what the policy says.
    #[error("no endpoint can be selected: {0}")]
    NoEndpoint(Arc<str>),
    /// No endpoint meets the conditions.
    #[error("no endpoint fits: {0}")]
    NothingFits(Unfit),
}
