//! Pacing of connection attempts.
