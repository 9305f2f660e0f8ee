//! What a table tells about its sessions.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// One session at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct SessionInfo {
    /// Its id, or the hash of a long one. Personal data, more often than not.
    pub session: Arc<str>,
    /// The endpoint it is at.
    pub endpoint: Arc<str>,
    /// The endpoint that takes its calls when its own cannot.
    pub guest: Option<Arc<str>>,
    /// How long ago its first call was placed.
    pub age: Duration,
    /// How long ago its last call began or ended; zero while it has calls in progress.
    pub idle: Duration,
    /// Its calls in progress.
    pub in_flight: u32,
}

/// One session as text, for keeping sessions over a restart. The times are relative, because clocks of two processes are not the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct SessionRecord {
    /// Its id, or the hash of a long one. Personal data, more often than not.
    pub session: Arc<str>,
    /// The endpoint it is at.
    pub endpoint: Arc<str>,
    /// How old it is, in milliseconds.
    pub age_ms: u64,
    /// How long it has been idle, in milliseconds.
    pub idle_ms: u64,
    /// Whether it had a second call, which makes it outlast new sessions when there are too many.
    #[serde(default)]
    pub proven: bool,
}

/// What happened to sessions and their calls, since the table was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct SessionStats {
    /// Calls that went to the endpoint of their session.
    pub hits: u64,
    /// Calls that began a session.
    pub misses: u64,
    /// Sessions that moved to another endpoint.
    pub moved: u64,
    /// Calls that went to another endpoint while their session stayed at its own.
    pub lent: u64,
    /// Sessions that ended by time.
    pub expired: u64,
    /// Sessions that ended to make room.
    pub evicted: u64,
    /// Sessions that were cleared by hand.
    pub cleared: u64,
}

impl SessionStats {
    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            hits: self.hits + other.hits,
            misses: self.misses + other.misses,
            moved: self.moved + other.moved,
            lent: self.lent + other.lent,
            expired: self.expired + other.expired,
            evicted: self.evicted + other.evicted,
            cleared: self.cleared + other.cleared,
        }
    }
}
