//! From a failed attempt to the error the caller sees.

use std::sync::Arc;

use http::Response;
use tonic::Code;

use crate::error::CallError;
use crate::header;
use crate::snapshot::Connected;
use crate::transport::{AttemptError, AttemptErrorKind};

/// Names the endpoint and keeps the right code.
pub(crate) fn failure(connected: &Connected, error: &AttemptError) -> CallError {
    let endpoint = connected.endpoint.key().clone();
    if let Some(reason) = connected.ended.get().filter(|_| error.kind != AttemptErrorKind::NotSent) {
        return CallError::Ended { endpoint, reason: Arc::clone(reason) };
    }
    let reason = error.reason.clone();
    match error.kind {
        AttemptErrorKind::Failed(code) => CallError::Failed { endpoint, code, reason },
        AttemptErrorKind::NotSent | AttemptErrorKind::Refused | AttemptErrorKind::Lost => CallError::Lost { endpoint, reason },
    }
}

/// What a response amounts to that is no gRPC server's: the page of a proxy or of a web server (gRPC's table for HTTP statuses).
pub(crate) fn http_failure<B>(connected: &Connected, response: &Response<B>) -> Option<CallError> {
    let code = match response.status().as_u16() {
        200 => return None,
        400 => Code::Internal,
        401 => Code::Unauthenticated,
        403 => Code::PermissionDenied,
        404 => Code::Unimplemented,
        429 | 502 | 503 | 504 => Code::Unavailable,
        _ => Code::Unknown,
    };
    if response.headers().contains_key(&header::STATUS) {
        return None;
    }
    let endpoint = connected.endpoint.key().clone();
    Some(CallError::Failed { endpoint, code: code as i32, reason: format!("HTTP status {}", response.status()).into() })
}
