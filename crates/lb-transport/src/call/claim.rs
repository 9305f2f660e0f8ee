//! What a stream holds, and what its errors mean.

use h2::Reason;

use super::pump::PumpGuard;
use crate::conn::Permit;
use crate::error::{TransportError, TransportErrorKind, code_name};

/// What a stream holds: its permit, and the pump of its request. Moves from the future into the body.
#[derive(Debug)]
pub(super) struct Claim {
    pub(super) pump: Option<PumpGuard>,
    pub(super) permit: Permit,
    /// h2's count of writes when the request was handed to it.
    pub(super) writes: u64,
    /// Whether the server's end of the stream was seen.
    pub(super) whole: bool,
}

impl Claim {
    pub(super) fn is_lazy(&self) -> bool {
        self.permit.link.is_lazy()
    }

    /// The server's end of the stream was seen.
    pub(super) fn is_whole(&mut self) {
        self.whole = true;
    }

    /// So many messages were read.
    pub(super) fn received(&self, messages: u64) {
        self.permit.link.traffic.received(messages);
    }

    /// Before response headers: the server may have said that it did not process the call.
    pub(super) fn explain_before_headers(&self, error: &h2::Error) -> TransportError {
        let link = &self.permit.link;
        if error.is_go_away() && error.is_remote() {
            // h2 fails a stream with the peer's GOAWAY only if its identifier is above GOAWAY's last stream. One that was still with
            // h2 when the connection began to drain counts as never sent: h2 answers the server's closing PING first.
            let unsent = link.was_unwritten_at_go_away(self.writes);
            let kind = if unsent { TransportErrorKind::NotSent } else { TransportErrorKind::Refused };
            return TransportError::new(kind, link.close_reason().map_or_else(|| error.to_string(), ToString::to_string));
        }
        if !error.is_reset() && link.is_unwritten(self.writes) {
            return TransportError::new(TransportErrorKind::NotSent, self.connection_text(error));
        }
        if error.is_remote() && error.reason() == Some(Reason::REFUSED_STREAM) {
            return TransportError::new(TransportErrorKind::Refused, code_name(Reason::REFUSED_STREAM.into()));
        }
        self.explain_after_headers(error)
    }

    /// After response headers the server has seen the call, whatever it says.
    pub(super) fn explain_after_headers(&self, error: &h2::Error) -> TransportError {
        if let Some(failure) = self.pump.as_ref().and_then(PumpGuard::failure) {
            return failure;
        }
        match error.reason() {
            Some(reason) if error.is_reset() => {
                let by = if error.is_remote() { "by the server" } else { "by this client" };
                let text = format!("{} {by}", code_name(reason.into()));
                TransportError::new(TransportErrorKind::Reset(reason.into()), text)
            }
            _ => TransportError::new(TransportErrorKind::Lost, self.connection_text(error)),
        }
    }

    /// Why the connection ended, if it is known; it says more than the error of one stream.
    fn connection_text(&self, error: &h2::Error) -> String {
        self.permit.link.end_reason().map_or_else(|| error.to_string(), ToString::to_string)
    }
}

impl Drop for Claim {
    /// Before the permit is given back: who sees that the stream is over finds it counted.
    fn drop(&mut self) {
        self.permit.link.traffic.ended(self.whole);
    }
}
