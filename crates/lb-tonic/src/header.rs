//! The names of gRPC's own headers, parsed once: looking one up by its text would parse it for every call.

use http::HeaderName;

/// How long a server has for a call.
pub(crate) static TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// How a call ended.
pub(crate) static STATUS: HeaderName = HeaderName::from_static("grpc-status");
