//! Why an admin server does not start.

use std::io;
use std::net::SocketAddr;

/// Why an admin server does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AdminError {
    /// Others than this machine could reach it, and nobody asked them for a token.
    #[error("{0} can be reached from other machines: allowed only with a token, or on a loopback address")]
    Exposed(SocketAddr),
    /// Two channels were given one name.
    #[error("two channels are named `{0}`, allowed is one")]
    Duplicate(String),
    /// The address cannot be listened on.
    #[error("cannot listen on {addr}: {source}")]
    Bind {
        /// Which address.
        addr: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
}
