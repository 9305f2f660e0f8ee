//! What became of a call, told from tonic's chain of causes.
//!
//! Unknown links of the chain are skipped, so that another version of tonic or hyper makes this tell less, never wrong.

use std::error::Error;

use lb_transport::{TransportError, TransportErrorKind};
use tonic::{Status, TimeoutExpired};

use super::watched::Refused;
use crate::transport::causes;

/// What a call that has no response yet failed with. `None` if the error says itself what status it is.
pub(super) fn before_headers(error: &(dyn Error + 'static)) -> Option<TransportError> {
    let why = || causes(error);
    if find::<Refused>(error).is_some() {
        return Some(TransportError::new(TransportErrorKind::NotSent, Refused.to_string()));
    }
    let hyper = find::<hyper::Error>(error)?;
    // Only of requests that are still in hyper's queue.
    if hyper.is_canceled() {
        return Some(TransportError::new(TransportErrorKind::NotSent, why()));
    }
    match find::<h2::Error>(hyper) {
        // h2 fails a stream with the peer's GOAWAY only if its identifier is above GOAWAY's last stream.
        Some(h2) if h2.is_go_away() && h2.is_remote() => Some(TransportError::new(TransportErrorKind::Refused, why())),
        Some(h2) if h2.is_remote() && h2.reason() == Some(h2::Reason::REFUSED_STREAM) => {
            Some(TransportError::new(TransportErrorKind::Refused, why()))
        }
        _ => after_headers(error),
    }
}

/// What a response broke off with. `None` if the error says itself what status it is.
pub(super) fn after_headers(error: &(dyn Error + 'static)) -> Option<TransportError> {
    let hyper = find::<hyper::Error>(error)?;
    let kind = match find::<h2::Error>(hyper) {
        Some(h2) if h2.is_reset() => {
            h2.reason().map_or(TransportErrorKind::Lost, |reason| TransportErrorKind::Reset(reason.into()))
        }
        _ => TransportErrorKind::Lost,
    };
    Some(TransportError::new(kind, causes(error)))
}

/// What tonic calls CANCELLED.
pub(super) fn timeout(error: &(dyn Error + 'static)) -> Option<Status> {
    find::<TimeoutExpired>(error).map(|_| Status::deadline_exceeded("no response headers within the timeout of tonic's endpoint"))
}

fn find<'a, E: Error + 'static>(mut error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    loop {
        match error.downcast_ref() {
            Some(found) => return Some(found),
            None => error = error.source()?,
        }
    }
}
