//! What an attempt amounts to.

use http::{HeaderMap, Response, StatusCode};
use lb_core::retry::{Ending, Pushback, Reached};
use tonic::Code;

use crate::error::CallError;
use crate::header;
use crate::transport::{AnyBody, AttemptError, AttemptErrorKind};

use super::guard::Guard;
use super::response_body::code;
use super::{failure, http_failure};

/// An attempt that failed, before it is known whether another one follows.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) ending: Ending,
    pub(super) cause: Cause,
}

/// What the caller gets if none follows.
pub(super) enum Cause {
    /// The server's whole answer: a status, and no message.
    Answer(Response<AnyBody>),
    /// Anything else.
    Error(CallError),
}

impl std::fmt::Debug for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Answer(response) => f.debug_tuple("Answer").field(response.headers()).finish(),
            Self::Error(error) => error.fmt(f),
        }
    }
}

/// The status in the headers of a response, which is all of it then ("Trailers-Only").
#[inline]
pub(super) fn trailers_only(headers: &HeaderMap) -> Option<Code> {
    code(headers)
}

/// Whether the response is one, or a success without messages, rather than a failure.
#[inline]
pub(super) fn is_answer(http: StatusCode, status: Option<Code>) -> bool {
    match status {
        Some(code) => code == Code::Ok,
        None => http == StatusCode::OK,
    }
}

impl Failed {
    /// Reads the failure of the attempt of `guard`, and tells its books.
    #[cold]
    pub(super) fn new(guard: &mut Guard, result: Result<Response<AnyBody>, AttemptError>, repeatable: bool) -> Self {
        let (code, reached, cause) = match result {
            Err(error) => {
                let reached = match error.kind {
                    AttemptErrorKind::NotSent => Reached::NotSent,
                    AttemptErrorKind::Refused => Reached::Refused,
                    AttemptErrorKind::Lost | AttemptErrorKind::Failed(_) => Reached::Server,
                };
                let mut error = failure(&guard.connected, &error);
                if let (CallError::Lost { reason, .. }, Reached::NotSent | Reached::Refused, false) =
                    (&mut error, reached, repeatable)
                {
                    *reason = format!("{reason}; the request is too large to be sent again").into();
                }
                (error.code(), reached, Cause::Error(error))
            }
            Ok(response) => match http_failure(&guard.connected, &response) {
                Some(error) => (error.code(), Reached::Server, Cause::Error(error)),
                None => (trailers_only(response.headers()).unwrap_or(Code::Unknown), Reached::Server, Cause::Answer(response)),
            },
        };
        let pushback = match &cause {
            Cause::Answer(response) => {
                guard.read_load(response.headers());
                Pushback::parse(response.headers().get_all(&header::PUSHBACK).iter().map(http::HeaderValue::as_bytes))
            }
            Cause::Error(_) => Pushback::None,
        };
        guard.ends(code);
        guard.explain(|| cause.message());
        if let Some(watch) = guard.watch() {
            if pushback != Pushback::None {
                watch.pushed_back();
            }
            if reached == Reached::NotSent {
                watch.unsent();
            }
        }
        Self { ending: Ending { code: code as i32, reached, pushback, repeatable }, cause }
    }

    /// There was no endpoint for the attempt.
    pub(super) fn to_pick(error: CallError, repeatable: bool) -> Self {
        let ending = Ending { code: error.code() as i32, reached: Reached::NoEndpoint, pushback: Pushback::None, repeatable };
        Self { ending, cause: Cause::Error(error) }
    }

    /// The attempt of `guard` took longer than an attempt may.
    pub(super) fn too_long(guard: &mut Guard, timeout: std::time::Duration, repeatable: bool) -> Self {
        guard.ends(Code::DeadlineExceeded);
        let error = CallError::AttemptTimedOut { endpoint: guard.connected.endpoint.key().clone(), timeout };
        guard.explain(|| error.to_string());
        let ending = Ending { code: error.code() as i32, reached: Reached::TimedOut, pushback: Pushback::None, repeatable };
        Self { ending, cause: Cause::Error(error) }
    }
}
