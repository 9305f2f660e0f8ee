//! The names of gRPC's own headers, parsed once: looking one up by its text would parse it for every call.

use http::HeaderName;

/// How long a server has for a call.
pub(crate) static TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// How a call ended.
pub(crate) static STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// How many attempts of the call a server may have worked on before this one.
pub(crate) static PREVIOUS_ATTEMPTS: HeaderName = HeaderName::from_static("grpc-previous-rpc-attempts");

/// In trailers: how long to wait before another attempt, or that there shall be none.
pub(crate) static PUSHBACK: HeaderName = HeaderName::from_static("grpc-retry-pushback-ms");

/// In trailers: the details of a status, in base64.
pub(crate) static STATUS_DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");
