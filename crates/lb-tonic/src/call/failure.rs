//! From a failed attempt to the error the caller sees.

use crate::error::CallError;
use crate::snapshot::Connected;
use crate::transport::{AttemptError, AttemptErrorKind};

/// Names the endpoint and keeps the right code.
pub(crate) fn failure(connected: &Connected, error: &AttemptError) -> CallError {
    let endpoint = connected.endpoint.key().clone();
    let reason = error.reason.clone();
    match error.kind {
        AttemptErrorKind::Failed(code) => CallError::Failed { endpoint, code, reason },
        AttemptErrorKind::NotSent | AttemptErrorKind::Refused | AttemptErrorKind::Lost => CallError::Lost { endpoint, reason },
    }
}
