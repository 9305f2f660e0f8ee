//! What can go wrong, in types.
//!
//! Three questions, three types: why an attempt to connect failed ([`ConnectError`], one row per address), why a connection takes
//! no more calls ([`CloseReason`]), and what became of one call ([`TransportError`], whose kind says whether the server can have
//! seen it).

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use h2::Reason;
use lb_core::Address;

use crate::BoxError;

/// Why a connection takes no new calls.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CloseReason {
    /// The server sent GOAWAY; streams it accepted go on.
    GoAway {
        /// The HTTP/2 error code; 0 is NO_ERROR.
        code: u32,
        /// The server's debug data, at most 1 KiB of it, with bytes that are not UTF-8 replaced.
        debug: String,
    },
    /// Nothing arrived within the keepalive timeout after a PING.
    KeepaliveTimeout,
    /// The connection broke, or the peer broke the protocol; the text says how.
    Lost(String),
    /// All stream identifiers are used up, after about a thousand million calls; streams in progress go on.
    Exhausted,
    /// Closed by its own handle.
    Closed,
}

impl CloseReason {
    /// Whether the server complained about keepalive pings (gRFC A8): ENHANCE_YOUR_CALM with debug data `too_many_pings`.
    pub fn too_many_pings(&self) -> bool {
        matches!(self, Self::GoAway { code, debug } if *code == u32::from(Reason::ENHANCE_YOUR_CALM) && debug == "too_many_pings")
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::GoAway { code, debug } if debug.is_empty() => write!(f, "GOAWAY {}", code_name(*code)),
            Self::GoAway { code, debug } => write!(f, "GOAWAY {} ({debug})", code_name(*code)),
            Self::KeepaliveTimeout => f.write_str("no answer to a keepalive ping in time"),
            Self::Lost(why) => f.write_str(why),
            Self::Exhausted => f.write_str("stream identifiers used up"),
            Self::Closed => f.write_str("closed by this client"),
        }
    }
}

/// What became of a call that did not get a whole response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TransportErrorKind {
    /// The request's headers never left: the connection was closed or draining. Safe to send elsewhere, any number of times.
    NotSent,
    /// The server said it did not process the call (REFUSED_STREAM, or GOAWAY with a lower last stream). Safe to repeat once.
    Refused,
    /// The stream was reset with this HTTP/2 error code; the server may have processed the call.
    Reset(u32),
    /// The connection was lost in mid-call; the server may have processed the call.
    Lost,
    /// The caller's own request body failed; its error is the source.
    Body,
    /// The request cannot be sent over HTTP/2 at all, on any connection.
    Invalid,
}

/// A call that did not get a whole response; see [`kind`](TransportError::kind).
#[derive(Debug)]
pub struct TransportError(Box<Inner>);

#[derive(Debug)]
struct Inner {
    kind: TransportErrorKind,
    why: String,
    source: Option<BoxError>,
}

impl TransportError {
    /// A call that ended like this, for connectors of other kinds. The kind is believed: a call that is said to be not sent is sent
    /// again elsewhere.
    pub fn new(kind: TransportErrorKind, why: impl Into<String>) -> Self {
        Self(Box::new(Inner { kind, why: why.into(), source: None }))
    }

    pub(crate) fn body(source: BoxError) -> Self {
        Self(Box::new(Inner { kind: TransportErrorKind::Body, why: source.to_string(), source: Some(source) }))
    }

    /// What became of the call.
    pub fn kind(&self) -> TransportErrorKind {
        self.0.kind
    }

    /// The gRPC status code this amounts to, by gRPC's table for HTTP/2 errors; a passed deadline is for the caller to tell.
    pub fn grpc_code(&self) -> i32 {
        match self.0.kind {
            TransportErrorKind::NotSent | TransportErrorKind::Refused | TransportErrorKind::Lost => UNAVAILABLE,
            TransportErrorKind::Reset(code) => reset_code(Reason::from(code)),
            TransportErrorKind::Body | TransportErrorKind::Invalid => INTERNAL,
        }
    }

    /// The request body's own error, if that is what failed.
    pub fn into_source(self) -> Option<BoxError> {
        self.0.source
    }
}

impl fmt::Display for TransportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why = &self.0.why;
        match self.0.kind {
            TransportErrorKind::NotSent => write!(f, "not sent: {why}"),
            TransportErrorKind::Refused => write!(f, "refused before processing: {why}"),
            TransportErrorKind::Reset(_) => write!(f, "stream reset: {why}"),
            TransportErrorKind::Lost => write!(f, "connection lost: {why}"),
            TransportErrorKind::Body => write!(f, "request body failed: {why}"),
            TransportErrorKind::Invalid => write!(f, "request not valid in HTTP/2: {why}"),
        }
    }
}

impl StdError for TransportError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

const CANCELLED: i32 = 1;
const PERMISSION_DENIED: i32 = 7;
const RESOURCE_EXHAUSTED: i32 = 8;
const INTERNAL: i32 = 13;
const UNAVAILABLE: i32 = 14;

