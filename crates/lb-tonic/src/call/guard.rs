//! Counts a call at its endpoint for exactly as long as it lives.

use std::sync::Arc;

use lb_core::Outcome;

use crate::snapshot::Connected;

/// One attempt at one endpoint. Moves from the call's future into the response's body, so that dropping either ends it.
#[derive(Debug)]
pub(crate) struct Guard {
    pub(crate) connected: Arc<Connected>,
    /// How the attempt ends if it is dropped now.
    pub(crate) outcome: Outcome,
}

impl Guard {
    #[inline]
    pub(crate) fn new(connected: Arc<Connected>) -> Self {
        connected.stats.begin();
        Self { connected, outcome: Outcome::Cancelled }
    }
}

impl Drop for Guard {
    #[inline]
    fn drop(&mut self) {
        self.connected.stats.end(self.outcome);
    }
}
