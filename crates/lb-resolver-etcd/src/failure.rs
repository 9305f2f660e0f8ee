//! Why etcd did not do what it was asked.

use std::error::Error;
use std::sync::Arc;

use lb_core::ResolveError;
use lb_core::ResolveErrorKind;
use tonic::Code;
use tonic::Status;

/// What follows from a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The member could not be asked or had no leader: another may do better.
    Unavailable,
    /// Wrong credentials or missing rights: every member will say the same.
    Refused,
    /// The token is no longer good: asking for another one may help.
    Token,
    /// The revision is forgotten: listing anew helps.
    Compacted,
    /// The answer exceeds a bound or makes no sense.
    Malformed,
    /// The answer is larger than a message may be: smaller pages may help.
    TooLarge,
}

/// A failure with a message for people.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    pub(crate) cause: Cause,
    pub(crate) message: Arc<str>,
}

impl Failure {
    pub(crate) fn new(cause: Cause, message: impl Into<Arc<str>>) -> Self {
        Self { cause, message: message.into() }
    }

    /// What a call ended with.
    pub(crate) fn of(asked: &str, status: &Status) -> Self {
        let mut message = format!("{asked}: {}", status.message());
        if status.message().is_empty() {
            message += &status.code().to_string();
        }
        push_sources(&mut message, status);
        Self::new(cause(status.code(), status.message()), message)
    }

    /// What a watch was cancelled with; etcd says it in words only.
    pub(crate) fn cancelled(reason: &str) -> Self {
        let code = match reason {
            _ if reason.contains("permission denied") => Code::PermissionDenied,
            _ if reason.contains("user name is empty") => Code::InvalidArgument,
            _ => Code::Unavailable,
        };
        Self::new(cause(code, reason), format!("watch ended by etcd: {reason}"))
    }

    /// The same failure with the member it is about.
    pub(crate) fn at(self, member: &str) -> Self {
        Self { message: format!("etcd {member}: {}", self.message).into(), ..self }
    }

    pub(crate) fn kind(&self) -> ResolveErrorKind {
        match self.cause {
            Cause::Unavailable | Cause::Compacted => ResolveErrorKind::Unavailable,
            Cause::Refused | Cause::Token => ResolveErrorKind::Refused,
            Cause::Malformed | Cause::TooLarge => ResolveErrorKind::Malformed,
        }
    }

    pub(crate) fn into_error(self, suffix: &str) -> ResolveError {
        ResolveError::new(self.kind(), format!("{}{suffix}", self.message))
    }
}

/// By code where etcd is precise, and by its words where it is not: a token from before a change of users is `INVALID_ARGUMENT`.
fn cause(code: Code, message: &str) -> Cause {
    let says = |words: &str| message.contains(words);
    match code {
        Code::Unauthenticated => Cause::Token,
        _ if says("invalid auth token") || says("revision of auth store is old") => Cause::Token,
        Code::OutOfRange if says("compacted") => Cause::Compacted,
        Code::OutOfRange | Code::ResourceExhausted if says("message length too large") => Cause::TooLarge,
        Code::PermissionDenied => Cause::Refused,
        Code::InvalidArgument | Code::FailedPrecondition if says("user") || says("password") || says("authentication") => {
            Cause::Refused
        }
        Code::InvalidArgument | Code::Unimplemented | Code::DataLoss => Cause::Malformed,
        _ => Cause::Unavailable,
    }
}

/// Appends what the causes say, which a transport's own message leaves out.
pub(crate) fn push_sources(message: &mut String, error: &dyn Error) {
    let mut next = error.source();
    while let Some(error) = next {
        let text = error.to_string();
        if !message.ends_with(&text) {
            *message += ": ";
            *message += &text;
        }
        next = error.source();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn etcds_words_and_codes_tell_what_follows() {
        let of = |code, message: &str| Failure::of("range", &Status::new(code, message)).cause;
        assert_eq!(of(Code::Unauthenticated, "etcdserver: invalid auth token"), Cause::Token);
        assert_eq!(of(Code::InvalidArgument, "etcdserver: revision of auth store is old"), Cause::Token);
        assert_eq!(of(Code::OutOfRange, "etcdserver: mvcc: required revision has been compacted"), Cause::Compacted);
        assert_eq!(of(Code::OutOfRange, "Error, decoded message length too large: found 9 bytes"), Cause::TooLarge);
        assert_eq!(of(Code::PermissionDenied, "etcdserver: permission denied"), Cause::Refused);
        assert_eq!(of(Code::InvalidArgument, "etcdserver: user name is empty"), Cause::Refused);
        assert_eq!(of(Code::InvalidArgument, "etcdserver: authentication failed, invalid user ID or password"), Cause::Refused);
        assert_eq!(of(Code::Unavailable, "etcdserver: no leader"), Cause::Unavailable);
        assert_eq!(Failure::cancelled("etcdserver: permission denied").cause, Cause::Refused);
        assert_eq!(Failure::cancelled("etcdserver: invalid auth token").cause, Cause::Token);
        assert_eq!(Failure::cancelled("").cause, Cause::Unavailable);
    }
}
