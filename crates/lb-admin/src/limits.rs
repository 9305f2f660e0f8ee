//! What one client may take of the admin server.

use std::time::Duration;

/// The limits of an admin server. None of them is about the channels' calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct AdminLimits {
    /// Connections at once; further ones are answered with 503 and closed. At least 1; the default is 64: some operators, a scraper, some
    /// dashboards.
    pub connections: usize,
    /// How long a connection may take for the head of a request, and be idle between two. The default is 10 s, more than a slow human's
    /// network needs.
    pub head: Duration,
    /// How long a request may take for its body. The default is 10 s.
    pub body: Duration,
    /// How long a client may read nothing of an answer that waits for it. The default is 20 s.
    pub write: Duration,
    /// Bytes of a request's body; more is answered with 413. The default is 256 KiB, several times the largest configuration anybody
    /// writes.
    pub body_bytes: usize,
}

impl AdminLimits {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// With this many connections at once; 0 counts as 1.
    #[must_use]
    pub fn connections(mut self, connections: usize) -> Self {
        self.connections = connections.max(1);
        self
    }

    /// With these times for a request's head, for its body, and for taking some of an answer.
    #[must_use]
    pub fn times(mut self, head: Duration, body: Duration, write: Duration) -> Self {
        (self.head, self.body, self.write) = (head, body, write);
        self
    }

    /// With bodies of at most this many bytes.
    #[must_use]
    pub fn body_bytes(mut self, bytes: usize) -> Self {
        self.body_bytes = bytes;
        self
    }
}

impl Default for AdminLimits {
    fn default() -> Self {
        Self {
            connections: 64,
            head: Duration::from_secs(10),
            body: Duration::from_secs(10),
            write: Duration::from_secs(20),
            body_bytes: 256 * 1024,
        }
    }
}
