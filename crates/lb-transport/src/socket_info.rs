//! What can be known of one connection while it is open.
//!
//! Counters are kept as calls go by; everything else is asked of the socket at the moment somebody looks, so that a connection nobody
//! looks at costs no memory for it.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use lb_core::Address;
use tokio::time::Instant;

use crate::conn::Link;

/// One connection of an [`H2Transport`](crate::H2Transport), to be looked at. Keeps nothing open.
#[derive(Clone)]
pub struct SocketRef(pub(crate) Arc<Link>);

/// One connection at one moment.
///
/// Counters are each exact and may be a moment apart. Times of day are reckoned back from the present one, and move with it when it is set.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SocketInfo {
    /// Its number, from [`next_serial`](crate::next_serial).
    pub serial: u64,
    /// The address on this end; `None` if the socket has none, or is gone.
    pub local: Option<Address>,
    /// The address on the other end; `None` if the socket is gone.
    pub remote: Option<Address>,
    /// The `:authority` of its requests.
    pub authority: String,
    /// How it is protected; `None` if it is not.
    pub security: Option<SocketSecurity>,
    /// Options of the socket, by the names of their constants, with their values as text; times as `20s`.
    pub options: Vec<(&'static str, String)>,
    /// When the connection was made.
    pub opened_at: SystemTime,
    /// Streams begun, those of health checks and load reports included.
    pub streams_started: u64,
    /// Streams whose end the server has sent, and that were read to it, whatever their status.
    pub streams_succeeded: u64,
    /// Streams that ended in any other way: reset, given up, or lost with the connection.
    pub streams_failed: u64,
    /// gRPC messages handed to HTTP/2.
    pub messages_sent: u64,
    /// gRPC messages read by calls.
    pub messages_received: u64,
    /// Keepalive PINGs sent; those that measure the path are not counted.
    pub keepalives_sent: u64,
    /// When the latest stream began.
    pub last_stream_at: Option<SystemTime>,
    /// When a message was last sent.
    pub last_sent_at: Option<SystemTime>,
    /// When data of a message last arrived.
    pub last_received_at: Option<SystemTime>,
    /// Bytes of DATA this end may still send on all streams together; `None` if the socket is gone.
    pub send_window: Option<i64>,
    /// Bytes of DATA the other end may still send on all streams together; `None` if the socket is gone.
    pub receive_window: Option<i64>,
    /// How many streams the server allows at once; `None` is any number.
    pub max_streams: Option<usize>,
}

/// How a connection is protected.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SocketSecurity {
    /// The cipher suite, by its registered name such as `TLS_AES_128_GCM_SHA256`.
    pub cipher_suite: String,
    /// The server's certificate, in DER.
    pub remote_certificate: Option<Vec<u8>>,
}

/// What the socket itself says.
#[derive(Debug, Default)]
pub(crate) struct SocketFacts {
    pub(crate) local: Option<Address>,
    pub(crate) remote: Option<Address>,
    pub(crate) security: Option<SocketSecurity>,
    pub(crate) options: Vec<(&'static str, String)>,
    pub(crate) windows: Option<(i64, i64)>,
}

impl SocketRef {
    /// Its number, from [`next_serial`](crate::next_serial).
    pub fn serial(&self) -> u64 {
        self.0.serial()
    }

    /// Looks at it.
    pub fn info(&self) -> SocketInfo {
        let (now, wall) = (Instant::now(), SystemTime::now());
        let (facts, totals, limit) = (self.0.facts(), self.0.totals(), self.0.limit());
        let at = |moment: Instant| wall.checked_sub(now.saturating_duration_since(moment)).unwrap_or(SystemTime::UNIX_EPOCH);
        SocketInfo {
            serial: self.serial(),
            local: facts.local,
            remote: facts.remote,
            authority: self.0.pool.config.origin.authority.to_string(),
            security: facts.security,
            options: facts.options,
            opened_at: at(totals.begun),
            streams_started: totals.started,
            streams_succeeded: totals.succeeded,
            streams_failed: totals.failed,
            messages_sent: totals.sent,
            messages_received: totals.received,
            keepalives_sent: totals.pings,
            last_stream_at: totals.stream_at.map(at),
            last_sent_at: totals.sent_at.map(at),
            last_received_at: totals.received_at.map(at),
            send_window: facts.windows.map(|windows| windows.0),
            receive_window: facts.windows.map(|windows| windows.1),
            max_streams: Some(limit).filter(|limit| *limit != usize::MAX),
        }
    }
}

impl fmt::Debug for SocketRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SocketRef").field(&self.serial()).finish()
    }
}
