//! Connectivity states of channels and subchannels, and how the states of many become one.
//!
//! ```text
//! IDLE --connect--> CONNECTING --handshakes done and the server's SETTINGS seen--> READY
//! CONNECTING --any failure or timeout--> TRANSIENT_FAILURE --backoff over--> IDLE (shown as TRANSIENT_FAILURE until READY)
//! READY --GOAWAY, loss, keepalive timeout--> IDLE
//! any --removed--> SHUTDOWN
//! ```
//!
//! Source: gRPC's connectivity semantics, gRFC A61 (one endpoint, several addresses) and A62 (sticky failure).

use std::fmt;

use serde::{Deserialize, Serialize};

/// The five states of gRPC.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ConnectivityState {
    /// Not connected and not trying.
    #[default]
    Idle,
    /// Trying for the first time, or again after a connection was lost.
    Connecting,
    /// Connected (and serving, where health is watched).
    Ready,
    /// The last attempt failed; stays so through later attempts until one succeeds.
    TransientFailure,
    /// Closed for good.
    Shutdown,
}

impl ConnectivityState {
    /// The state of a set of endpoints as round_robin and its kin see it: READY if any is, else CONNECTING if any is CONNECTING
    /// or IDLE, else TRANSIENT_FAILURE. No endpoint at all is TRANSIENT_FAILURE.
    pub fn aggregate(states: impl IntoIterator<Item = Self>) -> Self {
        let mut aggregate = Self::TransientFailure;
        for state in states {
            match state {
                Self::Ready => return Self::Ready,
                Self::Connecting | Self::Idle => aggregate = Self::Connecting,
                Self::TransientFailure | Self::Shutdown => {}
            }
        }
        aggregate
    }
}

impl fmt::Display for ConnectivityState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Idle => "IDLE",
            Self::Connecting => "CONNECTING",
            Self::Ready => "READY",
            Self::TransientFailure => "TRANSIENT_FAILURE",
            Self::Shutdown => "SHUTDOWN",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::ConnectivityState::{self, Connecting, Idle, Ready, TransientFailure};

    #[test]
    fn aggregation_table() {
        for (states, expected) in [
            (&[][..], TransientFailure),
            (&[Ready, TransientFailure], Ready),
            (&[TransientFailure, Idle], Connecting),
            (&[TransientFailure, Connecting], Connecting),
            (&[TransientFailure, TransientFailure], TransientFailure),
        ] {
            assert_eq!(ConnectivityState::aggregate(states.iter().copied()), expected, "{states:?}");
        }
    }
}
