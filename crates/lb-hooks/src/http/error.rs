//! Why a backend was not reached, or did not take what it was sent.

use std::time::Duration;

use http::StatusCode;

/// A request that came to nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HookError {
    /// No connection: refused, unknown name, TLS.
    #[error("cannot be connected: {0}")]
    Connect(String),
    /// The connection was lost, or carried something that is not HTTP.
    #[error("broke off: {0}")]
    Broken(String),
    /// No whole answer in time, connecting included.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// It answered with a status that is no success; the text begins its body.
    #[error("answered {0}: {1}")]
    Status(StatusCode, String),
    /// The answer is larger than this many bytes.
    #[error("answered with more than {0} bytes")]
    TooLarge(usize),
    /// The answer is not what was asked for.
    #[error("answered something unreadable: {0}")]
    Unreadable(String),
    /// The bearer token cannot be read, or cannot be sent.
    #[error("the token cannot be used: {0}")]
    Token(String),
}

impl HookError {
    /// Whether the same request may succeed later: all but an answer that says it will never be taken. A status is worth another try if
    /// it is 408, 425, 429 or 500 and above.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Status(status, _) => status.is_server_error() || matches!(status.as_u16(), 408 | 425 | 429),
            _ => true,
        }
    }
}
