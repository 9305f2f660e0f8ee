//! Why a request to an agent brought nothing.

use std::time::Duration;

use http::StatusCode;
use lb_core::ResolveError;
use lb_core::ResolveErrorKind;

/// What went wrong between us and one agent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Failure {
    /// The agent answered, and said no. The text is what it said.
    #[error("answered {0}: {1}")]
    Status(StatusCode, String),
    /// It pointed elsewhere. Consul never does; something else answers at that address.
    #[error("answered {0}, which points to {1:?} and is not followed: is this a Consul agent?")]
    Redirect(StatusCode, String),
    /// Consul hides what a token may not read, and answers as if there were nothing.
    #[error("shows nothing of it, because the token may not read {0}{1}")]
    Hidden(&'static str, &'static str),
    /// There is no such thing, with authority.
    #[error("{0}")]
    Absent(String),
    /// A server without a leader says that there is nothing, which it cannot know.
    #[error("knows nothing of it, and has no leader to ask")]
    Leaderless,
    /// It answered with something that cannot be read.
    #[error("answered with something unreadable: {0}")]
    Unreadable(String),
    /// It answered with more than we want to hold.
    #[error("answered with more than {0} bytes, the limit of a response")]
    TooLarge(usize),
    /// No connection.
    #[error("cannot be reached: {0}")]
    Connect(String),
    /// The connection broke before the whole answer was here.
    #[error("broke the connection off: {0}")]
    Broken(String),
    /// Nothing, or not everything, came in time.
    #[error("did not {0} within {1:?}")]
    Timeout(&'static str, Duration),
    /// The token cannot be read; nobody was asked.
    #[error("was not asked: {0}")]
    Token(String),
}

impl Failure {
    pub(crate) fn kind(&self) -> ResolveErrorKind {
        match self {
            Self::Status(StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED, _) | Self::Hidden(..) => ResolveErrorKind::Refused,
            Self::Status(StatusCode::NOT_FOUND, _) | Self::Absent(_) => ResolveErrorKind::NotFound,
            Self::Redirect(..) | Self::Unreadable(_) | Self::TooLarge(_) => ResolveErrorKind::Malformed,
            _ => ResolveErrorKind::Unavailable,
        }
    }

    /// For the channel: which agent, about which service, what.
    pub(crate) fn told(&self, agent: &str, subject: &str) -> ResolveError {
        ResolveError::new(self.kind(), format!("{subject}: Consul at {agent} {self}"))
    }

    /// Whether the same request may do better on a fresh connection.
    pub(crate) fn is_broken(&self) -> bool {
        matches!(self, Self::Broken(_))
    }

    /// Whether Consul itself failed, which is what a cluster without a leader looks like.
    pub(crate) fn is_server_error(&self) -> bool {
        matches!(self, Self::Status(status, _) if status.is_server_error())
    }
}