/// gRPC's PROTOCOL-HTTP2 table. REFUSED_STREAM gets here when it follows response headers, which makes it no promise any more.
fn reset_code(reason: Reason) -> i32 {
    match reason {
        Reason::REFUSED_STREAM => UNAVAILABLE,
        Reason::CANCEL => CANCELLED,
        Reason::ENHANCE_YOUR_CALM => RESOURCE_EXHAUSTED,
        Reason::INADEQUATE_SECURITY => PERMISSION_DENIED,
        _ => INTERNAL,
    }
}

/// An HTTP/2 error code as people know it: `ENHANCE_YOUR_CALM`, or the number where there is no name.
pub(crate) fn code_name(code: u32) -> String {
    const NAMES: [&str; 14] = [
        "NO_ERROR",
        "PROTOCOL_ERROR",
        "INTERNAL_ERROR",
        "FLOW_CONTROL_ERROR",
        "SETTINGS_TIMEOUT",
        "STREAM_CLOSED",
        "FRAME_SIZE_ERROR",
        "REFUSED_STREAM",
        "CANCEL",
        "COMPRESSION_ERROR",
        "CONNECT_ERROR",
        "ENHANCE_YOUR_CALM",
        "INADEQUATE_SECURITY",
        "HTTP_1_1_REQUIRED",
    ];
    NAMES.get(code as usize).map_or_else(|| format!("error code {code}"), |name| (*name).to_owned())
}

/// An attempt that reached no address of the endpoint: one row per address tried.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ConnectError {
    /// The addresses tried, in the order in which they failed.
    pub failures: Vec<AddressFailure>,
}

impl ConnectError {
    /// An attempt with these failures, in the order in which they came.
    pub fn new(failures: Vec<AddressFailure>) -> Self {
        Self { failures }
    }
}

/// Why one address did not lead to a connection.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{address}: {failure}")]
#[non_exhaustive]
pub struct AddressFailure {
    /// The address; for a host name, what it was looked up to, if it got that far.
    pub address: Address,
    /// What happened.
    pub failure: ConnectFailure,
}

impl AddressFailure {
    /// That this happened at this address.
    pub fn new(address: Address, failure: ConnectFailure) -> Self {
        Self { address, failure }
    }
}

/// What happened to the attempt at one address.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectFailure {
    /// The host name could not be looked up, or has no address.
    #[error("name lookup failed: {0}")]
    Lookup(String),
    /// The socket could not be opened or connected.
    #[error("{0}")]
    Socket(Arc<io::Error>),
    /// The TLS handshake failed, for example over the server's certificate.
    #[error("TLS handshake failed: {0}")]
    Tls(String),
    /// The peer is no HTTP/2 server.
    #[error("the server does not speak HTTP/2: {0}")]
    NotHttp2(String),
    /// The connection ended before the server's SETTINGS.
    #[error("connection ended before the server's SETTINGS: {0}")]
    Handshake(String),
    /// The attempt's time was over.
    #[error("no success within {after:?}, while {stage}")]
    Timeout {
        /// How far it got.
        stage: ConnectStage,
        /// How long the whole attempt was allowed to take.
        after: Duration,
    },
    /// This platform or configuration cannot dial such an address.
    #[error("cannot be dialled: {0}")]
    Unsupported(String),
    /// The authority or host name cannot be used in requests or certificates.
    #[error("authority {0:?} is not valid")]
    Authority(String),
}

/// How far an attempt got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectStage {
    /// Looking up the host name.
    Lookup,
    /// Waiting for the socket to connect.
    Socket,
    /// In the TLS handshake.
    Tls,
    /// Waiting for the server's SETTINGS frame.
    Settings,
}

impl fmt::Display for ConnectStage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lookup => "looking up the name",
            Self::Socket => "connecting",
            Self::Tls => "in the TLS handshake",
            Self::Settings => "waiting for the server's SETTINGS",
        })
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.failures.is_empty() {
            return f.write_str("no address to connect to");
        }
        for (index, failure) in self.failures.iter().enumerate() {
            if index > 0 {
                f.write_str("; ")?;
            }
            failure.fmt(f)?;
        }
        Ok(())
    }
}

impl StdError for ConnectError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.failures.last().map(|failure| failure as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reset_codes_follow_the_table() {
        let code = |code| TransportError::new(TransportErrorKind::Reset(code), "").grpc_code();
        let expected = [13, 13, 13, 13, 13, 13, 13, 14, 1, 13, 13, 8, 7, 13, 13];
        assert_eq!((0..15).map(code).collect::<Vec<_>>(), expected);
        assert_eq!(TransportError::new(TransportErrorKind::Lost, "").grpc_code(), 14);
    }

    #[test]
    fn only_the_exact_complaint_is_too_many_pings() {
        let reason = |code, debug: &str| CloseReason::GoAway { code, debug: debug.into() };
        assert!(reason(11, "too_many_pings").too_many_pings());
        assert!(!reason(0, "too_many_pings").too_many_pings());
        assert!(!reason(11, "max_age").too_many_pings());
        assert_eq!(reason(11, "too_many_pings").to_string(), "GOAWAY ENHANCE_YOUR_CALM (too_many_pings)");
    }
}
