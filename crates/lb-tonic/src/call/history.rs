//! What became of the attempts of a call that was sent more than once.

use std::sync::Arc;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use http::HeaderMap;
use lb_core::EndpointKey;
use lb_core::retry::Surfaced;
use tonic::{Code, Status};

use super::judged::{Cause, Failed};
use crate::error::{CallError, FailedAttempt};
use crate::header;

/// Failed attempts, in order. Nothing is allocated before the first.
#[derive(Debug, Default)]
#[expect(clippy::box_collection, reason = "a word in every call rather than three")]
pub(super) struct History(Option<Box<Vec<FailedAttempt>>>);

impl History {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Adds an attempt. What it says of itself is returned, for those who wait for the next one.
    pub(super) fn add(&mut self, endpoint: Option<EndpointKey>, failed: &Failed) -> Arc<str> {
        let attempt = failed.cause.describe(endpoint);
        let text = attempt.to_string().into();
        self.0.get_or_insert_default().push(attempt);
        text
    }

    /// Adds an attempt that was on its way when another one ended the call, before that one: the last is the one the call fails with.
    pub(super) fn cancelled(&mut self, endpoint: Option<EndpointKey>) {
        let attempts = self.0.get_or_insert_default();
        let attempt = FailedAttempt::new(endpoint, Code::Cancelled, "given up when another attempt ended the call");
        attempts.insert(attempts.len().saturating_sub(1), attempt);
    }

    /// The status of a call whose last attempt failed like this, after those before. Code, message, details and metadata are the last
    /// attempt's own.
    pub(super) fn exhausted(&mut self, endpoint: Option<EndpointKey>, failed: Failed, why: Surfaced) -> Status {
        self.add(endpoint, &failed);
        self.surface(failed.cause, why)
    }

    /// The same where the last attempt has been added.
    pub(super) fn surface(&mut self, last: Cause, why: Surfaced) -> Status {
        let attempts: Vec<FailedAttempt> = self.0.take().map(|attempts| *attempts).unwrap_or_default();
        let mut status = last.into_status();
        status.set_source(Arc::new(CallError::RetriesExhausted { attempts: attempts.into(), why }));
        status
    }
}

impl Cause {
    /// For people and programs, what an attempt ended with.
    fn describe(&self, endpoint: Option<EndpointKey>) -> FailedAttempt {
        match self {
            Self::Answer(response) => {
                let status = status_of(response.headers().clone());
                FailedAttempt::new(endpoint, status.code(), status.message())
            }
            // The endpoint is said once.
            Self::Error(CallError::Lost { reason, .. } | CallError::Failed { reason, .. }) => {
                FailedAttempt::new(endpoint, self.code(), Arc::clone(reason))
            }
            Self::Error(error) => FailedAttempt::new(endpoint, error.code(), error.to_string()),
        }
    }

    /// What an observer is told of it.
    pub(super) fn message(&self) -> Arc<str> {
        self.describe(None).message
    }

    fn code(&self) -> Code {
        match self {
            Self::Answer(response) => status_of(response.headers().clone()).code(),
            Self::Error(error) => error.code(),
        }
    }

    fn into_status(self) -> Status {
        match self {
            Self::Answer(response) => status_of(response.into_parts().0.headers),
            Self::Error(error) => error.into(),
        }
    }
}

/// The status that stands in headers, with all that came along.
pub(super) fn status_of(mut headers: HeaderMap) -> Status {
    // tonic takes what is no base64 for its own mistake, and panics.
    let lenient = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let details = headers.get(&header::STATUS_DETAILS);
    if details.is_some_and(|details| GeneralPurpose::new(&STANDARD, lenient).decode(details).is_err()) {
        headers.remove(&header::STATUS_DETAILS);
    }
    Status::from_header_map(&headers).unwrap_or_else(|| Status::unknown("the server gave no status"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_keeps_what_came_with_it_and_garbage_is_no_panic() {
        let mut headers = HeaderMap::new();
        for (name, value) in [("grpc-status", "14"), ("grpc-message", "a%20b"), ("grpc-status-details-bin", "AQI"), ("x-more", "1")]
        {
            headers.insert(name, value.parse().unwrap());
        }
        let status = status_of(headers.clone());
        assert_eq!((status.code(), status.message(), status.details()), (Code::Unavailable, "a b", &[1, 2][..]));
        assert_eq!(status.metadata().get("x-more").unwrap(), "1");
        headers.insert("grpc-status-details-bin", "!".parse().unwrap());
        headers.insert("grpc-message", "%ff".parse().unwrap());
        assert!(status_of(headers).details().is_empty());
        assert_eq!(status_of(HeaderMap::new()).code(), Code::Unknown);
    }
}
